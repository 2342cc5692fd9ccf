"""A message: what one actor sends another, and what it takes to carry and account for it.

A message is made once, accepted at most once, and settled exactly once: every accepted message
ends in one :data:`Fate`, so that the mailbox's account (see :mod:`.mailbox`) always adds up.
"""

from __future__ import annotations

import contextvars
import itertools
import math
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import trio

from nexus_actors.actors.bridge import in_asyncio, outcall

if TYPE_CHECKING:
    from nexus_actors.actors.cell import ActorCell
    from nexus_actors.actors.dead_letters import DeadLetter
    from nexus_actors.actors.reply import ReplySlot
    from nexus_actors.actors.taking import Taker

__all__ = [
    "TELL_TIMEOUT",
    "Fate",
    "Hand",
    "Kind",
    "Message",
    "Mode",
    "current_message",
    "in_hand",
    "remaining",
]

TELL_TIMEOUT = 60.0
"""Seconds the handler of something that was told may take."""

Kind = Literal["http", "ask", "call", "event", "tell", "timer"]
"""What a message is; with it goes whether somebody waits for the answer (http, ask, call)."""

Fate = Literal["handled", "faulted", "dead-lettered", "abandoned"]
"""How an accepted message ended: *handled* to its end; *faulted*, its caller got the fault;
*dead-lettered*, nobody waits, kept to be looked at; *abandoned*, its caller gave up first, or the
incarnation that it was for has ended: a timer's, or the news of another's end."""

Mode = Literal["alone", "normal", "reader"]
"""What a message shares its actor with: nothing, up to ``concurrency`` others, or other readers."""

_numbers = itertools.count(1)


class Message:
    """One message on its way.

    ``deadline`` is a time of Trio's clock (seconds), ``math.inf`` for none; it bounds waiting and
    handling together. ``handle_timeout`` (seconds) bounds the handling alone, from its begin.
    ``chain`` names the actors that wait for this message, outermost first.
    """

    __slots__ = (
        "accepted_at",
        "background",
        "began",
        "begun",
        "cancelled_at",
        "cancelled_by",
        "chain",
        "deadline",
        "discard",
        "fate",
        "handle_timeout",
        "handler",
        "home",
        "kind",
        "mode",
        "number",
        "on_error",
        "origin",
        "payload",
        "receiver",
        "reply",
        "request_id",
        "scope",
        "sender",
        "stashed",
        "system",
        "taken",
        "task",
    )

    def __init__(
        self,
        kind: Kind,
        payload: Any,
        *,
        handler: str = "",
        sender: str = "",
        reply: ReplySlot | None = None,
        deadline: float = math.inf,
        handle_timeout: float = math.inf,
        mode: Mode = "normal",
        on_error: Literal["restart", "reply"] | None = None,
        chain: tuple[str, ...] = (),
        request_id: str = "",
        discard: Callable[[Any], None] | None = None,
        system: bool = False,
    ) -> None:
        self.number = next(_numbers)
        self.kind = kind
        self.payload = payload
        self.handler = handler
        self.sender = sender
        self.reply = reply
        self.deadline = deadline
        self.handle_timeout = handle_timeout
        self.mode = mode
        self.on_error = on_error
        self.chain = chain
        self.request_id = request_id
        self.discard = discard
        """What to do with an answer that nobody takes, because the caller gave up just then."""
        self.system = system
        """Whether it goes before all others, and is not bounded."""
        self.home: ActorCell | None = None
        """The actor whose answer its caller waits for; None where nobody waits for one."""
        self.receiver = ""
        """Whose mailbox took it; empty before that."""
        self.stashed = False
        """Whether its handler has asked to put it aside; looked at when that ends."""
        self.origin: DeadLetter | None = None
        """The dead letter it was retried from; None for a message sent the first time."""
        self.accepted_at = 0.0
        """When a mailbox took it (Trio's clock)."""
        self.taken = False
        """Whether an actor has it in hand; written by the mailbox alone."""
        self.began = math.inf
        """When that was (Trio's clock)."""
        self.begun = False
        """Whether its handler was called."""
        self.fate: Fate | None = None
        """None until settled; written by the mailbox alone, once."""
        self.task: trio.lowlevel.Task | None = None
        """Trio's task that runs its handler, or waits for it; None before that."""
        self.background: trio.Nursery | None = None
        """The nursery of the incarnation that has it in hand: no handler waits for its tasks."""
        self.scope: trio.CancelScope | None = None
        """The handler's cancel scope while the message is in hand, else None."""
        self.cancelled_by: Literal["", "caller", "stop"] = ""
        """Who cancelled the handler, where it was not its deadline or a crash."""
        self.cancelled_at = math.inf
        """When that was (Trio's clock)."""

    def cancel(self, by: Literal["caller", "stop"]) -> None:
        """Cancel the handler if the message is in hand; say who asked for it."""
        self.cancelled_by = self.cancelled_by or by
        self.cancelled_at = min(self.cancelled_at, trio.current_time())
        if self.scope is not None:
            self.scope.cancel()

    @property
    def limit(self) -> float:
        """When its handler must have ended (Trio's clock); once that was called."""
        return min(self.deadline, self.began + self.handle_timeout)

    @property
    def about(self) -> str:
        """What it carries, in a word: ``order.paid``, ``GET /orders/{id}``, ``total()``."""
        about = getattr(self.payload, "about", None)
        return about if isinstance(about, str) else ""

    def words(self) -> str:
        """The message and its handler for a report: ``the event order.paid in on_paid()``."""
        what = f"the {self.kind} {self.about or type(self.payload).__name__}"
        if self.kind == "http" and self.about:
            what = self.about
        handled = f" in {self.handler}()" if self.handler not in ("", self.about[:-2]) else ""
        sender = f" from {self.sender}" if self.sender else ""
        return what + handled + sender

    def __repr__(self) -> str:
        to = f" for {self.handler}" if self.handler else ""
        return f"<{self.kind} message {self.number}{to}>"


