"""Bad requests: always problem JSON, never a traceback, the connection usable or closed cleanly."""

from __future__ import annotations

import json
import logging

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexus_actors.http.binding import Binder
from nexus_actors.http.routes import RouteMark


@attrs.frozen
class Order:
    name: str
    count: int


async def create(self, request, id: int, order: Order, limit: int = 1): ...


_binder = Binder(create, RouteMark("POST", "/orders/{id}"))


async def bound(request):
    arguments = _binder.bind(request)
    return {"id": arguments["id"], "name": arguments["order"].name}


async def echo(request):
    return await request.json()


async def hello(request):
    return {"hello": request.path_params}


@pytest.fixture
async def served(serve_routes, route):
    return await serve_routes(
        route("GET /hello/{name}", hello),
        route("POST /echo", echo),
        route("POST /small", echo, max_body=10),
        route("POST /orders/{id}", bound),
        route("GET /orders", hello),
        route("WEBSOCKET /feed", hello),
        max_body=1000,
        max_head=4096,
        max_url=1000,
    )


@pytest.fixture(autouse=True)
def no_traceback_in_the_log(caplog):
    """Whatever a client sends, it is not a fault of ours."""
    with caplog.at_level(logging.DEBUG):
        yield
    loud = [r for r in caplog.records if r.exc_info or r.levelno >= logging.WARNING]
    assert not loud, loud


async def still_usable(client):
    await client.get("/hello/again")
    reply = await client.response()
    assert reply.status == 200


@pytest.mark.parametrize(
    ("path", "nearest"),
    [("/hell/bob", ["/hello/{name}"]), ("/order", ["/orders"]), ("/zzzzzzz", None)],
)
async def test_an_unknown_path_is_404_with_the_nearest(served, path, nearest):
    client = await served.connect()
    await client.get(path)
    reply = await client.response()
    assert reply.status == 404
    assert reply.problem.get("nearest", [None])[:1] == (nearest or [None])
    assert reply.problem["instance"] == path
    await still_usable(client)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/echo", {"POST", "OPTIONS"}),
        ("POST", "/orders", {"GET", "HEAD", "OPTIONS"}),
        ("BREW", "/orders", {"GET", "HEAD", "OPTIONS"}),
        ("TRACE", "/orders", {"GET", "HEAD", "OPTIONS"}),
    ],
)
async def test_a_wrong_method_is_405_with_allow(served, method, path, allow):
    client = await served.connect()
    await client.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n")
    reply = await client.response()
    assert reply.status == 405
    assert set(reply.headers["allow"].split(", ")) == allow
    assert method in reply.problem["detail"]
    await still_usable(client)


async def test_options_is_answered_with_allow(served):
    client = await served.connect()
    await client.send("OPTIONS /orders HTTP/1.1\r\nHost: x\r\n\r\n")
    reply = await client.response()
    assert (reply.status, reply.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    await client.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await client.response()).status == 204
    await still_usable(client)


async def test_a_websockets_path_asked_by_get_is_426(served):
    client = await served.connect()
    await client.get("/feed")
    reply = await client.response()
    assert reply.status == 426
    assert reply.headers["upgrade"] == "websocket"
    assert reply.problem["detail"] == "/feed is a websocket"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "the body is empty, JSON was expected"),
        (b"  \n", "the body is empty, JSON was expected"),
        (b'{"a": x}', "the body is not JSON: invalid character at line 1, column 7"),
        (b'{\n  "a": 1,\n}', "line 3, column 1"),
        ('{"ä": x}'.encode(), "invalid character at line 1, column 7"),
        (b'{"a": ', "it ends too early at line 1, column 7"),
        (b'{"a": 1} x', "at line 1, column 10"),
        (b'{"a": NaN}', "at line 1, column 7"),
        (
            b'{"name":\n "a\xffb"}',
            "the body is not UTF-8: invalid start byte, byte 12 (0xff) at line 2, column 4",
        ),
        (b'"\xc3\xa4\xed\xa0\x80"', "invalid continuation byte, byte 3 (0xed) at line 1, column 3"),
        (
            rb'{"name": "\\ud800 \ud800b"}',
            r"the body is not JSON: \ud800 is half of a character and the other half is missing, "
            "at line 1, column 19",
        ),
        (rb'"\ud83d\ude00 \uDC00"', r"\uDC00 is half of a character"),
        (rb'"\ud800\ud800"', r"\ud800 is half of a character"),
        (rb'"\ud800\n"', r"\ud800 is half of a character"),
        (rb'"\ud83d', "it ends too early at line 1, column 8"),
        (rb'"\ud83d\ude', "it ends too early at line 1, column 12"),
        (b'"\x00"', "at line 1, column 2"),
    ],
)
async def test_malformed_json_is_400_with_its_position(served, body, detail):
    client = await served.connect()
    await client.post("/echo", body)
    reply = await client.response()
    assert reply.status == 400
    assert detail in reply.problem["detail"]
    await still_usable(client)


