"""The plugin in a node: its routes over HTTP, its event, its options, and PostgreSQL below."""

from datetime import datetime

from nexus_actors.testing import TestApplication, TestClient


async def test_it_says_what_it_is(client):
    response = await client.get("/my-plugin/status")
    assert response.status_code == 200
    assert response.json() == {
        "plugin": "my-first-plugin",
        "version": "1.0.0",
        "status": "running",
    }


async def test_an_entry_that_was_created_is_listed(client):
    assert (await client.get("/my-plugin/data")).json() == {"data": []}
    response = await client.post("/my-plugin/data", json={"name": "tea", "value": "green"})
    assert response.status_code == 200
    created = response.json()
    assert list(created) == ["id", "name", "value", "created_at"]
    assert (created["name"], created["value"]) == ("tea", "green")
    assert datetime.fromisoformat(created["created_at"]).tzinfo is not None
    assert (await client.get("/my-plugin/data")).json() == {"data": [created]}


async def test_the_newest_entry_comes_first_and_a_value_may_be_left_out(client):
    for name in ("first", "second"):
        await client.post("/my-plugin/data", json={"name": name})
    data = (await client.get("/my-plugin/data")).json()["data"]
    assert [(entry["name"], entry["value"]) for entry in data] == [("second", ""), ("first", "")]


async def test_a_missing_name_is_refused_in_the_plugins_own_words(client):
    for body in ({}, {"name": None}, {"name": ""}, {"value": "x"}):
        response = await client.post("/my-plugin/data", json=body)
        assert response.status_code == 400
        assert response.json() == {"error": "Name is required"}


async def test_a_body_that_does_not_fit_is_refused_with_every_fault(client):
    for body, paths in [
        ({"name": 7, "value": False, "colour": "red"}, {"body.name", "body.value", "body.colour"}),
        ({"name": "n" * 101}, {"body.name"}),
        ({"name": "a\0b"}, {"body.name"}),
        ({"name": "a", "value": "b\0"}, {"body.value"}),
        (["tea"], {"body"}),
    ]:
        response = await client.post("/my-plugin/data", json=body)
        assert response.status_code == 422
        assert {error["path"] for error in response.json()["errors"]} == paths
    assert (await client.get("/my-plugin/data")).json() == {"data": []}


async def test_one_entry_more_than_max_entries_is_refused(client):
    for number in range(3):
        assert (
            await client.post("/my-plugin/data", json={"name": f"n{number}"})
        ).status_code == 200
    response = await client.post("/my-plugin/data", json={"name": "n3"})
    assert response.status_code == 409
    assert response.json() == {"error": "There are 3 entries already (max_entries)"}
    assert len((await client.get("/my-plugin/data")).json()["data"]) == 3


async def test_a_new_user_gets_a_welcome_entry(app, client):
    taken = await app.emit_event(
        {"type": "user.created", "data": {"user_id": "test_123", "username": "ann"}}
    )
    assert taken == 1
    await app.settle()
    (entry,) = (await client.get("/my-plugin/data")).json()["data"]
    assert (entry["name"], entry["value"]) == ("welcome_ann", "Welcome to Nexus, ann!")


async def test_a_username_of_any_length_fits(app, client):
    await app.emit_event("user.created", {"username": "x" * 200})
    await app.settle()
    (entry,) = (await client.get("/my-plugin/data")).json()["data"]
    assert entry["name"] == "welcome_" + "x" * 92
    assert entry["value"] == f"Welcome to Nexus, {'x' * 200}!"


async def test_a_welcome_that_finds_no_room_is_told_to_the_log(app, client, caplog):
    for number in range(3):
        await client.post("/my-plugin/data", json={"name": f"n{number}"})
    await app.emit_event("user.created", {"username": "ann"})
    await app.settle()
    assert "no welcome entry: max_entries are there already" in caplog.text
    assert len((await client.get("/my-plugin/data")).json()["data"]) == 3


async def test_an_event_that_makes_no_sense_is_kept_as_a_dead_letter_and_stops_nothing(app, client):
    cell = app.node.registry.cell("my-first-plugin")
    for data in ({}, ["not", "an", "object"]):
        await app.emit_event("user.created", data)
    await app.settle()
    assert len(app.node.dead_letters) == 2
    assert cell.crashes == 0
    assert (await client.get("/my-plugin/status")).status_code == 200


async def test_without_notifications_a_new_user_gets_no_entry():
    async with TestApplication() as app:
        await app.register_plugin("my-first-plugin", {"enable_notifications": False})
        await app.emit_event("user.created", {"username": "ann"})
        await app.settle()
        assert (await TestClient(app).get("/my-plugin/data")).json() == {"data": []}
