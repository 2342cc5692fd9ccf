"""How an actor takes its messages: in order, one at a time or side by side, and each is settled.

A :class:`Taker` is one incarnation's. Its handlers run in the tasks of a :class:`.RunQueue`, in its
turns there. What was told without a word about its sender lies *bare* in the mailbox: it becomes a
:class:`.Message` only where somebody needs to know more about it than what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from inspect import iscoroutinefunction
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import attrs
import trio
from outcome import Error

from nexus_actors import log
from nexus_actors.actors.advice import IdleWatch
from nexus_actors.actors.faults import collapse, has_cancelled
from nexus_actors.actors.mailbox import NOTHING
from nexus_actors.actors.message import Hand, Message, Mode, current_message
from nexus_actors.actors.run_queue import RunQueue
from nexus_actors.actors.settling import Limits, Settler

if TYPE_CHECKING:
    from nexus_actors.actors.actor import Behaviour
    from nexus_actors.actors.cell import ActorCell, HeldUp

__all__ = ["Taker"]


@attrs.define
class _Running:
    """How many messages of each mode are in hand."""

    alone: int = 0
    normal: int = 0
    reader: int = 0

    def admits(self, mode: Mode, limits: Limits) -> bool:
        """Whether one more of ``mode`` may begin now."""
        if self.alone:
            return False
        if mode == "reader":
            return self.reader < limits.readers and (limits.concurrency > 1 or not self.normal)
        if mode == "normal" and limits.concurrency > 1:
            return self.normal < limits.concurrency
        return not (self.normal or self.reader)

    def change(self, mode: Mode, by: int) -> None:
        if mode == "alone":
            self.alone += by
        elif mode == "normal":
            self.normal += by
        else:
            self.reader += by

    def held_up(self, mode: Mode, limits: Limits) -> HeldUp:
        """What must end before one more of ``mode`` may begin: nothing where it is admitted."""
        if self.admits(mode, limits):
            return (), None
        if mode == "alone" or (mode == "normal" and limits.concurrency == 1):
            return ("alone", "normal", "reader"), None
        if mode == "normal":
            return ("alone",), "normal" if self.normal >= limits.concurrency else None
        each: tuple[Mode, ...] = ("alone",) if limits.concurrency > 1 else ("alone", "normal")
        return each, "reader" if self.reader >= limits.readers else None

    def total(self) -> int:
        return self.alone + self.normal + self.reader


class Taker:
    """Takes the messages of one incarnation and runs their handlers."""

    def __init__(
        self, cell: ActorCell, behaviour: Behaviour, limits: Limits, settler: Settler
    ) -> None:
        self._cell = cell
        self._mailbox = cell.mailbox
        self._behaviour = behaviour
        self._limits = limits
        self._settler = settler
        self._running = _Running()
        self._in_hand = cell.in_hand
        self._coroutines: set[type] = set()
        """Types whose handlers are coroutine functions, as far as an ask has made it known."""
        self._idle_watch = IdleWatch(log.plugin_logger(cell.name).warning)
        self.nursery: trio.Nursery
        """The incarnation's: no handler waits for its tasks."""
        self._queue: RunQueue
        self._over = trio.Event()
        """Set when all is handled that will be."""
        self._emptied: trio.Event | None = None
        """Set when no handler runs any more; made by who waits for that."""
        self._is_cut = False
        """Whether the incarnation ends under its messages in hand."""
        self.closing = False
        """Whether no further message is to be taken; when none is in hand any more, it is over."""

    async def run(self, nursery: trio.Nursery, queue: RunQueue | None) -> None:
        """Take messages until :meth:`close` was called and none is in hand any more.

        Their handlers run in ``queue``, or in one of its own in the incarnation's ``nursery``.
        """
        self.nursery = nursery
        self._queue = RunQueue(nursery) if queue is None else queue
        self._mailbox.attend(self, bare=self._limits.concurrency == 1)
        try:
            await self._over.wait()
        except BaseException:
            # a crash, or it is killed: its callers learn it now, not when the last handler is gone
            self._is_cut = True
            self._mailbox.leave()
            self._settler.interrupt_all(crashed=not self.closing)
            if queue is not None:
                await self._end_handlers()
            raise
        finally:
            self._mailbox.dismiss()

    async def _end_handlers(self) -> None:
        """End those that run in tasks of others, as the nursery does with its own."""
        self._emptied = trio.Event()
        for message in self._in_hand.values():
            message.cancel("stop")
        if self._in_hand:
            with trio.CancelScope(shield=True):
                await self._emptied.wait()

    def close(self) -> None:
        """Take no further message."""
        self.closing = True
        self._mailbox.leave()

    def stand_in_queue(self) -> None:
        """There may be something to do; called by the mailbox, once until the next turn."""
        self._queue.stand(self)

    def held_up(self, mode: Mode) -> HeldUp | None:
        """See :class:`.Control`."""
        over = self.closing or self._has_crashed()
        return None if over else self._running.held_up(mode, self._limits)

    def look(self, hand: Hand) -> Message | None:
        """The message in ``hand``, also where that lay bare so far."""
        if hand.message is None and self._mailbox.bare is not NOTHING:
            self._take_up(hand)
        return hand.message

    def forget(self) -> None:
        """It is over, and what refers to it still is not to keep the author's object alive."""
        del self._behaviour, self._settler

    def _has_crashed(self) -> bool:
        """Whether a handler or a task of the nursery crashed: what waits is the next one's."""
        return self._is_cut or self.nursery.cancel_scope.cancel_called

    # -- taking ----------------------------------------------------------------------------------

    async def take_turn(self, hand: Hand, ends: float) -> None:
        """Handle what waits, until ``ends`` (its queue's clock), nothing more may be taken, or a
        handler has waited."""
        hand.taker, hand.waited = self, False
        mailbox = self._mailbox
        more = False
        while not (more or self.closing or self._has_crashed()):
            if mailbox.is_bare and not self._running.total():
                more = await self._handle_bare(hand, ends)
                if not more and not hand.waited and not mailbox.anything:
                    break
            else:
                message = mailbox.take(self._admit)
                if message is None:
                    break
                await self._handle(hand, message)
                more = self._queue.clock() >= ends
            if hand.waited:
                return
        mailbox.stands_in_queue = False
        if more:
            mailbox.wake()
        elif self.closing and not self._in_hand:
            self._over.set()

    def _admit(self, message: Message) -> bool:
        return self._running.admits(message.mode, self._limits)

    def _stands_alone(self, mode: Mode) -> bool:
        return mode == "alone" or (mode == "normal" and self._limits.concurrency == 1)

    # -- handling --------------------------------------------------------------------------------

    async def _handle_bare(self, hand: Hand, ends: float) -> bool:
        """Handle what lies bare at the head of the mailbox, one by one, until ``ends``; say whether
        it came to that.

        Hot: what it does for each message is what a message costs.
        """
        mailbox, work, clock = self._mailbox, self._cell.work, self._queue.clock
        queue, methods = mailbox.queue, self._behaviour.methods
        remember = self._cell.recent.append
        began = now = clock()
        at = now + self._queue.offset
        waited, before = at - mailbox.look_at_turn(at), mailbox.bare_handled
        longest, longest_kind = work.longest_handling, None
        while queue and not mailbox.urgent:
            payload = queue.popleft()
            kind = payload.__class__
            if kind is Message:
                queue.appendleft(payload)
                break
            mailbox.bare = payload
            remember((at, kind))
            try:
                method = methods.get(kind) or self._behaviour.method_for(payload)
                result = method(payload)
                if result is None:
                    pass
                elif result.__class__ is CoroutineType:
                    try:
                        trap = result.send(None)
                    except StopIteration:
                        pass
                    else:
                        message = self._take_up(hand)
                        rest = self._wait(hand, message, result, trap)
                        await self._conclude(hand, message, rest)
                        break
                elif hasattr(result, "__await__"):
                    await self.see_through(hand, self._take_up(hand), result)
                    break
            except BaseException as error:
                if hand.waited:
                    raise
                self._failed(hand, self._take_up(hand), collapse(error))
                break
            if hand.message is not None:  # somebody looked at it
                self._finished(hand, hand.message, None)
                break
            mailbox.bare_handled += 1
            last, now = now, clock()
            if now - last > longest:
                longest, longest_kind = now - last, kind
            if now >= ends:
                break
        mailbox.bare = NOTHING
        handled = mailbox.bare_handled - before
        if longest_kind is not None:
            work.longest_handling, work.longest_handler = longest, longest_kind.__name__
        if mailbox.senders_wait:
            mailbox.let_in(handled + 1)
        work.handling_time += now - began
        work.waiting_time += waited * handled
        if handled and waited > work.longest_wait:
            work.longest_wait = waited
        return now >= ends

    def answer_here(self, message: Message) -> bool:
        """Run the handler of an ask in the task that asks: nothing else is in hand, nor waits.

        Only where that handler is no coroutine function: whoever asks may give up waiting, but no
        task can leave a handler that it has begun.
        """
        kind = message.payload.__class__
        if kind in self._coroutines or self._running.total():
            return False
        if self.closing or self._has_crashed():
            return False
        method = self._behaviour.methods.get(kind) or self._behaviour.method_for(message.payload)
        if iscoroutinefunction(method):
            self._coroutines.add(kind)
            return False
        self._mailbox.hand_out(message)
        hand = Hand(trio.lowlevel.current_task())
        hand.taker = self
        self._begin(hand, message)
        token = current_message.set(message)
        try:
            result = method(message.payload)
        except BaseException as error:  # noqa: BLE001 - a boundary: what a handler raises is judged
            self._failed(hand, message, collapse(error))
        else:
            if hasattr(result, "__await__"):
                self._queue.see_through(self, message, result)
            else:
                self._finished(hand, message, result)
        finally:
            current_message.reset(token)
        return True

    async def see_through(self, hand: Hand, message: Message, awaitable: Any) -> None:
        """Await what the handler of ``message`` gave, to its end."""
        hand.taker, hand.message, message.task = self, message, hand.task
        await self._conclude(hand, message, self._step(hand, message, _awaiting(awaitable)))

    async def _handle(self, hand: Hand, message: Message) -> None:
        self._begin(hand, message)
        current_message.set(message)
        if message.request_id:
            hand.log_token = log.bind(request_id=message.request_id)
        handler = self._behaviour.handle(message)
        await self._conclude(hand, message, self._step(hand, message, handler))

    def _take_up(self, hand: Hand) -> Message:
        """The message in hand, made of what was taken from the mailbox bare."""
        if hand.message is None:
            self._begin(hand, self._mailbox.take_up(), remembered=True)
        assert hand.message is not None
        return hand.message

    def _begin(self, hand: Hand, message: Message, *, remembered: bool = False) -> None:
        hand.message = message
        message.begun = True
        message.task, message.background = hand.task, self.nursery
        message.began = began = trio.current_time()
        self._in_hand[message.number] = message
        self._running.change(message.mode, +1)
        work = self._cell.work
        work.begun += 1
        waited = began - message.accepted_at
        work.waiting_time += waited
        if waited > work.longest_wait:
            work.longest_wait = waited
        if not remembered:
            self._cell.recent.append((began, message.kind, _about(message), message.sender))

    async def _step(self, hand: Hand, message: Message, handler: Any) -> Any:
        """Run ``handler``, a coroutine, to its end."""
        try:
            trap = handler.send(None)
        except StopIteration as end:
            return end.value
        return await self._wait(hand, message, handler, trap)

    async def _wait(
        self, hand: Hand, message: Message, handler: Coroutine[Any, Any, Any], trap: Any
    ) -> Any:
        """Wait with ``handler``, which gave ``trap`` to the scheduler, until it has ended."""
        scope = message.scope = hand.scope
        hand.waited = True
        scope.deadline = message.limit
        if message.cancelled_by:
            scope.cancel()
        alone = self._stands_alone(message.mode)
        if alone:
            self._idle_watch.begin()
        self._mailbox.stands_in_queue = False
        if not alone and self._mailbox.waiting:
            self._mailbox.wake()
        self._queue.hand_on(hand)

        def cut() -> None:
            if scope.cancel_called:
                hand.was_cut = True
            if self._has_crashed():
                self._settler.interrupt_all(crashed=not self.closing)

        try:
            return await _RestOf(handler, trap, cut)
        finally:
            self._queue.come_back(hand)
            hand.spent = scope.cancel_called
            message.scope = None
            if alone:
                self._idle_watch.end(message.handler, self._mailbox.waiting > 0)

    async def _conclude(
        self, hand: Hand, message: Message, handling: Coroutine[Any, Any, Any]
    ) -> None:
        """Await what is left of the handling, and settle the message."""
        try:
            result = await handling
        except BaseException as error:
            if has_cancelled(error):
                hand.where = error.__traceback__
                raise
            self._failed(hand, message, collapse(error))
        else:
            self._finished(hand, message, result)

    # -- settling --------------------------------------------------------------------------------

    def _finished(self, hand: Hand, message: Message, result: Any) -> None:
        self._settler.finished(message, result)
        self._done(hand, message)

    def _failed(self, hand: Hand, message: Message, error: BaseException) -> None:
        if (hand.was_cut or message.cancelled_by) and message.fate is None:
            self._settler.cancelled(message, error, hand.where)
        else:
            self._settler.failed(message, error)
        self._done(hand, message)

    def cut_short(self, hand: Hand, error: BaseException | None) -> None:
        """The handler in ``hand`` was cancelled, and that is what ended it; ``error`` was raised as
        well."""
        message = hand.message
        assert message is not None
        if message.fate is None:
            self._settler.cancelled(message, error, hand.where)
        elif error is not None:
            self._settler.failed(message, error)
        self._done(hand, message)

    def leave(self, hand: Hand) -> None:
        """The task that has the message in ``hand`` was cancelled from outside, with all others: so
        is the incarnation, which settles the message."""
        message = hand.message
        assert message is not None
        if message.fate is None:
            self._settler.interrupt_all(crashed=not self.closing)
        self._done(hand, message)

    def _done(self, hand: Hand, message: Message) -> None:
        work = self._cell.work
        took = trio.current_time() - message.began
        work.handling_time += took
        if took > work.longest_handling:
            work.longest_handling, work.longest_handler = took, _about(message)
        hand.message = hand.where = None
        hand.was_cut = False
        current_message.set(hand)
        if hand.log_token is not None:
            log.unbind(hand.log_token)
            hand.log_token = None
        self._running.change(message.mode, -1)
        if message.fate is not None:
            self._in_hand.pop(message.number, None)
        if self._emptied is not None and not self._in_hand:
            self._emptied.set()
        if self.closing or self._mailbox.waiting:
            self._mailbox.wake()  # another may be admitted now


