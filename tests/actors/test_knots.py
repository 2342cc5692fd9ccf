"""Asks that could never be answered are refused at once, across chains too; others are made."""

from __future__ import annotations

import itertools
import math
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from nexus_actors.actors import Actor, Address, Message, handles, knots, open_system
from nexus_actors.actors.knots import FIRST_LOOK, steps_of_last_search
from nexus_actors.errors import AskCycle, AskTimeout, RemoteError
from supervisors import StartFailed


@attrs.frozen
class Do:
    """What its receiver is to do, one after the other."""

    steps: tuple[Any, ...] = ()


class World:
    """Some actors that do what they are told, and what became of their asks."""

    def __init__(self, system: Any, nursery: trio.Nursery) -> None:
        self.system = system
        self.nursery = nursery
        self.gates: dict[str, trio.Event] = {}
        self.refused: list[str] = []
        self.answered: list[str] = []
        self.timed_out: list[str] = []
        self.began = trio.current_time()

    def gate(self, name: str) -> trio.Event:
        return self.gates.setdefault(name, trio.Event())

    async def spawn(self, *names: str, **options: Any) -> None:
        for name in names:
            await self.system.spawn(Doer, self, name=name, **options)

    def begin(self, name: str, *steps: Any, kind: str = "ask", mode: Any = "normal") -> None:
        """Let ``name`` do the steps; from outside, so that nobody waits for it but the test."""
        address: Address = self.system.address(name)
        if kind == "ask":
            self.nursery.start_soon(self._outside, address, Do(steps), mode)
        else:
            address.offer(Message("tell", Do(steps), mode=mode, handle_timeout=math.inf))

    async def _outside(self, address: Address, payload: Do, mode: Any) -> None:
        await self.ask(address, payload, "outside", mode)

    async def ask(self, address: Address, payload: Do, who: str, mode: Any = "normal") -> None:
        said = f"{who} > {address.name}"
        try:
            await address.request("ask", payload, deadline=trio.current_time() + 100, mode=mode)
        except AskCycle as error:
            self.refused.append(str(error))
        except AskTimeout:
            self.timed_out.append(said)
        else:
            self.answered.append(said)

    async def quiet(self) -> None:
        await wait_all_tasks_blocked(0.0001)


class Doer(Actor):
    def __init__(self, world: World, *start: Any) -> None:
        self.world = world
        self.start = start

    async def initialize(self) -> None:
        await self.do_all(self.start, strict=True)

    @handles
    async def do(self, message: Do) -> None:
        await self.do_all(message.steps)

    async def do_all(self, steps: tuple[Any, ...], strict: bool = False) -> None:
        for step in steps:
            await self.do_one(step, strict)

    async def do_one(self, step: Any, strict: bool = False) -> None:
        world = self.world
        match step:
            case ("ask", name, *steps):
                address = world.system.address(name)
                if strict:
                    await address.ask(Do(tuple(steps)), timeout=50)
                else:
                    await world.ask(address, Do(tuple(steps)), self.address.name)
            case ("wait", gate):
                await world.gate(gate).wait()
            case ("sleep", seconds):
                await trio.sleep(seconds)
            case ("all", *steps):
                async with trio.open_nursery() as nursery:
                    for each in steps:
                        nursery.start_soon(self.do_one, each, strict)
            case ("background", each):
                self.nursery.start_soon(self.do_one, each, strict)
            case ("within", seconds, each):
                with trio.move_on_after(seconds):
                    await self.do_one(each, strict)
            case ("spawn", name, options, *steps):
                try:
                    await self.spawn(Doer, world, *steps, name=name, **options)
                except AskCycle as error:
                    world.refused.append(str(error))
            case _:
                raise AssertionError(step)


@asynccontextmanager
async def world_of(*names: str, **options: Any):
    async with trio.open_nursery() as nursery, open_system() as system:
        world = World(system, nursery)
        await world.spawn(*names, **options)
        yield world
        for gate in world.gates.values():
            gate.set()
        await world.quiet()
        assert trio.current_time() == world.began, "time has passed"
        nursery.cancel_scope.cancel()


def hold(gate: str, *steps: Any) -> tuple[Any, ...]:
    return ("wait", gate), *steps


