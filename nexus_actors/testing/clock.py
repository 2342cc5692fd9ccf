"""Virtual time for tests with real sockets and a real database.

Trio's ``autojump_clock`` jumps whenever no task can run: also while PostgreSQL works on a query, or
a thread on something. Here time goes from one deadline to the next only when everything that goes
on by itself has come to its end: no task can run, none waits for a thread or for PostgreSQL, and no
socket brings anything. So timers, pauses and timeouts come in their order, each with all that
follows from it, while real input and output takes the real time that it takes.
"""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from types import CodeType

import attrs
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import nexus_actors.http
from nexus_actors.actors.bridge import bridged
from nexus_actors.database.lines import Lines
from nexus_actors.errors import NexusError
from nexus_actors.testing.nurseries import any_nursery

__all__ = [
    "NoMockClock",
    "advance",
    "at_rest",
    "autojump",
    "frozen_clock",
    "looking",
    "next_step",
    "passing",
    "within",
]

PATIENCE = 10.0
"""Seconds of real time that threads and PostgreSQL get to end what they are at."""

CUSHION = 0.05
"""Seconds of real time without anything happening, after which a socket that somebody waits for is
taken to bring nothing."""

_STEP = 1e-9
"""Seconds that time jumps at least: a sum of floats may fall short of the deadline it means."""


class NoMockClock(NexusError):
    """The test's clock cannot be advanced; the message says what to do."""


def frozen_clock() -> MockClock | None:
    """The clock of this test, if it stands still until it is advanced."""
    clock = trio.lowlevel.current_clock()
    if isinstance(clock, MockClock) and clock.autojump_threshold == math.inf and not clock.rate:
        return clock
    return None


def _frozen_clock(what: str) -> MockClock:
    clock = frozen_clock()
    if clock is not None:
        return clock
    if isinstance(trio.lowlevel.current_clock(), MockClock):
        raise NoMockClock(
            f"{what} wants a clock that stands still, and that of this test moves by itself: use "
            "the fixture mock_clock in place of autojump_clock, and leave its rate at 0"
        )
    raise NoMockClock(
        f"{what} wants a clock that stands still: name mock_clock among the arguments of the test "
        "function itself (pytest-trio does not see one that only a fixture asks for)"
    )


@bridged
async def advance(seconds: float) -> None:
    """Let ``seconds`` pass at once: from one deadline to the next, each time until all is at rest.

    ::

        async def test_it_looks_again_every_minute(system, mock_clock):
            ...
            await advance(180)

    Raises:
        NoMockClock: the test has no ``mock_clock``.
        TimeoutError: a thread or PostgreSQL was at something for 10 s of real time.
    """
    if seconds < 0:
        raise ValueError(f"time goes forward alone: advance({seconds!r})")
    clock = _frozen_clock("advance()")
    end = trio.current_time() + seconds
    await at_rest()
    while (due := _next_deadline()) <= end:
        clock.jump(max(due - trio.current_time(), _STEP))
        await at_rest()
    clock.jump(max(end - trio.current_time(), 0.0))
    await at_rest()


@asynccontextmanager
async def autojump(limit: float = 3600.0) -> AsyncIterator[None]:
    """Within the block time passes by itself, whenever all is at rest.

    ::

        async with autojump():
            response = await client.get("/slow")     # 504, and nobody has waited for 30 s
        assert response.status_code == 504

    Unlike Trio's ``autojump_clock`` it waits for sockets, threads and PostgreSQL. ``limit`` is the
    number of (virtual) seconds after which whatever is awaited in the block is taken not to come.

    Raises:
        NoMockClock: the test has no ``mock_clock``.
        TimeoutError: ``limit`` seconds have passed.
    """
    _frozen_clock("autojump()")
    async with passing(limit):
        yield


@asynccontextmanager
async def passing(limit: float = 3600.0, patience: float = PATIENCE) -> AsyncIterator[None]:
    """As :func:`autojump`; where the clock does not stand still there is nothing to do."""
    if frozen_clock() is None:
        yield
        return
    failure: BaseException | None = None
    try:
        async with any_nursery() as nursery:
            nursery.start_soon(_pass_time, limit, patience)
            yield
    except BaseExceptionGroup as group:  # what the block raised is not to be wrapped by a nursery
        failure = group.exceptions[0] if len(group.exceptions) == 1 else group
    if failure is not None:
        raise failure


async def _pass_time(limit: float, patience: float) -> None:
    """Let time jump from deadline to deadline until cancelled."""
    clock = _frozen_clock("autojump()")
    end = trio.current_time() + limit
    with looking():
        while True:
            await at_rest(patience)
            due = _next_deadline()
            if due > end and due != math.inf:
                raise TimeoutError(f"{limit:g} s have passed, and what is waited for did not come")
            if due == math.inf:
                await next_step()
            else:
                clock.jump(max(due - trio.current_time(), _STEP))


