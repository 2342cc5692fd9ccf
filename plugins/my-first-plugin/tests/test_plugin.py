"""The plugin as an ordinary object: no node, and a database that remembers what it was asked."""

from datetime import UTC, datetime
from unittest.mock import AsyncMock

import pytest
from my_first_plugin.plugin import MyFirstPlugin, NewEntry

from nexus_actors.events import Event
from nexus_actors.testing import alone

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)


def a_plugin(**config):
    plugin = MyFirstPlugin(config)
    plugin.db = AsyncMock()
    plugin.db.fetch_one.return_value = {"id": 1, "created_at": NOW}
    return plugin


def test_its_name_and_version_are_those_of_the_manifest():
    plugin = a_plugin()
    assert (plugin.name, plugin.version) == ("my-first-plugin", "1.0.0")


async def test_it_makes_its_table_when_it_starts():
    plugin = a_plugin()
    await plugin.initialize()
    (sql,) = plugin.db.execute.call_args[0]
    assert "CREATE TABLE IF NOT EXISTS my_plugin_data" in sql


@pytest.mark.parametrize("entry", [NewEntry(), NewEntry(name="")])
async def test_an_entry_without_a_name_is_refused_and_nothing_is_written(entry):
    plugin = a_plugin()
    assert await plugin.create_data(entry) == ({"error": "Name is required"}, 400)
    plugin.db.fetch_one.assert_not_called()


async def test_other_plugins_hear_of_a_new_entry():
    plugin = a_plugin()
    async with alone(plugin) as seen:
        created = await plugin.create_data(NewEntry(name="tea", value="green"))
    assert created == {"id": 1, "name": "tea", "value": "green", "created_at": NOW}
    assert [(event.type, event.data) for event in seen.events] == [
        ("my-plugin.data.created", created)
    ]


async def test_without_notifications_nobody_hears_of_a_new_entry_or_welcomes_a_user():
    plugin = a_plugin(enable_notifications=False)
    async with alone(plugin) as seen:
        await plugin.create_data(NewEntry(name="tea"))
    assert seen.events == []
    plugin.db.reset_mock()
    await plugin.on_user_created(Event("user.created", {"username": "ann"}))
    assert plugin.db.mock_calls == []


async def test_a_new_user_gets_a_welcome_entry():
    plugin = a_plugin()
    await plugin.on_user_created(Event("user.created", {"user_id": "1", "username": "ann"}))
    _, name, value, _ = plugin.db.fetch_one.call_args[0]
    assert (name, value) == ("welcome_ann", "Welcome to Nexus, ann!")


@pytest.mark.parametrize("data", [{}, {"username": None}, {"username": ""}, {"username": 7}])
async def test_a_user_without_a_name_is_not_welcomed(data):
    plugin = a_plugin()
    with pytest.raises(ValueError, match=r"user\.created of shop has no username"):
        await plugin.on_user_created(Event("user.created", data, source="shop"))
    plugin.db.fetch_one.assert_not_called()
