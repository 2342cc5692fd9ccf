"""What a supervisor tells about its work: one frozen class for each thing that can happen.

A report is data; its words are made when ``str()`` asks for them. Reports are always made: they go
to the supervisor's ``on_report``, a nested supervisor's to its parent's, and where there is none to
the logger ``supervisors`` of the standard library.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ClassVar, Literal

import attrs

from .exits import ExitReason

__all__ = [
    "ChildTerminated",
    "GaveUp",
    "ProgressReport",
    "Report",
    "Reporter",
    "RetryScheduled",
    "ShutdownError",
    "StartError",
    "SupervisorEnded",
    "SupervisorStarted",
    "log_report",
]

Reporter = Callable[["Report"], None]
"""Takes each report, in the supervisor's own task: it must be quick. What it raises is logged."""

Action = Literal["restart", "leave", "forget", "give_up", "shut_down"]


@attrs.frozen(kw_only=True)
class Report:
    """What every report says."""

    level: ClassVar[int] = logging.INFO
    """The logging level it has where nobody takes the reports."""

    supervisor: str
    """The path of the supervisor: ``root/shop``."""
    time: float
    """When, in Trio's time (seconds)."""


@attrs.frozen(kw_only=True)
class ProgressReport(Report):
    """A child was started."""

    level: ClassVar[int] = logging.DEBUG
    id: object
    incarnation: int
    """1 for its first start under this supervisor, 2 after the first restart, and so on."""

    def __str__(self) -> str:
        again = "" if self.incarnation == 1 else f" again (start {self.incarnation})"
        return f"{self.supervisor} started {self.id!r}{again}"


@attrs.frozen(kw_only=True)
class ChildTerminated(Report):
    """A child ended on its own; what its supervisor does about that, and by which rule."""

    id: object
    reason: ExitReason
    restart: str
    """Its restart type."""
    action: Action
    """``restart``; ``leave`` (its spec stays, not running); ``forget`` (temporary: the spec goes
    with it); ``give_up`` (too many restarts); ``shut_down`` (auto_shutdown)."""
    strategy: str
    others: tuple[object, ...] = ()
    """Its siblings that are stopped and started with it, in start order."""
    dropped: tuple[object, ...] = ()
    """Its siblings that are stopped for that and, being temporary, not started again."""
    restarts: int = 0
    """Restarts within the period, with this one; before a pause without it, since a restart counts
    when it is made."""
    intensity: int = 0
    """How many are allowed."""
    period: float = 0.0
    """Within how many seconds."""
    pause: float = 0.0
    """Seconds until the restart is tried, 0 for at once."""

    @property
    def level(self) -> int:  # type: ignore[override]
        """A normal ending is worth a note, any other an error."""
        normal = not self.reason.abnormal and self.restart != "permanent"
        return logging.INFO if normal else logging.ERROR

    def __str__(self) -> str:
        return f"{self.supervisor}: {self.id!r} ended: {self.reason}; {self.consequence}"

    @property
    def consequence(self) -> str:
        """What is done about it and by which rule, in words."""
        if self.action == "forget":
            return "it is temporary, so it is not started again"
        if self.action == "leave":
            return f"it is {self.restart} and ended normally, so it is not started again"
        if self.action == "shut_down":
            return "it is significant, so the supervisor shuts down"
        used = f"restart {self.restarts} of {self.intensity} in {self.period:g} s"
        if self.pause:
            used = f"{self.restarts} of {self.intensity} restarts in {self.period:g} s are used"
        if self.action == "give_up":
            return f"{used}, one too many: the supervisor gives up"
        also = f" with {_listed(self.others)}" if self.others else ""
        drop = f", {_listed(self.dropped)} only stopped" if self.dropped else ""
        when = f" in {self.pause:.3g} s" if self.pause else ""
        again = f"so it is started again{also}{when}{drop}"
        return f"it is {self.restart}, {again} ({self.strategy}; {used})"


@attrs.frozen(kw_only=True)
class StartError(Report):
    """A child did not start."""

    level: ClassVar[int] = logging.ERROR
    id: object
    reason: ExitReason

    def __str__(self) -> str:
        return f"{self.supervisor}: {self.id!r} did not start: {self.reason}"


@attrs.frozen(kw_only=True)
class RetryScheduled(Report):
    """A restart did not succeed and will be tried again."""

    level: ClassVar[int] = logging.WARNING
    id: object
    pause: float
    """Seconds until then; 0 means as soon as waiting calls are answered."""
    tries: int
    """Restarts in a row so far."""
    restarts: int = 0
    """Restarts within the period that are used so far."""
    intensity: int = 0
    """How many are allowed."""
    period: float = 0.0
    """Within how many seconds."""

    def __str__(self) -> str:
        when = f"in {self.pause:.3g} s" if self.pause else "at once"
        tries = "1 try" if self.tries == 1 else f"{self.tries} tries"
        return (
            f"{self.supervisor}: trying {self.id!r} again {when} (after {tries}; "
            f"{self.restarts} of {self.intensity} restarts in {self.period:g} s are used)"
        )


@attrs.frozen(kw_only=True)
class ShutdownError(Report):
    """A child that was stopped did not end as it should, for instance only by being killed."""

    level: ClassVar[int] = logging.ERROR
    id: object
    reason: ExitReason
    shutdown: float | str

    def __str__(self) -> str:
        return (
            f"{self.supervisor}: {self.id!r} was stopped (shutdown {self.shutdown}) "
            f"but ended: {self.reason}"
        )


@attrs.frozen(kw_only=True)
class GaveUp(Report):
    """Too many restarts: the supervisor stops its children and ends with ``shutdown``."""

    level: ClassVar[int] = logging.ERROR
    id: object
    """The child whose restart was one too many."""
    restarts: int
    intensity: int
    period: float

    def __str__(self) -> str:
        return (
            f"{self.supervisor} gives up: {self.id!r} needed restart {self.restarts} within "
            f"{self.period:g} s, {self.intensity} are allowed"
        )


@attrs.frozen(kw_only=True)
class SupervisorStarted(Report):
    """The supervisor is up, and all its first children before it."""

    level: ClassVar[int] = logging.DEBUG

    def __str__(self) -> str:
        return f"{self.supervisor} is up"


@attrs.frozen(kw_only=True)
class SupervisorEnded(Report):
    """The supervisor itself is gone, and all its children before it."""

    level: ClassVar[int] = logging.DEBUG
    reason: ExitReason

    def __str__(self) -> str:
        return f"{self.supervisor} ended: {self.reason}"


def _listed(ids: tuple[object, ...]) -> str:
    return ", ".join(map(repr, ids))


_logger = logging.getLogger("supervisors")


def log_report(report: Report) -> None:
    """The reporter where there is no other: one line to the logger ``supervisors``."""
    if _logger.isEnabledFor(report.level):
        _logger.log(report.level, "%s", report)


def deliver(reporter: Reporter, report: Report) -> None:
    """Hand a report over. An observer's fault is logged; it never changes what is observed."""
    try:
        reporter(report)
    except Exception:
        _logger.exception("the on_report of %s failed on: %s", report.supervisor, report)
