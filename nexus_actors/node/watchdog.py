"""The watchdog: a thread that notices when code holds the event loop, names it, and interrupts it.

Twice within ``stall_warn`` it looks whether the loop waits, as an idle one does. Where it does not,
it posts a beat to the loop. While that is not answered it sends the main thread a signal, whose
handler sees what runs: the task and its turn, whose code it is, and the place. The same turn seen
for ``stall_warn`` seconds is named in the log; seen for ``stall_limit`` seconds it is interrupted
(see :mod:`.interrupt`), and again every second. Nothing of this costs a message anything.

What only the thread can see: C code that does not return to Python (the signal is not handled), and
a loop that does not run in the main thread, where Python handles no signals. Both are named, and
cannot be interrupted. What no thread can see, because that C code keeps Python's lock: the kernel
sees to it (see :mod:`.alarm`).
"""

from __future__ import annotations

import logging
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import attrs
import trio

from nexus_actors import log
from nexus_actors.actors.message import in_hand
from nexus_actors.actors.owner import Owner, StallInterrupt, owner_of_this
from nexus_actors.actors.stalls import loop_waits
from nexus_actors.config.settings import NodeSettings
from nexus_actors.node.alarm import Alarm, Cry, make_alarm, make_cry
from nexus_actors.node.interrupt import Interrupter, Stack, being_debugged, read_stack
from nexus_actors.plugin.stalls import importing_now

__all__ = ["Watchdog", "guarding"]

AGAIN = 1.0
"""Seconds between interrupts, and between reports, of one stall."""

TASK = 50e-6
"""Seconds it takes to cancel and end a task that has just been started (28 to 53 µs measured)."""

_LOOKS = 5
"""How often within ``stall_warn`` the watchdog looks while a beat is not answered."""
_LOOKS_IDLE = 2
"""How often it looks otherwise: each time wakes the process."""

CRY = (
    "the node has stood still: C code keeps Python's lock, so that nothing else can run, and it "
    "cannot be interrupted (or the process was stopped for a while). It was called here, and the "
    "plugin is the one whose file that is:"
)
"""What comes before the stack that is written, by C code, to stderr."""

_logger = log.get_logger("nexus.node.watchdog")


@attrs.define(eq=False)
class _Stall:
    """One turn of one task that lasts."""

    turn: tuple[object, ...]
    since: float
    owner: Owner | None
    next_strike: float
    named: bool = False


@contextmanager
def guarding(settings: NodeSettings) -> Iterator[Watchdog | None]:
    """Within the block this thread is watched, its imports of plugins and, with
    :meth:`Watchdog.watching_loop`, its loop. None where that is switched off.

    Inside another such block of the same thread it is that one's watchdog.
    """
    there = _watching.get(threading.get_ident())
    if there is not None or not settings.watchdog:
        yield there
        return
    why = being_debugged()
    if why:
        _logger.info(f"the watchdog is off: {why}")
        yield None
        return
    watchdog = Watchdog(settings)
    watchdog.start()
    try:
        yield watchdog
    finally:
        watchdog.stop()


_watching: dict[int, Watchdog] = {}
"""The watchdogs there are, by the ident of the thread they watch."""