# -- rings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ask", "tell"])
@pytest.mark.parametrize("length", [2, 3, 7])
async def test_a_ring_of_handlers_that_ask_one_another_is_cut_where_it_closes(
    length: int, kind: str, mock_clock: MockClock
) -> None:
    names = [f"n{i}" for i in range(length)]
    async with world_of(*names) as world:
        for i, name in enumerate(names):
            world.begin(name, *hold(name, ("ask", names[(i + 1) % length])), kind=kind)
        await world.quiet()
        for name in names[:-1]:
            world.gate(name).set()
            await world.quiet()
        assert world.refused == []
        assert world.answered == [], "nothing is closed yet"
        world.gate(names[-1]).set()
        await world.quiet()
        assert len(world.refused) == 1
        inside = [said for said in world.answered if not said.startswith("outside")]
        assert len(inside) == length - 1, "all others are answered"
        last = names[-1]
        assert f"{' > '.join([last, *names])} ({last} (handling Do) asks n0" in world.refused[0]


async def test_the_path_is_told_in_words(mock_clock: MockClock) -> None:
    async with world_of("orders", "billing") as world:
        for name, other in (("orders", "billing"), ("billing", "orders")):
            world.begin(name, *hold(name, ("ask", other)))
        await world.quiet()
        world.gate("billing").set()
        await world.quiet()
        world.gate("orders").set()
        await world.quiet()
        assert world.refused == [
            "this ask would wait for itself: orders > billing > orders "
            "(orders (handling Do) asks billing, which handles Do and asks orders)"
        ]


@pytest.mark.parametrize("taken", [1, 2, 3])
async def test_with_several_slots_it_is_a_knot_when_the_last_of_them_is_taken(
    taken: int, mock_clock: MockClock
) -> None:
    async with world_of("a", concurrency=3) as world:
        await world.spawn("b")
        world.begin("b", *hold("b", ("ask", "a")))
        for _ in range(taken):
            world.begin("a", *hold("a", ("ask", "b")))
        await world.quiet()
        world.gate("a").set()
        await world.quiet()
        assert world.refused == []
        world.gate("b").set()
        await world.quiet()
        assert len(world.refused) == (1 if taken == 3 else 0)
        assert len(world.answered) == 2 * taken + 2 - len(world.refused)


async def test_a_slot_whose_handler_works_on_is_no_knot(mock_clock: MockClock) -> None:
    async with world_of("a", concurrency=2) as world:
        await world.spawn("b")
        world.begin("b", *hold("b", ("ask", "a")))
        world.begin("a", ("wait", "work"))
        world.begin("a", ("ask", "b"))
        await world.quiet()
        world.gate("b").set()
        await world.quiet()
        assert world.refused == world.answered == []
        world.gate("work").set()
        await world.quiet()
        assert world.refused == []
        assert len(world.answered) == 5


async def test_messages_ahead_that_can_end_are_no_knot(mock_clock: MockClock) -> None:
    async with world_of("a", "b") as world:
        world.begin("a", ("wait", "a"))
        world.begin("a", ("wait", "second"))
        world.begin("b", ("ask", "a"))
        await world.quiet()
        world.gate("a").set()
        world.gate("second").set()
        await world.quiet()
        assert world.refused == []
        assert len(world.answered) == 4


async def test_a_message_ahead_that_is_in_the_ring_is_in_the_way_of_those_behind_it(
    mock_clock: MockClock,
) -> None:
    async with world_of("a", "b", "c") as world:
        # a is to handle two: the first asks c; b waits behind both, and c asks b
        world.begin("a", ("wait", "a"), ("ask", "c"))
        world.begin("b", *hold("b", ("ask", "a")))
        world.begin("c", *hold("c", ("ask", "b")))
        await world.quiet()
        world.begin("a")
        await world.quiet()
        world.gate("b").set()
        await world.quiet()
        world.gate("c").set()
        await world.quiet()
        assert world.refused == []
        world.gate("a").set()
        await world.quiet()
        assert len(world.refused) == 1
        assert "a > c > b > a" in world.refused[0]


# -- modes -----------------------------------------------------------------------------------------

MODES = {
    # concurrency; the mode in hand (it asks b), the mode that waits ahead; is b's ask a knot?
    "free slot": (2, "normal", None, False),
    "a reader has it": (1, "reader", None, True),
    "readers leave slots": (2, "reader", None, False),
    "one that is alone": (2, "alone", None, True),
    "one that is to be alone waits": (2, "normal", "alone", True),
    "a reader ahead, which is let in": (2, "normal", "reader", False),
}


