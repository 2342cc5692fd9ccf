"""Streams and websockets when their plugin restarts, fails in one of them, or has too many."""

from pathlib import Path

import h11
import pytest
from node_world import client_of, node_here, until, write_plugin
from raw_client import RawConnection, RawWebSocket
from wsproto.events import CloseConnection, TextMessage

from nexus_actors.events.event import make_event

TALKING = """
ended = []


class P(Plugin):
    @get("/events")
    async def events(self):
        async def stream():
            try:
                yield ServerSentEvent("first")
                await trio.sleep_forever()
            finally:
                ended.append("stream")
        return stream()

    @get("/breaks")
    async def breaks(self):
        async def stream():
            yield b"first"
            raise RuntimeError("in the midst")
        return stream()

    @websocket("/talk")
    async def talk(self, ws: WebSocket):
        await ws.accept()
        try:
            while True:
                words = await ws.receive()
                if words == "fail":
                    raise RuntimeError("in the midst")
                await ws.send(words)
        finally:
            ended.append("websocket")

    @post("/well")
    async def well(self):
        return {"well": True}

    @event_handler("kill")
    async def on_kill(self, event):
        raise RuntimeError("killed")
"""


async def test_a_restart_ends_streams_cleanly_and_websockets_with_1012(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plugins", "talking", TALKING, permissions=["events:subscribe"])
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        assert node.server is not None
        cell = node.registry.cell("talking")
        events = await RawConnection.open(node.server.port)
        await events.send("GET", "/events")
        assert isinstance(await events.event(), h11.Response)
        assert b"first" in (await events.event()).data
        talk = await RawWebSocket.open(node.server.port, "/talk")
        await talk.send("hello")
        assert await talk.event() == TextMessage(data="hello")
        assert cell.sessions == 2
        assert (await client.post("/well")).status_code == 200, "sessions hold up no writer"

        node.emit(make_event("kill", {}, source="test"))
        assert isinstance(await events.event(), h11.EndOfMessage)
        closed = await talk.event()
        assert isinstance(closed, CloseConnection)
        assert closed.code == 1012
        await until(lambda: cell.incarnation == 2)
        assert cell.sessions == 0
        for connection in (events, talk):
            await connection.aclose()


async def test_a_fault_in_a_session_ends_that_session_alone(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plugins", "talking", TALKING, permissions=["events:subscribe"])
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        assert node.server is not None
        cell = node.registry.cell("talking")
        failing = await RawWebSocket.open(node.server.port, "/talk")
        other = await RawWebSocket.open(node.server.port, "/talk")
        await failing.send("fail")
        closed = await failing.event()
        assert isinstance(closed, CloseConnection)
        assert closed.code == 1011
        assert "midst" not in (closed.reason or "")
        broken = await RawConnection.open(node.server.port)
        await broken.send("GET", "/breaks")
        with pytest.raises(h11.RemoteProtocolError):  # cut short, so that it does not seem whole
            await broken.reply()
        await other.send("still here")
        assert await other.event() == TextMessage(data="still here")
        assert (cell.incarnation, cell.crashes) == (1, 0)
        assert (await client.post("/well")).status_code == 200
        for connection in (failing, other, broken):
            await connection.aclose()


async def test_one_session_too_many_is_refused(tmp_path: Path) -> None:
    write_plugin(
        tmp_path / "plugins", "talking", TALKING, permissions=["events:subscribe"], max_sessions=1
    )
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        assert node.server is not None
        talk = await RawWebSocket.open(node.server.port, "/talk")
        response = await client.get("/events")
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        await talk.aclose()
        await until(lambda: node.registry.cell("talking").sessions == 0)
        events = await RawConnection.open(node.server.port)
        await events.send("GET", "/events")
        assert (await events.event()).status_code == 200
        await events.aclose()
        await until(lambda: node.registry.cell("talking").sessions == 0)
