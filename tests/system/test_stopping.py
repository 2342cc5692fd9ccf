"""Stopping a node's process: what becomes of requests, sessions and plugins, and how it exits."""

import json
import signal
from pathlib import Path
from typing import Any

import h11
import pytest
import trio
from node_world import NodeProcess, node_process, until, write_plugin
from raw_client import RawConnection, RawWebSocket
from wsproto.events import CloseConnection, TextMessage

CLERK = """
class P(Plugin):
    async def initialize(self):
        self.folder = Path(self.config["folder"])

    async def cleanup(self):
        note(self.folder, "order", "clerk begins")
        await trio.sleep(0.1)
        note(self.folder, "order", "clerk ends")

    @get("/well")
    async def well(self):
        return {"well": True}

    @get("/brief/{number}")
    async def brief(self, number: int):
        note(self.folder, "arrived", "one")
        while not (self.folder / "go on").exists():
            await trio.sleep(0.02)
        return {"number": number}

    @get("/large")
    async def large(self):
        return Response(b"x" * 50_000_000)

    @get("/events")
    async def events(self):
        async def stream():
            yield ServerSentEvent("first")
            await trio.sleep_forever()
        return stream()

    @websocket("/talk")
    async def talk(self, ws: WebSocket):
        await ws.accept()
        while True:
            await ws.send(await ws.receive())


def note(folder, name, words):
    with open(folder / name, "a") as file:
        file.write(words + "\\n")
"""

STUCK = """
class P(Plugin):
    async def cleanup(self):
        folder = Path(self.config["folder"])
        for words in ("stuck begins", "stuck ends"):
            with open(folder / "order", "a") as file:
                file.write(words + "\\n")
            await trio.sleep(0.1)

    @post("/forever/{number}")
    async def forever(self, number: int):
        await trio.sleep_forever()
"""

FOLDER = {"folder": {"type": "string", "required": True}}


def two_plugins(folder: Path) -> str:
    """A plugin that goes on when it is told, and one that requires it and never answers."""
    write_plugin(folder / "plugins", "clerk", CLERK, configuration=FOLDER, readers=128)
    write_plugin(folder / "plugins", "stuck", STUCK, configuration=FOLDER, requires=["clerk"])
    return f"""
        [node]
        stop_timeout = 12
        [http]
        drain = 2
        [plugins.clerk]
        folder = {json.dumps(str(folder))}
        [plugins.stuck]
        folder = {json.dumps(str(folder))}
    """


async def refuses_connections(node: NodeProcess) -> bool:
    try:
        await (await RawConnection.open(node.port)).aclose()
    except OSError:
        return True
    return False


@pytest.mark.parametrize(
    ("number", "finishing", "hanging"),
    [
        pytest.param(signal.SIGTERM, 160, 40, id="SIGTERM"),
        pytest.param(signal.SIGINT, 16, 4, id="SIGINT"),
    ],
)
async def test_a_signal_loses_no_request_and_ends_every_session_cleanly(
    tmp_path: Path, number: signal.Signals, finishing: int, hanging: int
) -> None:
    toml = two_plugins(tmp_path)
    replies: dict[str, Any] = {}
    cut: dict[str, str] = {}

    async def ask(method: str, path: str, *, task_status: Any) -> None:
        connection = await RawConnection.open(node.port)
        await connection.send(method, path)
        task_status.started()
        try:
            replies[path] = await connection.reply()
        except h11.RemoteProtocolError as error:
            cut[path] = str(error)
        await connection.aclose()

    async with node_process(tmp_path, toml=toml) as node:
        unread = await RawConnection.open(node.port)
        await unread.send("GET", "/large")
        assert isinstance(await unread.event(), h11.Response)
        idle = await RawConnection.open(node.port)
        await idle.send("GET", "/well")
        await idle.reply()
        events = await RawConnection.open(node.port)
        await events.send("GET", "/events")
        assert isinstance(await events.event(), h11.Response)
        assert b"first" in (await events.event()).data
        talk = await RawWebSocket.open(node.port, "/talk")
        await talk.send("hello")
        assert await talk.event() == TextMessage(data="hello")

        async with trio.open_nursery() as nursery:
            for index in range(finishing):
                await nursery.start(ask, "GET", f"/brief/{index}")
            for index in range(hanging):
                await nursery.start(ask, "POST", f"/forever/{index}")
            # as many as there are readers; the others wait in the mailbox
            await until(
                lambda: (tmp_path / "arrived").read_text().count("one") == min(128, finishing)
            )
            began = trio.current_time()
            node.signal(number)
            await until(lambda: refuses_connections(node))
            (tmp_path / "go on").touch()

        assert cut == {}, node.stderr
        brief = [reply for path, reply in replies.items() if path.startswith("/brief")]
        assert [reply.status for reply in brief] == [200] * finishing
        forever = [reply for path, reply in replies.items() if path.startswith("/forever")]
        assert [reply.status for reply in forever] == [503] * hanging
        assert {reply.headers["content-type"] for reply in forever} == {"application/problem+json"}

        assert isinstance(await events.event(), h11.EndOfMessage), "a clean end: the last chunk"
        closed = await talk.event()
        assert isinstance(closed, CloseConnection)
        assert closed.code == 1001
        assert await idle.stream.receive_some(1) == b""

        assert await node.wait_exit(10) == 0, node.stderr
        assert trio.current_time() - began < 8, "drain and clean-ups, not the client that reads not"
        assert "Traceback" not in node.stderr
        assert "KeyboardInterrupt" not in node.stderr
        for connection in (unread, idle, events, talk):
            await connection.aclose()
    assert (tmp_path / "order").read_text().splitlines() == [
        "stuck begins",
        "stuck ends",
        "clerk begins",
        "clerk ends",
    ], "reverse waves: clerk goes on until stuck, which requires it, has ended"


