"""Actors that end while they start, spawn, watch or put a message aside."""

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from nexus_actors.actors import Actor, Down, Exited, handles, open_system
from nexus_actors.errors import ActorRestarted, ActorStopped, AskTimeout


@attrs.frozen
class Boom:
    pass


@attrs.frozen
class Stop:
    pass


@attrs.frozen
class Spawn:
    name: str = ""


@attrs.frozen
class StopChild:
    pass


@attrs.frozen
class PutAside:
    pass


@pytest.fixture
def autojump_clock():
    return MockClock(autojump_threshold=0)


class Worker(Actor, restart="transient"):
    async def initialize(self) -> None:
        await trio.sleep(1)

    @handles
    def stop_now(self, message: Stop) -> None:
        self.stop()

    @handles
    def boom(self, message: Boom) -> None:
        raise ValueError


class Parent(Actor, concurrency=2):
    @handles
    async def begin(self, message: Spawn) -> str:
        return (await self.spawn(Worker, name=message.name)).name


async def test_two_first_children_may_be_spawned_at_once(autojump_clock):
    async with open_system() as system:
        parent = await system.spawn(Parent, name="parent")
        names = []

        async def ask() -> None:
            names.append(await parent.ask(Spawn()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
        assert sorted(names) == ["parent/worker-1", "parent/worker-2"]


