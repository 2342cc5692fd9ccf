"""What a call to a supervisor can answer besides success: one class for each thing a caller does
differently. Each carries OTP's own term for it in ``term``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from .exits import ExitReason

if TYPE_CHECKING:
    from .child import Child

__all__ = [
    "AlreadyPresent",
    "AlreadyStarted",
    "InvalidSpec",
    "NoProc",
    "NotForPools",
    "NotFound",
    "Restarting",
    "Running",
    "SpecFault",
    "StartFailed",
    "SupervisorDied",
    "SupervisorError",
]


class SupervisorError(Exception):
    """The root of every error of this package."""

    @property
    def term(self) -> object:
        """The answer as OTP gives it, atoms as text: ``"not_found"``."""
        raise NotImplementedError


@attrs.frozen
class SpecFault:
    """One thing that is wrong with a child spec or with a supervisor's flags."""

    where: str
    """What it is in: ``child 'cache'``, ``supervisor 'shop'``."""
    reason: object
    """OTP's reason: ``("invalid_restart_type", "prmanent")``, ``"missing_start"``."""
    words: str
    """What is wrong and what is allowed."""

    def __str__(self) -> str:
        return f"{self.where}: {self.words}"


class InvalidSpec(SupervisorError, ValueError):
    """A spec or a flag is wrong. ``faults`` holds all of them, in the order in which OTP checks."""

    def __init__(self, faults: Iterable[SpecFault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))

    @property
    def term(self) -> object:
        return self.faults[0].reason


class StartFailed(SupervisorError):
    """Something did not start; ``reason`` is why (an :class:`ExitReason`)."""

    def __init__(self, what: str, reason: ExitReason) -> None:
        super().__init__(f"{what} did not start: {reason}")
        self.what = what
        self.reason = reason

    @property
    def term(self) -> object:
        return self.reason.term


class NoProc(SupervisorError):
    """The supervisor is not running, so nothing was done; but see :class:`SupervisorDied`."""

    def __init__(self, supervisor: str) -> None:
        super().__init__(f"supervisor {supervisor} is not running")
        self.supervisor = supervisor

    @property
    def term(self) -> object:
        return "noproc"


class SupervisorDied(NoProc):
    """The supervisor ended while the call waited for its answer.

    Where `begun` is False it had not come to the call, and nothing was done. Where it is True it
    was at it, and a part may have been done; as its children end with it, nothing of it runs on.
    """

    def __init__(self, supervisor: str, reason: ExitReason, begun: bool = False) -> None:
        super().__init__(supervisor)
        when = "while it was at this call" if begun else "before it came to this call"
        self.args = (f"supervisor {supervisor} ended ({reason}) {when}",)
        self.reason = reason
        self.begun = begun

    @property
    def term(self) -> object:
        return self.reason.term


class AlreadyStarted(SupervisorError):
    """A child with that id is running; it is ``child``."""

    def __init__(self, child: Child) -> None:
        super().__init__(f"child {child.id!r} is already running")
        self.child = child

    @property
    def term(self) -> object:
        return ("already_started", self.child)


def shown(value: object) -> str:
    """The ``repr`` of anybody's object; its type in place of one that cannot be made."""
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a boundary: a repr may raise anything
        return f"<a {type(value).__name__} that cannot be shown>"


class _AboutChild(SupervisorError):
    _term = ""
    _words = ""

    def __init__(self, id: object) -> None:
        super().__init__(self._words.format(id=shown(id)))
        self.id = id

    @property
    def term(self) -> object:
        return self._term


class AlreadyPresent(_AboutChild):
    """A spec with that id is there, but it does not run: ``restart_child`` or ``delete_child``."""

    _term = "already_present"
    _words = "there is a spec for {id} that is not running: restart_child() or delete_child() it"


class NotFound(_AboutChild):
    """The supervisor has no such child."""

    _term = "not_found"
    _words = "there is no child {id}"


class Running(_AboutChild):
    """The child is running: ``terminate_child`` it first."""

    _term = "running"
    _words = "child {id} is running: terminate_child() it first"


class Restarting(_AboutChild):
    """The supervisor is about to try to restart the child: ``terminate_child`` cancels that."""

    _term = "restarting"
    _words = "child {id} is waiting to be restarted: terminate_child() cancels that"


class NotForPools(_AboutChild):
    """The children of a simple_one_for_one supervisor have no ids; name them by their handles."""

    _term = "simple_one_for_one"
    _words = (
        "{id}: the children of a simple_one_for_one supervisor have no ids of their own; "
        "terminate_child() takes the handle that start_child() gave"
    )
