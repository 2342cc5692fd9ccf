"""Stopping: what is in hand is finished or told, sessions end, nothing holds the node up."""

from __future__ import annotations

import socket

import pytest
import trio
import wsproto
from trio.testing import wait_all_tasks_blocked
from wsproto.events import AcceptConnection, CloseConnection, Request

from nexus_actors.http import ServerSentEvent

SOON = 5.0
"""Seconds, on a busy machine, for what needs none; far less than any drain here."""


class Hang:
    def __init__(self):
        self.go_on = trio.Event()
        self.started = 0
        self.one_more = trio.Event()
        self.cancelled = 0

    async def __call__(self, request):
        self.started += 1
        self.one_more.set()
        try:
            await self.go_on.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        return "done"

    async def wait_started(self, count=1):
        with trio.fail_after(5):
            while self.started < count:
                self.one_more = trio.Event()
                await self.one_more.wait()


async def quick(request):
    return "quick"


async def stop_in(nursery, served, **options):
    """Begin to stop; returns an event that is set when the server has stopped."""
    done = trio.Event()

    async def stop():
        await served.server.stop(**options)
        done.set()

    nursery.start_soon(stop)
    await served.frontend.stopping.wait()
    return done


async def test_requests_in_hand_are_finished_with_connection_close(serve_routes, route, nursery):
    hang = Hang()
    served = await serve_routes(route("GET /hang", hang), drain=60)
    clients = [await served.connect() for _ in range(200)]
    for client in clients:
        await client.get("/hang")
    await hang.wait_started(200)

    done = await stop_in(nursery, served)
    await wait_all_tasks_blocked(0.02)
    assert not done.is_set()

    hang.go_on.set()
    for client in clients:
        reply = await client.response()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        await client.aclose()
    with trio.fail_after(SOON):
        await done.wait()


async def test_what_does_not_end_within_the_drain_is_answered_503(serve_routes, route, nursery):
    hang = Hang()
    served = await serve_routes(route("POST /hang", hang), drain=0.1)
    clients = [await served.connect() for _ in range(20)]
    for client in clients:
        await client.post("/hang")
    await hang.wait_started(20)

    done = await stop_in(nursery, served)
    for client in clients:
        reply = await client.response()
        assert (reply.status, reply.headers["connection"]) == (503, "close")
        assert reply.headers["retry-after"] == "1"
        assert reply.problem["detail"] == "the node is stopping and did not get to an answer"
        assert reply.problem["instance"] == "/hang"
        await client.aclose()
    with trio.fail_after(SOON):
        await done.wait()
    assert hang.cancelled == 20


async def test_no_new_connection_is_accepted(serve_routes, route, nursery):
    hang = Hang()
    served = await serve_routes(route("GET /hang", hang))
    client = await served.connect()
    await client.get("/hang")
    await hang.wait_started()
    await stop_in(nursery, served)

    with pytest.raises(OSError, match="connect"):
        await served.connect()
    hang.go_on.set()
    assert (await client.response()).status == 200