async def test_a_second_signal_ends_the_node_at_once(tmp_path: Path) -> None:
    write_plugin(
        tmp_path / "plugins",
        "slow",
        """
        class P(Plugin):
            async def cleanup(self):
                self.logger.info("cleaning up")
                await trio.sleep(60)

            @get("/hang")
            async def hang(self):
                await trio.sleep(60)
        """,
        supervision={"shutdown": 100},
    )
    async with node_process(tmp_path, toml="[node]\nstop_timeout = 200") as node:
        node.signal(signal.SIGINT)
        await until(lambda: "cleaning up" in node.stderr)
        node.signal(signal.SIGINT)
        assert await node.wait_exit(5) == 1
        assert "not stopped before it was hurried, killed: slow" in node.stderr
        assert "ended the process" not in node.stderr, "that is for what ignores being killed"
        assert "Traceback" not in node.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_while_plugins_still_start_ends_the_node_too(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    write_plugin(
        tmp_path / "plugins",
        "late",
        """
        class P(Plugin):
            async def initialize(self):
                self.logger.info("initializing")
                await trio.sleep_forever()
        """,
    )
    async with node_process(tmp_path, wait=False) as node:
        await until(lambda: "initializing" in node.stderr)
        node.signal(number)
        assert await node.wait_exit(10) == code, node.stderr
        assert "Traceback" not in node.stderr


async def test_a_cleanup_that_never_ends_is_cut_at_the_plugins_own_deadline(tmp_path: Path) -> None:
    write_plugin(
        tmp_path / "plugins",
        "endless",
        """
        class P(Plugin):
            async def cleanup(self):
                await trio.sleep_forever()
        """,
        supervision={"shutdown": 0.5},
    )
    async with node_process(tmp_path) as node:
        began = trio.current_time()
        assert await node.terminate() == 0, node.stderr
        assert trio.current_time() - began < 5
        cut = [record for record in node.logged() if record["level"] == "error"]
        assert [record["plugin"] for record in cut] == ["endless"], node.stderr


DEAF = {
    "deaf-cleanup": """
        class P(Plugin):
            async def cleanup(self):
                with trio.CancelScope(shield=True):
                    await trio.sleep_forever()
    """,
    "deaf-handler": """
        class P(Plugin):
            @get("/never")
            async def never(self):
                with trio.CancelScope(shield=True):
                    await trio.sleep_forever()
    """,
    "deaf-background": """
        class P(Plugin):
            async def initialize(self):
                self.nursery.start_soon(self.ignore_everything)

            async def ignore_everything(self):
                while True:
                    try:
                        await trio.sleep_forever()
                    except trio.Cancelled:
                        pass
    """,
}


async def test_what_ignores_every_cancellation_is_killed_by_name(tmp_path: Path) -> None:
    for name, source in DEAF.items():
        write_plugin(tmp_path / "plugins", name, source, supervision={"shutdown": 0.2})
    toml = "[node]\nstop_timeout = 1.5\n[http]\ndrain = 0.2"
    async with node_process(tmp_path, toml=toml) as node:
        connection = await RawConnection.open(node.port)
        await connection.send("GET", "/never")
        began = trio.current_time()
        assert await node.terminate() == 1
        assert trio.current_time() - began < 1.5 + 2, "stop_timeout, and a moment to kill"
        for name in DEAF:
            assert name in node.stderr.splitlines()[-1], node.stderr
        await connection.aclose()


async def test_a_handler_that_holds_the_loop_does_not_hold_the_stop(tmp_path: Path) -> None:
    write_plugin(
        tmp_path / "plugins",
        "holding",
        """
        class P(Plugin):
            @get("/hold")
            async def hold(self):
                self.logger.info("holds the loop")
                time.sleep(600)
        """,
    )
    toml = "[node]\nstop_timeout = 0.5\n[http]\ndrain = 0.2"
    async with node_process(tmp_path, toml=toml) as node:
        connection = await RawConnection.open(node.port)
        await connection.send("GET", "/hold")
        await until(lambda: "holds the loop" in node.stderr)
        began = trio.current_time()
        assert await node.terminate() == 1
        assert trio.current_time() - began < 0.5 + 2
        assert "holding" in node.stderr.splitlines()[-1], node.stderr
        await connection.aclose()
