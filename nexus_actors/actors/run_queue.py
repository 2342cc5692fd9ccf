"""The run queue: few tasks run the handlers of many actors.

A pass of Trio's scheduler costs as much as twenty messages, so an actor has no task of its own
that wakes for each of them. Actors with something to do stand in a queue, and one task, the *pump*,
gives them their turns. Most handlers end without ever waiting, and the next follows in the same
task. When one does wait, that task stays with it to its end, as Trio's rules want it, and another
becomes the pump once there is something to do.

A task enters one cancel scope for all the handlers that it runs, for entering one costs as much as
a pass: it is given a deadline only for a handler that waits, and left only when it was cancelled.
``benchmarks/mailbox.py`` shows what that gives.
"""

from __future__ import annotations

import contextvars
import math
from collections import deque
from typing import TYPE_CHECKING, Any

import trio

from nexus_actors.actors.faults import collapse, has_cancelled
from nexus_actors.actors.message import Hand, Message, current_message
from nexus_actors.actors.turns import turns_of_this_run

if TYPE_CHECKING:
    from nexus_actors.actors.taking import Taker

__all__ = ["SLICE", "RunQueue"]

SLICE = 0.00005
"""Seconds that one actor goes on while others stand in the queue."""


class RunQueue:
    """Runs what actors have to do, in tasks of ``nursery``, in the context it was made in."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._context = contextvars.copy_context()
        """Tasks are begun by whoever sends a message, and must not inherit from that one."""
        self._ready: deque[Taker] = deque()
        """Those who stand in the queue, each once."""
        self._pump: trio.lowlevel.Task | None = None
        """The task that gives the turns; None: the next that has nothing else to do."""
        self._sleeps = False
        """Whether that waits until somebody stands in the queue."""
        self._standing_by: list[trio.lowlevel.Task] = []
        """Tasks without anything to do; the last one to come is the first to go."""
        self._begun = 0
        """How many are about to begin, and will be the pump or stand by."""
        self._turns = turns_of_this_run()
        self.clock = self._turns.clock
        """Tells the time of turns (seconds)."""
        self.offset = trio.current_time() - self.clock()
        """What Trio's clock is ahead of that."""

    def stand(self, taker: Taker) -> None:
        """Let ``taker`` have its turn when it comes to it; it must not stand in the queue yet."""
        self._ready.append(taker)
        if self._sleeps:
            assert self._pump is not None, "who sleeps until somebody comes is the pump"
            self._sleeps = False
            trio.lowlevel.reschedule(self._pump)
        elif self._pump is None and not self._begun:
            if self._standing_by:
                self._pump = self._standing_by.pop()
                trio.lowlevel.reschedule(self._pump)
            else:
                self._begun += 1
                self._begin_task()

    def see_through(self, taker: Taker, message: Message, awaitable: Any) -> None:
        """Await what the handler of ``message`` gave, in a task of its own."""
        self._begin_task(taker, message, awaitable)

    def _begin_task(self, *what: Any) -> None:
        self._context.run(lambda: self._nursery.start_soon(self._work, *what))

    def hand_on(self, hand: Hand) -> None:
        """The handler in ``hand`` waits: another gives the turns meanwhile."""
        if self._pump is not hand.task:
            return
        self._pump = None
        if self._ready:
            self.stand(self._ready.pop())

    def come_back(self, hand: Hand) -> None:
        """That has waited long enough: its task gives the turns if no other does."""
        if self._pump is None:
            self._pump = hand.task

    async def _work(
        self, taker: Taker | None = None, message: Message | None = None, awaitable: Any = None
    ) -> None:
        """The life of one task."""
        hand = Hand(trio.lowlevel.current_task())
        current_message.set(hand)
        if message is None:
            self._begun -= 1
        while True:
            try:
                with trio.CancelScope() as hand.scope:
                    if message is not None and taker is not None:
                        begun, message = message, None
                        await taker.see_through(hand, begun, awaitable)
                    await self._serve(hand)
            except BaseException as error:
                if hand.message is None:
                    raise
                if has_cancelled(error):
                    hand.taker.leave(hand)
                    raise
                hand.taker.cut_short(hand, collapse(error))
            else:
                if hand.message is not None:
                    hand.taker.cut_short(hand, None)
            hand.spent = hand.waited = False

    async def _serve(self, hand: Hand) -> None:
        """Give turns, or stand by; return when the scope was cancelled."""
        task, ready, clock = hand.task, self._ready, self.clock
        while not hand.spent:
            if self._pump is not task:
                if self._pump is not None:
                    await self._stand_by(hand)
                    continue
                self._pump = task
            if not ready:
                await self._sleep(hand)
            now = clock()
            _, ends = self._turns.begin(now)
            while ready:
                taker = ready.popleft()
                await taker.take_turn(hand, min(ends, now + SLICE) if ready else ends)
                if hand.waited or hand.spent:
                    break
                now = clock()
                if now >= ends:
                    await trio.lowlevel.checkpoint()
                    break

    async def _sleep(self, hand: Hand) -> None:
        self._rest(hand)
        self._sleeps = True

        def abort(_: object) -> trio.lowlevel.Abort:
            self._sleeps = False
            self._pump = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    async def _stand_by(self, hand: Hand) -> None:
        self._rest(hand)
        self._standing_by.append(hand.task)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._standing_by.remove(hand.task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    @staticmethod
    def _rest(hand: Hand) -> None:
        """Its scope still has the deadline of the last handler that waited."""
        if hand.scope.deadline != math.inf:
            hand.scope.deadline = math.inf
