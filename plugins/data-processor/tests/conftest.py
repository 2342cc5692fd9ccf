"""What the tests of this plugin share: a stand-in for the database, and a plugin that listens."""

from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from nexus_actors.testing import TestApplication


class FakeDatabase:
    """Stores what is committed, and fails as it is told."""

    def __init__(self):
        self.rows = []
        self.batches = []
        """How many rows came in each transaction that was committed."""
        self.is_stuck = False
        self.failures = []
        """Raised by the next statements, one each."""
        self.refuse = lambda row: None
        """Returns the error for a row that it refuses."""

    async def execute(self, sql, *args):
        return "CREATE TABLE"

    async def executemany(self, sql, rows):
        if self.is_stuck:
            await trio.sleep_forever()
        if self.failures:
            raise self.failures.pop(0)
        for row in rows:
            if error := self.refuse(row):
                raise error
        self._open = rows

    @asynccontextmanager
    async def transaction(self):
        yield
        self.rows += self._open
        self.batches.append(len(self._open))

    @property
    def values(self):
        return [row[2] for row in self.rows]


@pytest.fixture
def db():
    return FakeDatabase()


PLUGIN = Path(__file__).resolve().parents[1]


@pytest.fixture
async def app(tmp_path):
    """A node with the data processor and the listener: two records make a batch."""
    folder = tmp_path / "listener"
    folder.mkdir()
    write_listener(folder)
    app = TestApplication(plugins=[PLUGIN, folder])
    await app.register_plugin("listener")
    await app.register_plugin("data-processor", {"batch_size": 2, "flush_after": 0.05})
    yield app
    await app.cleanup()


def write_listener(folder):
    """A plugin that keeps the data of every ``data.processed`` and shows it."""
    (folder / "plugin.json").write_text(
        '{"name": "listener", "version": "1", "entry_point": "plugin:Listener",'
        ' "permissions": ["events:subscribe"]}'
    )
    (folder / "plugin.py").write_text(
        """
from nexus_actors.events import event_handler
from nexus_actors.http import get
from nexus_actors.plugin import Plugin

class Listener(Plugin):
    def __init__(self, config):
        super().__init__(config)
        self.heard = []

    @event_handler("data.processed")
    async def on_processed(self, event):
        self.heard.append(event.data)

    @get("/heard")
    async def show(self):
        return self.heard
"""
    )
