"""One incarnation of an actor: it takes messages from the cell's mailbox and runs their handlers.

What a handler is, is said by a :class:`Behaviour`; here is only how it is run: one at a time or
side by side, within deadlines, with the fault rule, and so that every message is settled.

An incarnation is a function for a child spec::

    async def start(child):
        await run_incarnation(child, cell, behaviour, limits)

It ends when its supervisor asks it to (messages in hand are finished first) or by a crash.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Protocol

import attrs
import trio

from nexus_actors import log
from nexus_actors.actors.advice import IdleWatch
from nexus_actors.actors.cell import ActorCell, HeldUp
from nexus_actors.actors.faults import (
    HandlerTimeout,
    collapse,
    failure_of,
    first_of,
    has_cancelled,
    judge,
)
from nexus_actors.actors.history import CleanedUpBadly, Faulted, StartedLate
from nexus_actors.actors.message import Message, Mode, current_message
from nexus_actors.actors.starting import beginning
from nexus_actors.actors.turns import turns_of_this_run
from nexus_actors.errors import (
    ActorRestarted,
    ActorStopped,
    AskTimeout,
    HTTPError,
    NexusError,
    RemoteError,
    Unanswered,
)
from supervisors import KILLED, NORMAL, SHUTDOWN, Child, ExitReason
from supervisors import error as exit_error

__all__ = ["Behaviour", "Incarnation", "Limits", "PluginFault", "run_incarnation"]


class PluginFault(NexusError):
    """What an HTTP client's request gets when its handler raised: a 500 that tells no secrets."""


class Behaviour(Protocol):
    """What an actor does. Every method runs in the incarnation's tasks."""

    async def start(self, nursery: trio.Nursery) -> None:
        """Get ready. ``nursery`` belongs to this incarnation; a crash in it is the actor's."""

    async def handle(self, message: Message) -> Any:
        """Handle one message and return the answer (ignored where nobody waits for one)."""

    async def drain(self) -> None:
        """End open sessions; called once no message is in hand, before the nursery ends."""

    async def stop(self) -> None:
        """Clean up; called once when the nursery is empty, also after a crash."""


@attrs.frozen
class Limits:
    """How an actor runs its handlers."""

    concurrency: int = 1
    """How many messages of any kind interleave at their awaits."""
    readers: int = 64
    """How many readers run beside each other."""
    start_timeout: float = 30.0
    """Seconds :meth:`Behaviour.start` may take."""
    on_error: Literal["reply", "restart"] | None = None
    """What a fault does where its message says nothing; None: the kind of message decides."""
    fault_limit: int | None = None
    """More faults in answering within ``fault_period`` seconds are a crash; None: never. What is
    only late does not count: often another is slow, or the caller chose the time."""
    fault_period: float = 60.0


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

    def change(self, mode: Mode, by: int) -> None:
        if mode == "alone":
            self.alone += by
        elif mode == "normal":
            self.normal += by
        else:
            self.reader += by


async def run_incarnation(
    child: Child,
    cell: ActorCell,
    behaviour: Behaviour,
    limits: Limits,
    on_running: Callable[[], None] = lambda: None,
) -> None:
    """Run one incarnation until it is asked to stop or crashes; raises the crash.

    ``child.started()`` is called once :meth:`Behaviour.start` has returned, then ``on_running``.
    """
    await Incarnation(child, cell, behaviour, limits, on_running).run()


