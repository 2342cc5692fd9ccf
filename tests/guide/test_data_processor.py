"""The guide's data processor, in a node: as it stands under asyncio, and in its Trio form."""

import pytest
from guide_blocks import FORMS
from guide_world import a_node, events_of, eventually, write_block, write_recorder

pytestmark = [
    pytest.mark.parametrize("form", FORMS),
    # Line 356 of the guide; as an error it would end in the plugin's own `except Exception`.
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
]


@pytest.fixture
def folder(guide, tmp_path, form):
    write_block(tmp_path, guide, "data-processor", form)
    write_recorder(tmp_path)
    return tmp_path


def node(folder, **config):
    return a_node(folder, recorder={}, data_processor=config)


async def rows(client):
    return (await client.get("/processed")).json()["rows"]


async def emit(app, *items):
    for item in items:
        await app.emit_event({"type": "data.raw.created", "data": item})


async def test_raw_data_is_transformed_stored_and_announced(folder):
    async with node(folder) as (app, client):
        await emit(app, {"id": "a-1", "value": "hello"})
        (event,) = await events_of(client, "data.processed")
        assert event["source"] == "data-processor"
        assert event["data"]["original_id"] == "a-1"
        assert event["data"]["processed_value"] == "HELLO"
        (row,) = await rows(client)
        assert row["original_id"] == "a-1"
        assert row["processed_value"] == "HELLO"
        assert row["metadata"] == event["data"]["metadata"]  # a dict in, a dict out
        assert row["metadata"]["processor"] == "data-processor-plugin"


async def test_many_are_processed_in_order_whatever_the_batch(folder):
    async with node(folder, batch_size=4) as (app, client):
        await emit(app, *({"id": str(n), "value": "v"} for n in range(10)))
        stored = await eventually(lambda: rows(client), lambda rows: len(rows) == 10)
        assert [row["original_id"] for row in stored] == [str(n) for n in range(10)]


async def test_data_that_cannot_be_processed_is_left_out_and_the_loop_goes_on(folder):
    """Line 354 upper-cases whatever came; the plugin's own `except Exception` logs and goes on."""
    async with node(folder) as (app, client):
        await emit(app, {"id": "bad", "value": 7}, {"id": "good", "value": "v"})
        (row,) = await eventually(lambda: rows(client), bool)
        assert row["original_id"] == "good"


async def test_stopping_it_leaves_no_task_behind(folder):
    """Its loop waits for data when the node stops: a_node fails if it does not stop."""
    async with node(folder) as (_, client):
        assert await rows(client) == []
