"""How many restarts are too many: OTP's window of `intensity` restarts in `period` seconds."""

from __future__ import annotations

import sys
from collections import deque

__all__ = ["RestartWindow"]


class RestartWindow:
    """The restarts of the last `period` seconds. It is told the time and reads no clock.

    The window is inclusive, as in OTP: a restart exactly `period` seconds ago still counts. A
    restart is counted when it is made, so no time may be before that of an earlier call.
    """

    def __init__(self, intensity: int, period: float) -> None:
        self.intensity = intensity
        self.period = period
        # in order; more than one too many decide nothing, and a deque cannot hold more than maxsize
        self._times: deque[float] = deque(maxlen=min(intensity + 1, sys.maxsize))

    def __len__(self) -> int:
        """How many restarts counted at the last `now`, at most one more than are allowed."""
        return len(self._times)

    def prune(self, now: float) -> None:
        """Forget the restarts that no longer count at `now` (seconds)."""
        times = self._times
        while times and times[0] < now - self.period:
            times.popleft()

    def add(self, now: float) -> bool:
        """Count a restart at `now` (seconds); tell whether it is still allowed."""
        self.prune(now)
        self._times.append(now)
        return len(self._times) <= self.intensity
