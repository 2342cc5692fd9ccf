"""The plugin as an ordinary object, on a clock that jumps: when batches are stored, what if not."""

import pytest
import trio
from data_processor.plugin import DataProcessorPlugin, QueueFull
from data_processor.records import RawRecord

from nexus_actors.database import CheckViolation, DatabaseUnavailable, UndefinedTable
from nexus_actors.events import Event
from nexus_actors.http import HTTPError
from nexus_actors.testing import alone


def a_plugin(db, **config):
    plugin = DataProcessorPlugin(config)
    plugin.db = db
    return plugin


async def bring(plugin, *values):
    for number, value in enumerate(values):
        data = {"id": number, "value": value}
        await plugin.on_raw_data_created(Event("data.raw.created", data))


async def test_a_full_batch_is_stored_at_once(db, autojump_clock):
    plugin = a_plugin(db, batch_size=2, flush_after=60)
    async with alone(plugin) as seen:
        await plugin.initialize()
        await bring(plugin, "a", "b", "c", "d", "e")
        await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == 0
        assert db.batches == [2, 2]
        assert [event.type for event in seen.events] == ["data.processed"] * 4
        assert [event.data["processed_value"] for event in seen.events] == ["A", "B", "C", "D"]


async def test_a_batch_that_is_not_full_is_stored_a_second_after_its_first_record(
    db, autojump_clock
):
    plugin = a_plugin(db)
    async with alone(plugin):
        await plugin.initialize()
        for _ in range(3):  # a record every 0.4 s does not put it off
            await bring(plugin, "v")
            await trio.sleep(0.4)
        assert db.batches == [3]
        assert trio.current_time() == pytest.approx(1.2)


async def test_what_is_in_batch_and_queue_is_stored_by_the_cleanup(db):
    plugin = a_plugin(db, batch_size=3, flush_after=60)
    async with alone(plugin) as seen:
        await plugin.initialize()
        await bring(plugin, "a")
        await trio.testing.wait_all_tasks_blocked()  # now it is in the batch
        await bring(plugin, "b")
        plugin.nursery.cancel_scope.cancel()  # as a stop does, and a crash
    async with alone(plugin) as seen:
        await bring(plugin, "c", "d")
        await plugin.cleanup()
    assert db.values == ["A", "B", "C", "D"]
    assert db.batches == [3, 1]
    assert len(seen.events) == 4


async def test_a_batch_that_was_cancelled_half_way_is_stored_by_the_cleanup(db):
    plugin = a_plugin(db, batch_size=2)
    db.is_stuck = True
    async with alone(plugin):
        await plugin.initialize()
        await bring(plugin, "a", "b")
        await trio.testing.wait_all_tasks_blocked()
    db.is_stuck = False
    async with alone(plugin):
        await plugin.cleanup()
    assert db.values == ["A", "B"]


async def test_while_the_database_is_away_the_batch_waits_and_is_stored_later(db, autojump_clock):
    plugin = a_plugin(db, batch_size=2)
    db.failures = [DatabaseUnavailable("it restarts", retry_after=2.0) for _ in range(3)]
    async with alone(plugin):
        await plugin.initialize()
        await bring(plugin, "a", "b")
        await trio.sleep(5.9)
        assert db.batches == []
        assert (await plugin.get_status())["queued"] == 2
        await trio.sleep(0.2)
    assert db.values == ["A", "B"]


async def test_records_that_cannot_be_stored_at_the_end_are_named_in_the_log(db, caplog):
    plugin = a_plugin(db)
    db.failures = [DatabaseUnavailable("gone")]
    async with alone(plugin):
        await bring(plugin, "a", "b")
        await plugin.cleanup()
    (record,) = caplog.records
    assert "records are lost: the database is not available: gone" in record.getMessage()
    assert "lost=2 ids=[0, 1]" in record.getMessage()


async def test_one_record_that_the_table_refuses_does_not_hold_up_the_others(db, caplog):
    plugin = a_plugin(db, batch_size=3)
    db.refuse = lambda row: CheckViolation("no B here") if row[2] == "B" else None
    async with alone(plugin) as seen:
        await plugin.initialize()
        await bring(plugin, "a", "b", "c")
        await trio.testing.wait_all_tasks_blocked()
        status = await plugin.get_status()
    assert db.values == ["A", "C"]
    assert (status["processed"], status["failed"], status["queued"]) == (2, 1, 0)
    assert [event.data["processed_value"] for event in seen.events if event] == ["A", "C"]
    assert "not stored: no B here" in caplog.text


async def test_a_table_that_is_gone_crashes_it_and_the_cleanup_tries_once_more(db):
    plugin = a_plugin(db, batch_size=2)
    db.failures = [UndefinedTable("no processed_data")]
    with pytest.RaisesGroup(UndefinedTable):
        async with alone(plugin):
            await plugin.initialize()
            await bring(plugin, "a", "b")
            await trio.sleep_forever()
    async with alone(plugin):
        await plugin.cleanup()
    assert db.values == ["A", "B"]


async def test_who_brings_a_record_waits_for_room_and_is_refused_after_five_seconds(
    db, autojump_clock
):
    plugin = a_plugin(db, queue_size=2)
    await bring(plugin, "a", "b")
    with pytest.raises(QueueFull, match=r"2 records wait and none was stored in 5 s"):
        await bring(plugin, "c")
    assert trio.current_time() == 5
    with pytest.raises(HTTPError) as caught:
        await plugin.add_record(RawRecord("c", "c"))
    assert caught.value.status == 503
    assert caught.value.headers == {"Retry-After": "5"}

    async with trio.open_nursery() as nursery, alone(plugin):
        nursery.start_soon(bring, plugin, "c")
        await trio.testing.wait_all_tasks_blocked()
        await plugin.initialize()  # now somebody takes from the queue
        await trio.sleep(1.1)
    assert db.values == ["A", "B", "C"]
