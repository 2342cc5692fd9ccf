"""The one clock of all connections: looks when it is wanted, and sleeps when it is not."""

from __future__ import annotations

import math

import trio
from trio.testing import wait_all_tasks_blocked

from nexus_actors.http.sweeper import ROUND, SOON, TICK, Sweeper


class Connection:
    """Wants to be looked at at the times given, one after the other; then never."""

    def __init__(self, *wishes):
        self.wishes = list(wishes)
        self.looks = []

    def sweep(self, now):
        self.looks.append(now)
        while self.wishes and self.wishes[0] != SOON and self.wishes[0] <= now:
            self.wishes.pop(0)
        if self.wishes and self.wishes[0] == SOON:
            return self.wishes.pop(0)
        return self.wishes[0] if self.wishes else math.inf


async def test_each_is_looked_at_soon_after_its_time(nursery, autojump_clock):
    sweeper = Sweeper()
    start = trio.current_time()
    connections = [Connection(start + 1 + n / 10) for n in range(20)]
    for connection in connections:
        sweeper.add(connection)
    nursery.start_soon(sweeper.run)
    await trio.sleep(5)
    for n, connection in enumerate(connections):
        due = start + 1 + n / 10
        late = min(look - due for look in connection.looks if look >= due)
        assert late <= ROUND + 2 * TICK


async def test_without_anything_to_look_for_it_sleeps(nursery, autojump_clock):
    sweeper, connection = Sweeper(), Connection()
    sweeper.add(connection)
    nursery.start_soon(sweeper.run)
    await trio.sleep(3600)
    assert len(connection.looks) < 3


async def test_who_is_busy_and_wakes_it_is_looked_at_with_the_next_ticks(nursery, autojump_clock):
    sweeper = Sweeper()
    nursery.start_soon(sweeper.run)
    await trio.sleep(100)
    busy = Connection(SOON, SOON)
    sweeper.add(busy)
    sweeper.busy.add(busy)
    assert sweeper.wakes_at == math.inf
    sweeper.wake()
    began = trio.current_time()
    await trio.sleep(1)
    assert [look - began <= 4 * TICK + ROUND for look in busy.looks][:2] == [True, True]
    assert len(busy.looks) < 6, "and then no more: it wants nothing"


async def test_who_is_taken_out_is_looked_at_no_more(nursery, autojump_clock):
    sweeper = Sweeper()
    gone = Connection(trio.current_time() + 1)
    sweeper.add(gone)
    sweeper.busy.add(gone)
    sweeper.discard(gone)
    nursery.start_soon(sweeper.run)
    await trio.sleep(10)
    await wait_all_tasks_blocked()
    assert gone.looks == []
    assert not sweeper.busy
