"""What the end of a handler means: for its message's account, its caller, and its actor.

Every message that an actor has in hand comes here once, with how its handler ended; what an
exception means is decided by :mod:`.faults`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import attrs
import trio

from nexus_actors import log
from nexus_actors.actors.faults import HandlerTimeout, failure_of, first_of, judge
from nexus_actors.actors.history import Faulted
from nexus_actors.errors import (
    ActorRestarted,
    ActorStopped,
    AskTimeout,
    HTTPError,
    NexusError,
    RemoteError,
    Unanswered,
)

if TYPE_CHECKING:
    from nexus_actors.actors.cell import ActorCell
    from nexus_actors.actors.message import Message

__all__ = ["Limits", "PluginFault", "Settler", "words_of"]


class PluginFault(NexusError):
    """What an HTTP client's request gets when its handler raised: a 500 that tells no secrets."""


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


class Settler:
    """Settles the messages of one incarnation. ``crash`` ends that: it is called with the error,
    the message it came of, and the rule that made it one where the rule is the author's own."""

    def __init__(
        self,
        cell: ActorCell,
        limits: Limits,
        crash: Callable[[BaseException, Message, str], None],
    ) -> None:
        self._cell = cell
        self._mailbox = cell.mailbox
        self._limits = limits
        self._crash = crash
        self._fault_times: deque[float] = deque()

    def finished(self, message: Message, result: Any) -> None:
        """Its handler ran to its end."""
        if message.stashed and message.fate is None:
            self._stash(message)
            return
        if message.cancelled_by == "caller" and message.cancelled_at >= message.limit:
            self._was_late(message, "ended")
        self._mailbox.settle(message, "handled")
        if message.reply is not None:
            unwanted = message.cancelled_by == "caller" or not message.reply.set(result)
            if unwanted and message.discard is not None:
                message.discard(result)

    def _stash(self, message: Message) -> None:
        message.stashed = False
        del self._cell.in_hand[message.number]
        self._mailbox.stash(message)
        if message.cancelled_by == "caller":  # it gave up while its message was being put aside
            self._mailbox.settle_waiting(message, "abandoned")

    def cancelled(
        self, message: Message, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Its handler was cancelled by its deadline, its caller or its actor's stop, and raised
        ``error`` over that or nothing; ``where`` shows where it was."""
        # a caller that gives up at the same deadline may have been the quicker of the two
        late = message.cancelled_by != "stop" and message.cancelled_at >= message.limit
        if late and message.reply is not None:
            self._was_late(message, "was cancelled", error, where)
        elif error is not None:
            self._cell.faults += 1
            self._logger().warning(
                "raised while being cancelled", error=words_of(error), handler=message.handler
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
        ending: str,
        error: BaseException | None = None,
        where: TracebackType | None = None,
    ) -> None:
        """Log and count a handler that had not answered when the time for it was up."""
        took = f"{ending} after {trio.current_time() - message.began:.3g} s"
        why = f"{took}: the time for its answer was up"
        self._cell.faults += 1
        late = error or HandlerTimeout(why).with_traceback(where)
        self._cell.history.add_fault(_faulted(message, why, late))
        fields = {"route": message.about} if message.about else {}
        if error is not None:
            fields["error"] = words_of(error)
        self._logger().warning(f"{message.handler or message.kind} {why}", **fields)

    def failed(self, message: Message, error: BaseException) -> None:
        """Its handler raised ``error``."""
        on_error = message.on_error or self._limits.on_error
        verdict = judge(error, message.reply is not None, on_error)
        if verdict.fault:
            if not verdict.crash:
                self._cell.faults += 1
                self._cell.history.add_fault(_faulted(message, words_of(error), error))
            self._logger().error(
                f"{message.handler or message.kind} failed: {words_of(error)}",
                exc_info=error,
            )
        if message.reply is not None:
            self._mailbox.settle(message, "handled" if verdict.expected else "faulted")
            message.reply.fail(
                self._fault_for(message, error) if verdict.fault else self._refusal_in(error)
            )
            if verdict.crash:
                self._crash(error, message, "")
            elif verdict.fault and self._over_fault_limit():
                self._crash(error, message, self._limit_in_words())
        elif verdict.expected:
            self._logger().warning(f"refused: {error}", handler=message.handler)
            self._mailbox.settle(message, "handled")
        elif verdict.crash:
            self._bury_and_crash(message, error)
        else:
            self._cell.bury(
                message,
                words_of(error),
                failure_of(error),
            )
            if verdict.fault and self._over_fault_limit():
                self._crash(error, message, self._limit_in_words())

    def _refusal_in(self, error: BaseException) -> BaseException:
        """What the caller gets of an error that is no fault: refusal, or another's failure."""
        found = first_of(error, HTTPError)
        return found if isinstance(found, HTTPError) else first_of(error, Unanswered)

    def _fault_for(self, message: Message, error: BaseException) -> BaseException:
        """What the caller gets of a fault: a client no words of it, a plugin its words."""
        if message.kind == "http":
            return PluginFault(f"{self._cell.name} failed while answering")
        return RemoteError(self._cell.name, words_of(error))

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
        self._crash(error, message, "")

    def _limit_in_words(self) -> str:
        limit, period = self._limits.fault_limit, self._limits.fault_period
        return f", the fault that was one too many (fault_limit {limit} in {period:g} s)"

    def _gone(self) -> Unanswered:
        """What the caller of a message in hand learns: it stopped for good, or comes back."""
        name = self._cell.name
        return ActorStopped(name, "stopping") if self._cell.ending else ActorRestarted(name)

    def interrupt_all(self, *, crashed: bool) -> None:
        """The incarnation ends under its messages in hand: their callers learn it now, not when the
        last handler has cleaned up."""
        for message in self._cell.in_hand.values():
            if message.begun:
                self._cell.interrupt(
                    message, self._gone(), "in hand of a crash" if crashed else "stopped"
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


def words_of(error: BaseException) -> str:
    """``error`` in a line: its type, and what it says."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
