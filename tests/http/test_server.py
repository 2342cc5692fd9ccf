"""The server itself: where it listens, how many it takes, HTTP/2, faults of one connection."""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat

import h2.config
import h2.connection
import h2.events
import httpx
import pytest
import trio

from nexus_actors.config.settings import HttpSettings
from nexus_actors.errors import Invalid
from nexus_actors.http.frontend import FrontEnd
from nexus_actors.http.server import serve
from nexus_actors.http.wire import Wire


async def quick(request):
    return {"path": request.path}


async def echo(request):
    return await request.body()


# -- where it listens ----------------------------------------------------------------------------


async def test_port_0_takes_a_free_one_and_tells_it(serve_routes, route):
    served = await serve_routes(route("GET /quick", quick))
    assert served.server.port > 0
    assert served.server.address == f"127.0.0.1:{served.server.port}"
    assert served.url == f"http://127.0.0.1:{served.server.port}"


@pytest.mark.parametrize("host", ["localhost", "[::1]"])
async def test_other_hosts_can_be_listened_on(nursery, host):
    if host == "[::1]" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        server = await nursery.start(serve, FrontEnd(), HttpSettings(bind=f"{host}:0"))
    except Invalid:
        pytest.skip("no IPv6 here")
    async with httpx.AsyncClient() as client:
        assert (await client.get(server.url)).status_code == 404


async def test_an_address_in_use_is_refused_with_advice(serve_routes, nursery):
    served = await serve_routes()
    with pytest.raises(Invalid) as caught:
        await serve(FrontEnd(), HttpSettings(bind=served.server.address))
    (fault,) = caught.value.faults
    assert fault.where == "http.bind"
    assert fault.what == f"{served.server.address} is in use"
    assert "--bind" in fault.fix


async def test_an_address_that_is_not_ours_is_refused_with_advice():
    with pytest.raises(Invalid, match=r"http.bind: cannot listen on 192.0.2.1:80"):
        await serve(FrontEnd(), HttpSettings(bind="192.0.2.1:80"))


async def test_a_unix_socket_is_for_its_owner_only_and_goes_with_the_server(tmp_path, nursery):
    path = tmp_path / "nexus.sock"
    frontend = FrontEnd()

    @frontend.get("/v1/hello")
    async def hello():
        return {"hello": "owner"}

    server = await nursery.start(
        lambda task_status: serve(
            frontend, HttpSettings(), bind=f"unix:{path}", task_status=task_status
        )
    )
    assert server.address == server.url == f"unix:{path}"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
        assert (await client.get("/v1/hello")).json() == {"hello": "owner"}
    await server.stop()
    assert not path.exists()


async def test_a_unix_socket_left_by_a_dead_node_is_replaced(tmp_path, nursery):
    path = tmp_path / "nexus.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    assert path.exists()
    await nursery.start(
        lambda task_status: serve(
            FrontEnd(), HttpSettings(), bind=f"unix:{path}", task_status=task_status
        )
    )


async def test_a_unix_socket_of_a_living_node_is_refused(tmp_path, nursery):
    bind = f"unix:{tmp_path / 'nexus.sock'}"
    await nursery.start(
        lambda task_status: serve(FrontEnd(), HttpSettings(), bind=bind, task_status=task_status)
    )
    with pytest.raises(Invalid, match="is in use"):
        await serve(FrontEnd(), HttpSettings(), bind=bind)
    assert (tmp_path / "nexus.sock").exists(), "and it stays the living one's"


# -- many and single connections -----------------------------------------------------------------


async def test_two_hundred_connections_beside_each_other(serve_routes, route):
    served = await serve_routes(route("GET /quick", quick))
    clients = [await served.connect() for _ in range(200)]
    for client in clients:
        await client.get("/quick")
    for client in clients:
        assert (await client.response()).status == 200
        await client.aclose()


async def test_running_out_of_files_is_waited_out(serve_routes, route, monkeypatch, caplog):
    served = await serve_routes(route("GET /quick", quick))
    real, failures = trio.SocketListener.accept, [errno.EMFILE, errno.ENFILE]

    async def accept(listener):
        if failures:
            raise OSError(failures.pop(), "too many open files")
        return await real(listener)

    monkeypatch.setattr(trio.SocketListener, "accept", accept)
    for _ in range(2):
        client = await served.connect()
        await client.get("/quick")
        assert (await client.response()).status == 200
    assert "no connection can be accepted just now" in caplog.text


async def test_a_fault_of_the_server_ends_one_connection_only(
    serve_routes, route, monkeypatch, caplog
):
    served = await serve_routes(route("GET /quick", quick))
    other = await served.connect()
    await other.get("/quick")
    await other.response()

    from nexus_actors.http import protocols, shortcut

    real, real_head = protocols.Http1._begin, shortcut.read_head

    async def broken(self, request):
        if request.target == b"/broken":
            raise RuntimeError("our own fault")
        return await real(self, request)

    def broken_head(raw, *args):
        if b"/broken" in raw:
            raise RuntimeError("our own fault")
        return real_head(raw, *args)

    monkeypatch.setattr(protocols.Http1, "_begin", broken)
    monkeypatch.setattr(shortcut, "read_head", broken_head)
    client = await served.connect()
    await client.get("/broken")
    assert await client.ended(2)
    assert [r.name for r in caplog.records if r.levelno >= logging.ERROR] == ["nexus.http"]
    await other.get("/quick")
    assert (await other.response()).status == 200