@pytest.mark.parametrize("case", MODES)
async def test_who_waits_for_whom_follows_the_modes(case: str, mock_clock: MockClock) -> None:
    concurrency, has, ahead, knot = MODES[case]
    async with world_of("a", concurrency=concurrency) as world:
        await world.spawn("b")
        world.begin("b", *hold("b", ("ask", "a")))
        world.begin("a", ("ask", "b"), mode=has)
        await world.quiet()
        if ahead:
            world.begin("a", mode=ahead)
            await world.quiet()
        world.gate("b").set()
        await world.quiet()
        assert len(world.refused) == knot
        assert any(said == "a > b" for said in world.answered)


async def test_readers_wait_for_a_writer_and_it_for_them(mock_clock: MockClock) -> None:
    async with world_of("a", "b") as world:
        world.begin("b", *hold("b", ("ask", "a")))
        world.begin("a", ("wait", "r"), mode="reader")
        world.begin("a", ("ask", "b"), mode="reader")
        await world.quiet()
        world.gate("b").set()  # b waits for both readers, one of which waits for b
        await world.quiet()
        assert len(world.refused) == 1
        assert "b > a > b" in world.refused[0]


# -- what may yet go on ----------------------------------------------------------------------------


async def test_a_handler_that_waits_for_something_else_too_is_no_knot(
    mock_clock: MockClock,
) -> None:
    async with world_of("a", "b") as world:
        world.begin("a", ("all", ("ask", "b"), ("wait", "other")))
        world.begin("b", *hold("b", ("ask", "a")))
        await world.quiet()
        world.gate("b").set()
        await world.quiet()
        assert world.refused == []


async def test_a_handler_all_of_whose_tasks_are_in_the_ring_is_one(mock_clock: MockClock) -> None:
    async with world_of("a", "b", "c") as world:
        world.begin("b", *hold("b", ("ask", "a")))
        world.begin("c", *hold("c", ("ask", "a")))
        world.begin("a", ("all", ("ask", "b"), ("all", ("ask", "c"))))
        await world.quiet()
        world.gate("b").set()
        await world.quiet()
        assert world.refused == [], "the task that asks c may end, and raise"
        world.gate("c").set()
        await world.quiet()
        assert len(world.refused) == 1
        assert "c > a" in world.refused[0]
        # now the task that asked c has its answer, and with its end there is another knot
        world.began += FIRST_LOOK
        mock_clock.jump(FIRST_LOOK)
        await world.quiet()
        assert len(world.refused) == 2
        assert len(world.answered) == 5


async def test_a_background_task_holds_up_nobody(mock_clock: MockClock) -> None:
    async with world_of("a", "b") as world:
        world.begin("a", ("background", ("ask", "b")), ("wait", "a"))
        world.begin("b", *hold("b", ("ask", "a")))
        await world.quiet()
        world.gate("b").set()
        await world.quiet()
        assert world.refused == []


async def test_whoever_asks_from_outside_closes_nothing(mock_clock: MockClock) -> None:
    async with world_of("a", "b") as world:
        world.begin("a", *hold("a", ("ask", "b")))
        world.begin("b", *hold("a", ("wait", "b")))
        await world.quiet()
        world.gate("a").set()
        world.begin("a")
        world.begin("b")
        await world.quiet()
        assert world.refused == []


async def test_a_limit_of_ones_own_is_a_deadline_like_any_other(mock_clock: MockClock) -> None:
    async with world_of("a", "b") as world:
        world.begin("a", ("within", 0.5, ("ask", "b")))
        world.begin("b", *hold("b", ("ask", "a")))
        await world.quiet()
        world.gate("b").set()
        await world.quiet()
        assert len(world.refused) == 1


async def test_an_actor_that_is_suspended_by_hand_is_no_knot(mock_clock: MockClock) -> None:
    async with world_of("a", "b") as world:
        world.begin("a", ("ask", "b"))
        world.begin("b", *hold("b", ("ask", "a")))
        await world.quiet()
        world.system.address("a").suspend()
        world.gate("b").set()
        await world.quiet()
        assert world.refused == []


async def test_one_who_gave_up_waiting_is_out_of_the_ring(mock_clock: MockClock) -> None:
    async with world_of("a", "b") as world:
        world.begin("b", *hold("b", ("ask", "a")))
        await world.quiet()
        scope = trio.CancelScope()

        async def ask_and_give_up() -> None:
            with scope:
                await world.system.address("a").ask(Do((("ask", "b"),)), timeout=50)

        world.nursery.start_soon(ask_and_give_up)
        await world.quiet()
        scope.cancel()
        await world.quiet()
        world.gate("b").set()
        await world.quiet()
        assert world.refused == []


