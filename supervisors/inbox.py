"""The queue of one supervisor, and the one task that takes from it.

Other tasks put messages in and may wake the owner; only the owner takes and waits. A message is the
function that handles it and its argument.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any, Final

import attrs
import trio

from .errors import SupervisorDied, SupervisorError
from .exits import ExitReason

__all__ = ["Call", "Handler", "Inbox"]

Handler = Callable[[Any], Awaitable[ExitReason | None]]
"""Handles a message; gives the reason to end the supervisor with, or None to go on."""


@attrs.define(eq=False)
class Call:
    """A call that waits for its answer."""

    name: str
    args: tuple[Any, ...]
    done: trio.Event = attrs.Factory(trio.Event)
    result: object = None
    error: SupervisorError | None = None
    begun: bool = False
    """The supervisor has come to it."""
    withdrawn: bool = False
    """The caller no longer waits; a call that nobody has begun with is then not carried out."""
    following: Call | None = None
    """The call to wake after this one: woken together they would go on in any order."""


class Inbox:
    """Messages in order, messages for later, and waiting for a change."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Handler, Any]] = deque()
        self._later: list[tuple[float, int, Handler, Any]] = []  # a heap
        self._count = 0  # messages for the same time are taken in the order in which they came
        self._owner: trio.lowlevel.Task | None = None  # while it sleeps in wait()
        self._answered: list[Call] = []  # their callers go on as soon as the owner sleeps

    def __len__(self) -> int:
        return len(self._queue)

    def post(self, handler: Handler, argument: Any) -> None:
        """Put a message behind all that wait."""
        self._queue.append((handler, argument))
        self.wake()

    def put_back(self, handler: Handler, argument: Any) -> None:
        """Put a message that was taken before all that wait."""
        self._queue.appendleft((handler, argument))

    def post_at(self, time: float, handler: Handler, argument: Any) -> None:
        """Put a message behind all that wait at `time` (Trio's, seconds)."""
        self._count += 1
        heapq.heappush(self._later, (time, self._count, handler, argument))

    def wake(self) -> None:
        """Make the owner look again at what it waits for."""
        if self._owner is not None:
            task, self._owner = self._owner, None
            trio.lowlevel.reschedule(task)

    async def wait(self) -> None:
        """Sleep until woken. For the owner alone, in a loop around a condition."""

        def abort(_: object) -> trio.lowlevel.Abort:
            self._owner = None
            return trio.lowlevel.Abort.SUCCEEDED

        _wake_in_order(self._answered)
        self._answered = []
        self._owner = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)

    async def take(self) -> tuple[Handler, Any]:
        """Take the next message, waiting for one if need be."""
        while True:
            while self._later and self._later[0][0] <= trio.current_time():
                self._queue.append(heapq.heappop(self._later)[2:])
            if self._queue:
                return self._queue.popleft()
            with self._until_next():
                await self.wait()

    def _until_next(self) -> AbstractContextManager[object]:
        # entering a cancel scope has its price, so none is entered where nothing is due
        return trio.CancelScope(deadline=self._later[0][0]) if self._later else _no_deadline

    async def call(self, handler: Handler, name: str, args: tuple[Any, ...]) -> object:
        """Put a call in the queue and wait for its answer. For other tasks than the owner."""
        call = Call(name, args)
        self.post(handler, call)
        try:
            await call.done.wait()
        finally:
            call.withdrawn = True
            if call.following is not None:
                call.following.done.set()
        if call.error is not None:
            raise call.error
        return call.result

    def answer(self, call: Call) -> None:
        """The owner has carried out that call. The caller goes on when the owner has to wait, or
        has ended: then, as in OTP, after those whose calls it did not come to."""
        self._answered.append(call)

    def close(self, supervisor: str, reason: ExitReason) -> None:
        """The owner has ended: tell those who wait for an answer."""
        calls = [one for _, one in self._queue if isinstance(one, Call) and not one.withdrawn]
        for call in calls:
            call.error = SupervisorDied(supervisor, reason, call.begun)
        _wake_in_order([*calls, *self._answered])
        self._answered.clear()
        self._queue.clear()
        self._later.clear()


def _wake_in_order(calls: list[Call]) -> None:
    calls = [call for call in calls if not call.withdrawn]
    for call, following in pairwise(calls):
        call.following = following
    if calls:
        calls[0].done.set()


_no_deadline: Final = nullcontext()
