"""A plugin sees its own numbers, and with ``node:observe`` those of others."""

from pathlib import Path

import pytest
from node_world import client_of, node_here, write_plugin

WATCHER = """
class P(Plugin):
    @get("/own")
    async def own(self):
        numbers = self.node_statistics()
        return {"begun": numbers.begun, "in_hand": numbers.mailbox.in_hand}

    @get("/of/{name}")
    async def of(self, name: str):
        return {"handled": self.node_statistics(name).mailbox.handled}

    async def statistics(self):
        return "an author's own name"
"""


@pytest.mark.parametrize("permission", ["node:observe", "node:control"])
async def test_others_are_seen_with_the_permission(tmp_path: Path, permission: str) -> None:
    plugins = tmp_path / "plugins"
    write_plugin(plugins, "watcher", WATCHER, permissions=[permission])
    write_plugin(
        plugins, "other", '\nclass P(Plugin):\n    @get("/")\n    async def x(self): ...\n'
    )
    async with node_here(plugins) as node, client_of(node) as client:
        assert (await client.get("/own")).json() == {"begun": 1, "in_hand": 1}
        for _ in range(2):
            await client.get("/")
        assert (await client.get("/of/other")).json() == {"handled": 2}
        assert (await client.get("/of/othre")).status_code == 502
        assert node.registry.cell("watcher").methods == ("statistics",)


async def test_without_it_only_its_own_are_seen(tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    write_plugin(plugins, "watcher", WATCHER)
    async with node_here(plugins) as node, client_of(node) as client:
        assert (await client.get("/own")).json()["begun"] == 1
        assert (await client.get("/of/watcher")).json()["handled"] == 1
        assert (await client.get("/of/other")).status_code == 500
        (fault,) = [
            str(each) for each in node.registry.cell("watcher").history if "GET" in str(each)
        ]
        assert "watcher may not see the numbers of 'other': add \"node:observe\"" in fault
