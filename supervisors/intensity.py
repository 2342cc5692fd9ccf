"""How many restarts are too many: OTP's window of `intensity` restarts in `period` seconds."""

from __future__ import annotations

import sys
from bisect import insort
from collections import deque

__all__ = ["RestartWindow"]


class RestartWindow:
    """The restarts of the last `period` seconds. It is told the time and reads no clock.

    The window is inclusive, as in OTP: a restart exactly `period` seconds ago still counts.
    """

    def __init__(self, intensity: int, period: float) -> None:
        self.intensity = intensity
        self.period = period
        # in order; more than one too many decide nothing, and a deque cannot hold more than maxsize
        self._times: deque[float] = deque(maxlen=min(intensity + 1, sys.maxsize))

    def __len__(self) -> int:
        """How many restarts count at present, at most one more than are allowed."""
        return len(self._times)

    def add(self, now: float) -> bool:
        """Count a restart at `now` (seconds); tell whether it is still allowed.

        Times may be ahead of those of later calls: a paused restart is counted when it is planned.
        """
        times = self._times
        while times and times[0] < now - self.period:
            times.popleft()
        if not times or times[-1] <= now:
            times.append(now)
        else:
            kept = list(times)
            insort(kept, now)
            self._times = deque(kept, maxlen=times.maxlen)  # keeps the newest
        return len(self._times) <= self.intensity
