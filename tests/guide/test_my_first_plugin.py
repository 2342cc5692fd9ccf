"""The guide's first plugin, in a node, with the guide's own manifest."""

import pytest
from guide_world import a_node, eventually, write_block


@pytest.fixture
def folder(guide, tmp_path):
    """The block has no asyncio in it: as it stands it is a Trio plugin, so there is one form."""
    write_block(tmp_path, guide, "my-first-plugin", "as it stands")
    return tmp_path


async def rows(client):
    return (await client.get("/my-plugin/data")).json()["data"]


async def test_it_answers_over_http_from_the_database(folder):
    async with a_node(folder, my_first_plugin={"max_entries": 100}) as (_, client):
        response = await client.get("/my-plugin/status")
        assert response.status_code == 200
        assert response.json() == {
            "plugin": "my-first-plugin",
            "version": "1.0.0",
            "status": "running",
        }
        assert await rows(client) == []

        response = await client.post("/my-plugin/data", json={"name": "one", "value": "1"})
        assert response.status_code == 200
        made = response.json()
        assert made["name"] == "one"
        assert made["value"] == "1"
        assert (await client.post("/my-plugin/data", json={"name": "two"})).json()["value"] == ""

        listed = await rows(client)
        assert [row["name"] for row in listed] == ["two", "one"]  # newest first
        assert listed[1] == made

        response = await client.post("/my-plugin/data", json={"value": "nameless"})
        assert response.status_code == 400
        assert response.json() == {"error": "Name is required"}
        assert len(await rows(client)) == 2


async def test_it_welcomes_a_new_user(folder):
    async with a_node(folder, my_first_plugin={}) as (app, client):
        await app.emit_event(
            {"type": "user.created", "data": {"user_id": "123", "username": "ann"}}
        )
        (row,) = await eventually(lambda: rows(client), bool)
        assert (row["name"], row["value"]) == ("welcome_ann", "Welcome to Nexus, ann!")


async def test_a_name_that_is_too_long_for_the_column_is_a_fault_of_that_request(folder):
    """Line 136 gives the column 100 characters, and line 168 does not check them: PostgreSQL
    refuses, the caller gets a 500 without a traceback, the plugin lives on."""
    async with a_node(folder, my_first_plugin={}) as (_, client):
        response = await client.post("/my-plugin/data", json={"name": "x" * 101})
        assert response.status_code == 500
        assert response.headers["content-type"].startswith("application/problem+json")
        assert "Traceback" not in response.text
        assert (await client.get("/my-plugin/status")).status_code == 200


async def test_a_user_whose_name_is_too_long_costs_a_restart_and_no_more(folder):
    """Line 218 makes "welcome_" and the name, unchecked as well. Nobody waits for an event's
    handler, so the fault is a crash: the plugin is back, and welcomes the next user."""
    async with a_node(folder, my_first_plugin={}) as (app, client):
        for username in ("x" * 93, "ann"):
            await app.emit_event({"type": "user.created", "data": {"username": username}})
        (row,) = await eventually(lambda: rows(client), bool)
        assert row["name"] == "welcome_ann"
