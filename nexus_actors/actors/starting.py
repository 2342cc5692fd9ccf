"""Starts that would wait for one another: found when the ask is made that would close the knot.

An actor that is not up yet handles nothing. So an ask made by ``initialize`` is never answered by
an actor that will not come up before the one that asks: because it requires that one, or because
its own ``initialize`` asks it. Only what ``initialize`` itself waits for counts: a background task
that it has started may well ask such an actor, and is answered when both are up.
"""

from __future__ import annotations

import contextvars
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from nexus_actors.actors.waiting import waits_for
from nexus_actors.errors import AskCycle

if TYPE_CHECKING:
    from nexus_actors.actors.cell import ActorCell

__all__ = ["Start", "beginning", "current_start", "refuse_knot", "start_in_hand"]


@attrs.define(eq=False)
class Start:
    """One ``initialize`` that is under way."""

    cell: ActorCell
    task: trio.lowlevel.Task
    """Trio's task that runs it, or waits for it."""
    nursery: trio.Nursery
    """The incarnation's: tasks in it are not waited for."""
    asks: list[ActorCell] = attrs.field(factory=list)
    """Whose answers it waits for now."""

    @contextmanager
    def asking(self, cell: ActorCell) -> Iterator[None]:
        """While it waits for the answer of ``cell``."""
        self.asks.append(cell)
        try:
            yield
        finally:
            self.asks.remove(cell)


current_start: contextvars.ContextVar[Start | None] = contextvars.ContextVar(
    "nexus_current_start", default=None
)
"""The start this context stems from; :func:`start_in_hand` tells whether it still is of it."""


@contextmanager
def beginning(cell: ActorCell, nursery: trio.Nursery) -> Iterator[None]:
    """Around ``initialize`` of an incarnation of ``cell`` that owns ``nursery``."""
    start = Start(cell, trio.lowlevel.current_task(), nursery)
    token = current_start.set(start)
    cell.start = start
    try:
        yield
    finally:
        cell.start = None
        current_start.reset(token)


def start_in_hand() -> Start | None:
    """The start that waits for this code to go on, or None: it is over, there is none, or the code
    runs in a background task."""
    start = current_start.get()
    if start is None or start.cell.start is not start:
        return None
    return start if waits_for(start.task, start.nursery) else None


def refuse_knot(chain: Collection[str], asked: ActorCell) -> None:
    """Raise where ``asked`` will not come up before one in ``chain``, whose first is starting.

    ``chain`` are the actors that wait for this ask, outermost first.

    Raises:
        AskCycle: with the path, and in words why each waits for the next.
    """
    ways: list[list[tuple[str, ActorCell]]] = [[("asks", asked)]]
    seen = {asked}
    while ways:
        way = ways.pop(0)
        for verb, cell in _waits_for(way[-1][1]):
            if cell.name in chain and cell.start is not None:
                raise _cycle(chain, [*way, (verb, cell)])
            if cell not in seen:
                seen.add(cell)
                ways.append([*way, (verb, cell)])


def _waits_for(cell: ActorCell) -> Iterator[tuple[str, ActorCell]]:
    """What has to come about before ``cell`` is up."""
    if cell.state == "running":
        return
    if cell.start is not None:
        yield from (("whose initialize asks", each) for each in cell.start.asks)
    else:
        verb = "which is started after" if cell.is_child else "which requires"
        yield from ((verb, each) for each in cell.awaits if each.state != "running")


def _cycle(chain: Collection[str], way: list[tuple[str, ActorCell]]) -> AskCycle:
    first = way[-1][1].name
    names = [*chain][[*chain].index(first) :]
    hops = [f"initialize of {first} asks {[*names[1:], way[0][1].name][0]}"]
    hops += [f"which asks {name}" for name in [*names[2:], way[0][1].name][: len(names) - 1]]
    hops += [f"{verb} {cell.name}" for verb, cell in way[1:]]
    return AskCycle((*names, *(cell.name for _, cell in way)), ", ".join(hops))
