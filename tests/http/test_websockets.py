"""Websockets: opening, messages, and all the ways in which they end."""

from __future__ import annotations

import contextlib
import logging

import pytest
import trio
import wsproto
from trio.testing import wait_all_tasks_blocked
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from nexus_actors.errors import ActorRestarted, DatabaseUnavailable, HTTPError, RemoteError
from nexus_actors.http import WebSocketClosed


class Socket:
    """The client's side, by wsproto."""

    def __init__(self, stream):
        self.stream = stream
        self.protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._events = []

    async def send(self, event):
        await self.stream.send_all(self.protocol.send(event))

    async def event(self):
        with trio.fail_after(5):
            while not self._events:
                data = await self.stream.receive_some(2**16)
                self.protocol.receive_data(data or None)
                self._events.extend(self.protocol.events())
        return self._events.pop(0)

    async def text(self):
        event = await self.event()
        assert isinstance(event, TextMessage), event
        return event.data

    async def closed(self):
        event = await self.event()
        assert isinstance(event, CloseConnection), event
        with contextlib.suppress(wsproto.utilities.LocalProtocolError):
            await self.send(event.response())
        return event.code, event.reason or ""


@pytest.fixture
def dial(serve_routes, route):
    """Serve a handler at /ws/{room} and open a websocket to it; gives the socket and the server."""

    async def open_one(handler, *, accept=True, subprotocols=(), served=None, **settings):
        if served is None:
            served = await serve_routes(route("WEBSOCKET /ws/{room}", handler), **settings)
        raw = await served.connect()
        socket = Socket(raw.stream)
        await socket.send(Request(host="x", target="/ws/1?q=2", subprotocols=list(subprotocols)))
        if accept:
            assert isinstance(await socket.event(), AcceptConnection)
        return socket, served

    return open_one


async def echo(ws):
    await ws.accept()
    async for message in ws:
        await ws.send(message)


async def rejected(socket):
    event = await socket.event()
    assert isinstance(event, RejectConnection), event
    body = b""
    while True:
        data = await socket.event()
        assert isinstance(data, RejectData)
        body += data.data
        if data.body_finished:
            return event.status_code, dict(event.headers), body


# -- messages ------------------------------------------------------------------------------------


async def test_text_and_bytes_go_both_ways(dial):
    socket, served = await dial(echo)
    await socket.send(TextMessage("hällo"))
    assert await socket.text() == "hällo"
    await socket.send(BytesMessage(b"\x00\xff"))
    assert (await socket.event()).data == b"\x00\xff"
    await socket.send(TextMessage("x" * 300_000))
    received = ""
    while len(received) < 300_000:
        received += await socket.text()
    assert received == "x" * 300_000
    await socket.send(CloseConnection(1000))
    assert (await socket.closed())[0] == 1000
    assert served.told[0][:3] == ("WEBSOCKET", "/ws/1", 101)
    assert served.told[0][5] == "shop"


async def test_the_handler_sees_the_opening(dial):
    seen = {}

    async def look(ws):
        seen.update(
            room=ws.path_params["room"],
            query=ws.query["q"],
            host=ws.headers["host"],
            offered=ws.subprotocols,
            client=ws.client[0],
            path=ws.path,
        )
        await ws.accept("b", headers={"X-Made": "yes"})

    socket, _served = await dial(look, accept=False, subprotocols=["a", "b"])
    event = await socket.event()
    assert isinstance(event, AcceptConnection)
    assert event.subprotocol == "b"
    assert dict(event.extra_headers)[b"x-made"] == b"yes"
    assert (await socket.closed())[0] == 1000
    assert seen == {
        "room": "1",
        "query": "2",
        "host": "x",
        "offered": ("a", "b"),
        "client": "127.0.0.1",
        "path": "/ws/1",
    }


async def test_compression_is_not_taken_up(serve_routes, route):
    """It would let a small frame become a huge one before its length is looked at."""
    served = await serve_routes(route("WEBSOCKET /ws/{room}", echo))
    socket = Socket((await served.connect()).stream)
    deflate = wsproto.extensions.PerMessageDeflate()
    await socket.send(Request(host="x", target="/ws/1", extensions=[deflate]))
    event = await socket.event()
    assert isinstance(event, AcceptConnection)
    assert event.extensions == []


async def test_json_goes_both_ways(dial):
    async def swap(ws):
        await ws.accept()
        data = await ws.receive_json()
        await ws.send_json({"got": data})

    socket, _served = await dial(swap)
    await socket.send(TextMessage('{"a": 1}'))
    assert await socket.text() == '{"got":{"a":1}}'


async def test_a_ping_is_answered(dial):
    socket, _served = await dial(echo)
    await socket.send(Ping(b"x"))
    event = await socket.event()
    assert isinstance(event, Pong)
    assert event.payload == b"x"


