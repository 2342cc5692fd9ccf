"""An address: how one actor reaches another, without ever touching it.

It outlives restarts: the same address leads to every incarnation in turn.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import trio

from nexus_actors.actors.bridge import bridged
from nexus_actors.actors.given import check_seconds
from nexus_actors.actors.knots import FIRST_LOOK, LAST_LOOK, refuse_to_close, refuse_to_wait_on
from nexus_actors.actors.looking import Look, look_into
from nexus_actors.actors.message import TELL_TIMEOUT, Message, in_hand, remaining
from nexus_actors.actors.pace import pace
from nexus_actors.actors.reply import ReplySlot
from nexus_actors.actors.starting import refuse_knot, start_in_hand
from nexus_actors.actors.statistics import ActorStatistics, statistics_of
from nexus_actors.actors.waiting import held_up, needing
from nexus_actors.errors import AskCycle, AskTimeout

if TYPE_CHECKING:
    from nexus_actors.actors.cell import ActorCell

__all__ = ["ASK_TIMEOUT", "Address", "sender_here"]

ASK_TIMEOUT = 5.0
"""Seconds an ask waits where nothing else is said."""


class Address:
    """Where the actor called :attr:`name` gets its messages.

    ::

        await address.tell(Deposit(5))              # returns once the mailbox took it
        balance = await address.ask(Balance())      # the answer, within 5 s
    """

    __slots__ = ("_cell", "_mailbox")

    def __init__(self, cell: ActorCell) -> None:
        self._cell = cell
        self._mailbox = cell.mailbox

    @property
    def name(self) -> str:
        """The actor's name."""
        return self._cell.name

    @property
    def methods(self) -> tuple[str, ...]:
        """What may be called on it through a proxy."""
        return self._cell.methods

    @property
    def is_running(self) -> bool:
        """Whether it has an incarnation that takes messages now."""
        return self._cell.state == "running"

    @property
    def load(self) -> int:
        """How many messages it has, waiting and in hand."""
        return self._cell.mailbox.waiting + len(self._cell.in_hand)

    def suspend(self) -> None:
        """Let it handle nothing but system messages until :meth:`resume`; those in hand go on, and
        messages for it wait. It stays so through restarts."""
        self._cell.pause(True)

    def resume(self) -> None:
        """Undo :meth:`suspend`; more than once is no error."""
        self._cell.pause(False)

    def look(self) -> Look:
        """What can be seen of it now; nothing waits for it, and it notices nothing."""
        return look_into(self._cell)

    def statistics(self) -> ActorStatistics:
        """Its numbers: the account of its messages, handlers' times, crashes and restarts."""
        return statistics_of(self._cell)

    def offer(self, message: Message) -> bool:
        """Put ``message`` into the mailbox now, or raise; never waits. False where it went to dead
        letters in place of a full mailbox, by ``overflow="drop_newest"``.

        Raises:
            ActorStopped: known, but not running.
            MailboxFull: as many wait as fit.
            NotHandled, MessageTooLarge: it does not take such a message.
        """
        return self._cell.offer(message)

    async def tell(self, payload: Any, *, sender: str = "", timeout: float = ASK_TIMEOUT) -> None:
        """Give it ``payload`` and go on. Returns once accepted.

        It waits only to let others run, now and then; and, with ``overflow="wait"``, for room,
        ``timeout`` seconds at most. ``sender`` is for reports and dead letters. Where it is left
        out, it is the actor whose handler tells; but most tells say nothing of theirs, for asking
        who it is would cost as much as the rest of them: only those that find no room at once, or
        go to an actor with ``concurrency``, ``max_size`` or options of a handler.

        Raises:
            TypeError, ValueError: ``timeout`` is no number of seconds.
            ActorStopped, MailboxFull: not accepted.
            NotHandled: it has no handler for that type; the message names those it has.
            MessageTooLarge: it holds more bytes than the mailbox's ``max_size``.
        """
        if timeout is not ASK_TIMEOUT:
            check_seconds(f"the timeout of a tell to {self.name}", timeout)
        mailbox = self._mailbox
        # hot (benchmarks/mailbox.py): most messages find room, and say nothing but their payload
        if (
            len(mailbox.queue) < mailbox.bare_room
            and payload.__class__ in mailbox.kinds
            and not sender
        ):
            mailbox.queue.append(payload)
            mailbox.accepted += 1
            if not mailbox.stands_in_queue:
                mailbox.mark()
                mailbox.wake()
        else:
            await self._tell(payload, sender, timeout)
        pace.credit -= 1
        if pace.credit < 0:
            mailbox.mark()
            await _breathe()

    @bridged
    async def _tell(self, payload: Any, sender: str, timeout: float) -> None:
        message = Message(
            "tell", payload, sender=sender or sender_here(), handle_timeout=TELL_TIMEOUT
        )
        if self._cell.overflow == "wait":
            await self._room(message, trio.current_time() + timeout)
        self._cell.offer(message)

    async def _room(self, message: Message, deadline: float) -> None:
        """Wait for room in the mailbox of an actor that wants its senders to."""
        cell = self._cell
        if cell.takes_messages and cell.mailbox.is_full:
            # room that was waited for must be used: others wait for it
            cell.check(message.kind, message.payload)
            parent = in_hand()
            limit = deadline if parent is None else min(deadline, parent.deadline)
            with needing(cell, "room"):
                await cell.mailbox.wait_for_room(limit)

    @bridged
    async def ask(self, payload: Any, *, timeout: float = ASK_TIMEOUT, sender: str = "") -> Any:
        """Give it ``payload`` and wait for the answer, at most ``timeout`` seconds.

        The deadline of the message in hand counts where it is earlier. Where that time is up
        already, nothing is sent.

        Raises:
            TypeError, ValueError: ``timeout`` is no number of seconds.
            ActorStopped, MailboxFull: not accepted.
            NotHandled: it has no handler for that type.
            MessageTooLarge: it holds more bytes than the mailbox's ``max_size``.
            AskTimeout: no answer by the deadline; the handler, if it runs, is cancelled.
            ActorRestarted: it crashed with this message in hand.
            RemoteError: its handler raised.
            AskCycle: it waits for the one who asks.
        """
        if timeout is not ASK_TIMEOUT:
            check_seconds(f"the timeout of an ask of {self.name}", timeout)
        return await self.request(
            "ask", payload, deadline=remaining(timeout, trio.current_time()), sender=sender
        )

    async def request(
        self,
        kind: Any,
        payload: Any,
        *,
        deadline: float = math.inf,
        sender: str = "",
        **fields: Any,
    ) -> Any:
        """Send a message that has a caller and wait for its answer until ``deadline`` (Trio's
        clock). ``fields`` are further fields of :class:`Message`. Raises as :meth:`ask` does."""
        parent = in_hand()
        chain: tuple[str, ...] = ()
        if parent is not None:
            sender = sender or parent.receiver
            fields.setdefault("request_id", parent.request_id)
            if held_up(parent):
                chain = (*parent.chain, sender) if sender else parent.chain
        start = start_in_hand() if parent is None else None
        if start is not None:
            sender = sender or start.cell.name
            chain = (start.cell.name,)
        if self.name in chain:
            raise AskCycle((*chain, self.name))
        if chain and self._cell.state != "running":
            refuse_knot(chain, self._cell)
        if chain:
            refuse_to_close(self._cell, fields.get("mode", "normal"), sender, parent)
        message = Message(
            kind,
            payload,
            reply=ReplySlot(),
            deadline=deadline,
            sender=sender,
            chain=chain,
            **fields,
        )
        message.home = self._cell
        began = trio.current_time()
        if deadline <= began:
            await trio.lowlevel.checkpoint()  # a loop of these must let others run as well
            raise AskTimeout(self.name, 0.0)
        if self._cell.overflow == "wait":
            await self._room(message, deadline)
            if chain:  # meanwhile others may have asked
                refuse_to_close(self._cell, message.mode, sender, parent)
        assert message.reply is not None
        if kind != "ask" or not self._cell.answers_here(message):
            self._cell.offer(message)
        elif message.reply.filled:
            pace.credit -= 1
            if pace.credit < 0:
                await pace.breathe()
            return message.reply.take()
        # an ask from outside is in nobody's way
        look_at = math.inf if parent is None and start is None else began + FIRST_LOOK
        try:
            with nullcontext() if start is None else start.asking(self._cell):
                while True:
                    try:
                        return await message.reply.wait(min(deadline, look_at), message)
                    except TimeoutError:
                        now = trio.current_time()
                    if now >= deadline:
                        self._give_up(message)
                        raise AskTimeout(self.name, deadline - began)
                    try:
                        refuse_to_wait_on(message, sender, parent)
                    except AskCycle:
                        self._give_up(message)
                        raise
                    look_at = now + min(now - began, LAST_LOOK)
        except trio.Cancelled:
            self._give_up(message)
            raise

    def _give_up(self, message: Message) -> None:
        # in hand: the handler is cancelled and its actor settles it; waiting: it is never begun
        assert message.reply is not None
        if message.taken:
            message.cancel("caller")
            unread = message.reply.take_unread()
            if unread is not None and message.discard is not None:
                message.discard(unread)
        elif message.fate is None:
            self._cell.mailbox.settle_waiting(message, "abandoned")
            self._cell.mailbox.wake()
            self._cell.report_deaf_handlers()

    def __repr__(self) -> str:
        return f"<Address {self.name}>"


def sender_here() -> str:
    """The name of the actor whose handler or ``initialize`` runs this; empty where none does."""
    message = in_hand()
    if message is not None:
        return message.receiver
    start = start_in_hand()
    return "" if start is None else start.cell.name


@bridged
async def _breathe() -> None:
    await pace.breathe()
