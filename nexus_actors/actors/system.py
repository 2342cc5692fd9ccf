"""An actor system: actors without plugins, node or server, supervised in one place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import trio

from nexus_actors.actors.address import Address
from nexus_actors.actors.base import Actor
from nexus_actors.actors.children import Children
from nexus_actors.actors.dead_letters import DeadLetters
from nexus_actors.actors.given import check_seconds, given_cell, given_plan
from nexus_actors.actors.groups import Group
from nexus_actors.actors.kernel import Kernel
from nexus_actors.actors.routing import Pool, Route
from nexus_actors.actors.stalls import naming_stalls
from supervisors import Reporter, log_report

__all__ = ["ActorSystem", "open_system"]


class ActorSystem:
    """Spawns the outermost actors; made by :func:`open_system`."""

    def __init__(self, children: Children, kernel: Kernel) -> None:
        self._children = children
        self._kernel = kernel

    @property
    def dead_letters(self) -> DeadLetters:
        """What nobody will handle: its ``list()``, ``get(number)`` and ``discard(number)``."""
        return self._kernel.dead_letters

    def retry(self, number: int, *, force: bool = False) -> None:
        """Send the message of a dead letter again, as a new one, to the actor that now has the
        name. The letter leaves the list once that took it, else it stays.

        ``force`` sends also a letter that is quarantined: it crashed its actor twice.

        Raises:
            NoSuchLetter: no letter has that number.
            NotRetried: its caller has gone, it is quarantined, or what it carried was not kept.
            NoSuchActor, ActorStopped, MailboxFull: it was not accepted.
            NotHandled, MessageTooLarge: nor was this.
        """
        self._kernel.dead_letters.retry(number, self._kernel.registry.cell, force=force)

    async def spawn(self, kind: type[Actor], *args: Any, name: str = "", **options: Any) -> Address:
        """Start an actor and return its address; as :meth:`.Actor.spawn` for its children."""
        return await self._children.spawn(given_plan("spawn", kind, args, options), name)

    async def spawn_pool(
        self,
        kind: type[Actor],
        *args: Any,
        size: int,
        route: Route = "round_robin",
        name: str = "",
        **options: Any,
    ) -> Pool:
        """Start ``size`` alike and return the pool; as :meth:`.Actor.spawn_pool`."""
        return await self._children.spawn_pool(
            given_plan("spawn_pool", kind, args, options), size=size, route=route, name=name
        )

    async def stop(self, address: Address) -> None:
        """Stop one of the outermost actors for good and wait until it has ended.

        Raises:
            ValueError: it is another actor's child.
        """
        await self._children.stop(given_cell("stop", address))

    def address(self, name: str) -> Address:
        """The address of the actor of that name: ``counter``, or ``counter/worker-1``.

        Raises:
            NoSuchActor: there is none; the message suggests the nearest.
        """
        return self._kernel.registry.address(name)

    def addresses(self) -> list[Address]:
        """Every actor there is, children too."""
        return self._kernel.registry.addresses()

    def group(self, name: str) -> Group:
        """The group of that name, empty where nobody has joined it."""
        return self._kernel.groups.group(name)


@asynccontextmanager
async def open_system(
    *,
    intensity: int = 5,
    period: float = 30.0,
    dead_letters: DeadLetters | None = None,
    on_report: Reporter = log_report,
    stall_warn: float | None = 1.0,
) -> AsyncIterator[ActorSystem]:
    """Run actors for as long as the block lasts; then stop them, the last one first.

    ``intensity`` and ``period`` (seconds) bound how often the outermost actors are restarted.
    ``dead_letters`` is where to keep what nobody handles: ``DeadLetters(capacity, max_size)``, in
    messages and bytes; 1,000 in 64 MiB where it is left out. An actor, or other code, that holds
    the event loop for ``stall_warn`` seconds is named in the log; None: nobody looks.

    Raises:
        ChildrenGaveUp: they were restarted more often than that.
    """
    if stall_warn is not None:
        check_seconds("stall_warn", stall_warn, above=0)
    kernel = Kernel(dead_letters=DeadLetters() if dead_letters is None else dead_letters)
    children = Children("", kernel, intensity=intensity, period=period, on_report=on_report)
    failure: BaseException | None = None
    try:
        looking = nullcontext() if stall_warn is None else naming_stalls(stall_warn)
        with looking:
            async with trio.open_nursery() as nursery:
                await nursery.start(children.run)
                yield ActorSystem(children, kernel)
                await children.close()
    except BaseExceptionGroup as group:
        failure = group.exceptions[0] if len(group.exceptions) == 1 else group
    if failure is not None:
        raise failure  # out here the nursery does not wrap it