async def test_of_a_key_that_comes_twice_in_json_the_last_counts(served):
    client = await served.connect()
    await client.post("/echo", b'{"a": 1, "a": 2}')
    assert json.loads((await client.response()).body) == {"a": 2}


async def test_json_nested_too_deeply_is_400(serve_routes, route):
    served = await serve_routes(route("POST /echo", echo), route("GET /hello/{name}", hello))
    client = await served.connect()
    await client.post("/echo", b"[" * 100_000)
    reply = await client.response()
    assert reply.status == 400
    assert "nested too deeply" in reply.problem["detail"]
    await still_usable(client)


async def test_a_form_sent_as_json_says_what_it_was_sent_as(served):
    client = await served.connect()
    await client.post("/echo", b"a=1", "Content-Type: application/x-www-form-urlencoded")
    reply = await client.response()
    assert "it was sent as application/x-www-form-urlencoded" in reply.problem["detail"]


@pytest.mark.parametrize(("path", "limit"), [("/echo", 1000), ("/small", 10)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_413(served, path, limit, chunked):
    client = await served.connect()
    body = b'"' + b"x" * limit + b'"'
    if chunked:
        await client.send(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            f"{len(body):x}\r\n".encode()
            + body
            + b"\r\n0\r\n\r\n"
        )
    else:
        await client.post(path, body)
    reply = await client.response()
    assert reply.status == 413
    assert f"longer than the {limit:,} bytes" in reply.problem["detail"]
    if reply.headers.get("connection") == "close":
        assert chunked, "a small body of known length is read and thrown away"
        assert await client.ended()
    else:
        await still_usable(client)


async def test_a_huge_body_is_413_before_it_is_sent(served):
    client = await served.connect()
    await client.post("/echo", b"", "Expect: 100-continue", length=10**12)
    reply = await client.response()
    assert reply.status == 413
    assert reply.headers["connection"] == "close"
    assert await client.ended()


async def test_a_body_that_is_wanted_is_asked_for_with_100(served):
    client = await served.connect()
    await client.post("/echo", b"", "Expect: 100-continue", length=2)
    assert (await client.head()).status == 100
    await client.send("{}")
    assert (await client.response()).status == 200
    await still_usable(client)


async def test_wrong_types_are_422_naming_each(served):
    client = await served.connect()
    await client.post("/orders/x?limit=y", b'{"name": 1, "extra": 2}')
    reply = await client.response()
    assert reply.status == 422
    told = {error["path"]: error["message"] for error in reply.problem["errors"]}
    assert told == {
        "path.id": "'x' is not a whole number",
        "query.limit": "'y' is not a whole number",
        "body.name": "must be text, not 1",
        "body.count": "is missing",
        "body.extra": "is not known here",
    }
    assert reply.problem["detail"] == "5 faults in the request"
    await still_usable(client)


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/hello/../x",
        "/hello/%2e%2e/x",
        "/hello/..%2f..%2fetc%2fpasswd",
        "/hello/..%5c..%5cwindows",
        "/hello\\..\\x",
        "/hello/a%00b",
        "/hello/%0d%0aX: 1",
        "/hello/%ff",
        "/hello/%",
        "/hello/%zz",
        "/orders?q=%00",
        "/orders?q=%ff",
    ],
)
async def test_a_path_that_nothing_can_have_is_400(served, path):
    client = await served.connect()
    await client.get(path.replace(" ", "%20"))
    reply = await client.response()
    if path.endswith("q=%ff"):  # only who reads the query is told
        assert reply.status == 200
    else:
        assert reply.status == 400
        assert reply.problem["detail"]
    await still_usable(client)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nBad Name: 1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\n folded: 1\r\n\r\n", 400),
        ("GET / HTTP/3.7\r\nHost: x\r\n\r\n", 404),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS to a plain port
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # the same, and no line ends
        ("\x00" * 50 + "\r\n\r\n", 400),
        ("hello\r\n\r\n", 400),
        ("CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("POST /echo HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        ("GET /" + "a" * 1000 + " HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        ("GET /" + "a" * 100_000, 414),
        ("GET / HTTP/1.1\r\nHost: x\r\nX: " + "a" * 100_000, 431),
        ("GET / HTTP/1.1\r\nHost: x\r\n" + "X: a\r\n" * 201 + "\r\n", 431),
        ("GET / HTTP/1.1\r\nHost: x\r\n" + "X-Long-Name: abcdefghij\r\n" * 199 + "\r\n", 431),
        (
            "GET /feed HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n",
            400,
        ),
        (
            "GET /feed HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            426,
        ),
    ],
)
async def test_garbage_is_refused_in_problem_json_and_closes_the_connection(served, head, status):
    client = await served.connect()
    await client.send(head)
    reply = await client.response()
    assert reply.status == status
    assert reply.problem["request_id"]
    assert reply.problem["detail"]
    if status == 404 or head.startswith("CONNECT"):  # well formed, so the connection goes on
        await still_usable(client)
    else:
        assert reply.headers["connection"] == "close"
        assert await client.ended()