async def test_a_pool_is_asked_like_its_members(mock_clock: MockClock) -> None:
    class Boss(Actor):
        def __init__(self, world: World) -> None:
            self.world = world
            self.failed: list[BaseException] = []

        async def initialize(self) -> None:
            self.pool = await self.spawn_pool(Doer, self.world, size=2, name="m")

        @handles
        async def work(self, message: Do) -> None:
            try:
                await self.pool.ask(message, timeout=50)
            except (AskCycle, RemoteError) as error:
                self.failed.append(error)

    async with world_of("a") as world:
        await world.system.spawn(Boss, world, name="boss")
        for number in (1, 2):
            world.begin(f"boss/m-{number}", *hold("m", ("ask", "boss")))
        world.begin("boss")
        await world.quiet()
        world.gate("m").set()
        await world.quiet()
        # whichever of the two was first in the boss's queue waits for the member that it asks
        assert len(world.refused) == 1, world.refused
        assert "> boss > boss/m-" in world.refused[0]


# -- starts ----------------------------------------------------------------------------------------


async def test_a_child_that_asks_the_parent_which_waits_for_its_start_is_refused(
    mock_clock: MockClock,
) -> None:
    failed: list[str] = []

    class Parent(Doer):
        @handles
        async def hire(self, message: Hire) -> None:
            try:
                await self.spawn(Doer, self.world, *message.steps, name=message.name)
            except StartFailed as error:
                failed.append(str(error))

    async with world_of() as world:
        parent = await world.system.spawn(Parent, world, name="parent")
        await parent.ask(Hire("child", (("ask", "parent"),)))
        assert len(failed) == 1
        assert (
            "parent/child > parent > parent/child (initialize of parent/child asks parent, "
            "which handles Hire and spawns parent/child)"
        ) in failed[0]


@attrs.frozen
class Hire:
    name: str
    steps: tuple[Any, ...]


async def test_a_child_may_ask_a_parent_that_has_a_slot_free_or_waits_for_nothing(
    mock_clock: MockClock,
) -> None:
    async with world_of("other") as world:
        await world.spawn("parent", concurrency=2)
        world.begin("parent", ("spawn", "one", {}, ("ask", "parent")))
        await world.quiet()
        world.begin("parent", ("background", ("spawn", "two", {}, ("ask", "parent"))))
        await world.quiet()
        world.begin("other", ("background", ("spawn", "three", {}, ("ask", "other"))))
        await world.quiet()
        assert {each.name for each in world.system.addresses()} == {
            "other", "other/three", "parent", "parent/one", "parent/two"
        }  # fmt: skip


async def test_two_whose_starts_ask_each_other_by_way_of_a_spawn_are_refused(
    mock_clock: MockClock,
) -> None:
    failed: list[str] = []

    async def spawn(world: World, name: str, *steps: Any) -> None:
        try:
            await world.system.spawn(Doer, world, *steps, name=name)
        except StartFailed as error:
            failed.append(str(error))

    async with world_of("q") as world:
        # p's start spawns a child, whose start asks q, which asks p
        world.begin("q", *hold("q", ("ask", "p")))
        world.nursery.start_soon(spawn, world, "p", ("spawn", "c", {}, ("ask", "q")))
        await world.quiet()
        world.gate("q").set()
        await world.quiet()
        assert len(world.refused) == 1
        assert (
            "q > p > p/c > q (q (handling Do) asks p, whose initialize spawns p/c, "
            "whose initialize asks q)"
        ) in world.refused[0]
        assert failed == []


