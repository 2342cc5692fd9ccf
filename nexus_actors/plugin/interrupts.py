"""Ctrl-C told from a KeyboardInterrupt that a plugin raises itself while it is imported."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["CtrlC", "watching_ctrl_c"]


class CtrlC:
    """Whether Ctrl-C was pressed in a block; made by :func:`watching_ctrl_c`."""

    def __init__(self) -> None:
        self.pressed = False
        self.sees = True
        """False where somebody else has the signal: then every KeyboardInterrupt may be its."""

    def is_behind(self, error: BaseException) -> bool:
        """Whether ``error``, which left the block's code, is to end the command. Once Ctrl-C was
        pressed that is so for any: code may turn a KeyboardInterrupt into another exception."""
        return self.pressed or (not self.sees and isinstance(error, KeyboardInterrupt))

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        signal.default_int_handler(number, frame)


@contextmanager
def watching_ctrl_c() -> Iterator[CtrlC]:
    """In the block Ctrl-C raises KeyboardInterrupt as ever, and is remembered.

    Only in the main thread, and where nobody else handles the signal (Trio does while it runs).
    """
    watch = CtrlC()
    before = signal.getsignal(signal.SIGINT)
    try:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, watch._handle)
        else:
            watch.sees = before == signal.SIG_IGN
    except ValueError:  # not the main thread
        watch.sees = False
    try:
        yield watch
    finally:
        if watch.sees and before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)
