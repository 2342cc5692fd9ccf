"""What the tests of this plugin share: a stand-in for the database, and a node."""

from contextlib import asynccontextmanager

import pytest
import trio

from nexus_actors.testing import TestApplication, TestClient


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


@pytest.fixture
async def app():
    """A node with the data processor: two records make a batch, one alone waits for a second."""
    async with TestApplication() as app:
        yield app


@pytest.fixture
async def listener(app):
    """Somebody who wants to know what was processed."""
    return await app.probe("listener", events=["data.processed"])


@pytest.fixture
async def client(app, listener):
    await app.register_plugin("data-processor", {"batch_size": 2, "flush_after": 1.0})
    return TestClient(app)