class Watchdog:
    """Watches the thread that it is made in; see :func:`guarding`."""

    def __init__(self, settings: NodeSettings) -> None:
        self._warn = settings.stall_warn
        self._limit = settings.stall_limit
        self._again = min(AGAIN, settings.stall_limit)
        self._interval = settings.stall_warn / _LOOKS
        self._pause = settings.stall_warn / _LOOKS_IDLE
        self._signal = signal.Signals[settings.stall_signal]
        self._watched = threading.get_ident()
        self._is_main = threading.current_thread() is threading.main_thread()
        self._before: Any = None
        self._can_look = False
        """Whether the signal is ours."""
        self._alarm: Alarm | None = None
        self._cry: Cry | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="nexus-watchdog", daemon=True)
        self._reports: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._speaker = threading.Thread(target=self._speak, name="nexus-watchdog-log", daemon=True)
        self._token: trio.lowlevel.TrioToken | None = None

        # Of the thread alone.
        self._overdue_since = 0.0
        """Since when the watched thread has been at something; 0 while it is not."""
        self._import_seen = 0
        self._looks_missed_since = 0.0
        """Since when signals have gone unhandled; 0 while they are handled."""
        self._looked_before = 0
        self._next_report = 0.0

        # Of both.
        self._answered = True
        self._posted = 0.0
        """When the last beat was sent out."""
        self._looked = 0
        """How many signals were handled."""

        # Of the watched thread alone.
        self._interrupter = Interrupter()
        self._is_looking = False
        self._stall: _Stall | None = None
        self._struck: dict[Owner, float] = {}
        """Who was interrupted and may have kept it to himself, and when."""

    def start(self) -> None:
        """Begin to watch."""
        _watching[self._watched] = self
        if not self._is_main:
            _logger.warning(
                "the node does not run in the main thread: code that holds its loop is named, and "
                "cannot be interrupted"
            )
        else:
            self._take_signal()
        self._cry = make_cry(CRY)
        self._thread.start()
        self._speaker.start()

    def stop(self) -> None:
        """End; what is to be said is said first, if that is possible."""
        self._over.set()
        self._thread.join()
        if self._alarm is not None:
            self._alarm.delete()
        if self._cry is not None:
            self._cry.delete()
        self._interrupter.disarm()
        if self._can_look and self._is_ours():
            signal.signal(self._signal, self._before)
        self._reports.put(None)
        self._speaker.join(1.0)
        del _watching[self._watched]

    @contextmanager
    def watching_loop(self) -> Iterator[None]:
        """Within the block, which is in Trio, the loop is watched too."""
        before = self._token
        self._token = trio.lowlevel.current_trio_token()
        try:
            yield
        finally:
            self._token = before
            self._answered = True

    def _take_signal(self) -> None:
        self._before = signal.getsignal(self._signal)
        if self._before not in (signal.SIG_DFL, signal.SIG_IGN):
            _logger.warning(
                f"{self._signal.name} is handled by {self._before!r} already, so code that holds "
                "the loop is named, and cannot be interrupted; set node.stall_signal to another"
            )
            return
        signal.signal(self._signal, self._on_signal)
        self._can_look = True
        self._alarm = make_alarm(self._signal)

    # -- the thread ------------------------------------------------------------------------------

    def _watch(self) -> None:
        pause = self._pause
        while not self._over.wait(pause):
            now = time.monotonic()
            if self._is_overdue():
                self._overdue_since = self._overdue_since or now - pause
                self._look(now)
            else:
                self._looks_missed_since = self._overdue_since = self._next_report = 0.0
            pause = self._pause if self._answered and not self._import_seen else self._interval
            # they ring only where this thread does not come back here
            if self._alarm is not None:
                ours = self._is_ours()
                self._alarm.set(*((pause + self._interval, self._interval) if ours else (0, 0)))
            if self._cry is not None:
                self._cry.set(pause + self._warn, AGAIN)

    def _is_overdue(self) -> bool:
        """Whether the watched thread has been at something since this was last asked."""
        importing = importing_now() if self._is_main else None
        seen, self._import_seen = self._import_seen, importing.number if importing else 0
        token = self._token
        if token is not None and self._answered:
            # whoever was struck is seen to when a beat is answered
            if self._struck or not loop_waits(self._watched):
                self._post()
            return False
        return token is not None or (seen != 0 and seen == self._import_seen)

    def _post(self) -> None:
        """Send out a beat; from the thread or from a signal handler."""
        self._answered, self._posted = False, time.monotonic()
        try:
            assert self._token is not None
            self._token.run_sync_soon(self._answer)
        except trio.RunFinishedError:
            self._token = None

    def _look(self, now: float) -> None:
        if not self._can_look:
            self._report_unseen(now, self._overdue_since, self._cannot())
            return
        if not self._is_ours():
            why = f"it is not interrupted: {self._signal.name} was taken over by other code"
            self._report_unseen(now, self._overdue_since, why)
            return
        looked = self._looked
        signal.pthread_kill(self._watched, self._signal)
        if not self._looks_missed_since:
            self._looks_missed_since = now
            self._looked_before = looked
        elif looked != self._looked_before:
            self._looks_missed_since, self._looked_before = now, looked
        else:
            self._report_unseen(
                now,
                self._looks_missed_since,
                "it is in C code, which can be interrupted only when it returns to Python",
            )

    def _is_ours(self) -> bool:
        """Whether the signal is still handled here: by default it ends the process."""
        return signal.getsignal(self._signal) == self._on_signal

    def _report_unseen(self, now: float, since: float, why: str) -> None:
        """Name what the signal cannot see, every second."""
        held = now - since
        if held < self._warn or now < self._next_report:
            return
        self._next_report = now + AGAIN
        frame = sys._current_frames().get(self._watched)
        if frame is None:
            return
        stack = read_stack(frame)
        self._say(
            stack.plugin, f"has held the loop for {held:.1f} s: {stack.place()}; {why}", error=True
        )

    def _cannot(self) -> str:
        if self._is_main:
            return f"it is not interrupted: {self._signal.name} is handled by others"
        return "it is not interrupted: the node does not run in the main thread"

    # -- in the watched thread -------------------------------------------------------------------

    def _answer(self) -> None:
        """The loop answers a beat: whatever held it has let it go."""
        self._answered = True
        self._stall = None
        self._interrupter.disarm()
        if self._struck:
            self._see_to_the_struck()

    def _see_to_the_struck(self) -> None:
        now = time.monotonic()
        is_busy = now - self._posted > self._interval
        for owner, when in [*self._struck.items()]:
            if owner.ended:
                del self._struck[owner]
            elif is_busy:  # with the end of its tasks, maybe
                self._struck[owner] = now
            elif now - when >= AGAIN:
                del self._struck[owner]
                # it kept the interrupt to itself and went on: nobody knows in what state
                owner.crash(StallInterrupt("it held the loop, and swallowed the interrupt"))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._looked += 1
        if self._is_looking or (frame is not None and frame.f_code is _HANDLER):
            return  # a second signal, in the midst of the first one's handler
        self._is_looking = True
        try:
            self._see(frame)
        finally:
            self._is_looking = False

    def _see(self, frame: FrameType | None) -> None:
        turn = self._turn()
        if frame is None or turn is None:
            return
        owner = owner_of_this()
        if being_debugged() and not self._interrupter.is_armed:
            return  # a debugger has come since
        now = time.monotonic()
        stall = self._stall
        if stall is None or stall.turn != turn:
            self._interrupter.disarm()
            # the first turn seen has most likely lasted since the beat was sent
            since = now if stall is not None or importing_now() else self._posted
            self._stall = stall = _Stall(turn, since, owner, since + self._limit)
        elif _is_childs(owner) or (owner is not None and _is_childs(stall.owner)):
            stall.owner = owner  # a turn of a task is that of several actors, one after the other
        held = now - stall.since
        if held >= self._warn and not stall.named:
            stall.named = True
            self._name(stall, read_stack(frame), held)
        ahead = 0.0 if stall.owner is None else _tasks_begun() * TASK
        if now + ahead >= stall.next_strike:
            stall.next_strike = now + self._again
            self._strike(stall, read_stack(frame), held)

    def _turn(self) -> tuple[object, ...] | None:
        """What runs: equal as long as it has not let anything else run."""
        importing = importing_now()
        if importing is not None:
            # a long import of many modules makes progress: each of them is a turn
            return (importing.number, len(sys.modules))
        if self._token is None:
            return None
        if self._answered:  # the thread cannot run, so nobody has posted a beat
            self._post()
        try:
            task = trio.lowlevel.current_task()
        except RuntimeError:  # Trio itself runs
            return ("no task",)
        return (task, getattr(task, "_schedule_points", 0))

    def _name(self, stall: _Stall, stack: Stack, held: float) -> None:
        self._say(
            _plugin_of(stall, stack),
            f"has held the loop for {held:.1f} s: {_doing(stack)}",
            name=_name_of(stall),
        )

    def _strike(self, stall: _Stall, stack: Stack, held: float) -> None:
        owner = stall.owner
        what = f"has held the loop for {held:.1f} s: {_doing(stack)}"
        plugin, name = _plugin_of(stall, stack), _name_of(stall)
        if owner is None or not stack.frames:
            why = "it is no plugin's" if owner is None else "no line of the plugin's own runs"
            self._say(plugin, f"{what}; it is not interrupted: {why}", error=True, name=name)
            return
        owner.interrupts += 1
        self._struck[owner] = time.monotonic()
        times = f", for the {_ordinal(owner.interrupts)} time" if owner.interrupts > 1 else ""
        self._say(plugin, f"{what}; it is interrupted{times}", error=True, name=name)
        tasks = _tasks_begun()
        many = f", and {tasks:,} tasks wait to run" if tasks * TASK > self._again / 10 else ""
        error = StallInterrupt(f"it held the loop for {held:.1f} s{many}")
        self._interrupter.strike(stack, error, twice=owner.is_stubborn)

    # -- speaking --------------------------------------------------------------------------------

    def _say(
        self, plugin: str | None, words: str, *, error: bool = False, name: str | None = None
    ) -> None:
        """Log from a thread of its own: whoever is interrupted may have the log's lock. ``name`` is
        that of a child actor of ``plugin``."""

        def tell() -> None:
            logger = _logger if plugin is None else log.plugin_logger(plugin)
            level = logging.ERROR if error else logging.WARNING
            logger.log(level, f"{name or plugin or 'the node'} {words}")

        self._reports.put(tell)

    def _speak(self) -> None:
        while (report := self._reports.get()) is not None:
            with suppress(ValueError, OSError):  # stderr is closed
                report()


_HANDLER = Watchdog._on_signal.__code__


def _tasks_begun() -> int:
    """How many tasks wait to run. Code that starts them without end holds the loop through them a
    while longer when it is interrupted, so it is interrupted that much sooner."""
    try:
        return trio.lowlevel.current_statistics().tasks_runnable
    except RuntimeError:
        return 0


def _plugin_of(stall: _Stall, stack: Stack) -> str | None:
    return stack.plugin if stall.owner is None else stall.owner.plugin


def _is_childs(owner: Owner | None) -> bool:
    return owner is not None and owner.above is not None


def _name_of(stall: _Stall) -> str | None:
    """The name of the child actor that it is."""
    owner = stall.owner
    return owner.name if owner is not None and owner.above is not None else None


def _doing(stack: Stack) -> str:
    message = in_hand()
    return f"{message.words()}, {stack.place()}" if message is not None else stack.place()


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")
