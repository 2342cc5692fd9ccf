"""The plugin in a node: events in, rows in PostgreSQL, events out."""

from nexus_actors.events import Event


async def status_of(client):
    return (await client.get("/data-processor/status")).json()


async def results_of(client, **params):
    return (await client.get("/data-processor/results", params=params)).json()["results"]


async def test_raw_data_is_transformed_stored_and_announced_in_order(
    app, client, listener, mock_clock
):
    for number in range(5):
        await app.emit_event("data.raw.created", {"id": f"n{number}", "value": f"v{number}"})
    await app.advance(0.9)
    status = await status_of(client)
    assert (status["processed"], status["queued"]) == (4, 1), "the last batch is not full"
    await app.advance(0.1)
    assert await status_of(client) == {
        "plugin": "data-processor",
        "version": "1.0.0",
        "status": "running",
        "transform": "upper",
        "batch_size": 2,
        "queued": 0,
        "processed": 5,
        "failed": 0,
    }
    heard = [event.data for event in listener.events]
    assert [(event["original_id"], event["processed_value"]) for event in heard] == [
        (f"n{number}", f"V{number}") for number in range(5)
    ]
    results = await results_of(client)
    assert [{**row, "id": None} for row in results] == [
        {**event, "id": None} for event in reversed(heard)
    ]
    assert await results_of(client, limit=2) == results[:2]


async def test_a_record_brought_by_http_is_processed_too(app, client, mock_clock):
    response = await client.post("/data-processor/records", json={"id": 7, "value": "tea"})
    assert response.status_code == 202
    assert response.json() == {"queued": 1}
    await app.advance(1)
    (row,) = await results_of(client)
    assert (row["original_id"], row["processed_value"]) == ("7", "TEA")


async def test_what_is_in_the_batch_is_stored_when_it_crashes(app, client, listener, mock_clock):
    await client.post("/data-processor/records", json={"id": 7, "value": "tea"})
    await app.advance(0.5)
    await listener.expect_nothing()
    app.faults("data-processor").crash_now()
    await app.settle()
    assert (await listener.expect()).data["processed_value"] == "TEA"
    assert len(await results_of(client)) == 1
    assert app.node.registry.cell("data-processor").incarnation == 2


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
    app, client, mock_clock
):
    await app.emit_event("data.raw.created", {"id": "bad", "value": 7})
    await app.emit_event("data.raw.created", {"id": "good", "value": "v"})
    await app.advance(1)
    status = await status_of(client)
    assert (status["processed"], status["failed"]) == (1, 0)
    assert len(app.dead_letters) == 1
    assert app.node.registry.cell("data-processor").crashes == 0


async def test_an_event_that_comes_twice_is_stored_once(app, client, mock_clock):
    event = Event("data.raw.created", {"id": "a", "value": "v"})
    app.node.emit(event)
    app.node.emit(event)
    await app.advance(1)
    status = await status_of(client)
    assert (status["processed"], status["failed"]) == (2, 0)
    assert len(await results_of(client)) == 1
