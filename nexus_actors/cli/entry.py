"""The console script ``nexus``, and how Ctrl-C ends it while it is still being imported."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

__all__ = ["INTERRUPTED", "importing", "main"]

# Nothing heavy is imported up here: what is takes a second, and Ctrl-C may come meanwhile.

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the signal's number."""


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command in ``tokens`` (``sys.argv``) and exit.

    The exit code is 0 when all is well, 1 when the command could not do its work or found faults,
    2 for a wrong option or setting, 70 for a fault of Nexus Actors itself, 130 after Ctrl-C.
    """
    with importing():
        from nexus_actors.cli.app import exit_code
    sys.exit(exit_code(tokens))


@contextmanager
def importing() -> Iterator[None]:
    """While our own modules are imported Ctrl-C ends the process at once: nothing was begun.

    A KeyboardInterrupt would not do. Raised in a callback of the import system it is printed and
    lost, and in a class's making it becomes a RuntimeError.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    try:
        signal.signal(signal.SIGINT, _leave)
    except ValueError:  # not the main thread: signals are not for us
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"Interrupted.\n")
    os._exit(INTERRUPTED)
