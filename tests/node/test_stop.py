"""Starting and stopping a node from within: what must not hold it up, and what it says."""

from pathlib import Path

import pytest
import trio
from node_world import client_of, node_here, until, write_plugin
from raw_client import RawConnection

from nexus_actors.config import HttpSettings, NodeSettings, Settings
from nexus_actors.node import CannotStart, Node
from nexus_actors.plugin.loader import load_plugins

WELL = """
class P(Plugin):
    @get("/well")
    async def well(self):
        return {"well": True}
"""


async def test_clients_that_connect_again_and_again_do_not_hold_the_stop(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plugins", "well", WELL)
    came = 0

    async def hammer(port: int) -> None:
        nonlocal came
        while True:
            try:
                await (await RawConnection.open(port)).aclose()
            except OSError:
                return
            came += 1

    async with trio.open_nursery() as nursery:
        async with node_here(tmp_path / "plugins") as node:
            assert node.server is not None
            for _ in range(5):
                nursery.start_soon(hammer, node.server.port)
            await until(lambda: came > 100)
            began = trio.current_time()
        assert trio.current_time() - began < 3


async def test_a_request_that_came_before_the_stop_is_answered_and_says_close(
    tmp_path: Path,
) -> None:
    write_plugin(
        tmp_path / "plugins",
        "slow",
        """
        gate = trio.Event()

        class P(Plugin):
            @get("/slow")
            async def slow(self):
                await trio.sleep(0.2)
                return {}
        """,
    )
    async with node_here(tmp_path / "plugins") as node:
        assert node.server is not None
        connection = await RawConnection.open(node.server.port)
        await connection.send("GET", "/slow")
        node.stop()
        reply = await connection.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        await connection.aclose()
        node._stop_asked = trio.Event()  # node_here asks again, and the first time is enough


@pytest.mark.parametrize("client", ["idle", "has stopped reading"])
async def test_a_client_that_does_nothing_does_not_delay_the_stop(
    tmp_path: Path, client: str
) -> None:
    write_plugin(
        tmp_path / "plugins",
        "large",
        """
        class P(Plugin):
            @get("/large")
            async def large(self):
                return Response(b"x" * 50_000_000)

            @get("/idle")
            async def small(self):
                return {}
        """,
    )
    async with node_here(tmp_path / "plugins", http={"drain": 15.0}) as node:
        assert node.server is not None
        connection = await RawConnection.open(node.server.port)
        if client == "idle":
            await connection.send("GET", "/idle")
            assert (await connection.reply()).status == 200
        else:
            await connection.send("GET", "/large")
            await connection.event()
        began = trio.current_time()
    assert trio.current_time() - began < (1 if client == "idle" else 5)
    await connection.aclose()


@pytest.mark.parametrize(("late", "state"), [(False, "starting"), (True, "stopped")])
async def test_an_address_in_use_is_said_and_what_had_started_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool, state: str
) -> None:
    async def finds_nothing(bind: str) -> None:
        """It is taken between the look and the start."""

    if late:
        monkeypatch.setattr("nexus_actors.node.node.check_bind", finds_nothing)
    write_plugin(tmp_path / "plugins", "well", WELL)
    async with node_here(tmp_path / "plugins") as node:
        assert node.server is not None
        told = Settings(
            node=NodeSettings(plugins=(tmp_path / "plugins",), installed_plugins=False),
            http=HttpSettings(bind=node.server.address),
        )
        second = Node(told, load_plugins(told), control=False)
        with trio.fail_after(10), pytest.raises(CannotStart, match="is in use .*--bind"):
            await second.run()
        assert [cell.state for cell in second.cells()] == [state]
        async with client_of(node) as client:
            assert (await client.get("/well")).status_code == 200


async def test_a_data_folder_that_may_not_be_written_to_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(tmp_path / "plugins", "well", WELL)
    settings = Settings(
        node=NodeSettings(
            plugins=(tmp_path / "plugins",), installed_plugins=False, data=tmp_path / "data"
        ),
        http=HttpSettings(bind="127.0.0.1:0"),
    )
    node = Node(settings, load_plugins(settings))
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path / "data")
    with pytest.raises(CannotStart, match=r"^node\.data: .*/data may not be written to"):
        await node.run()
    assert node.cells()[0].state == "starting"
