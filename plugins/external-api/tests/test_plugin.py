"""The plugin in a node, with a real API beside it."""

import threading
from contextlib import asynccontextmanager

import pytest
import trio

from nexus_actors.testing import PluginFailed, TestApplication, TestClient


@asynccontextmanager
async def a_node(api=None, **config):
    async with TestApplication() as app:
        if api is not None:
            config |= {"api_base_url": api.url}
        await app.register_plugin("external-api", config)
        yield app, TestClient(app)


async def test_a_user_is_read_from_the_api(api):
    async with a_node(api, api_key="s3cret") as (_, client):
        response = await client.get("/external-api/users/42")
        assert response.status_code == 200
        assert response.json() == {"user": {"id": "42", "name": "Ann"}}
        response = await client.get("/external-api/users/a%2Fb%20c")
        assert response.json() == {"user": {"id": "a/b c"}}
        assert {key for _, _, key in api.seen} == {"Bearer s3cret"}
        status = (await client.get("/external-api/status")).json()
        assert status == {"plugin": "external-api", "version": "1.0.0", "status": "running"}


async def test_what_goes_wrong_with_the_api_is_a_clear_answer(api):
    async with a_node(api) as (app, client):
        response = await client.get("/external-api/users/43")
        assert response.status_code == 404
        assert response.json() == {"error": "the API knows no user '43'"}
        api.reply = (500, b"a traceback")
        for response in (
            await client.get("/external-api/users/42"),
            await client.post("/external-api/sync-user", json={"id": 1}),
        ):
            assert response.status_code == 502
            assert response.json() == {"error": "the API answered 500"}
        assert app.node.registry.cell("external-api").faults == 0


async def test_a_user_is_sent_to_the_api_as_far_as_it_was_given(api):
    async with a_node(api) as (_, client):
        body = {"id": 7, "name": "Bob", "attributes": {"colour": "red", "id": "not this one"}}
        response = await client.post("/external-api/sync-user", json=body)
        assert response.status_code == 200
        assert response.json() == {"message": "User synced successfully"}
        assert api.synced == [{"colour": "red", "id": 7, "name": "Bob"}]


async def test_a_body_that_is_no_user_is_refused_with_every_fault(api):
    async with a_node(api) as (_, client):
        for body, paths in [
            ({"name": 1, "attributes": [], "nmae": ""}, ["attributes", "id", "name", "nmae"]),
            ({"id": True}, ["id"]),
        ]:
            response = await client.post("/external-api/sync-user", json=body)
            assert response.status_code == 422
            assert sorted(error["path"] for error in response.json()["errors"]) == [
                f"body.{path}" for path in paths
            ]
        assert api.seen == []


async def test_requests_are_on_their_way_beside_each_other(api):
    """The API answers none before it has four: one at a time, none would ever be answered."""
    api.meeting = threading.Barrier(4)
    async with a_node(api) as (_, client), trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(expect_ok, client.get("/external-api/users/42"))
            nursery.start_soon(expect_ok, client.post("/external-api/sync-user", json={"id": 1}))


async def expect_ok(request):
    assert (await request).status_code == 200


async def test_updates_reach_the_api_in_their_order(api):
    async with a_node(api) as (app, _):
        for number in range(20):
            await app.emit_event("user.updated", {"id": "7", "number": number, "any": ["kind"]})
        await app.settle()
        assert [user["number"] for user in api.synced] == [*range(20)]
        assert api.synced[0] == {"id": "7", "number": 0, "any": ["kind"]}


async def test_an_update_of_nobody_is_kept_as_a_dead_letter(api):
    async with a_node(api) as (app, _):
        for data in ({"name": "nobody"}, ["7"]):
            await app.emit_event("user.updated", data)
        await app.settle()
        assert len(app.node.dead_letters) == 2
        assert app.node.registry.cell("external-api").crashes == 0
        assert api.seen == []


async def test_an_update_that_the_api_refuses_is_a_dead_letter_and_the_next_goes_through(
    api,
):
    async with a_node(api) as (app, _):
        api.reply = (503, b"")
        await app.emit_event("user.updated", {"id": "1"})
        await app.settle()
        api.reply = None
        await app.emit_event("user.updated", {"id": "2"})
        await app.settle()
        (letter,) = app.node.dead_letters.list()
        assert "the API answered 503" in str(letter.report)
        assert api.synced == [{"id": "2"}]
        assert app.node.registry.cell("external-api").crashes == 0


async def test_without_an_address_it_says_what_to_set_and_stays_up(caplog):
    async with a_node() as (app, client):
        assert "api_base_url is not set" in caplog.text
        status = (await client.get("/external-api/status")).json()
        assert status["status"] == "not configured"
        for response in (
            await client.get("/external-api/users/42"),
            await client.post("/external-api/sync-user", json={"id": 1}),
        ):
            assert response.status_code == 503
            assert "NEXUS_PLUGINS_EXTERNAL_API_API_BASE_URL" in response.json()["error"]
        await app.emit_event("user.updated", {"id": "1"})
        await app.settle()
        assert len(app.node.dead_letters) == 0


async def test_an_address_that_cannot_be_keeps_it_from_starting_and_is_named():
    async with TestApplication() as app:
        with pytest.raises(PluginFailed, match=r"'ftp://a'; write for example https://"):
            await app.register_plugin("external-api", {"api_base_url": "ftp://a"})
