"""How many restarts are too many: OTP's window of `intensity` restarts in `period` seconds."""

from __future__ import annotations

__all__ = ["add_restart"]


def add_restart(
    restarts: tuple[float, ...], now: float, intensity: int, period: float
) -> tuple[tuple[float, ...], bool]:
    """Count a restart at `now` (seconds); give back the new window and whether it is still allowed.

    `restarts` holds the times of earlier restarts, newest first. The window is inclusive: a restart
    exactly `period` seconds ago still counts. No more than ``intensity + 1`` times are kept.
    """
    counted = sorted((now, *restarts), reverse=True)  # a paused restart may be counted ahead
    window = [time for time in counted if time >= now - period][: intensity + 1]
    return tuple(window), len(window) <= intensity
