"""The guide's plugin-to-plugin block: calls to another plugin, and a broadcast to all."""

import pytest
from guide_world import a_node, events_of, write_block, write_plugin, write_recorder

KEEPER = '''
from nexus_actors.plugin import Plugin


class Keeper(Plugin):
    async def get_data(self, data_id):
        return {"id": data_id, "from": self.name}


class Mute(Plugin):
    """Has nothing to ask it for: get_data is no coroutine method of its own."""
'''


@pytest.fixture(params=["trio", "asyncio"])
def folder(guide, tmp_path, request):
    """The block says nothing of asyncio or Trio, so it must do under both."""
    write_block(tmp_path, guide, "communication", "as it stands", async_library=request.param)
    write_plugin(tmp_path, "keeper", KEEPER, {"entry_point": "plugin:Keeper"})
    write_plugin(tmp_path, "mute", KEEPER, {"entry_point": "plugin:Mute"})
    write_recorder(tmp_path)
    return tmp_path


async def test_data_is_requested_from_another_plugin(folder):
    async with a_node(folder, keeper={}, mute={}, communication={}) as (_, client):
        answers = {
            name: (await client.get(f"/ask/{name}/7")).json()["answer"]
            for name in ("keeper", "mute", "nobody")
        }
        assert answers == {"keeper": {"id": "7", "from": "keeper"}, "mute": None, "nobody": None}


async def test_a_message_is_broadcast_to_all_plugins(folder):
    async with a_node(folder, recorder={}, communication={}) as (_, client):
        response = await client.post("/broadcast", json={"text": "hello", "to": ["all"]})
        assert response.status_code == 200
        (event,) = await events_of(client, "plugin.message.broadcast")
        assert event == {
            "type": "plugin.message.broadcast",
            "source": "communication",
            "data": {"source": "communication", "message": {"text": "hello", "to": ["all"]}},
        }
