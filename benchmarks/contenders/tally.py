"""What the plugins of a benchmark count together: they share a process, and this module with it."""

from __future__ import annotations

import trio

subscribers = 0
"""How many are up."""
done = trio.Event()
"""Set when as many were counted as were waited for."""
_left = 0


def wait_for(count: int) -> None:
    """So many are to be counted from now on."""
    global done, _left
    done, _left = trio.Event(), count


def count() -> None:
    """One more."""
    global _left
    _left -= 1
    if not _left:
        done.set()