class Incarnation:
    """The running of one behaviour, from its start to its clean-up."""

    def __init__(
        self,
        child: Child,
        cell: ActorCell,
        behaviour: Behaviour,
        limits: Limits,
        on_running: Callable[[], None],
    ) -> None:
        self._child = child
        self._cell = cell
        self._mailbox = cell.mailbox
        self._behaviour = behaviour
        self._limits = limits
        self._on_running = on_running
        self._running = _Running()
        self._in_hand = cell.in_hand
        self._stopping = False
        """Whether no further message is to be taken."""
        self._finishing = False
        """Whether that was the actor's own wish."""
        self._crash: BaseException | None = None
        """The first crash; once set, the nursery is cancelled and it is raised at the end."""
        self._fault_times: deque[float] = deque()
        self._now = 0.0
        """Trio's clock when it was last read: for the handler that ended last."""
        self._idle_watch = IdleWatch(log.plugin_logger(cell.name).warning)
        cell.equip(behaviour)
        self._nursery: trio.Nursery

    async def run(self) -> None:
        """See :func:`run_incarnation`."""
        try:
            async with trio.open_nursery() as self._nursery:
                await self._start()
                self._nursery.start_soon(self._watch)
                await self._loop()
                await self._behaviour.drain()
                self._nursery.cancel_scope.cancel()
        except BaseException as error:
            if has_cancelled(error):
                raise
            error = collapse(error)
            if self._crash is None:
                self._crash = error
            else:
                self._cell.faults += 1
                self._logger().warning(
                    f"raised while it was being ended: {_words(error)}", exc_info=error
                )
        finally:
            self._cut_off()
            try:
                await self._clean_up()
            finally:
                self._cell.end(self._ending())
        if self._crash is not None:
            self._cell.crashes += 1
            if isinstance(self._crash, GeneratorExit):
                # to every coroutine above it would mean that it is thrown away, not that it failed
                raise RuntimeError("it raised GeneratorExit") from self._crash
            raise self._crash

    def _ending(self) -> ExitReason:
        if self._crash is not None:
            return exit_error(self._crash)
        if self._finishing:
            return NORMAL
        return SHUTDOWN if self._stopping else KILLED

    def finish(self) -> None:
        """See :class:`.Control`."""
        self._finishing = self._stopping = True
        self._mailbox.wake()

    def crash(self, error: BaseException) -> None:
        """See :class:`.Control`."""
        self._crashed(error)

    def held_up(self, mode: Mode) -> HeldUp | None:
        """See :class:`.Control`."""
        over = self._stopping or self._has_crashed()
        return None if over else self._running.held_up(mode, self._limits)

    async def _start(self) -> None:
        where: TracebackType | None = None
        """Where it was when its time was up: the place to look at."""
        began, allowed = trio.current_time(), self._limits.start_timeout
        with trio.CancelScope(deadline=began + allowed) as scope:
            try:
                with beginning(self._cell, self._nursery):
                    await self._behaviour.start(self._nursery)
            except BaseException as cut:
                where = cut.__traceback__
                raise
        if scope.cancelled_caught:
            late = HandlerTimeout(
                f"initialize of {self._cell.name} did not end within {allowed:g} s"
            )
            raise late.with_traceback(where)
        if scope.cancel_called:
            now = trio.current_time()
            report = StartedLate(time=now, took=now - began, allowed=allowed)
            self._logger().warning(str(report))
            self._cell.history.add(report)
        self._cell.incarnation += 1
        self._cell.crashed_on = ""
        self._cell.begin(self)
        self._cell.enter("running")
        self._child.started()
        self._on_running()

    async def _watch(self) -> None:
        """Wait for the request to stop; if the incarnation ends otherwise, tell its callers."""
        try:
            await self._watch_for_stop()
            await trio.sleep_forever()
        finally:
            # a crash: its callers learn it now, not when the last handler has cleaned up
            self._interrupt_begun()

    async def _watch_for_stop(self) -> None:
        await self._child.wait_stop()
        self._stopping = True
        self._cell.enter("stopping" if self._cell.ending else "restarting")
        self._mailbox.wake()
        # half of the time left is for the messages in hand, the other half for the clean-up
        await trio.sleep((self._child.stop_deadline - trio.current_time()) / 2)
        for message in [*self._in_hand.values()]:
            message.cancel("stop")

    async def _loop(self) -> None:
        turns = turns_of_this_run()
        turn, turn_ends = turns.begin(trio.current_time())
        while True:
            over = self._stopping or self._has_crashed()
            message = None if over else self._mailbox.take(self._admit)
            if message is None:
                if self._stopping and not self._in_hand:
                    return
                await self._mailbox.sleep()
                turn, turn_ends = turns.begin(trio.current_time())
                continue
            message.scope = trio.CancelScope()
            self._in_hand[message.number] = message
            self._running.change(message.mode, +1)
            if self._stands_alone(message.mode):
                self._idle_watch.begin()
                await self._process(message)
                self._idle_watch.end(message.handler, self._mailbox.waiting > 0)
            else:
                self._nursery.start_soon(self._process, message)
                self._now = trio.current_time()
            if turns.number != turn:  # its handler has waited: this is another turn
                turn, turn_ends = turns.begin(self._now)
            elif self._now >= turn_ends:
                await trio.lowlevel.checkpoint()
                turn, turn_ends = turns.begin(trio.current_time())

    def _has_crashed(self) -> bool:
        """Whether a handler or a task of the nursery crashed: what waits is the next one's."""
        return self._nursery.cancel_scope.cancel_called

    def _admit(self, message: Message) -> bool:
        return self._running.admits(message.mode, self._limits)

    def _stands_alone(self, mode: Mode) -> bool:
        return mode == "alone" or (mode == "normal" and self._limits.concurrency == 1)

    async def _process(self, message: Message) -> None:
        """Run the handler of ``message`` and settle it. Raises only Cancelled, from outside."""
        if self._has_crashed():
            return  # between its taking and now: it goes back into the queue
        message.begun = True
        message.task, message.background = trio.lowlevel.current_task(), self._nursery
        began = trio.current_time()
        work = self._cell.work
        work.begun += 1
        waited = began - message.accepted_at
        work.waiting_time += waited
        if waited > work.longest_wait:
            work.longest_wait = waited
        self._cell.recent.append(
            (
                began,
                message.kind,
                message.handler or type(message.payload).__name__,
                message.sender,
            )
        )
        token = current_message.set(message)
        log_token = log.bind(request_id=message.request_id) if message.request_id else None
        scope = message.scope
        assert scope is not None
        # `scope` may be cancelled already: its caller gave up between the taking and this line
        scope.deadline = limit = min(message.deadline, began + message.handle_timeout)
        finished = False
        where: TracebackType | None = None
        try:
            with scope:
                try:
                    result = await self._behaviour.handle(message)
                except BaseException as cut:
                    if has_cancelled(cut):
                        where = cut.__traceback__
                    raise
                finished = True
            if finished and message.stashed and message.fate is None:
                self._stash(message)
            elif finished:
                if message.cancelled_by == "caller" and message.cancelled_at >= limit:
                    self._was_late(message, began, "ended")
                self._answer(message, result)
            else:
                self._cancelled(message, began, limit, None, where)
        except BaseException as error:
            if has_cancelled(error):
                raise
            if scope.cancel_called and message.fate is None:
                self._cancelled(message, began, limit, error, where)
            else:
                self._failed(message, collapse(error))
        finally:
            current_message.reset(token)
            if log_token is not None:
                log.unbind(log_token)
            message.scope = None
            self._now = trio.current_time()
            took = self._now - began
            work.handling_time += took
            if took > work.longest_handling:
                work.longest_handling = took
                work.longest_handler = message.handler or type(message.payload).__name__
            self._running.change(message.mode, -1)
            if message.fate is not None:
                self._in_hand.pop(message.number, None)
            self._mailbox.wake()

    def _stash(self, message: Message) -> None:
        message.stashed = False
        del self._in_hand[message.number]
        self._mailbox.stash(message)
        if message.cancelled_by == "caller":  # it gave up while its message was being put aside
            self._mailbox.settle_waiting(message, "abandoned")

    def _answer(self, message: Message, result: Any) -> None:
        self._mailbox.settle(message, "handled")
        if message.reply is not None:
            unwanted = message.cancelled_by == "caller" or not message.reply.set(result)
            if unwanted and message.discard is not None:
                message.discard(result)

    def _cancelled(
        self,
        message: Message,
        began: float,
        limit: float,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """The handler was cancelled by its deadline, its caller or the stop of its actor."""
        # a caller that gives up at the same deadline may have been the quicker of the two
        late = message.cancelled_by != "stop" and message.cancelled_at >= limit
        if late and message.reply is not None:
            self._was_late(message, began, "was cancelled", error, where)
        elif error is not None:
            self._cell.faults += 1
            self._logger().warning(
                "raised while being cancelled", error=_words(error), handler=message.handler
            )
        if message.cancelled_by == "stop":
            self._cell.interrupt(message, self._gone(), "stopped")
        elif message.reply is not None:
            if trio.current_time() < message.deadline and message.cancelled_by != "caller":
                # the handler's own time was up; the caller was ready to wait longer
                message.reply.fail(AskTimeout(self._cell.name, message.handle_timeout))
            self._mailbox.settle(message, "abandoned")
        else:
            crash = HandlerTimeout(
                f"{message.handler or message.kind} did not end within {message.handle_timeout:g} s"
            )
            self._bury_and_crash(message, crash.with_traceback(where))

    def _was_late(
        self,
        message: Message,
        began: float,
        ending: str,
        error: BaseException | None = None,
        where: TracebackType | None = None,
    ) -> None:
        """Log and count a handler that had not answered when the time for it was up."""
        took = f"{ending} after {trio.current_time() - began:.3g} s"
        why = f"{took}: the time for its answer was up"
        self._cell.faults += 1
        late = error or HandlerTimeout(why).with_traceback(where)
        self._cell.history.add_fault(_faulted(message, why, late))
        fields = {"route": message.about} if message.about else {}
        if error is not None:
            fields["error"] = _words(error)
        self._logger().warning(f"{message.handler or message.kind} {why}", **fields)

    def _failed(self, message: Message, error: BaseException) -> None:
        on_error = message.on_error or self._limits.on_error
        verdict = judge(error, message.reply is not None, on_error)
        if verdict.fault:
            if not verdict.crash:
                self._cell.faults += 1
                self._cell.history.add_fault(_faulted(message, _words(error), error))
            self._logger().error(
                f"{message.handler or message.kind} failed: {_words(error)}",
                exc_info=error,
            )
        if message.reply is not None:
            self._mailbox.settle(message, "handled" if verdict.expected else "faulted")
            message.reply.fail(
                self._fault_for(message, error) if verdict.fault else self._refusal_in(error)
            )
            if verdict.crash:
                self._crashed(error, message)
            elif verdict.fault and self._over_fault_limit():
                self._crashed(error, message, self._limit_in_words())
        elif verdict.expected:
            self._logger().warning(f"refused: {error}", handler=message.handler)
            self._mailbox.settle(message, "handled")
        elif verdict.crash:
            self._bury_and_crash(message, error)
        else:
            self._cell.bury(
                message,
                _words(error),
                failure_of(error),
            )
            if verdict.fault and self._over_fault_limit():
                self._crashed(error, message, self._limit_in_words())

    def _refusal_in(self, error: BaseException) -> BaseException:
        """What the caller gets of an error that is no fault: refusal, or another's failure."""
        found = first_of(error, HTTPError)
        return found if isinstance(found, HTTPError) else first_of(error, Unanswered)

    def _fault_for(self, message: Message, error: BaseException) -> BaseException:
        """What the caller gets of a fault: a client no words of it, a plugin its words."""
        if message.kind == "http":
            return PluginFault(f"{self._cell.name} failed while answering")
        return RemoteError(self._cell.name, _words(error))

    def _over_fault_limit(self) -> bool:
        if self._limits.fault_limit is None:
            return False
        now = trio.current_time()
        times = self._fault_times
        times.append(now)
        while times[0] < now - self._limits.fault_period:
            times.popleft()
        return len(times) > self._limits.fault_limit

    def _bury_and_crash(self, message: Message, error: BaseException) -> None:
        self._cell.bury(message, "crash", failure_of(error))
        self._crashed(error, message)

    def _limit_in_words(self) -> str:
        limit, period = self._limits.fault_limit, self._limits.fault_period
        return f", the fault that was one too many (fault_limit {limit} in {period:g} s)"

    def _crashed(
        self, error: BaseException, message: Message | None = None, rule: str = ""
    ) -> None:
        if self._crash is None:
            self._crash = error
            self._cell.crashed_on = "" if message is None else message.words() + rule
            self._nursery.cancel_scope.cancel()

    def _cut_off(self) -> None:
        """Settle what was in hand when the incarnation ended under it."""
        self._interrupt_begun()
        untouched = [message for message in self._in_hand.values() if not message.begun]
        self._in_hand.clear()
        self._mailbox.put_back(untouched)
        for message in untouched:
            if message.cancelled_by == "caller":
                self._mailbox.settle_waiting(message, "abandoned")
        if self._cell.state == "running":
            self._cell.enter("restarting")

    def _interrupt_begun(self) -> None:
        crashed = self._crash is not None or not self._stopping
        for message in self._in_hand.values():
            if message.begun:
                self._cell.interrupt(
                    message, self._gone(), "in hand of a crash" if crashed else "stopped"
                )

    def _gone(self) -> Unanswered:
        """What the caller of a message in hand learns: it stopped for good, or comes back."""
        name = self._cell.name
        return ActorStopped(name, "stopping") if self._cell.ending else ActorRestarted(name)

    async def _clean_up(self) -> None:
        shutdown = self._child.shutdown
        limit = shutdown if isinstance(shutdown, float | int) else math.inf
        with trio.CancelScope(deadline=trio.current_time() + limit) as scope:
            try:
                await self._behaviour.stop()
            except BaseException as error:
                if has_cancelled(error):
                    raise
                error = collapse(error)
                self._cleaned_up_badly(f"failed: {_words(error)}", error)
                if self._crash is None:
                    self._crash = error
        if scope.cancelled_caught:
            self._cleaned_up_badly(f"did not end within {limit:g} s", None)

    def _cleaned_up_badly(self, why: str, error: BaseException | None) -> None:
        self._logger().error(f"cleanup {why}", exc_info=error)
        self._cell.history.add(
            CleanedUpBadly(
                time=trio.current_time(),
                why=why,
                failure=None if error is None else failure_of(error),
            )
        )

    def _logger(self) -> Any:
        return log.plugin_logger(self._cell.name)


def _faulted(message: Message, why: str, error: BaseException) -> Faulted:
    return Faulted(
        time=trio.current_time(),
        handling=message.words(),
        why=why,
        failure=failure_of(error),
        request_id=message.request_id,
    )


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
