"""The cell of an actor: what outlives its incarnations: name, mailbox, state, and refusals."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Literal, Protocol

import trio

from nexus_actors import log
from nexus_actors.actors.dead_letters import DeadLetters
from nexus_actors.actors.handling import Handlers, NotHandled
from nexus_actors.actors.history import History
from nexus_actors.actors.links import Exited, LinkedExit, Watch
from nexus_actors.actors.mailbox import Mailbox, Overflow
from nexus_actors.actors.message import Message, Mode
from nexus_actors.actors.sizes import carried_by, largest_part, size_of
from nexus_actors.actors.statistics import Work
from nexus_actors.errors import ActorStopped, MailboxFull, MessageTooLarge, Unanswered
from nexus_actors.words import in_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexus_actors.actors.actor import Behaviour
    from nexus_actors.actors.address import Address
    from nexus_actors.actors.message import Kind
    from nexus_actors.actors.starting import Start
    from supervisors import ExitReason, Failure

__all__ = ["ActorCell", "ActorState", "Control"]

DEAF = 3.0
"""Seconds a cancelled handler may go on before it is reported."""

ActorState = Literal[
    "starting", "waiting", "running", "restarting", "suspended", "failed", "stopping", "stopped"
]
"""Where an actor stands. In the first four its mailbox takes messages."""

PATIENCE = 5.0
"""Seconds callers wait with an actor for what it needs before it is there; then they are told."""

_BY_TYPE: frozenset[Kind] = frozenset({"tell", "ask", "timer"})
"""Kinds of messages whose type says which handler they are for."""

HeldUp = tuple[tuple[Mode, ...], Mode | None]
"""Messages in hand that must end before another is taken: all of these modes, and one of that."""

_TAKES: frozenset[ActorState] = frozenset({"starting", "waiting", "running", "restarting"})


class Control(Protocol):
    """How an incarnation is reached from outside its tasks."""

    def finish(self) -> None:
        """End normally once the messages in hand are handled."""

    def crash(self, error: BaseException) -> None:
        """End with ``error``, now."""

    def held_up(self, mode: Mode) -> HeldUp | None:
        """What keeps it from taking one more message of ``mode``; None: it takes no more at all."""


class ActorCell:
    """Name, mailbox and state of one actor through all its incarnations."""

    def __init__(
        self,
        name: str,
        dead_letters: DeadLetters,
        *,
        capacity: int = 1000,
        overflow: Overflow = "refuse",
        max_size: int | None = None,
    ) -> None:
        self.name = name
        self.dead_letters = dead_letters
        self.mailbox = Mailbox(name, capacity)
        self.work = Work()
        """What its handlers did, added up; written by the incarnation."""
        self.overflow = overflow
        self.max_size = max_size
        """Bytes that one message may hold; None where it may hold any number."""
        self.state: ActorState = "starting"
        self.since: float | None = None
        """Trio's clock: when it came to that; None before anybody said so."""
        self.reason = ""
        """In words: why it is not running. Empty while it is."""
        self.next_try: float | None = None
        """Trio's clock: when it will be started again; None where that is not planned."""
        self.awaits: tuple[ActorCell, ...] = ()
        """What must run before it is started; empty once it did."""
        self.start: Start | None = None
        """Its ``initialize`` while that is under way."""
        self.ending = False
        """Set when it is asked to stop for good: then nobody need wait for its return."""
        self._impatient = False
        """Set while it waits, and has for so long that its callers are told at once."""
        self._changed = trio.Event()
        """Set at the next change of state, and then replaced."""
        self.in_hand: dict[int, Message] = {}
        """The messages that the running incarnation has in hand, by number; it alone changes it."""
        self._told_of: set[int] = set()
        """Numbers of messages in hand whose handlers were reported as deaf."""
        self.incarnation = 0
        """How many times it came up."""
        self.faults = 0
        """Faults in answering, answers that were not there in time among them."""
        self.crashes = 0
        self.crashed_on = ""
        """The message whose handler made the present or last incarnation crash, in words; empty
        where it was no message, or it did not crash."""
        self.callers_cut = 0
        """Callers who were told that the incarnation ended with their message in hand."""
        self.callers_turned_away = 0
        """Waiting callers who were told that it takes no messages now."""
        self.letters = 0
        """Messages without a caller, of its mailbox, that went to dead letters."""
        self.history = History()
        self.sessions = 0
        """Streams and websockets that are open now."""
        self.methods: tuple[str, ...] = ()
        """Names other actors may call through a proxy."""
        self.handlers: Handlers | None = None
        """What it takes by ``tell`` and ``ask``; None where that is not known."""
        self.traps_exits = False
        """Whether the end of an actor it is linked to is a message, and not its own crash."""
        self.is_child = False
        """Whether another actor has spawned it: then it is that one's affair."""
        self.inside: Callable[[], dict[str, Any]] = dict
        """The state of the present incarnation's object, by attribute."""
        self.recent: deque[Any] = deque(maxlen=20)
        """The messages that were begun last: when, kind, handler or type, sender; of one that lay
        bare in the mailbox when, and the type."""
        self.behaviour: Behaviour | None = None
        """What the present incarnation does, from before its start to its end."""
        self.outfit: Callable[[Behaviour], None] | None = None
        """Called with the behaviour of each new incarnation before that starts: a test's faults."""
        self._doomed: LinkedExit | None = None
        """Set while it starts and one that it is linked to has ended: it will crash with this."""
        self._control: Control | None = None
        """The incarnation that is up; None between two."""
        self._watches: list[Watch] = []
        """Who wants to know of the end of the present incarnation."""

    @property
    def takes_messages(self) -> bool:
        """Whether a message may be put into the mailbox now."""
        return self.state in _TAKES

    @property
    def tells_callers(self) -> bool:
        """Whether somebody who asks now is told at once, instead of waiting for its return."""
        return self.state not in _TAKES or self._impatient

    def refusal(self) -> ActorStopped:
        """The error for whoever sends to it while it takes nothing."""
        if self._impatient:
            return ActorStopped(self.name, self.state, PATIENCE)
        retry = None if self.next_try is None else max(0.0, self.next_try - trio.current_time())
        return ActorStopped(self.name, self.state, retry)

    def offer(self, message: Message) -> bool:
        """Put ``message`` into the mailbox or refuse it, at once. False where it was accepted and
        yet not taken: with ``overflow="drop_newest"`` it went to dead letters instead.

        Raises:
            ActorStopped: the actor is known but takes nothing now.
            MailboxFull: as many wait as fit.
            NotHandled, MessageTooLarge: see :meth:`check`.
        """
        if self.state not in _TAKES or (self._impatient and message.reply is not None):
            self.mailbox.refuse()
            raise self.refusal()
        if not message.system:
            self.check(message.kind, message.payload)
        if self.overflow != "refuse" and not message.system and self.mailbox.is_full:
            if self.overflow == "drop_oldest":
                self._drop_oldest()
            elif self.overflow == "drop_newest" and message.kind in ("tell", "timer"):
                self.mailbox.refuse()
                self.lose(message, "mailbox full")
                return False
        self.mailbox.put(message)
        message.receiver = self.name
        return True

    def lose(self, message: Message, reason: str) -> None:
        """Keep a message that was refused, and that nobody can send again, as a dead letter."""
        self.letters += 1
        self.dead_letters.add(self.name, message, reason)

    def answers_here(self, message: Message) -> bool:
        """Let the actor answer an ask now, in the task that asks, where it rests and its handler
        never waits; else return False, and nothing has happened."""
        mailbox = self.mailbox
        return (
            mailbox.taker is not None
            and not mailbox.stands_in_queue
            and not mailbox.queue
            and mailbox.bare_room > 0
            and not mailbox.urgent
            and message.payload.__class__ in mailbox.kinds
            and mailbox.taker.answer_here(message)
        )

    def check(self, kind: Kind, payload: Any) -> None:
        """See whether it takes messages like ``payload``, room or not.

        Raises:
            NotHandled: it has no handler for that; the message names what it handles.
            MessageTooLarge: it holds more bytes than :attr:`max_size`.
        """
        handlers = self.handlers
        if handlers is not None and kind in _BY_TYPE and handlers.method_for(payload) is None:
            self.mailbox.refuse()
            raise NotHandled(self.name, payload, handlers)
        if self.max_size is not None and (
            size_of(carried := carried_by(payload), self.max_size) > self.max_size
        ):
            self.mailbox.refuse()
            what = f"the {kind} {Message(kind, payload).about or type(payload).__name__}"
            path, size = largest_part(carried, self.max_size)
            part = f"{path.lstrip('.')} alone has {in_bytes(size)}" if path else ""
            raise MessageTooLarge(self.name, what, self.max_size, part)

    # -- the incarnation that is up --------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether there is an incarnation: it has started and not ended."""
        return self._control is not None

    def equip(self, behaviour: Behaviour) -> None:
        """An incarnation is made, and has not started."""
        self.behaviour = behaviour
        if self.outfit is not None:
            self.outfit(behaviour)
        self._open_mailbox()

    def dress(self, outfit: Callable[[Behaviour], None]) -> None:
        """Call ``outfit`` with the behaviour there is, and with each that will be."""
        self.outfit = outfit
        if self.behaviour is not None:
            self.equip(self.behaviour)

    def _open_mailbox(self) -> None:
        """Say what may be put into the mailbox as it is, past :meth:`offer`."""
        known = None if self.handlers is None else self.handlers.known
        if self.state not in _TAKES or self.max_size is not None or self.outfit is not None:
            known = None
        self.mailbox.open(known)

    def crash(self, error: BaseException) -> bool:
        """End the present incarnation with ``error``, now; False where none is up."""
        if self._control is None:
            return False
        self._control.crash(error)
        return True

    def begin(self, control: Control) -> None:
        """An incarnation is up; ``control`` reaches it."""
        self._control = control
        if self._doomed is not None:
            control.crash(self._doomed)

    def end(self, reason: ExitReason) -> None:
        """It has ended, clean-up and all, or did not come up: whoever watches it is told, once."""
        self._control = self._doomed = self.behaviour = None
        self.mailbox.unstash()
        self.mailbox.forget_incarnation()  # the next one watches nobody yet, and planned nothing
        watches, self._watches = self._watches, []
        for watch in watches:
            watch.on_end(reason)

    def held_up(self, mode: Mode) -> HeldUp | None:
        """See :meth:`Control.held_up`; None also where no incarnation is up."""
        return None if self._control is None else self._control.held_up(mode)

    def watch(self, watch: Watch) -> None:
        """Tell ``watch`` of the end of the present incarnation."""
        self._watches.append(watch)

    def unwatch(self, watch: Watch) -> None:
        """Tell it nothing; where it was told already, or never to be, nothing happens."""
        if watch in self._watches:
            self._watches.remove(watch)

    def finish(self) -> None:
        """Let the present incarnation end normally once its messages in hand are handled."""
        if self._control is not None:
            self._control.finish()

    def exit_signal(self, other: Address, reason: ExitReason) -> None:
        """One it is linked to has ended."""
        if self.traps_exits:
            self.notify(Exited(other, reason))
        elif reason.abnormal and self._control is not None:
            self._control.crash(LinkedExit(other.name, reason))
        elif reason.abnormal and self.start is not None:
            self._doomed = self._doomed or LinkedExit(other.name, reason)

    def notify(self, payload: Any) -> None:
        """Put a system message into its mailbox; where it is going itself, nothing happens."""
        if self.state in _TAKES and (self.is_up or self.start is not None):
            self.offer(Message("tell", payload, system=True, handle_timeout=60.0))

    def pause(self, paused: bool) -> None:
        """Hand out only system messages from now on, or all of them again."""
        self.mailbox.pause(paused)

    def _drop_oldest(self) -> None:
        message = self.mailbox.oldest()
        if message is None:
            return
        if message.reply is not None:
            self.mailbox.settle_waiting(message, "faulted")
            message.reply.fail(MailboxFull(self.name, self.mailbox.capacity))
        elif self.mailbox.settle_waiting(message, "dead-lettered"):
            self.letters += 1
            self.dead_letters.add(self.name, message, "mailbox full")

    def enter(self, state: ActorState, reason: str = "", *, next_try: float | None = None) -> None:
        """Change the state. Entering one that takes no messages answers the waiting callers."""
        if state != self.state or self.since is None:
            self.since = trio.current_time()
        self.state, self.reason, self.next_try = state, reason, next_try
        self._impatient = self._impatient and state == "waiting"
        self._open_mailbox()
        self._changed.set()
        self._changed = trio.Event()
        if state in ("suspended", "failed", "stopping", "stopped"):
            self.mailbox.turn_away_waiters()
            self._turn_away(final=state == "stopped")

    def lose_patience(self) -> None:
        """It has waited too long for its callers to wait with it: they are told from now on, until
        it goes on. Messages without a caller wait all the same."""
        if self.state == "waiting" and not self._impatient:
            self._impatient = True
            self.mailbox.turn_away_waiters()
            self._turn_away(final=False)

    async def wait_stopped(self) -> None:
        """Wait until it has stopped for good."""
        while self.state != "stopped":
            await self._changed.wait()

    async def wait_changed(self) -> None:
        """Wait for the next change of state."""
        await self._changed.wait()

    def report_deaf_handlers(self) -> None:
        """Say, once for each, which handlers go on although they were cancelled a while ago.

        Called when a caller gave up waiting in the queue: such a handler may be why.
        """
        self._told_of &= self.in_hand.keys()
        now = trio.current_time()
        for message in self.in_hand.values():
            deaf_for = now - message.cancelled_at
            if deaf_for >= DEAF and message.number not in self._told_of:
                self._told_of.add(message.number)
                log.plugin_logger(self.name).error(
                    f"{message.handler or message.kind} was cancelled {deaf_for:.0f} s ago and "
                    "still runs: it swallows its cancellation, and those behind it wait in vain"
                )

    def _turn_away(self, *, final: bool) -> None:
        # those who wait for an answer learn at once; other messages wait for the next incarnation
        for message in self.mailbox.waiting_messages():
            if message.reply is not None:
                if self.mailbox.settle_waiting(message, "faulted"):
                    self.callers_turned_away += 1
                    message.reply.fail(self.refusal())
            elif final and self.mailbox.settle_waiting(message, "dead-lettered"):
                self.letters += 1
                self.dead_letters.add(self.name, message, self.state)

    def interrupt(self, message: Message, error: Unanswered, reason: str) -> None:
        """End a message in hand whose handler was cut off: its caller gets ``error``."""
        if message.reply is None:
            if self.mailbox.settle(message, "dead-lettered"):
                self.letters += 1
                self.dead_letters.add(self.name, message, reason)
        elif self.mailbox.settle(message, "faulted"):
            self.callers_cut += 1
            message.reply.fail(error)

    def bury(self, message: Message, reason: str, report: Failure | None) -> None:
        """End a message in hand that nobody waits for: it goes to dead letters."""
        if self.mailbox.settle(message, "dead-lettered"):
            self.letters += 1
            self.dead_letters.add(self.name, message, reason, report=report)