@pytest.mark.parametrize("first", ["one", "two"])
async def test_one_child_that_asks_another_which_is_started_after_it_is_refused(
    first: str, mock_clock: MockClock
) -> None:
    failed: list[str] = []

    class Parent(Doer):
        async def hire(self, name: str, *steps: Any) -> None:
            try:
                await self.spawn(Doer, self.world, *steps, name=name)
            except StartFailed as error:
                failed.append(str(error))

        @handles
        async def begin(self, message: Hire) -> None:
            self.nursery.start_soon(self.hire, message.name, *message.steps)

    async with world_of() as world:
        parent = await world.system.spawn(Parent, world, name="parent")
        for name in ["one", "two"] if first == "one" else ["two", "one"]:
            steps = (("ask", "parent/two"),) if name == "one" else ()
            await parent.ask(Hire(name, (("wait", name), *steps)))
            await world.quiet()
        for name in ("one", "two"):
            world.gate(name).set()
            await world.quiet()
        if first == "two":
            assert failed == []
            return
        assert len(failed) == 1
        assert (
            "parent/one > parent/two > parent/one (initialize of parent/one asks parent/two, "
            "which is started after parent/one)"
        ) in failed[0]
        assert world.system.address("parent/two").is_running


async def test_a_handler_that_would_wait_for_the_start_of_a_child_behind_its_own_asker_is_refused(
    mock_clock: MockClock,
) -> None:
    async with world_of("a") as world:
        # the start of one asks a, which is busy and then spawns two: that is started after one
        world.begin("a", ("background", ("spawn", "one", {}, ("ask", "a"))), ("wait", "a"), SPAWN)
        await world.quiet()
        world.gate("a").set()
        await world.quiet()
        (refused,) = world.refused
        assert (
            "a > a/two > a/one > a (a (handling Do) spawns a/two, which is started after a/one, "
            "whose initialize asks a)"
        ) in refused
        assert world.system.address("a/one").is_running


SPAWN = ("spawn", "two", {})


# -- room in the mailbox ---------------------------------------------------------------------------


async def test_whoever_waits_for_room_is_part_of_the_ring(mock_clock: MockClock) -> None:
    async with world_of("a", capacity=1, overflow="wait") as world:
        await world.spawn("b")
        world.begin("a", *hold("a", ("ask", "b")))
        world.begin("b", *hold("b", ("ask", "a")))
        await world.quiet()
        world.begin("a")
        await world.quiet()
        world.gate("b").set()
        await world.quiet()
        assert world.refused == []
        world.gate("a").set()
        await world.quiet()
        (refused,) = world.refused
        assert (
            "a > b > a (a (handling Do) asks b, which handles Do and waits for room in the "
            "mailbox of a)"
        ) in refused
        assert len(world.answered) == 4


# -- cost ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 5])
async def test_each_of_a_thousand_callers_of_one_busy_actor_looks_at_the_same_few_things(
    monkeypatch: pytest.MonkeyPatch, length: int, mock_clock: MockClock
) -> None:
    steps: list[int] = []
    run = knots._Search.run

    def counted(*args: Any) -> Any:
        found = run(*args)
        steps.append(steps_of_last_search())
        return found

    monkeypatch.setattr(knots._Search, "run", counted)
    names = [f"n{i}" for i in range(length + 1)]
    async with world_of("crowd", concurrency=1000) as world:
        await world.spawn(*names)
        for name, after in itertools.pairwise(names):
            world.begin(name, *hold(name, ("ask", after)))
        world.begin(names[-1], ("wait", "end"))
        await world.quiet()
        for name in reversed(names[:-1]):
            world.gate(name).set()
            await world.quiet()
        steps.clear()
        for _ in range(1000):
            world.begin("crowd", ("ask", "n0"), kind="tell")
        await world.quiet()
        # nothing at all where the one in hand is seen to go on
        assert len(steps) == (1000 if length else 0)
        assert max(steps, default=0) <= 5 * length + 5


@pytest.mark.parametrize("length", [10, 100])
async def test_a_chain_costs_no_more_than_its_length(length: int, mock_clock: MockClock) -> None:
    names = [f"n{i}" for i in range(length)]
    async with world_of(*names, "last") as world:
        for name, after in zip(names, [*names[1:], "last"], strict=True):
            world.begin(name, *hold(name, ("ask", after)))
        world.begin("last", ("wait", "last"))
        await world.quiet()
        for name in reversed(names):
            world.gate(name).set()
            await world.quiet()
        assert length - 1 <= steps_of_last_search() <= 5 * length + 5
        assert world.refused == []


async def test_an_ask_of_an_idle_actor_looks_for_nothing(
    monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock
) -> None:
    looked: list[Any] = []
    monkeypatch.setattr(knots, "_refuse", lambda *what: looked.append(what))
    async with world_of("a", "b") as world:
        world.begin("a", ("ask", "b"))
        await world.quiet()
        assert looked == []
        assert len(world.answered) == 2