async def test_the_reply_has_a_date_and_does_not_tell_the_server_software(serve_routes, route):
    served = await serve_routes(route("GET /quick", quick))
    client = await served.connect()
    await client.get("/quick")
    head = (await client.until(b"\r\n\r\n")).decode()
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert "date: " in head
    assert "server:" not in head


async def test_a_reply_goes_out_in_one_write(serve_routes, route, monkeypatch):
    written, real = [], Wire.write_now

    def write(self, data):
        written.append(bytes(data))
        return real(self, data)

    monkeypatch.setattr(Wire, "write_now", write)
    served = await serve_routes(route("GET /quick", quick))
    client = await served.connect()
    for _ in range(2):
        await client.get("/quick")
        await client.response()
    assert len(written) == 2


async def test_http_1_0_is_answered_and_closed(serve_routes, route):
    served = await serve_routes(route("GET /quick", quick))
    client = await served.connect()
    await client.send("GET /quick HTTP/1.0\r\n\r\n")
    assert (await client.response()).status == 200
    assert await client.ended()


async def test_a_client_may_ask_for_the_close(serve_routes, route):
    served = await serve_routes(route("GET /quick", quick))
    client = await served.connect()
    await client.get("/quick", "Connection: close")
    assert (await client.response()).headers["connection"] == "close"
    assert await client.ended()


# -- HTTP/2 --------------------------------------------------------------------------------------


class Http2Client:
    """HTTP/2 with prior knowledge."""

    def __init__(self, stream):
        self.stream = stream
        self.protocol = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        self.events = []

    async def flush(self):
        await self.stream.send_all(self.protocol.data_to_send())

    async def start(self):
        self.protocol.initiate_connection()
        await self.flush()

    def request(self, method, path, *, end=True, headers=()):
        number = self.protocol.get_next_available_stream_id()
        head = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "x")]
        self.protocol.send_headers(number, [*head, *headers], end_stream=end)
        return number

    async def until(self, wanted, number):
        with trio.fail_after(5):
            while True:
                for event in self.events:
                    if isinstance(event, wanted) and event.stream_id == number:
                        return event
                data = await self.stream.receive_some(2**16)
                assert data, self.events
                self.events += self.protocol.receive_data(data)
                await self.flush()

    async def response(self, number):
        await self.until((h2.events.StreamEnded, h2.events.StreamReset), number)
        mine = [event for event in self.events if getattr(event, "stream_id", 0) == number]
        heads = [e for e in mine if isinstance(e, h2.events.ResponseReceived)]
        body = b"".join(e.data for e in mine if isinstance(e, h2.events.DataReceived))
        return (int(dict(heads[0].headers)[":status"]) if heads else 0), body


@pytest.fixture
async def http2(serve_routes, route):
    served = await serve_routes(
        route("GET /quick", quick), route("POST /echo", echo), max_body=100_000
    )
    raw = await served.connect()
    client = Http2Client(raw.stream)
    await client.start()
    client.served = served
    return client


async def test_http_2_is_answered_also_side_by_side(http2):
    one = http2.request("GET", "/quick")
    two = http2.request("POST", "/echo", end=False)
    http2.protocol.send_data(two, b"body", end_stream=True)
    three = http2.request("GET", "/nowhere")
    await http2.flush()
    assert await http2.response(one) == (200, b'{"path":"/quick"}')
    assert await http2.response(two) == (200, b"body")
    assert (await http2.response(three))[0] == 404


async def test_a_body_that_still_comes_after_its_answer_does_not_end_other_streams(http2):
    """Stock Hypercorn ends the whole connection by a KeyError."""
    early = http2.request("POST", "/echo", end=False, headers=[("content-length", "200000")])
    await http2.flush()
    status, _body = await http2.response(early)
    assert status == 413
    http2.protocol.send_data(early, b"x" * 1000)
    later = http2.request("GET", "/quick")
    await http2.flush()
    assert (await http2.response(later))[0] == 200


async def test_a_path_that_is_not_ascii_does_not_end_other_streams(http2):
    http2.protocol.config.header_encoding = None
    bad = http2.request("GET", b"/caf\xe9")
    http2.protocol.config.header_encoding = "utf-8"
    good = http2.request("GET", "/quick")
    await http2.flush()
    assert (await http2.response(bad))[0] == 0
    assert (await http2.response(good))[0] == 200


async def test_http_2_is_closed_when_the_server_stops(http2):
    one = http2.request("GET", "/quick")
    await http2.flush()
    await http2.response(one)
    with trio.fail_after(5):
        await http2.served.server.stop()


async def test_an_idle_http_2_connection_is_closed(serve_routes, route):
    served = await serve_routes(route("GET /quick", quick), keep_alive=0.1)
    raw = await served.connect()
    client = Http2Client(raw.stream)
    await client.start()
    one = client.request("GET", "/quick")
    await client.flush()
    await client.response(one)
    assert await raw.ended()
