"""Pools: children without ids, from one template, restarted one by one and stopped together."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    SHUTDOWN,
    ChildCounts,
    NotForPools,
    NotFound,
    ShutdownError,
    StartFailed,
    Supervisor,
    kill,
)


def pool(troupe, args=(), **fields):
    flags = {key: fields.pop(key) for key in ("intensity", "auto_shutdown") if key in fields}
    return troupe.supervisor(
        troupe.spec("t", args=args, **fields), strategy="simple_one_for_one", **flags
    )


async def test_it_starts_empty_and_grows_by_arguments(troupe, run):
    ref = await run(pool(troupe))
    assert troupe.log == []
    child = await ref.start_child("x")
    assert child is troupe.children["x"]
    (row,) = await ref.which_children()
    assert (row.id, row.child, row.type) == (None, child, "worker")


async def test_arguments_come_behind_those_of_the_template(run):
    seen = []

    async def start(child, *args):
        seen.append(args)
        child.started()
        await child.wait_stop()

    template = {"id": "t", "start": start, "args": (1, 2)}
    ref = await run(Supervisor([template], strategy="simple_one_for_one"))
    await ref.start_child(3, 4)
    assert seen == [(1, 2, 3, 4)]


@pytest.mark.parametrize("ending", ["normal", "shutdown", "crash", "kill"])
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
async def test_a_child_is_restarted_by_type_and_ending_with_its_arguments(
    troupe, run, restart, ending
):
    ref = await run(pool(troupe, restart=restart))
    first = await ref.start_child("x")
    await ref.start_child("y")
    await troupe.end("x", ending)
    again = restart == "permanent" or (restart == "transient" and ending in ("crash", "kill"))
    assert troupe.running == ({"x", "y"} if again else {"y"})
    assert len(await ref.which_children()) == len(troupe.running)
    assert all(row.child is not first for row in await ref.which_children())


async def test_over_its_intensity_it_ends(troupe, run):
    ref = await run(pool(troupe, intensity=1))
    await ref.start_child("x")
    await ref.start_child("y")
    await troupe.end("x", "crash")
    await troupe.end("y", "crash")
    assert ref.reason == SHUTDOWN
    assert troupe.running == set()


async def test_children_stop_together_with_one_timeout_for_all(troupe, run):
    async def slowly(child):
        await trio.sleep(3)

    async def never(child):
        await trio.sleep_forever()

    for name in "abcd":
        troupe.stopping[name] = slowly
    troupe.stopping["e"] = never
    ref = await run(pool(troupe, shutdown=5))
    for name in "abcde":
        await ref.start_child(name)
    began = trio.current_time()
    await ref.stop()
    assert trio.current_time() - began == pytest.approx(5)
    assert troupe.log[-1] == "stop e: killed"
    assert len(troupe.told(ShutdownError)) == 1


async def test_a_brutal_kill_pool_does_not_ask(troupe, run):
    ref = await run(pool(troupe, shutdown="brutal_kill"))
    await ref.start_child("a")
    await ref.start_child("b")
    troupe.taken()
    await ref.stop()
    assert sorted(troupe.log) == ["stop a: killed", "stop b: killed"]
    assert troupe.told(ShutdownError) == []


async def test_terminate_child_is_by_handle_and_takes_the_child_out(troupe, run):
    ref = await run(pool(troupe))
    child = await ref.start_child("x")
    await ref.terminate_child(child)
    assert await ref.which_children() == []
    await ref.terminate_child(child)  # it is dead already, which is what was asked for


async def test_terminate_child_does_not_know_ids_nor_the_children_of_others(troupe, run):
    ref = await run(pool(troupe))
    await run(troupe.supervisor("stranger"))
    with pytest.raises(NotForPools, match="the handle that start_child"):
        await ref.terminate_child("t")
    with pytest.raises(NotFound):
        await ref.terminate_child(troupe.children["stranger"])


@pytest.mark.parametrize("method", ["restart_child", "delete_child"])
async def test_calls_by_id_are_not_for_pools(troupe, run, method):
    ref = await run(pool(troupe))
    with pytest.raises(NotForPools) as info:
        await getattr(ref, method)("t")
    assert info.value.term == "simple_one_for_one"


async def test_get_childspec_gives_the_template_by_its_id_or_by_a_handle(troupe, run):
    ref = await run(pool(troupe))
    child = await ref.start_child("x")
    assert (await ref.get_childspec("t")).id == "t"
    assert (await ref.get_childspec(child)).id == "t"
    with pytest.raises(NotFound):
        await ref.get_childspec("x")


async def test_count_children(troupe, run):
    ref = await run(pool(troupe, type="supervisor"))
    await ref.start_child("x")
    await ref.start_child("y")
    assert await ref.count_children() == ChildCounts(specs=1, active=2, supervisors=2, workers=0)


async def test_a_start_that_fails_or_is_ignored_adds_nothing(troupe, run):
    ref = await run(pool(troupe))
    troupe.starts["x"].extend(["fail", "ignore"])
    with pytest.raises(StartFailed):
        await ref.start_child("x")
    assert await ref.start_child("x") is None
    assert await ref.which_children() == []


async def test_while_a_restart_fails_the_child_is_restarting(troupe, run, nursery):
    ref = await run(pool(troupe, intensity=5))
    child = await ref.start_child("x")
    await ref.start_child("y")
    troupe.starts["x"].append("held fail")
    await troupe.end("x", "crash")
    seen = {}

    async def ask(name, call, *args):
        seen[name] = await call(*args)

    nursery.start_soon(ask, "rows", ref.which_children)
    await wait_all_tasks_blocked()
    nursery.start_soon(ask, "counts", ref.count_children)
    await wait_all_tasks_blocked()
    nursery.start_soon(ask, "cancelled", ref.terminate_child, child)  # by its last handle
    await wait_all_tasks_blocked()
    troupe.gate.set()
    await wait_all_tasks_blocked()
    assert [row.child for row in seen["rows"]].count("restarting") == 1
    assert (seen["counts"].active, seen["counts"].workers) == (1, 2)
    assert "cancelled" in seen
    assert troupe.running == {"y"}


@pytest.mark.parametrize("auto_shutdown", ["any_significant", "all_significant"])
async def test_a_pool_of_significant_children_ends_by_its_flag(troupe, run, auto_shutdown):
    ref = await run(
        pool(troupe, auto_shutdown=auto_shutdown, restart="temporary", significant=True)
    )
    await ref.start_child("x")
    await ref.start_child("y")
    await troupe.end("x", "crash")
    assert ref.is_alive is (auto_shutdown == "all_significant")
    if ref.is_alive:
        await troupe.end("y", "normal")
        assert ref.reason == SHUTDOWN


async def test_killing_a_pool_ends_its_children(troupe, run):
    ref = await run(pool(troupe))
    await ref.start_child("x")
    kill(ref)
    await ref.wait()
    assert troupe.running == set()
