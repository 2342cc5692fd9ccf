"""What holds the event loop of a system without a node, named in the log: a warning, no more.

A thread looks on, and costs a message nothing. It sees a stack and a task, from outside; to
interrupt code takes more (signals, and care where it stands): the watchdog of a node does that.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import trio

from nexus_actors import log
from nexus_actors.actors.owner import owner_of_task
from nexus_actors.words import shown_path

__all__ = ["loop_waits", "naming_stalls", "place_of"]

_LOOKS = 5
"""How often within the time that is warned of the thread looks while a beat is not answered."""
_LOOKS_IDLE = 2
"""How often it looks otherwise: each time wakes the process."""
_OURS = frozenset({"nexus_actors", "supervisors", "trio", "outcome", "contextvars"})

_logger = log.get_logger("nexus.actors")
_watched_runs: trio.lowlevel.RunVar[bool] = trio.lowlevel.RunVar("nexus_watched", default=False)


@contextmanager
def naming_stalls(after: float) -> Iterator[None]:
    """Within the block, which is in Trio, what holds the loop for ``after`` seconds is named in
    the log, once; and when it has let go, for how long it did. It is noticed at most half of that
    late. Inside another such block of the same run it is that one's to tell."""
    if _watched_runs.get():
        yield
        return
    _watched_runs.set(True)
    lookout = _Lookout(after)
    lookout.thread.start()
    try:
        yield
    finally:
        _watched_runs.set(False)
        lookout.over.set()
        lookout.thread.join()


class _Lookout:
    """Looks on from a thread of its own at the one it is made in."""

    def __init__(self, after: float) -> None:
        self._after = after
        self._token = trio.lowlevel.current_trio_token()
        self._watched = threading.get_ident()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="nexus-stalls", daemon=True)
        self._answered = True
        """Whether the loop has answered the last beat."""
        self._posted = 0.0
        """When that was sent out."""
        self._named = ""
        """Who was said to hold the loop, and does so still."""

    def _watch(self) -> None:
        pause = self._after / _LOOKS_IDLE
        while not self.over.wait(pause):
            if not self._answered:
                held = time.monotonic() - self._posted
                if held >= self._after and not self._named:
                    self._name(held)
            elif not loop_waits(self._watched):
                self._answered, self._posted = False, time.monotonic()
                try:
                    self._token.run_sync_soon(self._answer)
                except trio.RunFinishedError:
                    return
            pause = self._after / (_LOOKS_IDLE if self._answered else _LOOKS)

    def _answer(self) -> None:
        """The loop answers a beat: whatever held it has let it go."""
        if self._named:
            held = time.monotonic() - self._posted
            _logger.warning(f"{self._named} has let go of the loop after {held:.1f} s")
        self._named, self._answered = "", True

    def _name(self, held: float) -> None:
        frame = sys._current_frames().get(self._watched)
        if frame is None:
            return
        own, task = _read(frame)
        owner = None if task is None else owner_of_task(task)
        self._named = "something" if owner is None else owner.name
        places = ", called ".join(dict.fromkeys(map(place_of, own or [frame])))
        _logger.warning(f"{self._named} has held the loop for {held:.1f} s: {places}")


def _read(innermost: FrameType) -> tuple[list[FrameType], trio.lowlevel.Task | None]:
    """The innermost and the outermost frame on the stack that are not ours, and the task it is."""
    frame: FrameType | None = innermost
    own: list[FrameType] = []
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module == "trio._core._run" and frame.f_code.co_name == "unrolled_run":
            task = frame.f_locals.get("task")
            return own, task if isinstance(task, trio.lowlevel.Task) else None
        if module.partition(".")[0] not in _OURS:
            own[1:] = [frame]
        frame = frame.f_back
    return [], None


def place_of(frame: FrameType) -> str:
    """Function, file and line, for people."""
    code = frame.f_code
    where = f"{shown_path(Path(code.co_filename))}:{frame.f_lineno}"
    return f"at {where}" if code.co_name == "<module>" else f"in {code.co_qualname} at {where}"


def loop_waits(thread: int) -> bool:
    """Whether Trio's loop in the thread of that ident waits for something to happen: then nothing
    holds it."""
    frame = sys._current_frames().get(thread)
    return (
        frame is not None
        and frame.f_code.co_name == "get_events"
        and str(frame.f_globals.get("__name__")).startswith("trio._core._io_")
    )
