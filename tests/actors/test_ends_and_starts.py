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


async def test_a_child_whose_spawn_was_given_up_does_not_run_on_unknown(autojump_clock):
    async with open_system() as system:
        parent = await system.spawn(Parent, name="parent")
        before = trio.lowlevel.current_statistics().tasks_living
        await parent.ask(Spawn("first"))
        with pytest.raises(AskTimeout):
            await parent.ask(Spawn("second"), timeout=0.5)
        await trio.sleep(2)
        assert [one.name for one in system.addresses()] == ["parent", "parent/first"]
        alone = trio.lowlevel.current_statistics().tasks_living
        assert await parent.ask(Spawn("second")) == "parent/second"
        added = trio.lowlevel.current_statistics().tasks_living - alone
        assert alone > before
        assert added > 0, "the one that was given up has no task left"


async def test_the_name_of_a_child_that_ended_is_free(autojump_clock):
    async with open_system() as system:
        parent = await system.spawn(Parent, name="parent")
        await parent.ask(Spawn("worker"))
        await system.address("parent/worker").tell(Stop())
        await wait_all_tasks_blocked()
        assert await parent.ask(Spawn("worker")) == "parent/worker"


async def test_who_stops_an_actor_while_its_system_closes_is_content(autojump_clock):
    class Slow(Worker):
        async def cleanup(self) -> None:
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        async with open_system() as system:
            first, second = await system.spawn(Slow), await system.spawn(Slow)
            nursery.start_soon(system.stop, second)
            await wait_all_tasks_blocked()
            nursery.start_soon(system.stop, first)


async def test_who_spawns_while_the_system_has_closed_is_told_so():
    async with open_system() as system:
        pass
    with pytest.raises(ActorStopped):
        await system.spawn(Worker)


class Watcher(Actor):
    def __init__(self, other, told) -> None:
        self.other, self.told = other, told

    async def initialize(self) -> None:
        self.monitor(self.other)
        await trio.sleep(2)

    @handles(Down, Exited)
    def note(self, message) -> None:
        self.told.append(type(message))

    @handles
    def boom(self, message: Boom) -> None:
        raise ValueError


class Linked(Watcher, restart="temporary"):
    async def initialize(self) -> None:
        self.link(self.other)
        await trio.sleep(2)


@pytest.mark.parametrize("before", [True, False])
async def test_who_monitors_in_its_initialize_is_told(autojump_clock, before):
    told = []
    async with open_system() as system:
        worker = await system.spawn(Worker, restart="temporary")
        if before:
            await system.stop(worker)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.spawn, Watcher, worker, told)
            await wait_all_tasks_blocked()
            if not before:
                await worker.tell(Boom())
        await wait_all_tasks_blocked()
        assert told == [Down]


@pytest.mark.parametrize("traps", [True, False])
async def test_who_links_in_its_initialize_shares_the_fate(autojump_clock, traps):
    told = []
    async with open_system() as system:
        worker = await system.spawn(Worker, restart="temporary")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                lambda: system.spawn(Linked, worker, told, name="it", trap_exits=traps)
            )
            await wait_all_tasks_blocked()
            await worker.tell(Boom())
        await wait_all_tasks_blocked()
        assert told == ([Exited] if traps else [])
        assert [one.name for one in system.addresses()] == (["it"] if traps else [])


async def test_an_initialize_that_fails_ends_its_links_too(autojump_clock):
    class Fails(Actor):
        def __init__(self, other) -> None:
            self.other = other

        async def initialize(self) -> None:
            self.link(self.other)
            raise ValueError

    told = []
    async with open_system() as system:
        worker = await system.spawn(Worker)
        watcher = await system.spawn(Watcher, worker, told, trap_exits=True)
        with pytest.raises(Exception, match="did not start"):
            await system.spawn(Fails, watcher)
        await wait_all_tasks_blocked()
        assert told == [Exited]


async def test_what_one_incarnation_monitored_is_not_told_to_the_next(autojump_clock):
    told = []
    async with open_system() as system:
        worker = await system.spawn(Worker, restart="temporary")
        watcher = await system.spawn(Watcher, worker, told)
        await watcher.tell(Boom())
        await worker.tell(Boom())
        await trio.sleep(1)
        account = watcher.look().account
        assert account.waiting == 1, "its own, of one that had ended"
        await trio.sleep(2)
        assert told == [Down]


async def test_a_message_that_was_cut_off_is_not_put_aside_as_well(autojump_clock):
    class Stasher(Actor, concurrency=2):
        @handles
        async def put_aside(self, message: PutAside) -> None:
            self.stash()
            with trio.CancelScope(shield=True):
                await trio.sleep(1)

        @handles
        def boom(self, message: Boom) -> None:
            raise ValueError

    async def crash_meanwhile() -> None:
        await wait_all_tasks_blocked()
        await stasher.tell(Boom())

    async with open_system() as system:
        stasher = await system.spawn(Stasher)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash_meanwhile)
            with pytest.raises(ActorRestarted):
                await stasher.ask(PutAside())
        await trio.sleep(2)
        account = stasher.look().account
        assert (account.in_hand, account.waiting) == (0, 0)
        assert account.accepted == account.faulted + account.dead_lettered == 2
