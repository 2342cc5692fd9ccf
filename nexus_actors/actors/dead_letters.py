"""Dead letters: accepted or offered messages nobody will handle, kept to be looked at, sent again
or thrown away.

A list bounded by number and by bytes, oldest first; what falls off its old end is counted, never
silent.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from nexus_actors import log
from nexus_actors.actors.message import Message
from nexus_actors.actors.sizes import carried_by, size_of
from nexus_actors.errors import MailboxFull, NexusError
from nexus_actors.words import in_bytes

if TYPE_CHECKING:
    from nexus_actors.actors.cell import ActorCell
    from nexus_actors.actors.message import Kind
    from supervisors import Failure

__all__ = [
    "QUARANTINED",
    "DeadLetter",
    "DeadLetters",
    "NoSuchLetter",
    "NotRetried",
    "Past",
    "Unkept",
]

CAPACITY = 1000
MAX_SIZE = 64 * 1024**2
_SHARE = 4
"""What one letter carries may take this part of all there is room for: more is not kept."""

QUIET = 1.0
"""Seconds after a line about an actor's dead letter in which its further ones are only counted."""

CRASH = "crash"
"""The reason of a letter whose handler crashed its actor."""
QUARANTINED = "quarantined"
"""The reason where that happened once more, after the letter had been retried."""
_LONGEST_REASON = 300
_LONGEST_CONTENT = 2000
_REMEMBERED = 10

_logger = log.get_logger("nexus.dead_letters")


class NoSuchLetter(NexusError):
    """No dead letter has that number: there never was one, or it was retried, discarded, or fell
    off the old end of the list."""

    def __init__(self, number: int, total: int) -> None:
        told = (
            "it was retried, discarded, or fell off the end of the list"
            if (1 <= number <= total)
            else "there never was one"
        )
        super().__init__(f"there is no dead letter {number}: {told}")
        self.number = number


class NotRetried(NexusError):
    """A dead letter that is not sent again; the message says why and what to do. It stays."""


@attrs.frozen
class Past:
    """An earlier letter of a message that was retried and became a dead letter again."""

    number: int
    reason: str
    at: float
    """Trio's clock, seconds."""
    report: Failure | None


@attrs.frozen(repr=False)
class Unkept:
    """Stands where the payload of a letter was that is too large to be kept."""

    about: str
    """What the message carried, in a word."""
    limit: int
    """The bytes that it was over."""

    def __repr__(self) -> str:
        return f"<{self.about}, not kept: it was over {in_bytes(self.limit)}>"


@attrs.frozen
class DeadLetter:
    """One message nobody will handle, and why."""

    number: int
    """Its own, counted from 1 while the node lives; never given twice."""
    actor: str
    """Whose mailbox it was for."""
    reason: str
    """``crash``, ``quarantined``, ``mailbox full``, ``too large``, ``stopped``, ``suspended``,
    ``in hand of a crash``, or the words of what its handler let out."""
    message: Message = attrs.field(repr=False, eq=False)
    """What it was; settled, and never sent again itself."""
    report: Failure | None = None
    """How it made the handler fail, where it did: words and places, no frames."""
    crashes: int = 0
    """How often its handler has crashed the actor, this time among them."""
    past: tuple[Past, ...] = ()
    """The letters it was before it was retried, oldest first, the last ten of them."""
    at: float = attrs.field(factory=trio.current_time)
    """Trio's clock, seconds."""
    size: int = 0
    """Bytes that what it carries and its reports take, counted when it came."""

    @property
    def is_kept(self) -> bool:
        """Whether what it carried is still there; not where that was too large."""
        return not isinstance(self.message.payload, Unkept)

    @property
    def kind(self) -> Kind:
        """What kind of message it was."""
        return self.message.kind

    @property
    def handler(self) -> str:
        """The handler it was meant for; empty where there is no name for it."""
        return self.message.handler

    @property
    def about(self) -> str:
        """What it carries, in a word: an event's type, a method; empty where it has none."""
        return self.message.about

    @property
    def sender(self) -> str:
        """Who sent it; empty where that is not known."""
        return self.message.sender

    @property
    def payload(self) -> Any:
        """What it carries."""
        return self.message.payload

    @property
    def retryable(self) -> bool:
        """Whether :meth:`DeadLetters.retry` sends it again without ``force``."""
        return self.message.reply is None and self.reason != QUARANTINED and self.is_kept

    def content(self) -> str:
        """What it carries, for a person who may see it: its ``repr``, cut to 2000 characters.

        A payload may say by an attribute ``content`` what of it is worth showing.
        """
        payload = self.message.payload
        words = _shower.repr(getattr(payload, "content", payload))
        if len(words) > _LONGEST_CONTENT:
            words = f"{words[: _LONGEST_CONTENT - 1]}…"
        return words


