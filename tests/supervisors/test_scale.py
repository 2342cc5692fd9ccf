"""Ten thousand children: started, one restarted in the time of one, stopped."""

import time

import pytest

from supervisors import Supervisor, kill

MANY = 10_000


async def idle(child, *args):
    child.started()
    await child.wait_stop()


async def seconds_per_restart(run, size):
    children = {}

    async def life(child):
        children[child.id] = child
        await idle(child)

    specs = [{"id": n, "start": life} for n in range(size)]
    ref = await run(Supervisor(specs, intensity=10_000, on_report=lambda report: None))
    times = []
    for _ in range(100):
        began = time.perf_counter()
        dead = children[size // 2]
        kill(dead)
        while children[size // 2] is dead:
            await ref.get_childspec(0)
        times.append(time.perf_counter() - began)
    await ref.stop()
    return min(times)


async def test_one_restart_among_ten_thousand_costs_what_it_costs_among_ten(run):
    few = await seconds_per_restart(run, 10)
    many = await seconds_per_restart(run, MANY)
    assert many < few * 10, f"{many * 1e6:.0f} µs against {few * 1e6:.0f} µs"


@pytest.mark.parametrize("shutdown", [5, "brutal_kill"])
async def test_a_pool_of_ten_thousand_stops_together(run, shutdown):
    ref = await run(
        Supervisor(
            [{"id": "t", "start": idle, "shutdown": shutdown}], strategy="simple_one_for_one"
        )
    )
    for _ in range(MANY // 10):
        await ref.start_child()
    assert (await ref.count_children()).active == MANY // 10
    await ref.stop()
