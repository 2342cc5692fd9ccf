"""my-plugin on its own, and in a real node with a real database."""

from unittest.mock import AsyncMock

import pytest
from my_plugin.plugin import MyPlugin, NewItem

from nexus_actors.events import Event
from nexus_actors.testing import TestApplication, TestClient, alone


class TestAlone:
    @pytest.fixture
    def plugin(self):
        plugin = MyPlugin({"greeting": "Hi"})
        plugin.db = AsyncMock()
        plugin.db.fetch_one.return_value = {"id": 1, "name": "a lamp"}
        return plugin

    async def test_an_added_item_is_answered_and_announced(self, plugin):
        async with alone(plugin) as seen:
            assert await plugin.add_item(NewItem("a lamp")) == ({"id": 1, "name": "a lamp"}, 201)
        assert seen.events[0].type == "my-plugin.added"
        assert seen.events[0].data == {"id": 1, "name": "a lamp"}

    async def test_a_new_user_is_greeted(self, plugin):
        async with alone(plugin):
            await plugin.on_user_created(Event("user.created", {"username": "ada"}))
        assert plugin.db.fetch_one.call_args.args[1] == "Hi, ada!"


class TestInANode:
    @pytest.fixture
    async def app(self):
        async with TestApplication() as app:
            await app.register_plugin("my-plugin")
            yield app

    @pytest.fixture
    async def client(self, app):
        return TestClient(app)

    async def test_items_are_kept(self, client):
        added = await client.post("/my-plugin/items", json={"name": "a lamp"})
        assert added.status_code == 201
        listed = await client.get("/my-plugin/items")
        assert listed.json() == {"items": [{"id": 1, "name": "a lamp"}]}

    @pytest.mark.parametrize(
        "body", [{"nmae": "a lamp"}, {"name": 7}, {"name": " "}, {"name": "a\0b"}]
    )
    async def test_a_body_with_faults_is_refused(self, client, body):
        response = await client.post("/my-plugin/items", json=body)
        assert response.status_code == 422
        assert "body.name" in [fault["path"] for fault in response.json()["errors"]]

    async def test_an_event_adds_a_greeting(self, app, client):
        await app.emit_event("user.created", {"username": "ada"})
        await app.settle()
        listed = await client.get("/my-plugin/items")
        assert listed.json()["items"][0]["name"] == "Welcome, ada!"
