"""One clock for all connections of a server, in place of a timer for each of their steps."""

from __future__ import annotations

import math
from typing import Protocol

import trio

__all__ = ["SOON", "Sweeper", "Swept"]

TICK = 0.01
"""Seconds between two looks at connections that are to be looked at soon."""
ROUND = 0.05
"""Least seconds between two looks at all connections."""
SOON = -math.inf
"""What :meth:`Swept.sweep` returns for a connection that is to be looked at with the next tick."""


class Swept(Protocol):
    """A connection as the sweeper sees it."""

    def sweep(self, now: float) -> float:
        """Look whether its time is up; ``now`` is Trio's clock. Must not wait.

        Returns the time of the next look, or :data:`SOON`.
        """
        ...


class Sweeper:
    """Looks at every connection when it wants to be looked at, and a little later.

    A deadline by Trio costs as much as parsing a request, and most are met. Here a connection
    writes down by when it must be done, which costs nothing, and is looked at soon after that. It
    ticks only while requests come in; else it sleeps until the first of the times written down.
    """

    def __init__(self) -> None:
        self.busy: set[Swept] = set()
        """Connections with a request in hand; each adds itself and takes itself out."""
        self.wakes_at = -math.inf
        """Until when it sleeps. Who wants an earlier look, as every new request does, must
        :meth:`wake` it; -inf while it ticks, and nobody must."""
        self._all: set[Swept] = set()
        self._woken = trio.Event()

    def add(self, connection: Swept) -> None:
        """Look at it from now on."""
        self._all.add(connection)

    def discard(self, connection: Swept) -> None:
        """Look at it no more."""
        self._all.discard(connection)
        self.busy.discard(connection)

    def wake(self) -> None:
        """Look at the busy ones with the next tick, and at all soon."""
        self._woken.set()

    async def run(self) -> None:
        """Sweep until cancelled."""
        next_round = trio.current_time()
        while True:
            await trio.sleep(TICK)
            now = trio.current_time()
            first = min((each.sweep(now) for each in list(self.busy)), default=math.inf)
            if now < next_round:
                if first != SOON:
                    await trio.sleep_until(next_round)
                continue
            next_round = now + ROUND
            for each in self._all - self.busy:
                first = min(first, each.sweep(now))
            if first > now:
                await self._sleep_until(first)

    async def _sleep_until(self, time: float) -> None:
        self._woken = trio.Event()
        self.wakes_at = time
        try:
            with trio.CancelScope(deadline=time):
                await self._woken.wait()
        finally:
            self.wakes_at = -math.inf
