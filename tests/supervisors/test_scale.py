"""Ten thousand children: started, one restarted in the time of one, stopped. Counted, not timed."""

import gc
import sys
import tracemalloc
from contextlib import contextmanager

import pytest
import trio

from supervisors import Supervisor, kill

MANY = 10_000


class Cast:
    """Idle children, and who is who."""

    def __init__(self):
        self.children = {}
        self.stopped = []

    async def life(self, child, *args):
        self.children[child.id] = child
        child.started()
        await child.wait_stop()
        self.stopped.append(child.id)


class Steps(trio.abc.Instrument):
    """Counts the steps of the scheduler."""

    def __init__(self):
        self.count = 0

    def before_task_step(self, task):
        self.count += 1


@contextmanager
def counted_steps():
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    yield steps
    trio.lowlevel.remove_instrument(steps)


async def cost_of(do):
    """What that takes: steps of the scheduler, calls of functions, bytes at the height of it."""
    calls = 0

    def count_call(frame, event, arg):
        nonlocal calls
        calls += event in ("call", "c_call")

    with counted_steps() as steps:
        gc.disable()  # it walks over everything there is, whenever it likes
        tracemalloc.start()
        sys.setprofile(count_call)
        try:
            await do()
        finally:
            sys.setprofile(None)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            gc.enable()
    return steps.count, calls, peak


async def cost_of_a_restart(run, size):
    cast = Cast()
    specs = [{"id": n, "start": cast.life} for n in range(size)]
    ref = await run(Supervisor(specs, intensity=1000, on_report=lambda report: None))
    assert len(cast.children) == size

    async def restart():
        dead = cast.children[size // 2]
        kill(dead)
        while cast.children[size // 2] is dead:
            await ref.get_childspec(0)

    # the first ones have more to do, and who runs first of two that are ready is chance
    costs = [await cost_of(restart) for _ in range(40)]
    await ref.stop()
    assert cast.stopped == list(range(size))[::-1]
    return [min(column) for column in zip(*costs, strict=True)]


async def test_one_restart_among_ten_thousand_costs_what_it_costs_among_ten(run):
    few_steps, few_calls, few_bytes = await cost_of_a_restart(run, 10)
    steps, calls, bytes = await cost_of_a_restart(run, MANY)
    assert steps <= few_steps + 1
    assert calls <= few_calls * 1.2
    assert bytes <= few_bytes + 20_000  # a list of all children takes 80,000


@pytest.mark.parametrize("shutdown", [5, "brutal_kill"])
async def test_a_pool_of_ten_thousand_stops_together(run, shutdown):
    cast = Cast()
    template = {"id": "t", "start": cast.life, "shutdown": shutdown}
    ref = await run(
        Supervisor([template], strategy="simple_one_for_one", on_report=lambda report: None)
    )
    for _ in range(MANY):
        await ref.start_child()
    assert (await ref.count_children()).active == MANY
    with counted_steps() as steps:
        await ref.stop()
    assert len(cast.stopped) == (MANY if shutdown == 5 else 0)
    assert steps.count < MANY * 3
