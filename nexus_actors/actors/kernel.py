"""The kernel: what all actors of one system share - names, dead letters, groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from nexus_actors.actors.actor import Limits, run_incarnation
from nexus_actors.actors.belongings import Belongings
from nexus_actors.actors.dead_letters import DeadLetters
from nexus_actors.actors.faults import has_cancelled
from nexus_actors.actors.groups import Groups
from nexus_actors.actors.owner import Owner, living_in_this_task, owner_here
from nexus_actors.actors.registry import Registry

if TYPE_CHECKING:
    from nexus_actors.actors.cell import ActorCell
    from nexus_actors.actors.children import Plan
    from nexus_actors.actors.run_queue import RunQueue
    from supervisors import Child

__all__ = ["Kernel"]


@attrs.frozen
class Kernel:
    """Plain objects: there is nothing in them that could crash."""

    registry: Registry = attrs.field(factory=Registry)
    dead_letters: DeadLetters = attrs.field(factory=DeadLetters)
    groups: Groups = attrs.field(factory=Groups)

    async def live(
        self, child: Child, cell: ActorCell, plan: Plan, limits: Limits, queue: RunQueue
    ) -> None:
        """Be one incarnation of the actor in ``cell``: the work of its child spec."""
        owner = Owner(cell.name, _ignore, above=owner_here.get())
        try:
            with living_in_this_task(owner):
                behaviour = plan.make(Belongings(cell, self))
                await run_incarnation(child, cell, behaviour, limits, queue=queue, owner=owner)
        except BaseException as error:
            if owner.is_stubborn and not has_cancelled(error):
                owner.escalate()  # a restart is no help
            raise
        finally:
            owner.ended, owner.crash = True, _ignore


def _ignore(error: BaseException) -> None:
    """What is raised before there is an incarnation, or after it, crashes none."""
