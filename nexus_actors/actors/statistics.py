"""The numbers of an actor: its mailbox's account, how long its handlers took, how often it began.

They are counted as long as its name lives, through all its incarnations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from nexus_actors.actors.mailbox import MailboxStatistics

if TYPE_CHECKING:
    from nexus_actors.actors.cell import ActorCell

__all__ = ["ActorStatistics", "Work", "statistics_of"]


@attrs.define
class Work:
    """Adds up what handlers do; written by the incarnation, for each message."""

    begun: int = 0
    handling_time: float = 0.0
    longest_handling: float = 0.0
    longest_handler: str = ""
    waiting_time: float = 0.0
    longest_wait: float = 0.0


@attrs.frozen
class ActorStatistics:
    """An actor's numbers at one moment; counts are since it was first spawned or loaded, times are
    seconds."""

    mailbox: MailboxStatistics
    """The account of its messages."""
    restarts: int
    """How many times it came up again."""
    crashes: int
    faults: int
    """Faults in answering, answers that were not there in time among them."""
    sessions: int
    """Streams and websockets that are open now."""
    begun: int
    """Handlers begun; a message that was put aside counts each time."""
    handling_time: float
    """What ended handlers took in all, their waiting at awaits too. Beside each other, they can
    take more than the time that went by."""
    longest_handling: float
    longest_handler: str
    """Which one that was: its name, or the type of what it handled."""
    waiting_time: float
    """What the begun messages had waited in all, from their acceptance on."""
    longest_wait: float


def statistics_of(cell: ActorCell) -> ActorStatistics:
    """The numbers of the actor in ``cell`` as they stand."""
    numbers = attrs.asdict(cell.work)
    numbers["begun"] += cell.mailbox.bare_handled
    return ActorStatistics(
        mailbox=cell.mailbox.statistics(),
        restarts=max(0, cell.incarnation - 1),
        crashes=cell.crashes,
        faults=cell.faults,
        sessions=cell.sessions,
        **numbers,
    )
