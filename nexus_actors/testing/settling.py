"""Settling: waiting until actors have come to rest, told by Trio's own idleness, not by polling.

Trio says when no task can run (``wait_all_tasks_blocked``). If the actors are at rest then, that is
it; if not (one waits for PostgreSQL, say), the next step of any task is awaited, and it is looked
again.
"""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from nexus_actors.actors import ActorCell, ActorSystem, Message, Registry
from nexus_actors.actors.bridge import bridged
from nexus_actors.testing.clock import at_rest, frozen_clock, looking, next_step, within

__all__ = ["at_work", "registry_of", "settle", "settle_all"]


def registry_of(system: ActorSystem) -> Registry:
    """The names of all actors of ``system``."""
    return system._kernel.registry


@bridged
async def settle(system: ActorSystem, timeout: float = 5.0) -> None:
    """Wait until no actor of ``system`` has a message waiting or in hand, none is being started,
    restarted or stopped, and no task can run any more.

    ::

        await counter.tell(Add(5))
        await settle(system)

    What an actor keeps for later does not count: what it stashed, and what waits for one that is
    suspended. Sleeping background tasks do not count either. Under ``autojump_clock`` time passes
    meanwhile; ``timeout`` is in seconds of Trio's clock, under a clock that stands still
    (``mock_clock``) of real time.

    Raises:
        TimeoutError: somebody was still at work; the message says who, in what, and for how long.
    """
    await settle_all(registry_of(system), timeout)


async def settle_all(registry: Registry, timeout: float) -> None:
    """See :func:`settle`, for all actors of ``registry``."""
    if frozen_clock() is not None:
        await at_rest(timeout)
        found = at_work(registry)
        if found:
            raise TimeoutError(
                f"still at work, and the clock stands still: {'; '.join(found)}. Let time pass: "
                "await app.advance(seconds)"
            )
        return
    with within(timeout), looking():
        while True:
            await wait_all_tasks_blocked()
            if not at_work(registry):
                return
            await next_step()
    found = at_work(registry)
    raise TimeoutError(
        f"still at work after {timeout:g} s: {'; '.join(found)}"
        if found
        else f"no actor has a message after {timeout:g} s, but some task never rests"
    )


def at_work(registry: Registry) -> list[str]:
    """Who is at work, in what and for how long, in words; empty where all are at rest."""
    return [words for cell in _cells(registry) if (words := _work_of(cell))]


def _cells(registry: Registry) -> list[ActorCell]:
    return [address._cell for address in registry.addresses()]


def _work_of(cell: ActorCell) -> str:
    if cell.state in ("starting", "restarting", "stopping"):
        return f"{cell.name} is {cell.state}"
    waiting = cell.mailbox.waiting - cell.mailbox.put_aside
    if not cell.in_hand and (not waiting or cell.state != "running" or cell.mailbox.paused):
        return ""
    parts = [_in_hand(message) for message in cell.in_hand.values()]
    if waiting:
        parts.append(f"{waiting} waiting")
    return f"{cell.name}: {', '.join(parts)}"


def _in_hand(message: Message) -> str:
    name = message.handler or message.about or type(message.payload).__name__
    return f"{name} for {trio.current_time() - message.began:.3g} s"