def _next_deadline() -> float:
    return trio.current_time() + trio.lowlevel.current_statistics().seconds_to_next_deadline


@contextmanager
def within(seconds: float) -> Iterator[trio.CancelScope]:
    """A cancel scope that ends after ``seconds``: of real time under a clock that stands still."""
    if frozen_clock() is None:
        with trio.move_on_after(seconds) as scope:
            yield scope
        return
    token = trio.lowlevel.current_trio_token()

    def ring() -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(scope.cancel)

    with trio.CancelScope() as scope:
        timer = threading.Timer(seconds, ring)
        timer.start()
        try:
            yield scope
        finally:
            timer.cancel()


# -- when all is at rest --------------------------------------------------------------------------


async def at_rest(patience: float = PATIENCE) -> None:
    """Wait until nothing goes on any more without time going on.

    Raises:
        TimeoutError: after ``patience`` seconds (real time where the clock stands still) something
            still did.
    """
    found = _Waits()
    with within(patience), looking():
        while True:
            await wait_all_tasks_blocked()
            found = _waits()
            if not found.for_work:
                if not found.for_sockets:
                    return
                with _StepCounter() as steps:
                    await wait_all_tasks_blocked(CUSHION)
                if not steps.number:
                    return
                continue
            await next_step()
    what = ", ".join(found.for_work) or "some task that never rests"
    raise TimeoutError(f"{patience:g} s of real time were not enough for {what}")


_lookers: set[trio.lowlevel.Task] = set()
"""Tasks that wait for others to come to rest: they are not to wait for each other."""


@contextmanager
def looking() -> Iterator[None]:
    """Within the block the steps of this task are nothing that :func:`next_step` waits for."""
    task = trio.lowlevel.current_task()
    if task in _lookers:
        yield
        return
    _lookers.add(task)
    try:
        yield
    finally:
        _lookers.discard(task)


class _StepCounter(trio.abc.Instrument):
    """Counts the steps of tasks that are no lookers."""

    def __init__(self) -> None:
        self.number = 0
        self.sleeper: trio.lowlevel.Task | None = None

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Trio calls it."""
        if task in _lookers:
            return
        self.number += 1
        if self.sleeper is not None:
            sleeper, self.sleeper = self.sleeper, None
            trio.lowlevel.reschedule(sleeper)

    def __enter__(self) -> _StepCounter:
        trio.lowlevel.add_instrument(self)
        return self

    def __exit__(self, *_: object) -> None:
        trio.lowlevel.remove_instrument(self)


async def next_step() -> None:
    """Wait until any other task has run, lookers apart."""
    with _StepCounter() as steps:
        steps.sleeper = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            steps.sleeper = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)


@attrs.define
class _Waits:
    """What the tasks there are wait for."""

    for_work: list[str] = attrs.field(factory=list)
    """Names of those that a thread or PostgreSQL will wake by itself."""
    for_sockets: bool = False
    """Whether one waits for a socket whose other end may be anywhere."""


def _code(function: object) -> CodeType:
    code: CodeType = inspect.unwrap(function).__code__  # type: ignore[arg-type]
    return code


_THREAD = _code(trio.to_thread.run_sync)
_QUERIES = {_code(Lines.call), _code(Lines.drive)}
_SOCKET = {"wait_readable", "wait_writable"}
_TRIO = str(Path(trio.__file__).parent)
_OURS = (
    str(Path(nexus_actors.http.__file__).parent),
    str(Path(__file__).with_name("client.py")),
    str(Path(_TRIO) / "_core" / "_wakeup_socketpair.py"),
)
"""Code whose sockets lead to this process itself: what is sent is there at once."""


def _waits() -> _Waits:
    found = _Waits()
    for task in _tasks():
        codes = [frame.f_code for frame, _ in task.iter_await_frames()]
        if not _QUERIES.isdisjoint(codes):
            found.for_work.append(f"{task.name} (PostgreSQL)")
        elif _THREAD in codes:
            found.for_work.append(f"{task.name} (a thread)")
        elif any(map(_is_socket, codes)) and not any(map(_is_ours, codes)):
            found.for_sockets = True
    return found


def _is_socket(code: CodeType) -> bool:
    return code.co_name in _SOCKET and code.co_filename.startswith(_TRIO)


def _is_ours(code: CodeType) -> bool:
    return code.co_filename.startswith(_OURS)


def _tasks() -> Iterator[trio.lowlevel.Task]:
    root = trio.lowlevel.current_root_task()
    left = [] if root is None else [root]
    while left:
        task = left.pop()
        yield task
        left += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