async def test_a_request_already_sent_is_still_answered(serve_routes, route, nursery):
    """Also on a connection that the server has not accepted yet, or whose bytes it has not read."""
    served = await serve_routes(route("GET /quick", quick), drain=60)
    old = await served.connect()
    await old.get("/quick")
    await old.response()
    news = [socket.create_connection(("127.0.0.1", served.server.port)) for _ in range(5)]
    for new in news:
        new.sendall(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
    old_socket = old.stream.socket._sock
    old_socket.send(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
    served.server.stop_soon()

    assert (await old.response()).status == 200
    for new in news:
        new.setblocking(False)
        async with trio.SocketStream(trio.socket.from_stdlib_socket(new)) as stream:
            with trio.fail_after(SOON):
                data = await stream.receive_some(1000)
            assert data.startswith(b"HTTP/1.1 200")


async def test_a_connection_accepted_last_that_says_nothing_does_not_delay_the_stop(
    serve_routes, route
):
    served = await serve_routes(route("GET /quick", quick), drain=60, keep_alive=60)
    await wait_all_tasks_blocked()
    with socket.create_connection(("127.0.0.1", served.server.port)):
        with trio.fail_after(SOON):
            await served.server.stop()


async def test_idle_connections_are_closed_at_once(serve_routes, route):
    served = await serve_routes(route("GET /quick", quick), drain=60, keep_alive=60)
    used, fresh = await served.connect(), await served.connect()
    await used.get("/quick")
    await used.response()
    await wait_all_tasks_blocked(0.02)
    with trio.fail_after(SOON):
        await served.server.stop()
    assert await used.ended()
    assert await fresh.ended()


async def test_a_head_that_has_begun_may_be_finished(serve_routes, route, nursery):
    served = await serve_routes(route("GET /quick", quick), drain=60)
    client = await served.connect()
    await client.send("GET /quick HTTP/1.1\r\n")
    await wait_all_tasks_blocked(0.02)
    done = await stop_in(nursery, served)
    await client.send("Host: x\r\n\r\n")
    reply = await client.response()
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    await client.aclose()
    with trio.fail_after(SOON):
        await done.wait()


async def test_an_event_stream_ends_cleanly(serve_routes, route, nursery):
    closed = trio.Event()

    async def events(request):
        async def items():
            try:
                yield ServerSentEvent("a")
                await trio.sleep_forever()
            finally:
                closed.set()

        return items()

    served = await serve_routes(route("GET /events", events), drain=60)
    client = await served.connect()
    await client.get("/events")
    await client.head()
    await client.chunk()

    done = await stop_in(nursery, served)
    assert await client.chunk() == b"", "the last chunk, as at any end"
    await client.aclose()
    with trio.fail_after(SOON):
        await done.wait()
    assert closed.is_set()


async def test_another_stream_may_go_on_within_the_drain(serve_routes, route, nursery):
    more = trio.Event()

    async def download(request):
        async def items():
            yield b"one"
            await more.wait()
            yield b"two"

        return items()

    served = await serve_routes(route("GET /d", download), drain=60)
    client = await served.connect()
    await client.get("/d")
    await client.head()
    assert await client.chunk() == b"one"
    done = await stop_in(nursery, served)
    await wait_all_tasks_blocked(0.02)
    more.set()
    assert await client.chunk() == b"two"
    assert await client.chunk() == b""
    await client.aclose()
    with trio.fail_after(SOON):
        await done.wait()


async def test_another_stream_is_cut_after_the_drain(serve_routes, route, nursery, monkeypatch):
    monkeypatch.setattr("nexus_actors.http.server.CUT_OFF_GRACE", 0.1)
    closed = trio.Event()

    async def download(request):
        async def items():
            try:
                yield b"one"
                await trio.sleep_forever()
            finally:
                closed.set()

        return items()

    served = await serve_routes(route("GET /d", download), drain=0.1)
    client = await served.connect()
    await client.get("/d")
    await client.head()
    await client.chunk()
    done = await stop_in(nursery, served)
    assert await client.ended()
    assert client._buffer == b""
    with trio.fail_after(SOON):
        await done.wait()
    assert closed.is_set()


async def test_a_websocket_is_closed_with_1001(serve_routes, route, nursery):
    ended = trio.Event()

    async def echo(ws):
        await ws.accept()
        async for _message in ws:
            pass
        ended.set()

    served = await serve_routes(route("WEBSOCKET /ws", echo), drain=60)
    client = await served.connect()
    protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    await client.send(protocol.send(Request(host="x", target="/ws")))

    async def event():
        while True:
            protocol.receive_data(await client.stream.receive_some(1000))
            for found in protocol.events():
                return found

    assert isinstance(await event(), AcceptConnection)
    done = await stop_in(nursery, served)
    close = await event()
    assert isinstance(close, CloseConnection)
    assert (close.code, close.reason) == (1001, "the node is stopping")
    await client.send(protocol.send(close.response()))
    await client.aclose()
    with trio.fail_after(SOON):
        await done.wait()
        await ended.wait()


async def test_a_client_that_never_answers_the_close_of_its_websocket_is_not_waited_for(
    serve_routes, route, monkeypatch
):
    monkeypatch.setattr("nexus_actors.http.session.CLOSE_GRACE", 0.1)

    async def echo(ws):
        await ws.accept()
        async for _message in ws:
            pass

    served = await serve_routes(route("WEBSOCKET /ws", echo), drain=60)
    client = await served.connect()
    protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    await client.send(protocol.send(Request(host="x", target="/ws")))
    await client.head()
    with trio.fail_after(SOON):
        await served.server.stop()


async def test_a_full_drain_with_everything_open_takes_no_longer_than_it_must(
    serve_routes, route, nursery, monkeypatch
):
    """Requests in hand, a stream, a websocket, idle ones, a stuck one: the stop is bounded."""
    monkeypatch.setattr("nexus_actors.http.wire.STOPPING_WRITE", 0.2)
    hang = Hang()

    async def much(request):
        return b"x" * 30_000_000

    served = await serve_routes(route("GET /hang", hang), route("GET /much", much), drain=60)
    stuck, idle = await served.connect(), await served.connect()
    await stuck.get("/much")
    await stuck.head()
    clients = [await served.connect() for _ in range(20)]
    for client in clients:
        await client.get("/hang")
    await hang.wait_started(20)
    done = await stop_in(nursery, served)
    hang.go_on.set()
    for client in clients:
        assert (await client.response()).status == 200
        await client.aclose()
    assert await idle.ended()
    with trio.fail_after(SOON):
        await done.wait()


async def test_cancelling_the_server_ends_everything_at_once(serve_routes, route, nursery):
    from nexus_actors.config.settings import HttpSettings
    from nexus_actors.http.frontend import FrontEnd
    from nexus_actors.http.router import Router
    from nexus_actors.http.server import serve

    hang = Hang()
    router = Router()
    router.add([route("POST /hang", hang)])
    with trio.fail_after(5):
        async with trio.open_nursery() as inner:
            server = await inner.start(
                serve, FrontEnd(router), HttpSettings(bind="127.0.0.1:0", drain=60)
            )
            stream = await trio.open_tcp_stream("127.0.0.1", server.port)
            await stream.send_all(b"POST /hang HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            await hang.wait_started()
            inner.cancel_scope.cancel()
    assert hang.cancelled == 1
    assert server.connections == 0


async def test_stopping_twice_is_stopping_once(serve_routes, route):
    served = await serve_routes(route("GET /quick", quick))
    await served.server.stop()
    await served.server.stop()
