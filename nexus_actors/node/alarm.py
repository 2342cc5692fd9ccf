"""An alarm of the kernel's: it sends this thread a signal though no other thread can run.

C code that does not let go of Python's lock stops every thread of the process, and a watchdog with
them. A POSIX timer needs none: its signal is noticed by C code that looks for signals, as regular
expressions do. Python has no name for it (``setitimer`` knows three signals only): libc is asked.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time

__all__ = ["Alarm", "make_alarm"]

_TO_THREAD = 4
"""Linux's SIGEV_THREAD_ID."""


class _Event(ctypes.Structure):
    _fields_ = [
        ("value", ctypes.c_void_p),
        ("number", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("thread", ctypes.c_int),
        ("rest", ctypes.c_byte * 44),
    ]


class _Time(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Times(ctypes.Structure):
    _fields_ = [("again", _Time), ("first", _Time)]


class Alarm:
    """Sends a signal to the thread it was made in; see :func:`make_alarm`."""

    def __init__(self, libc: ctypes.CDLL, timer: ctypes.c_void_p) -> None:
        self._libc = libc
        self._timer: ctypes.c_void_p | None = timer

    def set(self, first: float, again: float) -> None:
        """Ring in ``first`` seconds and then every ``again`` seconds; 0 is never."""
        if self._timer is not None:
            times = _Times(_time(again), _time(first))
            self._libc.timer_settime(self._timer, 0, ctypes.byref(times), None)

    def delete(self) -> None:
        """Ring no more."""
        timer, self._timer = self._timer, None
        if timer is not None:
            self._libc.timer_delete(timer)


def make_alarm(number: int) -> Alarm | None:
    """An alarm that sends signal ``number`` to this thread; None where there are no such alarms."""
    if sys.platform != "linux":
        return None
    event = _Event(0, number, _TO_THREAD, threading.get_native_id())
    timer = ctypes.c_void_p()
    for library in (None, "librt.so.1"):
        try:
            libc = ctypes.CDLL(library)
            made = libc.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer))
        except (OSError, AttributeError):
            continue
        return Alarm(libc, timer) if made == 0 else None
    return None


def _time(seconds: float) -> _Time:
    whole = int(seconds)
    return _Time(whole, int((seconds - whole) * 1e9))
