"""Looking into a live actor: its state, account and last messages, without disturbing it."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import trio

from nexus_actors.actors.mailbox import MailboxStatistics
from nexus_actors.actors.statistics import ActorStatistics, statistics_of

if TYPE_CHECKING:
    from nexus_actors.actors.cell import ActorCell

__all__ = ["Begun", "Look", "look_into"]

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


@attrs.frozen
class Begun:
    """A message whose handler was begun."""

    ago: float
    """Seconds since then."""
    kind: str
    about: str
    """The handler's name, or the type of what was sent."""
    sender: str


@attrs.frozen
class Look:
    """An actor at one moment."""

    name: str
    state: str
    reason: str
    """Why it is not running, in words; empty while it is."""
    incarnation: int
    crashes: int
    faults: int
    paused: bool
    """Whether it was suspended by hand."""
    statistics: ActorStatistics
    """Its numbers."""
    attributes: Mapping[str, str]
    """What its object holds, each value as a short ``repr``; names with an underscore left out."""
    recent: tuple[Begun, ...]
    """The messages that were begun last, the newest last."""

    @property
    def account(self) -> MailboxStatistics:
        """The account of its messages."""
        return self.statistics.mailbox


def look_into(cell: ActorCell) -> Look:
    """Take a look at the actor in ``cell``."""
    now = trio.current_time()
    return Look(
        name=cell.name,
        state=cell.state,
        reason=cell.reason,
        incarnation=cell.incarnation,
        crashes=cell.crashes,
        faults=cell.faults,
        paused=cell.mailbox.paused,
        statistics=statistics_of(cell),
        attributes={
            name: _shown(value) for name, value in cell.inside().items() if not name.startswith("_")
        },
        recent=tuple(_begun(now, *entry) for entry in cell.recent),
    )


def _begun(now: float, at: float, kind: Any, about: str = "", sender: str = "") -> Begun:
    if isinstance(kind, type):
        return Begun(now - at, "tell", kind.__name__, "")
    return Begun(now - at, kind, about, sender)


def _shown(value: object) -> str:
    try:
        return _short.repr(value)
    except Exception as error:  # noqa: BLE001 - an author's __repr__ may raise anything
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"