class _Shower(reprlib.Repr):
    """``repr`` that neither a huge value nor a ``__repr__`` that raises can hurt."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 6
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 50
        self.maxstring = self.maxother = 500


_shower = _Shower()


class DeadLetters:
    """The node's dead letters: at most ``capacity`` of them, in at most ``max_size`` bytes.

    Of a message that alone would take more than a quarter of those the letter is kept, and what it
    carried is not.
    """

    def __init__(self, capacity: int = CAPACITY, max_size: int = MAX_SIZE) -> None:
        self.capacity = capacity
        self.max_size = max_size
        self.size = 0
        """Bytes that those which are kept take."""
        self._letters: dict[int, DeadLetter] = {}
        """By number, and so oldest first."""
        self.total = 0
        """All there ever were; the newest has this number."""
        self.fell_off = 0
        """How many were dropped, oldest first, because there were too many, or too many bytes."""
        self.retried = 0
        """How many left the list because they were sent again."""
        self.discarded = 0
        """How many somebody has thrown away."""
        self._said: dict[str, tuple[float, int]] = {}
        """For each actor: when a line about it was logged, and how many letters since were not."""

    def add(
        self, actor: str, message: Message, reason: str, *, report: Failure | None = None
    ) -> DeadLetter:
        """Keep ``message``, which was for ``actor``; log one line about it.

        A message that was retried from here after a crash, and crashed again, is quarantined. One
        too large to be kept loses its payload, so that nothing here holds it.
        """
        origin = message.origin
        past: tuple[Past, ...] = ()
        crashes = int(reason == CRASH)
        if origin is not None:
            before = Past(origin.number, origin.reason, origin.at, origin.report)
            past = (*origin.past, before)[-_REMEMBERED:]
            crashes += origin.crashes
            if reason == CRASH and crashes > 1:
                reason = QUARANTINED
        largest = self.max_size // _SHARE
        size = size_of(carried_by(message.payload), largest)
        if size > largest:
            message.payload = Unkept(message.about or type(message.payload).__name__, largest)
            size = 0
        self.total += 1
        letter = DeadLetter(
            number=self.total,
            actor=actor,
            reason=reason[:_LONGEST_REASON],
            message=message,
            report=report,
            crashes=crashes,
            past=past,
            size=size + size_of((report, past)),
        )
        message.origin = None  # told by `past`; a chain of letters would grow without bound
        self._letters[letter.number] = letter
        self.size += letter.size
        while len(self._letters) > self.capacity or (
            self.size > self.max_size and len(self._letters) > 1
        ):
            self._remove(next(iter(self._letters)))
            self.fell_off += 1
        self._log(letter)
        return letter

    def _remove(self, number: int) -> None:
        self.size -= self._letters.pop(number).size

    def _log(self, letter: DeadLetter) -> None:
        """One line, but not one for each of a flood: after a line about an actor the next ones are
        counted for :data:`QUIET` seconds, and the line after them says how many there were."""
        said_at, unsaid = self._said.get(letter.actor, (-math.inf, 0))
        if letter.at - said_at < QUIET:
            self._said[letter.actor] = (said_at, unsaid + 1)
            return
        self._said[letter.actor] = (letter.at, 0)
        what = f"{letter.kind} {letter.about or type(letter.payload).__name__}"
        _logger.warning(
            f"dead letter {letter.number}: {what} for {letter.actor}"
            + (f", and {unsaid} more before it" if unsaid else ""),
            reason=letter.reason,
            **{
                field: value for field in ("handler", "sender") if (value := getattr(letter, field))
            },
        )

    def list(self, actor: str | None = None) -> list[DeadLetter]:
        """What is kept (for ``actor`` alone, where one is named), oldest first."""
        return [one for one in self._letters.values() if actor is None or one.actor == actor]

    def get(self, number: int) -> DeadLetter:
        """The letter with that number.

        Raises:
            NoSuchLetter: there is none, or none any more.
        """
        try:
            return self._letters[number]
        except KeyError:
            raise NoSuchLetter(number, self.total) from None

    def retry(
        self, number: int, find: Callable[[str], ActorCell], *, force: bool = False
    ) -> Message:
        """Send the message of a letter again, as a new message, to the actor of the same name
        (``find`` knows them). The letter leaves the list once it was accepted, else it stays.

        ``force`` sends also what is quarantined.

        Raises:
            NoSuchLetter: no letter has that number.
            NotRetried: its caller has gone, it is quarantined, or what it carried was not kept.
            Unanswered: it was not accepted: ``NoSuchActor``, ``ActorStopped``, ``MailboxFull``.
            NotHandled, MessageTooLarge: nor was this.
        """
        letter = self.get(number)
        old = letter.message
        if old.reply is not None:
            raise NotRetried(f"letter {number} was a question, and nobody waits for its answer now")
        if not letter.is_kept:
            raise NotRetried(
                f"what letter {number} carried was over {in_bytes(self.max_size // _SHARE)}, too "
                "large to be kept (a letter may take a quarter of dead_letters_size)"
            )
        if not (force or letter.retryable):
            raise NotRetried(
                f"letter {number} is quarantined: it crashed {letter.actor} "
                f"{letter.crashes} times (use --force to send it all the same)"
            )
        cell = find(letter.actor)
        if cell.overflow == "drop_newest" and cell.mailbox.is_full:
            # it would become a letter once more
            raise MailboxFull(cell.name, cell.mailbox.capacity)
        afresh = getattr(old.payload, "afresh", None)
        message = Message(
            old.kind,
            # the handler may have changed what it was given
            old.payload if afresh is None else afresh(),
            handler=old.handler,
            sender=old.sender,
            handle_timeout=old.handle_timeout,
            mode=old.mode,
            on_error=old.on_error,
            request_id=old.request_id,
        )
        message.origin = letter
        cell.offer(message)
        if number in self._letters:
            self._remove(number)
        else:  # what it displaced from a full mailbox has pushed its letter off the full list
            self.fell_off -= 1
        self.retried += 1
        return message

    def discard(self, number: int) -> None:
        """Throw a letter away for good.

        Raises:
            NoSuchLetter: no letter has that number.
        """
        self.get(number)
        self._remove(number)
        self.discarded += 1

    def __len__(self) -> int:
        return len(self._letters)
