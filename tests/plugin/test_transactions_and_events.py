"""Events emitted inside a transaction: out after its commit, gone with a rollback."""

from __future__ import annotations

import json

import pytest
import trio

from nexus_actors.testing import TestApplication, TestClient

SOURCE = """
{imports}
from nexus_actors.events import event_handler
from nexus_actors.http import get, post
from nexus_actors.plugin import Plugin

class Ledger(Plugin):
    def __init__(self, config):
        super().__init__(config)
        self.heard = []

    async def initialize(self):
        await self.db.execute("CREATE TABLE IF NOT EXISTS entry (what text)")

    @post("/ledger/{{how}}")
    async def add(self, how):
        taken = []
        try:
            async with self.db.transaction():
                await self.db.execute("INSERT INTO entry VALUES ($1)", how)
                taken.append(await self.emit_event("entry.added", {{"how": how}}))
                heard_inside = list(self.heard)
                if how == "rollback":
                    raise KeyError
        except KeyError:
            pass
        return {{"taken": taken, "inside": heard_inside}}

    @event_handler("entry.added")
    async def on_added(self, event):
        self.heard.append(event.data["how"])

    @get("/ledger")
    async def ledger(self):
        rows = await self.db.fetch_all("SELECT what FROM entry")
        return {{"heard": self.heard, "rows": [row["what"] for row in rows]}}
"""


@pytest.fixture(params=["import trio", "import asyncio"])
async def app(request, tmp_path):
    folder = tmp_path / "ledger"
    folder.mkdir()
    (folder / "plugin.py").write_text(SOURCE.format(imports=request.param))
    manifest = {
        "name": "ledger",
        "version": "1.0.0",
        "entry_point": "plugin:Ledger",
        "permissions": ["database:write", "events:emit", "events:subscribe"],
    }
    (folder / "plugin.json").write_text(json.dumps(manifest))
    app = TestApplication(plugins=[tmp_path])
    await app.register_plugin("ledger")
    yield app
    await app.cleanup()


async def test_an_event_goes_out_after_the_commit_and_vanishes_with_a_rollback(app):
    client = TestClient(app)
    for how in ("commit", "rollback"):
        answer = (await client.post(f"/ledger/{how}")).json()
        assert answer["taken"] == [None], "how many took it is not known yet"
        assert how not in answer["inside"]
    with trio.fail_after(5):
        await app.settle()
    assert (await client.get("/ledger")).json() == {"heard": ["commit"], "rows": ["commit"]}
