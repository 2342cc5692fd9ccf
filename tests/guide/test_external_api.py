"""The guide's integration plugin against a real HTTP API: with aiohttp, and with httpx on Trio."""

import pytest
import trio
from guide_blocks import FORMS
from guide_world import Api, a_node, api_server, write_block

pytestmark = pytest.mark.parametrize("form", FORMS)


@pytest.fixture
def folder(guide, tmp_path, form):
    write_block(tmp_path, guide, "external-api", form)
    return tmp_path


@pytest.fixture
def api():
    with api_server() as api:
        yield api


def node(folder, api, key=Api.key):
    return a_node(folder, external_api={"api_base_url": api.url, "api_key": key})


async def test_a_user_is_fetched_from_the_api(folder, api):
    async with node(folder, api) as (_, client):
        response = await client.get("/external-api/users/42")
        assert response.status_code == 200
        assert response.json() == {"user": {"id": "42", "name": "Ann"}}


async def test_what_the_api_refuses_becomes_an_error_of_the_plugins_own(folder, api):
    async with node(folder, api) as (_, client):
        response = await client.get("/external-api/users/43")
        assert response.status_code == 500
        assert response.json() == {"error": "API request failed: 404"}
    async with node(folder, api, key="wrong") as (_, client):
        response = await client.get("/external-api/users/42")
        assert response.json() == {"error": "API request failed: 401"}


async def test_a_user_is_sent_to_the_api(folder, api):
    bob = {"id": "7", "name": "Bob"}
    async with node(folder, api) as (_, client):
        for _ in ("created", "replaced"):
            response = await client.post("/external-api/sync-user", json=bob)
            assert response.status_code == 200
            assert response.json() == {"message": "User synced successfully"}
        assert api.users["7"] == bob
        api.refuses_with = 422
        response = await client.post("/external-api/sync-user", json=bob)
        assert response.status_code == 500
        assert response.json() == {"error": "Sync failed"}


async def test_an_updated_user_is_sent_on(folder, api):
    async with node(folder, api) as (app, client):
        api.refuses_with = 503  # the plugin does not look further than success or not
        await app.emit_event({"type": "user.updated", "data": {"id": "1", "name": "lost"}})
        # one message at a time, so this answer says that the event is done with
        await client.post("/external-api/sync-user", json={"id": "2"})
        api.refuses_with = 0
        await app.emit_event({"type": "user.updated", "data": {"id": "7", "name": "Bob"}})
        assert await api.wait_for_user("7") == {"id": "7", "name": "Bob"}
        assert "1" not in api.users


async def test_an_api_that_cannot_be_reached_harms_neither_plugin_nor_node(folder):
    with api_server() as gone:
        pass
    async with node(folder, gone) as (app, client):
        response = await client.get("/external-api/users/42")
        assert response.status_code == 500
        assert set(response.json()) == {"error"}
        await app.emit_event({"type": "user.updated", "data": {"id": "7"}})
        assert (await client.post("/external-api/sync-user", json={})).status_code == 500


async def test_ten_requests_at_once_share_one_session(folder, api):
    async with node(folder, api) as (_, client):
        names = []

        async def fetch():
            response = await client.get("/external-api/users/42")
            names.append(response.json()["user"]["name"])

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(fetch)
        assert names == ["Ann"] * 10