async def test_accept_ends_the_plugins_message_by_its_hook(dial):
    order = []

    async def handler(ws):
        ws.on_accept = lambda: order.append(("accepted", ws.accepted))
        ws.on_close = lambda: order.append(("closed", ws.closed))
        await ws.accept()

    socket, _served = await dial(handler)
    await socket.closed()
    assert order == [("accepted", True), ("closed", (1000, ""))]


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [(HTTPError(403, "not you"), 403), (ActorRestarted("shop"), 503), (KeyError("secret"), 500)],
)
async def test_an_error_before_accept_answers_the_opening(dial, error, status):
    async def refuse(ws):
        raise error

    socket, served = await dial(refuse, accept=False)
    found, headers, body = await rejected(socket)
    assert found == status
    assert headers[b"content-type"] == b"application/problem+json"
    assert b"secret" not in body
    await wait_all_tasks_blocked()
    assert served.told[0][2] == status


@pytest.mark.parametrize("way", ["return", "close"])
async def test_a_handler_that_never_accepts_refuses_with_403(dial, way):
    async def refuse(ws):
        if way == "close":
            await ws.close()

    socket, _served = await dial(refuse, accept=False)
    assert (await rejected(socket))[0] == 403


async def test_a_handler_that_does_not_accept_in_time_is_504(dial):
    ended = trio.Event()

    async def hang(ws):
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    socket, _served = await dial(hang, accept=False, reply_timeout=0.1)
    assert (await rejected(socket))[0] == 504
    assert ended.is_set()


async def test_an_accepted_websocket_has_no_deadline(dial):
    async def slow(ws):
        await ws.accept()
        await trio.sleep(0.3)
        await ws.send("late")

    socket, _served = await dial(slow, reply_timeout=0.1, keep_alive=0.1, head_timeout=0.1)
    assert await socket.text() == "late"


@pytest.mark.parametrize("path", ["/nowhere", "/get", "/ws/..", "/ws/a%00"])
async def test_a_websocket_to_a_path_without_one_is_refused(serve_routes, route, path):
    async def hello(request):
        return "x"

    served = await serve_routes(route("WEBSOCKET /ws/{room}", echo), route("GET /get", hello))
    socket = Socket((await served.connect()).stream)
    await socket.send(Request(host="x", target=path))
    status, headers, _body = await rejected(socket)
    assert status == (400 if path.startswith("/ws") else 404)
    assert headers[b"content-type"] == b"application/problem+json"


async def test_using_a_websocket_wrongly_says_how(dial):
    said = []

    async def wrong(ws):
        for use in (ws.receive, lambda: ws.send("x"), lambda: ws.accept("never offered")):
            try:
                await use()
            except (RuntimeError, ValueError) as error:
                said.append(str(error))
        await ws.accept()
        for use in (ws.accept, lambda: ws.send({"a": 1})):
            try:
                await use()
            except (RuntimeError, TypeError) as error:
                said.append(str(error))

    socket, _served = await dial(wrong)
    await socket.closed()
    assert said == [
        "cannot receive from the websocket yet: first `await ws.accept()`",
        "cannot send to the websocket yet: first `await ws.accept()`",
        "the client did not offer the subprotocol 'never offered', it offered []",
        "the websocket is accepted already",
        "a websocket sends text or bytes, not dict; use send_json",
    ]


# -- ends ----------------------------------------------------------------------------------------


class Recorder:
    """A handler that records how its websocket ended for it."""

    def __init__(self):
        self.ended = trio.Event()
        self.error = None
        self.started = trio.Event()

    async def __call__(self, ws):
        try:
            await ws.accept()
            self.started.set()
            while True:
                await ws.receive()
        except WebSocketClosed as error:
            self.error = error
        finally:
            self.ended.set()


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
async def test_a_clients_close_reaches_the_handler_with_its_code(dial, code, caplog, eventually):
    handler = Recorder()
    socket, served = await dial(handler)
    await socket.send(CloseConnection(code, "bye"))
    assert (await socket.closed())[0] == code
    with trio.fail_after(5):
        await handler.ended.wait()
    assert handler.error.code == code
    await socket.stream.aclose()
    await eventually(lambda: not served.server.connections, "the connection is closed")
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


async def test_a_broken_connection_is_1006_for_the_handler(dial):
    handler = Recorder()
    socket, _served = await dial(handler)
    await handler.started.wait()
    await socket.stream.aclose()
    with trio.fail_after(5):
        await handler.ended.wait()
    assert handler.error.code == 1006


async def test_iterating_ends_with_the_websocket(dial):
    got, after = [], trio.Event()

    async def handler(ws):
        await ws.accept()
        async for message in ws:
            got.append(message)
        after.set()

    socket, _served = await dial(handler)
    await socket.send(TextMessage("a"))
    await socket.send(CloseConnection(1000))
    with trio.fail_after(5):
        await after.wait()
    assert got == ["a"], "what came before the close is delivered"


async def test_a_handler_that_does_not_notice_the_end_is_cancelled(dial, monkeypatch):
    monkeypatch.setattr("nexus_actors.http.session.SESSION_GRACE", 0.1)
    ended = trio.Event()

    async def deaf(ws):
        await ws.accept()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    socket, _served = await dial(deaf)
    await socket.stream.aclose()
    with trio.fail_after(5):
        await ended.wait()