async def test_a_flood_of_headers_is_431_and_the_client_can_read_it(served, eventually):
    """The server shuts its side and reads on for a while, so that no reset takes the reply back."""
    client = await served.connect()
    flood = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Flood: yes\r\n" * 40_000
    await client.send(flood)
    reply = await client.response()
    assert reply.status == 431
    await wait_all_tasks_blocked(0.02)
    assert served.server.connections == 1, "it reads on: a reset could take the reply back"
    await client.send(b"X-More: yes\r\n" * 1000)
    with trio.fail_after(5):
        assert await client.stream.receive_some(1) == b""
    await client.aclose()
    await eventually(lambda: not served.server.connections, "the client's close ends it")


async def test_a_slow_head_is_408(serve_routes, route):
    served = await serve_routes(route("GET /hello/{name}", hello), head_timeout=0.1)
    client = await served.connect()
    await client.send("GET /hello/a HTTP/1.1\r\nHo")
    reply = await client.response()
    assert reply.status == 408
    assert reply.problem["detail"] == "the head of the request did not arrive in time"
    assert await client.ended()


async def test_a_slow_head_after_a_request_is_408_also(serve_routes, route):
    served = await serve_routes(route("GET /hello/{name}", hello), head_timeout=0.1, keep_alive=60)
    client = await served.connect()
    await client.get("/hello/a")
    await client.response()
    await client.send("GET /hello/a HTTP/1.1\r\nHo")
    assert (await client.response()).status == 408


async def test_dripping_bytes_do_not_prolong_a_head(serve_routes, route, nursery):
    served = await serve_routes(route("GET /hello/{name}", hello), head_timeout=0.2)
    client = await served.connect()

    async def drip():
        for byte in "GET /hello/a HTTP/1.1\r\nHost: " + "x" * 1000:
            await client.send(byte)
            await trio.sleep(0.02)

    nursery.start_soon(drip)
    with trio.fail_after(5):
        assert (await client.response()).status == 408
    nursery.cancel_scope.cancel()


async def test_a_body_that_stops_coming_is_408(serve_routes, route, monkeypatch):
    monkeypatch.setattr("nexus_actors.http.upload.BODY_TIMEOUT", 0.1)
    served = await serve_routes(route("POST /echo", echo))
    client = await served.connect()
    await client.post("/echo", b"{", length=10)
    reply = await client.response()
    assert reply.status == 408
    assert reply.problem["instance"] == "/echo"
    assert await client.ended()


async def test_a_body_that_takes_longer_than_the_reply_may_is_408(serve_routes, route):
    served = await serve_routes(route("POST /echo", echo), reply_timeout=0.1)
    client = await served.connect()
    await client.post("/echo", b"{", length=10)
    reply = await client.response()
    assert reply.status == 408
    assert reply.problem["detail"] == "the body did not arrive in time"
    assert reply.problem["instance"] == "/echo"


async def test_an_absolute_address_is_answered_like_its_path(served):
    client = await served.connect()
    await client.send("GET http://x/hello/bob?a=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    reply = await client.response()
    assert reply.status == 200
    await still_usable(client)


async def test_an_upgrade_to_http2_is_not_taken_up(served):
    """Proxies that pass it on would hand their back end to the client (h2c smuggling)."""
    client = await served.connect()
    await client.get(
        "/hello/bob",
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQAAP__",
    )
    reply = await client.response()
    assert reply.status == 200
    await still_usable(client)


async def test_a_client_that_resets_is_no_fault_of_ours(served, eventually):
    import socket
    import struct

    for send in ("", "GET /hel", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"):
        client = await served.connect()
        await client.send(send)
        client.stream.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        await client.aclose()
    await eventually(lambda: not served.server.connections, "they are closed")
    await still_usable(await served.connect())
