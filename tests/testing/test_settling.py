"""Settling: what counts as work, and what is said of those who are still at it."""

from __future__ import annotations

import attrs
import pytest
import trio

from nexus_actors.actors import Actor, handles, open_system
from nexus_actors.testing import TestApplication, settle, spawn_probe


@attrs.frozen
class Rest:
    seconds: float


@attrs.frozen
class Later:
    pass


class Sleeper(Actor):
    def __init__(self) -> None:
        self.rested = 0

    @handles
    async def rest(self, rest: Rest) -> None:
        await trio.sleep(rest.seconds)
        self.rested += 1

    @handles
    def later(self, later: Later) -> None:
        self.stash()


class Parent(Actor):
    async def initialize(self) -> None:
        self.child = await self.spawn(Sleeper, name="child")

    @handles
    async def rest(self, rest: Rest) -> None:
        await self.child.tell(rest)


@pytest.fixture
async def system(autojump_clock):
    async with open_system() as system:
        yield system


async def test_it_waits_for_what_is_in_hand_and_what_waits_behind_it(system, autojump_clock):
    sleeper = await system.spawn(Sleeper)
    for _ in range(3):
        await sleeper.tell(Rest(1))
    began = trio.current_time()
    await settle(system)
    assert trio.current_time() - began == pytest.approx(3)
    assert sleeper.load == 0


async def test_where_all_rest_it_takes_no_time(system, autojump_clock):
    await system.spawn(Sleeper)
    began = trio.current_time()
    await settle(system, timeout=0.001)
    assert trio.current_time() == began


async def test_it_waits_for_children_too(system, autojump_clock):
    parent = await system.spawn(Parent, name="parent")
    await parent.tell(Rest(2))
    await settle(system)
    assert system.address("parent/child").look().attributes["rested"] == "1"


async def test_it_lets_tasks_run_that_can(system, autojump_clock):
    probe = await spawn_probe(system)

    async def send_soon():
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        await probe.address.tell("late")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_soon)
        await settle(system)
        assert probe.messages == ["late"]


async def test_it_waits_for_a_restart(system, autojump_clock):
    class Doomed(Actor):
        async def cleanup(self) -> None:
            await trio.sleep(3)

        @handles
        def die(self, message: str) -> None:
            raise ValueError(message)

    doomed = await system.spawn(Doomed, name="doomed")
    await doomed.tell("die")
    with pytest.raises(TimeoutError, match="after 1 s: doomed is restarting"):
        await settle(system, timeout=1)
    await settle(system)
    assert doomed.look().incarnation == 2


@pytest.mark.parametrize("kept", ["stashed", "suspended"])
async def test_what_is_kept_for_later_is_no_work(system, autojump_clock, kept):
    sleeper = await system.spawn(Sleeper)
    if kept == "suspended":
        sleeper.suspend()
    await sleeper.tell(Later())
    await settle(system)
    assert sleeper.load == 1


async def test_who_is_still_at_work_is_named_with_the_handler_and_its_time(system, autojump_clock):
    for name in ("idle", "one", "two"):
        await system.spawn(Sleeper, name=name)
    await system.address("one").tell(Rest(100))
    await settle_for(system, 3)
    await system.address("two").tell(Rest(100))
    await system.address("two").tell(Rest(100))
    with pytest.raises(TimeoutError) as caught:
        await settle(system, timeout=2)
    assert str(caught.value) == (
        "still at work after 2 s: one: Rest for 5 s; two: Rest for 2 s, 1 waiting"
    )


async def settle_for(system, seconds):
    with pytest.raises(TimeoutError):
        await settle(system, timeout=seconds)


async def test_a_task_that_never_rests_is_told_of(system):
    async def never_rest():
        while True:
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(never_rest)
        with pytest.raises(TimeoutError, match="no actor has a message .* some task never rests"):
            await settle(system, timeout=0.05)
        nursery.cancel_scope.cancel()


async def test_two_who_wait_for_rest_do_not_keep_each_other_awake(system, autojump_clock):
    sleeper = await system.spawn(Sleeper)
    await sleeper.tell(Rest(4))
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(settle, system)
    assert sleeper.load == 0


async def test_it_looks_at_nothing_while_nothing_happens(system, autojump_clock, monkeypatch):
    """No polling: while a handler sleeps, nobody asks whether it has ended."""
    from nexus_actors.testing import settling

    looks = []
    real = settling.at_work
    monkeypatch.setattr(settling, "at_work", lambda registry: looks.append(1) or real(registry))
    sleeper = await system.spawn(Sleeper)
    await sleeper.tell(Rest(4))
    await settle(system)
    assert len(looks) <= 5


async def test_in_a_node_a_handler_is_waited_for_in_real_time(shop_folder):
    async with TestApplication(plugins=[shop_folder]) as app:
        await app.register_plugin("billing")
        with app.faults("billing").slow(0.02):
            await app.emit_event("bill.asked", {})
            await app.settle()
        assert app.node.registry.cell("billing").mailbox.statistics().handled == 1
        with app.faults("billing").hang(), pytest.raises(TimeoutError) as caught:
            await app.emit_event("bill.asked", {})
            await app.settle(timeout=0.05)
        assert "still at work after 0.05 s: billing: by_event for 0.0" in str(caught.value)


async def test_what_waits_for_a_suspended_plugin_is_no_work(trio_shop):
    async with TestApplication(plugins=[trio_shop]) as app:
        await app.register_plugin("billing")
        with app.faults("billing").crash(times=None):
            for _ in range(8):
                await app.emit_event("bill.asked", {})
            await app.settle()
        cell = app.node.registry.cell("billing")
        assert (cell.state, cell.mailbox.waiting) == ("suspended", 2)