async def test_the_handlers_close_reaches_the_client(dial, eventually):
    async def handler(ws):
        await ws.accept()
        await ws.send("last words")
        await ws.close(4001, "enough")
        await ws.close(4002, "again")

    socket, served = await dial(handler)
    assert await socket.text() == "last words"
    assert await socket.closed() == (4001, "enough")
    await socket.stream.aclose()
    await eventually(lambda: not served.server.connections, "the connection is closed")


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (KeyError("secret"), 1011, "the handler failed"),
        (HTTPError(403, "not you"), 1008, "not you"),
        (ActorRestarted("shop"), 1012, "shop was restarted while it had this message in hand"),
        (RemoteError("shop/till", "KeyError: secret"), 1013, "shop failed while answering"),
        (DatabaseUnavailable("nexus@host"), 1013, "the database is not available just now"),
    ],
)
async def test_an_error_after_accept_closes_with_a_code(dial, error, code, reason):
    async def fail(ws):
        await ws.accept()
        raise error

    socket, _served = await dial(fail)
    assert await socket.closed() == (code, reason)


async def test_the_node_may_close_it_from_outside(dial):
    sockets = []

    async def handler(ws):
        sockets.append(ws)
        await ws.accept()
        async for _message in ws:
            pass

    socket, _served = await dial(handler)
    sockets[0].end(1012, "the plugin was restarted")
    assert await socket.closed() == (1012, "the plugin was restarted")


async def test_sending_after_the_end_raises_with_the_code(dial):
    errors, ended = [], trio.Event()

    async def handler(ws):
        await ws.accept()
        await ws.wait_closed()
        for _ in range(2):
            try:
                await ws.send("x")
            except WebSocketClosed as error:
                errors.append(error.code)
        ended.set()

    socket, _served = await dial(handler)
    await socket.send(CloseConnection(1000))
    with trio.fail_after(5):
        await ended.wait()
    assert errors == [1000, 1000]


async def test_a_client_that_does_not_read_holds_the_handler_up(dial):
    sent = 0

    async def flood(ws):
        nonlocal sent
        await ws.accept()
        while True:
            await ws.send("x" * 100_000)
            sent += 1

    _socket, _served = await dial(flood)
    await trio.sleep(0.3)  # what fits into the buffers of the kernel
    before = sent
    await trio.sleep(0.1)
    assert sent == before
    assert sent < 200


async def test_a_handler_that_does_not_read_holds_the_client_up(dial):
    async def deaf(ws):
        await ws.accept()
        await trio.sleep_forever()

    socket, _served = await dial(deaf)
    sent = 0
    with trio.move_on_after(0.5):
        while sent < 2000:
            await socket.send(TextMessage("x" * 100_000))
            sent += 1
    assert sent < 600


async def test_a_client_that_leaves_while_nobody_reads_is_noticed(dial, monkeypatch):
    """The handler's queue is full in both directions; the end must get through all the same."""
    monkeypatch.setattr("nexus_actors.http.session.SESSION_GRACE", 0.1)
    ended = trio.Event()

    async def stuck(ws):
        await ws.accept()
        try:
            while True:
                await ws.send("x" * 100_000)
        finally:
            ended.set()

    socket, _served = await dial(stuck, write_timeout=0.3)
    with trio.move_on_after(0.2):
        while True:
            await socket.send(TextMessage("x" * 10_000))
    await socket.stream.aclose()
    with trio.fail_after(5):
        await ended.wait()


async def test_a_message_over_the_limit_closes_with_1009(dial):
    handler = Recorder()
    socket, _served = await dial(handler, max_body=1000)
    await socket.send(TextMessage("x" * 1001))
    assert (await socket.closed())[0] == 1009
    with trio.fail_after(5):
        await handler.ended.wait()
    assert handler.error.code == 1009


async def test_text_that_is_not_utf8_closes_with_1007(dial):
    handler = Recorder()
    socket, _served = await dial(handler)
    await socket.stream.send_all(b"\x81\x82\x00\x00\x00\x00\xff\xff")
    assert (await socket.closed())[0] == 1007
    with trio.fail_after(5):
        await handler.ended.wait()


async def test_garbage_instead_of_frames_closes_with_1002(dial):
    handler = Recorder()
    socket, _served = await dial(handler)
    await socket.stream.send_all(b"\xff\xff\xff\xff\xff\xff")
    assert (await socket.closed())[0] == 1002
    with trio.fail_after(5):
        await handler.ended.wait()


async def test_a_hundred_websockets_open_beside_each_other(dial, serve_routes, route):
    served = await serve_routes(route("WEBSOCKET /ws/{room}", echo))
    sockets = [(await dial(echo, served=served))[0] for _ in range(100)]
    for socket in sockets:
        await socket.send(TextMessage("a"))
    for socket in sockets:
        assert await socket.text() == "a"
    for socket in sockets:
        await socket.stream.aclose()
    await wait_all_tasks_blocked(0.02)
