"""What happens to a plugin, as data that tells it in words: what the log, the pages and
``nexus why`` say.

A report says what happened, by which rule what was done about it, and what those saw who had sent
the plugin a message.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs

from nexus_actors.words import counted, shown_path
from supervisors import Failure

__all__ = [
    "Crashed",
    "Down",
    "Ended",
    "NotStarted",
    "NotStopped",
    "PluginReport",
    "Senders",
    "Started",
    "Waiting",
    "place_in",
    "summary",
    "trimmed",
]


def trimmed(folder: Path | None, failure: Failure) -> Failure:
    """``failure`` without the frames outside the plugin that led to its code, where it came there,
    and without the groups that say nothing but through which nursery it went; what the plugin
    called stays."""
    triples = failure.triples
    if folder is not None:
        for index, (file, _, _) in enumerate(triples):
            if Path(file).is_relative_to(folder.resolve()):
                triples = triples[index:]
                break
    causes = tuple(
        trimmed(folder, cause)
        for cause in failure.causes
        if cause.causes or cause.type not in ("ExceptionGroup", "BaseExceptionGroup")
    )
    return attrs.evolve(failure, triples=triples, causes=causes)


def summary(failure: Failure) -> str:
    """One line about ``failure``: of a group, what its members are; of our own errors, the name
    without its module."""
    kind = failure.type
    if kind.startswith("nexus_actors."):
        kind = kind.rpartition(".")[2]
    words = f"{kind}: {failure.message}" if failure.message else kind
    members = [summary(each) for each in failure.causes if each.relation == "member"]
    return f"{words}: {', '.join(members)}" if members else words


def place_in(folder: Path | None, failure: Failure) -> str:
    """``plugins/shop/plugin.py:12``: the innermost place of ``failure`` in the plugin's own files;
    empty where it is in none of them."""
    if folder is None:
        return ""
    for file, line, _ in reversed(failure.triples):
        if Path(file).is_relative_to(folder.resolve()):
            return f"{shown_path(Path(file))}:{line}"
    for member in failure.causes:  # a group is raised by a nursery; its members know where
        if member.relation == "member" and (place := place_in(folder, member)):
            return place
    return ""


@attrs.frozen(kw_only=True)
class Senders:
    """What those saw who had sent messages to a plugin that went away."""

    cut: int = 0
    """Callers whose message it had in hand: 503, to be sent again."""
    turned_away: int = 0
    """Callers whose message had not begun, told that it does not run: 503 with the next try."""
    letters: int = 0
    """Messages without a caller that went to dead letters."""
    waiting: int = 0
    """Messages that wait for its return."""

    def __str__(self) -> str:
        told = self.cut + self.turned_away
        parts = []
        if told:
            parts.append(f"{counted(told, 'caller')} got 503")
        if self.letters:
            parts.append(f"{counted(self.letters, 'message')} went to dead letters")
        if self.waiting:
            verb = "waits" if self.waiting == 1 else "wait"
            parts.append(f"{counted(self.waiting, 'message')} {verb} for its return")
        return ", ".join(parts)


@attrs.frozen(kw_only=True)
class PluginReport:
    """What every report about a plugin says."""

    level: ClassVar[int] = logging.INFO
    """How bad it is: a level of :mod:`logging`."""

    time: float
    """When, by Trio's clock (seconds)."""

    def as_dict(self) -> dict[str, Any]:
        """Its fields for JSON, with ``what`` it is."""
        return {"what": type(self).__name__, **attrs.asdict(self)}


@attrs.frozen(kw_only=True)
class Waiting(PluginReport):
    """It does not start yet, for something that it needs is not there."""

    why: str

    def __str__(self) -> str:
        return f"waits for {self.why}"


@attrs.frozen(kw_only=True)
class Started(PluginReport):
    """It is up: ``initialize`` has ended."""

    level: ClassVar[int] = logging.DEBUG
    incarnation: int
    """1 for the first time it came up."""
    senders: Senders
    """Who saw what since the last report: it was stopped, to be started with a service."""

    def __str__(self) -> str:
        again = "" if self.incarnation == 1 else " again"
        return _sentences(f"started{again} (incarnation {self.incarnation})", self)


@attrs.frozen(kw_only=True)
class Crashed(PluginReport):
    """It or one of its services crashed, and what its supervisor does about that."""

    level: ClassVar[int] = logging.ERROR
    child: str
    """Which child of its supervisor: ``plugin``, or ``service Mailer``."""
    abnormal: bool
    """False where it ended by a reason that is no failure."""
    handling: str
    """The message that was being handled, in words; empty where it was a task, or the service."""
    why: str
    """The exception, or how else it ended."""
    place: str
    """Where in the plugin's own files; empty where it is in none."""
    failure: Failure | None
    """All of what was raised, None where nothing was."""
    rule: str
    """What its supervisor does about that, and why."""
    restarts: int
    """Restarts within the period, with this one; where a pause comes before it, those so far."""
    intensity: int
    period: float
    senders: Senders

    def __str__(self) -> str:
        return _sentences(f"{self._what()}: {_placed(self.why, self.place)}; {self.rule}", self)

    def _what(self) -> str:
        verb = "crashed" if self.abnormal else "ended"
        whose = verb if self.child == "plugin" else f"its {self.child} {verb}"
        return f"{whose} on {self.handling}" if self.handling else whose


@attrs.frozen(kw_only=True)
class NotStarted(PluginReport):
    """A restart did not succeed."""

    level: ClassVar[int] = logging.ERROR
    child: str
    why: str
    place: str
    failure: Failure | None
    rule: str
    """When it is tried again, and how much of the intensity is used."""

    def __str__(self) -> str:
        whose = "" if self.child == "plugin" else f"its {self.child} "
        return f"{whose}did not start again: {_placed(self.why, self.place)}; {self.rule}"


@attrs.frozen(kw_only=True)
class NotStopped(PluginReport):
    """It was asked to stop and did not end as it should."""

    level: ClassVar[int] = logging.ERROR
    child: str
    why: str
    place: str
    failure: Failure | None
    shutdown: str
    """How long it may take: ``within 5 s``."""

    def __str__(self) -> str:
        whose = "it" if self.child == "plugin" else f"its {self.child}"
        why = _placed(self.why, self.place)
        return f"{whose} did not stop in good order {self.shutdown}: {why}"


@attrs.frozen(kw_only=True)
class Ended(PluginReport):
    """It has ended and is not started again."""

    why: str
    senders: Senders

    def __str__(self) -> str:
        return _sentences(f"ended: {self.why}", self)


@attrs.frozen(kw_only=True)
class Down(PluginReport):
    """It could not come up, or crashed too often: it is tried again after a pause, and meanwhile
    its callers are told at once."""

    level: ClassVar[int] = logging.ERROR
    state: Literal["failed", "suspended"]
    """``failed`` where it never came up."""
    why: str
    failure: Failure | None
    """What was raised last, where it was not told before."""
    tries: int
    """Pauses in a row, with this one."""
    pause: float
    """Seconds until the next try."""
    senders: Senders

    def __str__(self) -> str:
        return _sentences(f"{self.state}: {self.why}; next try in {self.pause:.1f} s", self)


def _sentences(words: str, report: Started | Crashed | Ended | Down) -> str:
    senders = str(report.senders)
    return f"{words}; {senders}" if senders else words


def _placed(why: str, place: str) -> str:
    return f"{why} ({place})" if place else why
