"""What can go wrong between a caller, a plugin and the node.

There is one class for each thing a caller does differently.

Three families, which the fault rule tells apart (see :mod:`nexus_actors.actors.faults`):

* :class:`Unanswered` - the other side could not answer. Whoever lets it out of a handler is not to
  blame.
* :class:`HTTPError` - an expected refusal, said by a handler on purpose: neither fault nor crash.
* :class:`Invalid` - bad input, with every fault found at once, each with its place and its fix.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

import attrs

__all__ = [
    "ActorRestarted",
    "ActorStopped",
    "AskCycle",
    "AskTimeout",
    "CannotCross",
    "DatabaseUnavailable",
    "Fault",
    "HTTPError",
    "Invalid",
    "MailboxFull",
    "MessageTooLarge",
    "NexusError",
    "NoSuchActor",
    "NotInNode",
    "PermissionDenied",
    "RemoteError",
    "Unanswered",
    "did_you_mean",
]


class NexusError(Exception):
    """The root of every error of this package."""


class Unanswered(NexusError):
    """The other side gave no answer; the one who asked is not to blame.

    When it leaves a handler, the handler's plugin is not crashed by it: a waiting caller gets
    :attr:`status`, a message without a caller goes to dead letters, where it can be retried.
    """

    status: int = 503
    """HTTP status a client gets for it."""

    retry_after: float | None = None
    """Seconds after which another try makes sense, or None where that is not known."""

    @property
    def for_clients(self) -> str:
        """What an HTTP client may know of it: its words, but for those that are for the log."""
        return str(self)


class RemoteError(Unanswered):
    """The callee's handler raised. ``cause`` is its type and message in words, never the object."""

    status = 502

    def __init__(self, actor: str, cause: str) -> None:
        super().__init__(f"{actor} failed while answering: {cause}")
        self.actor = actor
        self.cause = cause

    @property
    def for_clients(self) -> str:
        """The plugin alone: what was raised there may tell secrets."""
        return f"{self.actor.partition('/')[0]} failed while answering"


class ActorStopped(Unanswered):
    """The actor is known but not running (stopped, failed, suspended); nothing was accepted."""

    def __init__(
        self, actor: str, state: str = "stopped", retry_after: float | None = None
    ) -> None:
        when = "" if retry_after is None else f"; next try in {retry_after:.1f} s"
        if state == "waiting" and retry_after is not None:
            when = f" for what it needs; ask again in {retry_after:.0f} s"
        super().__init__(f"{actor} is {state}{when}")
        self.actor = actor
        self.state = state
        self.retry_after = retry_after


class ActorRestarted(Unanswered):
    """The actor crashed with this message in hand; the next incarnation does not see it."""

    def __init__(self, actor: str, retry_after: float = 1.0) -> None:
        super().__init__(f"{actor} was restarted while it had this message in hand")
        self.actor = actor
        self.retry_after = retry_after


class NoSuchActor(Unanswered):
    """No actor answers to that name; ``nearest`` are the known names most like it."""

    status = 502

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        self.name = name
        self.nearest = get_close_matches(name, list(known), n=3, cutoff=0.5)
        super().__init__(f"no actor is called {name!r}{did_you_mean(self.nearest)}")


class MailboxFull(Unanswered):
    """The mailbox is at its capacity; the message was refused and is still the sender's."""

    def __init__(self, actor: str, capacity: int, retry_after: float = 1.0) -> None:
        super().__init__(f"the mailbox of {actor} is full (it holds {capacity:,})")
        self.actor = actor
        self.capacity = capacity
        self.retry_after = retry_after


class AskTimeout(Unanswered):
    """No reply by the deadline. ``timeout`` is in seconds; 0: nothing was sent, for it was up."""

    status = 504

    def __init__(self, actor: str, timeout: float) -> None:
        super().__init__(
            f"{actor} gave no reply within {timeout:.3g} s"
            if timeout > 0
            else f"{actor} was not asked: the time for its answer was up already"
        )
        self.actor = actor
        self.timeout = timeout


class AskCycle(Unanswered):
    """The ask would wait for an actor that waits for this very ask. ``path`` names the chain;
    ``how`` tells in words why each waits for the next, where they do not simply ask."""

    status = 508

    def __init__(self, path: Iterable[str], how: str = "") -> None:
        self.path = tuple(path)
        why = f" ({how})" if how else ""
        super().__init__(f"this ask would wait for itself: {' > '.join(self.path)}{why}")


class DatabaseUnavailable(Unanswered):
    """PostgreSQL cannot be reached just now; the node keeps trying."""

    def __init__(self, why: str, retry_after: float = 1.0) -> None:
        super().__init__(f"the database is not available: {why}")
        self.retry_after = retry_after

    @property
    def for_clients(self) -> str:
        """Without why, which names sockets, users and hosts."""
        return "the database is not available just now"


class HTTPError(NexusError):
    """An expected refusal: ``raise HTTPError(404, "no such order")`` answers just that.

    ``status`` is 400 to 599; ``detail`` is for the client; ``headers`` are added to the reply.
    """

    def __init__(
        self, status: int, detail: str = "", *, headers: Mapping[str, str] | None = None
    ) -> None:
        if not 400 <= status <= 599:
            raise ValueError(f"HTTPError wants a status from 400 to 599, not {status}")
        super().__init__(f"{status} {detail}".rstrip())
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


class PermissionDenied(NexusError):
    """The plugin's manifest does not ask for what it tried; the message names the line to add."""

    def __init__(self, plugin: str, permission: str, action: str) -> None:
        super().__init__(
            f'{plugin} may not {action}: add "{permission}" to "permissions" in its plugin.json'
        )
        self.plugin = plugin
        self.permission = permission


class NotInNode(NexusError):
    """Something only a running node can give was used on an object that is in none."""


class CannotCross(NexusError, TypeError):
    """A value that may not cross from one plugin to another; names its type and place."""


class MessageTooLarge(NexusError, ValueError):
    """A message over the ``max_size`` of its receiver's mailbox; nothing was accepted.

    A mistake of the one who sends, as :class:`CannotCross` is: the same message is too large the
    next time too. ``limit`` is in bytes; ``part`` says where the bulk of it is.
    """

    def __init__(self, actor: str, what: str, limit: int, part: str = "") -> None:
        bulk = f": {part}" if part else ""
        super().__init__(
            f"{what} for {actor} is over {limit:,} bytes, the max_size of its mailbox{bulk} (send "
            "less at a time, or where to find it; or raise max_size)"
        )
        self.actor = actor
        self.limit = limit
        self.part = part


@attrs.frozen
class Fault:
    """One thing that is wrong with some input."""

    where: str
    """The file or source and the path in it: ``plugins/shop/plugin.json: permissions[2]``."""
    what: str
    """What is wrong, with the offending value."""
    fix: str = ""
    """What to write instead, as an imperative; empty where ``what`` already says it."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.fix})" if self.fix else "")


class Invalid(NexusError, ValueError):
    """Bad input. ``faults`` holds everything that is wrong with it, not only the first thing."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


def did_you_mean(names: Iterable[str]) -> str:
    """``"; did you mean 'a' or 'b'?"``, or nothing where there are no names."""
    listed = " or ".join(repr(name) for name in names)
    return f"; did you mean {listed}?" if listed else ""
