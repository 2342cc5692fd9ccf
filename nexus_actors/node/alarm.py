"""Alarms of the kernel's: they ring though no thread of the process can run Python.

C code that does not let go of Python's lock stops every thread of the process, and a watchdog with
them. A POSIX timer needs none. Its signal is noticed by C code that looks for signals, as regular
expressions do: that is the :class:`Alarm`. Where it does not look, a handler written in C can still
say where the thread is, and :mod:`faulthandler` has one: that is the :class:`Cry`.

Python has no name for these timers (``setitimer`` knows three signals only): libc is asked.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time

import attrs

__all__ = ["Alarm", "Cry", "make_alarm", "make_cry"]

_IN_NEW_THREAD = 2
"""SIGEV_THREAD: libc calls a function in a thread of its own making."""
_TO_THREAD = 4
"""Linux's SIGEV_THREAD_ID: one thread gets the signal."""
_STDERR = 2


class _Function(ctypes.Structure):
    _fields_ = [("function", ctypes.c_void_p), ("attributes", ctypes.c_void_p)]


class _How(ctypes.Union):
    _fields_ = [("thread", ctypes.c_int), ("call", _Function), ("rest", ctypes.c_byte * 48)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("value", ctypes.c_void_p),
        ("number", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("how", _How),
    ]


class _Time(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Times(ctypes.Structure):
    _fields_ = [("again", _Time), ("first", _Time)]


class Alarm:
    """A timer, see :func:`make_alarm`: sends a signal to the thread that it was made in."""

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
    how = _How(thread=threading.get_native_id())
    return _make(_Event(None, number, _TO_THREAD, how))


@attrs.frozen(eq=False)
class Cry:
    """Two timers: the first writes a sentence to stderr, the second the stack of a thread.

    Both without Python, so that it is heard while C code keeps Python's lock; and for that reason
    neither goes through the log.
    """

    _words: Alarm
    _stack: Alarm
    _number: int
    _kept: object
    """What C code points to."""

    def set(self, first: float, again: float) -> None:
        """Cry in ``first`` seconds and then every ``again`` seconds; 0 is never."""
        self._words.set(first, again)
        self._stack.set(first and first + _MOMENT, again)

    def delete(self) -> None:
        """Cry no more. Called in the thread that the cry was made in, or a last signal would find
        no handler."""
        self._words.delete()
        self._stack.delete()
        faulthandler.unregister(self._number)
        _taken.discard(self._number)


_MOMENT = 0.02
"""Seconds between the sentence and the stack."""

_taken: set[int] = set()
"""The signals of the cries there are: Python does not know that they are handled."""


def make_cry(sentence: str) -> Cry | None:
    """A cry about this thread that begins with ``sentence``; None where that cannot be done."""
    if sys.platform != "linux":
        return None
    try:
        os.fstat(_STDERR)
        warnx = ctypes.CDLL(None).warnx
    except (OSError, AttributeError):
        return None
    number = _free_signal()
    if number is None:
        return None
    text = ctypes.create_string_buffer(sentence.replace("%", "%%").encode())
    call = _Function(ctypes.cast(warnx, ctypes.c_void_p), None)
    words = _make(_Event(ctypes.cast(text, ctypes.c_void_p), 0, _IN_NEW_THREAD, _How(call=call)))
    if words is None:
        return None
    # before its timer: the signal would end the process
    faulthandler.register(number, file=_STDERR, all_threads=False)
    stack = make_alarm(number)
    if stack is None:
        words.delete()
        faulthandler.unregister(number)
        return None
    _taken.add(number)
    return Cry(words, stack, number, text)


def _free_signal() -> int | None:
    """A real-time signal that nobody handles; those at the end are the least asked for."""
    for number in range(signal.SIGRTMAX - 1, signal.SIGRTMIN, -1):
        if number not in _taken and signal.getsignal(number) == signal.SIG_DFL:
            return number
    return None


def _make(event: _Event) -> Alarm | None:
    if sys.platform != "linux":
        return None
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
