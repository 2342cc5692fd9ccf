"""Dead letters: accepted or offered messages nobody will handle, kept to be looked at.

A bounded list, newest last; what falls off its old end is counted, never silent.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

import attrs
import trio

from nexus_actors import log

if TYPE_CHECKING:
    from nexus_actors.actors.message import Kind, Message
    from supervisors import Failure

__all__ = ["DeadLetter", "DeadLetters"]

QUIET = 1.0
"""Seconds after a line about an actor's dead letter in which its further ones are only counted."""

_logger = log.get_logger("nexus.dead_letters")


@attrs.frozen
class DeadLetter:
    """One message nobody will handle, and why."""

    actor: str
    """Whose mailbox it was for."""
    kind: Kind
    handler: str
    """The handler it was meant for; empty where there is no name for it."""
    about: str
    """What it carries, in a word: an event's type, a route, a method; empty where it has none."""
    reason: str
    """``crash``, ``mailbox full``, ``stopped``, ``suspended``, ``callee failed``..."""
    payload: Any = attrs.field(repr=False)
    sender: str = ""
    report: Failure | None = None
    """How it made the handler fail, where it did: words and places, no frames."""
    retryable: bool = True
    """Whether handling it later could work: False for the one that crashed its handler."""
    number: int = 0
    """The message's number."""
    at: float = attrs.field(factory=trio.current_time)
    """Trio's clock, seconds."""


class DeadLetters:
    """The node's dead letters, at most ``capacity`` of them."""

    def __init__(self, capacity: int = 1000) -> None:
        self._letters: deque[DeadLetter] = deque(maxlen=capacity)
        self.total = 0
        """All there ever were; more than :meth:`list` shows once old ones fell off."""
        self._said: dict[str, tuple[float, int]] = {}
        """For each actor: when a line about it was logged, and how many letters since were not."""

    def add(
        self,
        actor: str,
        message: Message,
        reason: str,
        *,
        report: Failure | None = None,
        retryable: bool = True,
    ) -> DeadLetter:
        """Keep ``message``, which was for ``actor``; log one line about it."""
        letter = DeadLetter(
            actor=actor,
            kind=message.kind,
            handler=message.handler,
            about=message.about,
            reason=reason,
            payload=message.payload,
            sender=message.sender,
            report=report,
            retryable=retryable,
            number=message.number,
        )
        self._letters.append(letter)
        self.total += 1
        self._log(letter)
        return letter

    def _log(self, letter: DeadLetter) -> None:
        """One line, but not one for each of a flood: after a line about an actor the next ones are
        counted for :data:`QUIET` seconds, and the line after them says how many there were."""
        said_at, unsaid = self._said.get(letter.actor, (-math.inf, 0))
        if letter.at - said_at < QUIET:
            self._said[letter.actor] = (said_at, unsaid + 1)
            return
        self._said[letter.actor] = (letter.at, 0)
        _logger.warning(
            f"dead letter: {letter.kind} {letter.about or letter.number} for {letter.actor}"
            + (f", and {unsaid} more before it" if unsaid else ""),
            reason=letter.reason,
            **{
                field: value for field in ("handler", "sender") if (value := getattr(letter, field))
            },
        )

    def list(self) -> list[DeadLetter]:
        """What is kept, oldest first."""
        return [*self._letters]

    def __len__(self) -> int:
        return len(self._letters)
