"""Partitioned supervisors: a key leads to one of many alike, and only that one waits or falls."""

import pytest
import trio

from supervisors import (
    SHUTDOWN,
    ChildCounts,
    ChildSpec,
    InvalidSpec,
    NoProc,
    PartitionedSupervisor,
    ProgressReport,
    Supervisor,
    kill,
)


async def worker(child, gate=None):
    if gate is not None:
        await gate.wait()
    child.started()
    await child.wait_stop()


def pool():
    return Supervisor([ChildSpec("worker", worker)], strategy="simple_one_for_one")


async def test_a_child_is_in_the_partition_of_its_key_and_all_are_counted(nursery):
    shops = PartitionedSupervisor(pool, 4)
    ref = await nursery.start(shops.run)
    for key in range(10):
        await shops.partition(key).start_child()
    counts = [(await each.count_children()).active for each in shops.running()]
    assert counts == [3, 3, 2, 2]
    assert await shops.count_children() == ChildCounts(
        specs=4, active=10, supervisors=0, workers=10
    )
    assert await ref.count_children() == ChildCounts(specs=4, active=4, supervisors=4, workers=0)
    assert await ref.stop() == SHUTDOWN
    assert shops.running() == []


@pytest.mark.parametrize("key", ["Oslo", ("a", 1), None, -3, 10**30])
async def test_any_key_leads_to_one_partition_in_every_process(key):
    shops = PartitionedSupervisor(pool, 7)
    assert shops.index(key) == PartitionedSupervisor(pool, 7).index(key)
    assert 0 <= shops.index(key) < 7


async def test_the_numbers_of_text_keys_are_written_down_for_they_must_never_change():
    shops = PartitionedSupervisor(pool, 8)
    assert [shops.index(town) for town in ("Oslo", "Riga", "Turin")] == NUMBERS


NUMBERS = [0, 7, 0]


async def test_while_one_partition_starts_a_slow_child_the_others_answer(nursery, autojump_clock):
    shops = PartitionedSupervisor(pool, 2)
    await nursery.start(shops.run)
    gate = trio.Event()
    nursery.start_soon(shops.partition(0).start_child, gate)
    await trio.testing.wait_all_tasks_blocked()
    with trio.fail_after(1):
        await shops.partition(1).start_child()
    with trio.move_on_after(1) as scope:
        await shops.partition(0).start_child()
    assert scope.cancelled_caught, "its own calls wait"
    gate.set()
    nursery.cancel_scope.cancel()


async def test_a_partition_that_ends_is_made_anew_and_the_others_go_on(nursery):
    reports = []
    shops = PartitionedSupervisor(pool, 2, name="shops", on_report=reports.append)
    await nursery.start(shops.run)
    for key in (0, 1):
        await shops.partition(key).start_child()
    old, other = shops.running()
    kill(old)
    with pytest.raises(NoProc, match="shops/0 is not running"):
        while shops.partition(0) is old:
            await trio.lowlevel.checkpoint()
    while len(shops.running()) < 2:
        await trio.lowlevel.checkpoint()
    assert shops.partition(0) is not old
    assert (await shops.partition(0).count_children()).active == 0
    assert shops.partition(1) is other
    assert (await other.count_children()).active == 1
    started = [(each.supervisor, each.id) for each in reports if isinstance(each, ProgressReport)]
    assert started == [
        ("shops", 0), ("shops", 1), ("shops/0", "worker"), ("shops/1", "worker"), ("shops", 0)
    ]  # fmt: skip
    nursery.cancel_scope.cancel()


async def test_it_can_be_a_child_of_another_supervisor(nursery):
    shops = PartitionedSupervisor(pool, 3)
    ref = await nursery.start(Supervisor([shops.as_child("shops")]).run)
    assert [each.name for each in shops.running()] == [f"root/shops/{n}" for n in range(3)]
    await ref.stop()


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(InvalidSpec) as caught:
        PartitionedSupervisor(None, 0, intensity=-1, name=7)
    assert [str(fault) for fault in caught.value.faults] == [
        "partitioned supervisor: 'make' must be a function that gives a Supervisor, not None",
        "partitioned supervisor: 'partitions' must be an integer of at least 1, not 0",
        "supervisor 7: 'intensity' must be a whole number of restarts, 0 or more, not -1",
        "supervisor 7: 'name' must be text, not 7",
    ]
