"""The history of an actor: what happened to it, for a person who asks why it is as it is.

It outlives the incarnations, as the cell does. What it keeps is data, put in words when
it is read.
"""

from __future__ import annotations

import heapq
import logging
from collections import deque
from collections.abc import Iterator
from typing import ClassVar, Protocol

import attrs

from supervisors import Failure

__all__ = ["CleanedUpBadly", "Faulted", "History", "StartedLate", "Told"]


class Told(Protocol):
    """One thing that happened; ``str()`` tells it in a sentence."""

    @property
    def time(self) -> float:
        """When, by Trio's clock (seconds)."""

    @property
    def level(self) -> int:
        """How bad it is: a level of :mod:`logging`."""


@attrs.frozen(kw_only=True)
class Faulted:
    """A handler failed while it answered: its caller got the fault, and the actor lived on."""

    level: ClassVar[int] = logging.ERROR
    time: float
    handling: str
    """The message that was being handled, in words."""
    why: str
    failure: Failure
    """What was raised; where it was late, the place at which it was cancelled."""
    request_id: str = ""

    def __str__(self) -> str:
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"failed on {self.handling}: {self.why}{request}"


@attrs.frozen(kw_only=True)
class CleanedUpBadly:
    """The clean-up of an incarnation failed, or was cut off at its deadline."""

    level: ClassVar[int] = logging.ERROR
    time: float
    why: str
    failure: Failure | None

    def __str__(self) -> str:
        return f"cleanup {self.why}"


@attrs.frozen(kw_only=True)
class StartedLate:
    """An ``initialize`` that took no notice of its cancellation ended after its deadline."""

    level: ClassVar[int] = logging.WARNING
    time: float
    took: float
    """Seconds."""
    allowed: float
    """Its deadline, seconds."""

    def __str__(self) -> str:
        return (
            f"initialize took {self.took:.1f} s, past its deadline of {self.allowed:g} s: it "
            "shields itself from being cancelled, or never waits"
        )


class History:
    """The newest reports of one actor, bounded: ``kept`` of its life and ``faults`` of its answers,
    apart, so that a flood of failing requests does not wash away why it was restarted."""

    def __init__(self, kept: int = 100, faults: int = 20) -> None:
        self._life: deque[Told] = deque(maxlen=kept)
        self._faults: deque[Faulted] = deque(maxlen=faults)

    def add(self, report: Told) -> None:
        """Keep ``report`` about its life: a start, a crash, a pause."""
        self._life.append(report)

    def add_fault(self, report: Faulted) -> None:
        """Keep ``report`` about an answer that failed."""
        self._faults.append(report)

    def __iter__(self) -> Iterator[Told]:
        """Everything that is kept, oldest first."""
        return heapq.merge(self._life, self._faults, key=lambda report: report.time)
