"""The plugin in a node: events in, rows in PostgreSQL, events out."""

import pytest
import trio

from nexus_actors.events import Event
from nexus_actors.testing import TestClient


@pytest.fixture
async def client(app):
    return TestClient(app)


async def wait_until_stored(client, count):
    """The status, once ``count`` records were processed or given up."""
    with trio.fail_after(10):
        while True:
            status = (await client.get("/data-processor/status")).json()
            if status["processed"] + status["failed"] >= count:
                return status
            await trio.sleep(0.01)


async def test_raw_data_is_transformed_stored_and_announced_in_order(app, client):
    for number in range(5):
        await app.emit_event("data.raw.created", {"id": f"n{number}", "value": f"v{number}"})
    status = await wait_until_stored(client, 5)
    assert status == {
        "plugin": "data-processor",
        "version": "1.0.0",
        "status": "running",
        "transform": "upper",
        "batch_size": 2,
        "queued": 0,
        "processed": 5,
        "failed": 0,
    }
    await app.settle()
    heard = (await client.get("/heard")).json()
    assert [(event["original_id"], event["processed_value"]) for event in heard] == [
        (f"n{number}", f"V{number}") for number in range(5)
    ]
    results = (await client.get("/data-processor/results")).json()["results"]
    assert [{**row, "id": None} for row in results] == [
        {**event, "id": None} for event in reversed(heard)
    ]
    two = (await client.get("/data-processor/results", params={"limit": 2})).json()["results"]
    assert two == results[:2]


async def test_a_record_brought_by_http_is_processed_too(app, client):
    response = await client.post("/data-processor/records", json={"id": 7, "value": "tea"})
    assert response.status_code == 202
    assert response.json() == {"queued": 1}
    await wait_until_stored(client, 1)
    (row,) = (await client.get("/data-processor/results")).json()["results"]
    assert (row["original_id"], row["processed_value"]) == ("7", "TEA")


async def test_a_record_that_does_not_fit_is_refused_with_every_fault(client):
    for body, paths in [
        ({"id": [1], "value": 7, "colour": ""}, {"body.id", "body.value", "body.colour"}),
        ({"id": "a\0"}, {"body.id"}),
        ({"value": "a\0"}, {"body.value"}),
    ]:
        response = await client.post("/data-processor/records", json=body)
        assert response.status_code == 422
        assert {error["path"] for error in response.json()["errors"]} == paths


async def test_a_limit_out_of_range_is_refused(client):
    for limit in (0, 1001, "many"):
        response = await client.get("/data-processor/results", params={"limit": limit})
        assert response.status_code == 422


async def test_an_event_that_holds_no_record_is_kept_as_a_dead_letter_and_stops_nothing(
    app, client
):
    await app.emit_event("data.raw.created", {"id": "bad", "value": 7})
    await app.emit_event("data.raw.created", {"id": "good", "value": "v"})
    status = await wait_until_stored(client, 1)
    assert (status["processed"], status["failed"]) == (1, 0)
    assert len(app.node.dead_letters) == 1
    assert app.node.registry.cell("data-processor").crashes == 0


async def test_an_event_that_comes_twice_is_stored_once(app, client):
    event = Event("data.raw.created", {"id": "a", "value": "v"})
    app.node.emit(event)
    app.node.emit(event)
    assert (await wait_until_stored(client, 2))["failed"] == 0
    assert len((await client.get("/data-processor/results")).json()["results"]) == 1
