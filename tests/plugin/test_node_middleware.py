"""Middleware for the whole node: around every plugin's requests, outside every mailbox."""

from __future__ import annotations

import json

import pytest

from nexus_actors.errors import Invalid
from nexus_actors.testing import TestApplication, TestClient

GUARD = """
import trio
from nexus_actors.http import Response
from nexus_actors.middleware import Middleware
from nexus_actors.plugin import Plugin

class Count(Middleware):
    def __init__(self, plugin):
        self.plugin = plugin

    async def __call__(self, request, call_next):
        if request.path == "/open/hang":
            await trio.sleep_forever()
        if request.path == "/open/raise":
            raise ValueError("secret words")
        number = await self.plugin.count()
        response = await call_next(request)
        response.headers["X-Number"] = str(number)
        return response

class Guard(Plugin):
    def __init__(self, config):
        super().__init__(config)
        self.seen = 0

    async def count(self):
        self.seen += 1
        return self.seen

    @classmethod
    def node_middleware(cls, plugin):
        return Count(plugin)
"""

OPEN = """
from nexus_actors.http import get
from nexus_actors.plugin import Plugin

class Open(Plugin):
    @get("/open/{name}")
    async def open(self, name):
        return {"name": name}
"""


def write(folder, name, source, cls, permissions=()):
    folder = folder / name
    folder.mkdir()
    (folder / "plugin.py").write_text(source)
    manifest = {
        "name": name,
        "version": "1.0.0",
        "entry_point": f"plugin:{cls}",
        "permissions": [*permissions],
    }
    (folder / "plugin.json").write_text(json.dumps(manifest))


@pytest.fixture
async def client(tmp_path, monkeypatch):
    monkeypatch.setattr("nexus_actors.plugin.outermost.NODE_MIDDLEWARE_TIME", 0.3)
    write(tmp_path, "guard", GUARD, "Guard", ["http:middleware"])
    write(tmp_path, "open", OPEN, "Open")
    app = TestApplication(plugins=[tmp_path])
    await app.register_plugin("guard")
    await app.register_plugin("open")
    yield TestClient(app)
    await app.cleanup()


async def test_it_wraps_the_requests_of_other_plugins_and_calls_its_own_by_message(client):
    assert (await client.get("/open/a")).headers["X-Number"] == "1"
    assert (await client.get("/open/b")).headers["X-Number"] == "2"


async def test_what_it_raises_is_a_500_without_its_words(client):
    response = await client.get("/open/raise")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.headers["Content-Type"] == "application/problem+json"


async def test_it_has_a_time_of_its_own(client):
    response = await client.get("/open/hang")
    assert response.status_code == 504
    assert "Count of the plugin guard took more than 0.3 s" in response.json()["detail"]


async def test_without_the_permission_the_plugin_is_refused(tmp_path):
    write(tmp_path, "guard", GUARD, "Guard")
    app = TestApplication(plugins=[tmp_path])
    with pytest.raises(Invalid, match="http:middleware"):
        await app.register_plugin("guard")