class _RestOf:
    """Awaits what is left of a handler that gave ``trap`` to the scheduler in its first step.

    To whoever looks at what a task waits for, it is the handler itself. ``cut`` is called before a
    cancellation, or whatever else is raised, reaches that.
    """

    __slots__ = ("_cut", "_handler", "_trap")

    def __init__(
        self, handler: Coroutine[Any, Any, Any], trap: Any, cut: Callable[[], None]
    ) -> None:
        self._handler: Any = handler
        self._trap = trap
        self._cut = cut

    def __await__(self) -> Generator[Any, Any, Any]:
        return self

    def __iter__(self) -> _RestOf:
        return self

    def __next__(self) -> Any:
        return self._trap

    def send(self, value: Any) -> Any:
        """Go on with what the scheduler gives."""
        if value.__class__ is Error:  # Trio hands over what is to be raised as a value
            self._cut()
        return self._handler.send(value)

    def throw(self, *error: Any) -> Any:
        """Go on with an exception."""
        self._cut()
        return self._handler.throw(*error)

    def close(self) -> None:
        """Throw it away."""
        self._handler.close()

    @property
    def cr_frame(self) -> Any:
        """Of the handler."""
        return self._handler.cr_frame

    @property
    def cr_await(self) -> Any:
        """What the handler waits for."""
        return self._handler.cr_await


async def _awaiting(awaitable: Any) -> Any:
    return await awaitable


def _about(message: Message) -> str:
    return message.handler or type(message.payload).__name__