class Hand:
    """What a task that runs the handlers of actors, one after the other, has in hand."""

    __slots__ = (
        "log_token", "message", "scope", "spent", "taker", "task", "waited", "was_cut", "where",
    )  # fmt: skip

    def __init__(self, task: trio.lowlevel.Task) -> None:
        self.task = task
        self.taker: Taker
        """Whose handler it is, or was last."""
        self.message: Message | None = None
        """What it handles, where that is known as a message."""
        self.scope: trio.CancelScope
        """Around all that it does; its deadline is that of the handler that waits."""
        self.spent = False
        """Whether the scope was cancelled, and another must be entered."""
        self.waited = False
        """Whether the handler has waited: the turn it was begun in is over."""
        self.was_cut = False
        """Whether the scope's cancellation was raised in the handler."""
        self.where: TracebackType | None = None
        """Where the handler was then."""
        self.log_token: Any = None
        """What undoes the binding of its message's request id to the log."""


current_message: contextvars.ContextVar[Message | Hand | None] = contextvars.ContextVar(
    "nexus_current_message", default=None
)
"""The message whose handler runs in this context. Tasks started by a handler inherit it, so look at
:func:`in_hand`, which forgets a message that has ended."""


def in_hand() -> Message | None:
    """The message this code works for; None outside a handler, after its end, and in a background
    task: whoever waits for the message does not wait for that.

    An asyncio task that a handler began works for its message as long as that is in hand: whether
    it will be awaited, nobody knows (what waits for an ask, :func:`.waits_for` tells more exactly).
    """
    holds = current_message.get()
    message = _in_hand_of(holds) if isinstance(holds, Hand) else holds
    if message is None or message.fate is not None:
        return None
    if message.task is None:
        return message
    task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
    if task is message.task:
        return message
    call = outcall.get()
    calling = None if call is None else call.trio_task
    while task is not None and task is not message.task and task is not calling:
        nursery = task.parent_nursery
        if nursery is message.background:
            return None
        task = None if nursery is None else nursery.parent_task
    return message if task is not None or in_asyncio() else None


def _in_hand_of(hand: Hand) -> Message | None:
    """What ``hand`` holds for the code that calls this: something only where that is its handler's,
    for the context may have been inherited, and the hand holds another message by now."""
    task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
    while task is not None and task is not hand.task:
        nursery = task.parent_nursery
        if nursery is None or nursery is hand.taker.nursery:
            return None
        task = nursery.parent_task
    return None if task is None else hand.taker.look(hand)


def remaining(timeout: float, now: float) -> float:
    """The deadline (Trio's clock) for something that may take ``timeout`` seconds from ``now``:
    that of the message in hand where it is earlier."""
    deadline = now + timeout
    message = in_hand()
    return deadline if message is None else min(deadline, message.deadline)
