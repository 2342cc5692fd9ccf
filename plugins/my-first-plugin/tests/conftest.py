"""The plugin in a node of its own, with a real database."""

import pytest

from nexus_actors.testing import TestApplication, TestClient


@pytest.fixture
async def app():
    app = TestApplication()
    await app.register_plugin("my-first-plugin", {"max_entries": 3})
    yield app
    await app.cleanup()


@pytest.fixture
async def client(app):
    return TestClient(app)
