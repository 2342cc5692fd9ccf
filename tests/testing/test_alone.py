"""A plugin object outside a node, and what ``alone`` gives it."""

from __future__ import annotations

import pytest
import trio

from nexus_actors.errors import Invalid, NotInNode
from nexus_actors.plugin import Plugin
from nexus_actors.testing import alone


class Busy(Plugin):
    async def initialize(self):
        self.nursery.start_soon(self.work)

    async def work(self):
        for number in range(3):
            await self.emit_event("work.done", {"number": number})
        await trio.sleep_forever()


async def test_a_plugin_outside_a_node_is_an_ordinary_object(caplog):
    plugin = Busy({"key": 1})
    assert plugin.config["key"] == 1
    assert plugin.get_plugin("other") is None
    plugin.logger.warning("it logs")
    assert "it logs" in caplog.text


@pytest.mark.parametrize("attempt", ["nursery", "emit"])
async def test_what_only_a_node_gives_raises_with_the_advice(attempt):
    plugin = Busy({})
    with pytest.raises(NotInNode, match=r"nexus_actors.testing.alone\(plugin\)"):
        if attempt == "nursery":
            _ = plugin.nursery
        else:
            await plugin.emit_event("work.done", {})


async def test_the_database_outside_a_node_advises_a_mock():
    with pytest.raises(NotInNode, match="AsyncMock"):
        await Busy({}).db.execute("SELECT 1")


async def test_alone_gives_a_nursery_and_keeps_what_was_emitted(autojump_clock):
    plugin = Busy({})
    async with alone(plugin) as seen:
        await plugin.initialize()
        await trio.testing.wait_all_tasks_blocked()
    assert [event.data["number"] for event in seen.events] == [0, 1, 2]
    with pytest.raises(NotInNode):
        _ = plugin.nursery


async def test_alone_refuses_events_as_a_node_does():
    plugin = Busy({})
    async with alone(plugin):
        with pytest.raises(Invalid, match="type"):
            await plugin.emit_event({"data": {}})


async def test_a_background_task_that_dies_alone_is_raised_in_the_test():
    class Doomed(Plugin):
        async def initialize(self):
            self.nursery.start_soon(self.die)

        async def die(self):
            raise ValueError("unseen")

    plugin = Doomed({})
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="unseen")):
        async with alone(plugin):
            await plugin.initialize()
            await trio.sleep_forever()
