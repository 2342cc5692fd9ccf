"""The whole table: a fault in each phase of a child's life, by kind of fault, by strategy.

`it` meets the fault, `a` and `b` stand before and behind it. What each kind of raising, returning
and being killed does in words is in test_phases; here it is who lives afterwards.
"""

from collections import Counter

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import KILLED, SHUTDOWN, StartFailed, Supervisor, kill

POOL = "simple_one_for_one"
EVERYBODY = ["a", "b", "it"]
GRACE = 0.5  # seconds a child has to stop

by_strategy = pytest.mark.parametrize(
    "strategy", ["one_for_one", "one_for_all", "rest_for_one", POOL]
)
by_ending = pytest.mark.parametrize("fault", ["raise", "return", "kill"])
by_phase = pytest.mark.parametrize("phase", ["start", "run", "stop", "restart", "escalate"])


class Cast:
    """Three children, one of which meets the fault in one phase."""

    def __init__(self, phase, fault, strategy):
        self.phase, self.fault, self.strategy = phase, fault, strategy
        self.lives = Counter()
        self.running = []
        self.go = trio.Event()
        self.ref = None

    async def play(self, child, name=None):
        name = name or child.id
        self.lives[name] += 1
        assert name not in self.running, "two incarnations at once"
        self.running.append(name)
        try:
            return await self.live(child, name == "it", self.lives[name])
        finally:
            self.running.remove(name)

    async def live(self, child, is_it, life):
        starts = {"start": 1, "restart": 2}
        if is_it and life == starts.get(self.phase):
            return await self.meet(child)
        child.started()
        if is_it and life == 1 and self.phase in ("run", "restart", "escalate"):
            await self.go.wait()
            if self.phase == "restart":
                raise KeyError("first")
            if self.phase == "run" or self.fault != "hang":
                return await self.meet(child)
            raise KeyError("the one behind it hangs")
        await child.wait_stop()
        if is_it and self.phase == "stop":
            return await self.meet(child)
        if self.phase == "escalate" and self.fault == "hang" and life == 1:
            await trio.sleep_forever()
        return None

    async def meet(self, child):
        if self.fault == "raise":
            raise ValueError("boom")
        if self.fault == "return":
            return None
        if self.fault == "kill":
            kill(child)
        await trio.sleep_forever()

    def supervisor(self):
        names = ["t"] if self.strategy == POOL else ["a", "it", "b"]
        specs = [{"id": name, "start": self.play, "shutdown": GRACE} for name in names]
        intensity = 0 if self.phase == "escalate" else 3
        inner = Supervisor(specs, strategy=self.strategy, intensity=intensity, period=1e6)
        if self.phase != "escalate":
            return inner
        return Supervisor([inner.as_child("inner")], intensity=1, period=1e6)

    async def start(self, nursery):
        """Up to where all that can has started, and then to the fault."""
        self.ref = await nursery.start(self.supervisor().run)
        if self.strategy == POOL:
            ref = self.ref
            if self.phase == "escalate":
                (row,) = await ref.which_children()
                ref = row.child.supervisor
            for name in ["a", "it", "b"]:
                await ref.start_child(name)
        self.go.set()
        await wait_all_tasks_blocked()

    def expect(self, *names):
        assert sorted(self.running) == sorted(names)


@by_strategy
@by_ending
@by_phase
async def test_a_fault_ends_one_life_and_what_its_phase_and_strategy_say(
    nursery, phase, fault, strategy
):
    cast = Cast(phase, fault, strategy)
    if phase == "start":
        with pytest.raises(StartFailed):
            await cast.start(nursery)
        cast.expect(*(["a"] if strategy == POOL else []))  # there it is one call that has failed
        return
    await cast.start(nursery)
    if phase == "stop":
        cast.expect(*EVERYBODY)
        before = trio.current_time()
        assert await cast.ref.stop() == SHUTDOWN
        assert trio.current_time() == before
        cast.expect()
        return
    pool_is_new = strategy == POOL and phase == "escalate"
    cast.expect(*([] if pool_is_new else EVERYBODY))
    twice = {"one_for_one": [], "one_for_all": ["a", "b"], "rest_for_one": ["b"], POOL: []}[
        strategy
    ]
    lives = dict.fromkeys(EVERYBODY, 1) | dict.fromkeys(twice, 2) | {"it": 2}
    if phase == "escalate":
        lives = dict.fromkeys(EVERYBODY, 1 if pool_is_new else 2)
    if phase == "restart":
        # the one before it was up again already, and was taken down for the second try
        lives |= {"it": 3} | ({"a": 3} if strategy == "one_for_all" else {})
    assert cast.lives == lives
    assert cast.ref.is_alive


@by_strategy
async def test_a_start_that_hangs_holds_up_the_others_until_all_is_cancelled(strategy):
    cast = Cast("start", "hang", strategy)
    with trio.move_on_after(100) as scope:
        async with trio.open_nursery() as nursery:
            await cast.start(nursery)
    assert scope.cancelled_caught
    assert cast.lives == {"a": 1, "it": 1}
    cast.expect()


@by_strategy
async def test_a_child_that_hangs_while_it_runs_holds_up_nobody_and_is_killed_at_its_deadline(
    nursery, strategy
):
    cast = Cast("run", "hang", strategy)
    await cast.start(nursery)
    assert (await cast.ref.count_children()).active == 3
    before = trio.current_time()
    assert await cast.ref.stop() == SHUTDOWN
    assert trio.current_time() == before + GRACE
    cast.expect()


@by_strategy
async def test_a_stop_that_hangs_ends_at_the_deadline(nursery, strategy):
    cast = Cast("stop", "hang", strategy)
    await cast.start(nursery)
    before = trio.current_time()
    assert await cast.ref.stop() == SHUTDOWN
    assert trio.current_time() == before + GRACE
    cast.expect()


@by_strategy
async def test_a_restart_that_hangs_holds_up_calls_and_can_be_killed(nursery, strategy):
    cast = Cast("restart", "hang", strategy)
    await cast.start(nursery)
    with trio.move_on_after(100) as scope:
        await cast.ref.count_children()
    assert scope.cancelled_caught
    kill(cast.ref)
    assert await cast.ref.wait() == KILLED
    cast.expect()


@by_strategy
async def test_escalation_waits_for_those_that_hang_until_their_deadline(nursery, strategy):
    cast = Cast("escalate", "hang", strategy)
    await cast.start(nursery)
    cast.expect("a", "b")
    await trio.sleep(2 * GRACE)  # one after the other; those of a pool together
    await wait_all_tasks_blocked()
    cast.expect(*([] if strategy == POOL else EVERYBODY))
    assert cast.ref.is_alive


@by_strategy
@by_phase
async def test_an_outer_cancel_ends_everything_in_every_phase_and_takes_no_time(phase, strategy):
    cast = Cast(phase, "hang", strategy)
    before = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cast.start, nursery)
        await wait_all_tasks_blocked()
        if phase == "stop":
            nursery.start_soon(cast.ref.stop)
            await wait_all_tasks_blocked()
        assert cast.running
        nursery.cancel_scope.cancel()
    cast.expect()
    assert trio.current_time() == before
