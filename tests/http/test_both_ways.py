"""The shortcut and Hypercorn's way are one server to clients and plugins, whatever comes."""

from __future__ import annotations

import json
import shutil

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexus_actors.http import Response, ServerSentEvent

PATHS = ("stock", "shortcut")


def add_pages(frontend):
    @frontend.get("/page")
    async def page():
        return "a page"

    @frontend.post("/page")
    async def take():
        from quart import request

        return (await request.get_data()).decode()


async def hello(request):
    return {"hello": request.path_params.get("name", "you")}


async def echo(request):
    return await request.body()


# -- a plugin cannot tell --------------------------------------------------------------------------


async def tell_all(request):
    """Everything that a handler can see of its request."""
    headers = request.headers
    return {
        "type": type(request).__name__,
        "method": request.method,
        "path": request.path,
        "path_params": request.path_params,
        "query_string": request.query_string,
        "query": request.query.multi_items(),
        "headers": headers.multi_items(),
        "names": list(headers),
        "count": len(headers),
        "accept": headers.getlist("ACCEPT"),
        "cookies": request.cookies,
        "id": request.id if headers.get("x-request-id") else len(request.id),
        "client": request.client[0],
        "scheme": request.scheme,
        "url": request.url.replace(f":{request.headers.get('host', '').partition(':')[2]}", ""),
        "state": request.state.keys() - {"deadline"},
        "body": (await request.body()).decode("latin-1"),
        "loaded": (request.loaded_body or b"").decode("latin-1"),
        "media_type": request.media_type,
        "max_body": request.max_body,
    }


REQUESTS = {
    "plain": b"GET /a/b HTTP/1.1\r\nHost: x\r\n\r\n",
    "many headers": b"GET /a/b?q=1&q=2&r= HTTP/1.1\r\nHost: x:80\r\naccept:a\r\nAccept: \t b \t\r\n"
    b"ACCEPT:\r\nX-Latin: \xe4\xff\r\nCookie: a=b; c=d\r\nX_y.z~!#$%&'*+-^`|: odd\r\n\r\n",
    "its own id": b"GET /a/b HTTP/1.1\r\nHost: x\r\nX-Request-ID: abc-1\r\n\r\n",
    "an encoded path": b"GET /a/%C3%A4%20%2Fb?x=%20y HTTP/1.1\r\nHost: x\r\n\r\n",
    "a question mark in the query": b"GET /a/b?x=a?b&c HTTP/1.1\r\nHost: x\r\n\r\n",
    "an empty query": b"GET /a/b? HTTP/1.1\r\nHost: x\r\n\r\n",
    "a fragment": b"GET /a/b#c HTTP/1.1\r\nHost: x\r\n\r\n",
    "an absolute address": b"GET http://y/a/b?c HTTP/1.1\r\nHost: x\r\n\r\n",
    "a GET with a body": b"GET /a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "a body": b"POST /a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
    b"Content-Type: Text/Plain; charset=x\r\n\r\na\x00\xff",
    "an empty body": b"POST /a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "no body": b"POST /a/b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a chunked body": b"POST /a/b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
    "a stream": b"POST /s/b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "a body of its own limit": b"POST /small/b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.0": b"GET /a/b HTTP/1.0\r\n\r\n",
    "HTTP/1.0 that would stay": b"GET /a/b HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
    "the last one": b"GET /a/b HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n",
    "h2c offered": b"GET /a/b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "HEAD": b"HEAD /a/b HTTP/1.1\r\nHost: x\r\n\r\n",
    "OPTIONS": b"OPTIONS /a/b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a wrong method": b"DELETE /a/b HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown method": b"BREW /a/b HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown path": b"GET /b/b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a page": b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n",
    "a page with a body": b"POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "a page with a chunked body": b"POST /page HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked"
    b"\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
    "HEAD of a page": b"HEAD /page HTTP/1.1\r\nHost: x\r\n\r\n",
    "a wrong method of a page": b"DELETE /page HTTP/1.1\r\nHost: x\r\n\r\n",
}

ANSWERS = {
    "text": lambda: "text",
    "bytes": lambda: b"bytes",
    "json": lambda: {"a": [1, "ä"]},
    "nothing": lambda: None,
    "a status": lambda: ({"a": 1}, 201),
    "headers": lambda: ({"a": 1}, 200, {"X-A": "b", "Content-Type": "text/x"}),
    "an id of its own": lambda: Response("x", headers={"X-Request-ID": "mine"}),
    "framing": lambda: Response("x", headers={"Content-Length": "9", "Transfer-Encoding": "a"}),
    "no type": lambda: Response(b"x"),
    "304 with a body": lambda: Response(b"", 304, {"ETag": "x"}),
    "204 with a type": lambda: Response(b"", 204, media_type="text/plain"),
    "other letters": lambda: Response(b"x", headers={"X": "ä", "Y": "→"}),
    "two cookies": lambda: Response(b"x", headers=[("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")]),
    "an unknown status": lambda: Response(b"x", 299),
    "close": lambda: Response(b"x", headers={"Connection": "close"}),
    "large": lambda: b"x" * 3_000_000,
    "a stream of text": lambda: stream("a", "b"),
    "a stream of JSON": lambda: stream({"a": 1}, {"b": 2}),
    "a stream of events": lambda: stream(ServerSentEvent("a", id="1")),
    "events": lambda: Response.events(stream({"n": 1})),
    "a stream of nothing": lambda: stream(),
    "a stream that fails at once": lambda: stream(ValueError("no")),
}


async def stream(*items):
    for item in items:
        if isinstance(item, Exception):
            raise item
        yield item


async def both(serve_routes, route, *routes, send, method="GET"):
    """What each of the two ways answers to the same bytes: head and body, without what differs."""
    answers = []
    for path in PATHS:
        served = await serve_routes(*(route(*r[:2], **r[2]) for r in routes), path=path,
                                    pages=add_pages)  # fmt: skip
        client = await served.connect()
        await client.send(send)
        reply = await client.response(method)
        headers = dict(reply.headers)
        headers.pop("date")
        if len(headers.get("x-request-id", "")) == 32:
            headers["x-request-id"] = "new"
        over = await client.ended(0.05 if headers.get("connection") != "close" else 5)
        answers.append((reply.status, headers, _without_id(reply.body), over))
        assert [t[2] for t in served.told] == [reply.status]
        await client.aclose()
    return answers


def _without_id(body):
    if not body.startswith(b'{"type":"about:blank"'):
        return body
    problem = json.loads(body)
    request_id = problem.pop("request_id")
    problem["detail"] = problem["detail"].replace(request_id, "new")
    return problem


@pytest.mark.parametrize("http_path", ["both"])
@pytest.mark.parametrize("words", REQUESTS)
async def test_a_plugin_cannot_tell_by_the_request_which_way_it_came(serve_routes, route, words):
    sent = REQUESTS[words]
    routes = [
        ("GET /a/{name}", tell_all, {}),
        ("POST /a/{name}", tell_all, {}),
        ("POST /s/{name}", tell_all, {"stream": True}),
        ("POST /small/{name}", tell_all, {"max_body": 3}),
    ]
    stock, shortcut = await both(
        serve_routes, route, *routes, send=sent, method=sent.split()[0].decode()
    )
    assert shortcut == stock


@pytest.mark.parametrize("http_path", ["both"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("words", ANSWERS)
async def test_a_client_cannot_tell_by_the_answer(serve_routes, route, words, method):
    async def answer(request):
        return ANSWERS[words]()

    stock, shortcut = await both(
        serve_routes,
        route,
        ("GET /answer", answer, {}),
        send=f"{method} /answer HTTP/1.1\r\nHost: x\r\n\r\n",
        method=method,
    )
    assert shortcut == stock


# -- one connection, many requests -----------------------------------------------------------------


async def test_one_connection_may_ask_for_everything_in_turn_and_gets_it_in_order(
    serve_routes, route
):
    async def items(request):
        return stream("a", "b")

    served = await serve_routes(
        route("GET /hello/{name}", hello),
        route("POST /echo", echo),
        route("GET /items", items),
        pages=add_pages,
    )
    asked = [
        ("GET /hello/ann", b"", 200, b'{"hello":"ann"}'),
        ("GET /page", b"", 200, b"a page"),
        ("POST /echo", b"1", 200, b"1"),
        ("GET /nowhere", b"", 404, None),
        ("POST /page", b"22", 200, b"22"),
        ("GET /items", b"", 200, b"ab"),
        ("DELETE /echo", b"", 405, None),
        ("BREW /echo", b"", 405, None),
        ("POST /echo", b"333", 200, b"333"),
        ("GET /hello/%ff", b"", 400, None),
        ("GET /hello/bob", b"", 200, b'{"hello":"bob"}'),
    ]
    for pipelined in (False, True):
        client = await served.connect()
        requests = [
            f"{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            for line, body, _status, _answer in asked
        ]
        if pipelined:
            await client.send(b"".join(requests))
        for request, (line, _body, status, answer) in zip(requests, asked, strict=True):
            if not pipelined:
                await client.send(request)
            reply = await client.response()
            assert reply.status == status, line
            assert answer is None or reply.body == answer, line


async def test_requests_that_arrive_a_byte_at_a_time_are_answered(serve_routes, route):
    served = await serve_routes(route("POST /echo", echo), pages=add_pages)
    client = await served.connect()
    for head in (
        "Content-Length: 3\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ):
        for path in ("/echo", "/page"):
            for byte in f"POST {path} HTTP/1.1\r\nHost: x\r\n{head}":
                await client.send(byte)
                await trio.lowlevel.checkpoint()
            assert (await client.response()).body == b"abc"


async def test_pipelined_requests_of_one_client_let_others_have_their_turn(serve_routes, route):
    served = await serve_routes(route("GET /hello/{name}", hello))
    greedy, other = await served.connect(), await served.connect()
    await greedy.send(b"GET /hello/a HTTP/1.1\r\nHost: x\r\n\r\n" * 1500)
    await other.get("/hello/b")
    before = await other.response()
    assert before.status == 200
    assert len([t for t in served.told if t[1] == "/hello/a"]) < 1500


# -- the body --------------------------------------------------------------------------------------


async def test_a_client_that_expects_100_gets_it_when_the_body_is_wanted(serve_routes, route):
    served = await serve_routes(
        route("POST /echo", echo), route("POST /stream", echo, stream=True), pages=add_pages
    )
    client = await served.connect()
    for path in ("/echo", "/stream", "/page"):
        await client.post(path, b"", "Expect: 100-continue", length=3)
        assert (await client.head()).status == 100
        await client.send("abc")
        assert (await client.response()).body == b"abc"
    await client.post("/echo", b"", "Expect: 100-Continue", length=0)
    assert (await client.response()).status == 200, "there is nothing to wait for"


async def test_a_client_that_expects_100_for_nothing_is_told_before_it_sends(serve_routes, route):
    served = await serve_routes(route("POST /echo", echo))
    client = await served.connect()
    await client.post("/nowhere", b"", "Expect: 100-continue", length=300)
    reply = await client.response()
    assert (reply.status, reply.headers["connection"]) == (404, "close")
    assert await client.ended()


async def test_an_upload_that_nobody_reads_holds_its_client_up(serve_routes, route):
    go_on, size = trio.Event(), 30_000_000

    async def slow(request):
        await go_on.wait()
        return {"bytes": sum([len(piece) async for piece in request.stream()])}

    served = await serve_routes(route("POST /slow", slow, stream=True, max_body=size))
    client = await served.connect()
    sent = 0

    async def upload():
        nonlocal sent
        await client.post("/slow", b"", length=size)
        while sent < size:
            sent += await client.stream.socket.send(b"x" * min(2**16, size - sent))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(upload)
        before = -1
        with trio.fail_after(20):
            while before != sent:
                before = sent
                await wait_all_tasks_blocked(0.05)
        assert sent < size - 10_000_000
        go_on.set()
        reply = await client.response()
    assert json.loads(reply.body) == {"bytes": size}


async def test_a_body_and_its_reply_may_stream_at_the_same_time(serve_routes, route):
    async def shout(request):
        async def items():
            async for piece in request.stream():
                yield piece.upper()

        return Response.events(items()) if request.query else items()

    served = await serve_routes(route("POST /shout", shout, stream=True))
    client = await served.connect()
    for words in (b"one", b"two"):
        await client.post("/shout", b"", "Expect: 100-continue", length=6)
        assert (await client.head()).status == 100
        await client.send(words)
        await client.head()
        assert await client.chunk() == words.upper()
        await client.send(words)
        assert await client.chunk() == words.upper()
        assert await client.chunk() == b""
    await client.post("/shout?events=1", b"", "Expect: 100-continue", length=3)
    assert (await client.head()).status == 200, "the head of the reply went out first: no 100 now"
    await client.send("abc")
    assert await client.chunk() == b'data: "QUJD"\n\n'


async def test_a_stream_that_nobody_reads_holds_its_handler_up(serve_routes, route):
    made = 0

    async def many(request):
        async def items():
            nonlocal made
            for _ in range(1000):
                made += 1
                yield b"x" * 100_000

        return items()

    served = await serve_routes(route("GET /many", many))
    client = await served.connect()
    await client.get("/many")
    await client.head()
    before = -1
    with trio.fail_after(20):
        while before != made:
            before = made
            await wait_all_tasks_blocked(0.05)
    assert made < 500
    got = 0
    while chunk := await client.chunk():
        got += len(chunk)
    assert got == 1000 * 100_000


# -- the end of a client ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "GET /hello HT",
        "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
    ],
)
async def test_a_client_that_shuts_its_side_is_done_with_at_once(
    serve_routes, route, sent, eventually
):
    served = await serve_routes(
        route("GET /hello", hello), route("POST /echo", echo), keep_alive=60, head_timeout=60
    )
    client = await served.connect()
    await client.send(sent)
    await client.stream.send_eof()
    assert await client.ended(), "the rest cannot come any more"
    await client.aclose()
    await eventually(lambda: not served.server.connections, "the connection is closed")


async def test_a_client_that_shuts_its_side_counts_as_gone(serve_routes, route):
    started, ended = [trio.Event(), trio.Event()], {}

    async def hang(request):
        n = int(request.path_params["n"])
        started[n].set()
        try:
            await go_on.wait()
        finally:
            ended[request.method] = trio.current_effective_deadline() > 0

    go_on = trio.Event()
    served = await serve_routes(route("GET /hang/{n}", hang), route("POST /hang/{n}", hang))
    reads, writes = await served.connect(), await served.connect()
    await reads.get("/hang/0")
    await writes.post("/hang/1")
    for event in started:
        await event.wait()
    await reads.stream.send_eof()
    await writes.stream.send_eof()
    assert await reads.ended(), "what only reads is cancelled"
    assert "GET" in ended
    assert "POST" not in ended, "what changes something is finished"
    go_on.set()
    assert await writes.ended()
    assert ended["POST"]


# -- slow clients ----------------------------------------------------------------------------------


async def test_clients_that_send_a_byte_now_and_then_do_not_hold_up_others(
    serve_routes, route, nursery
):
    served = await serve_routes(
        route("GET /hello/{name}", hello), max_connections=500, head_timeout=60
    )
    slow = [await served.connect() for _ in range(200)]

    async def drip():
        for byte in "GET /hello/slow HTTP/1.1\r\nHost: x\r\nX-Slow: 1\r\n":
            for client in slow:
                await client.send(byte)
            await trio.sleep(0.01)

    async with trio.open_nursery() as dripping:
        dripping.start_soon(drip)
        client = await served.connect()
        with trio.fail_after(10):
            for _ in range(100):
                await client.get("/hello/quick")
                assert (await client.response()).status == 200
        dripping.cancel_scope.cancel()
    for client in slow:
        await client.send("\r\n\r\n")
    statuses = {(await client.response()).status for client in slow}
    assert statuses <= {200, 400}, "those whose head was whole are answered"


# -- stopping, whatever is going on ----------------------------------------------------------------


async def _open(served, state):
    """A client in that state, and what it may be told at the end."""
    client = await served.connect()
    if state == "nothing sent":
        pass
    elif state == "idle":
        await client.get("/hello/a")
        await client.response()
    elif state == "idle after a page":
        await client.get("/page")
        await client.response()
    elif state == "in a head":
        await client.send("GET /hello/a HTTP/1.1\r\nHo")
    elif state == "in a body":
        await client.post("/echo", b"ab", length=5)
    elif state == "in a chunk":
        await client.send(
            "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"
        )
    elif state == "in a streamed body":
        await client.post("/stream", b"ab", length=5)
    elif state == "before 100 Continue is used":
        await client.post("/echo", b"", "Expect: 100-continue", length=5)
        await client.head()
    elif state == "a GET in hand":
        await client.get("/hang")
    elif state == "a POST in hand":
        await client.post("/hang")
    elif state == "requests waiting behind one in hand":
        await client.get("/hang")
        await client.get("/hello/a")
        await client.get("/page")
    elif state == "a page in hand":
        await client.get("/page/hang")
    elif state == "events":
        await client.get("/events")
        await client.head()
    elif state == "a download":
        await client.get("/download")
        await client.head()
    elif state == "a reader that stopped":
        await client.get("/much")
        await client.head()
    elif state == "being told why it is closed":
        await client.send("garbage\r\n\r\n")
        await client.head()
    return client


STATES = {
    "nothing sent": False,
    "idle": False,
    "idle after a page": False,
    "in a head": True,
    "in a body": True,
    "in a chunk": True,
    "in a streamed body": True,
    "before 100 Continue is used": True,
    "a GET in hand": True,
    "a POST in hand": True,
    "requests waiting behind one in hand": True,
    "a page in hand": True,
    "events": False,
    "a download": True,
    "a reader that stopped": False,
    "being told why it is closed": False,
}
"""Whether it may use the drain. What may not ends at once."""


@pytest.mark.parametrize("state", STATES)
async def test_a_stop_is_bounded_in_every_state_of_a_connection(
    serve_routes, route, state, monkeypatch, caplog
):
    monkeypatch.setattr("nexus_actors.http.wire.STOPPING_WRITE", 0.1)
    monkeypatch.setattr("nexus_actors.http.server.CUT_OFF_GRACE", 0.3)

    async def hang(request):
        await trio.sleep_forever()

    async def events(request):
        return Response.events(forever())

    async def download(request):
        async def items():
            yield b"x"
            await trio.sleep_forever()

        return items()

    async def forever():
        await trio.sleep_forever()
        yield

    async def much(request):
        return b"x" * 30_000_000

    def pages(frontend):
        add_pages(frontend)

        @frontend.get("/page/hang")
        async def hanging():
            await trio.sleep_forever()

    served = await serve_routes(
        route("GET /hello/{name}", hello),
        route("POST /echo", echo),
        route("POST /stream", echo, stream=True),
        route("GET /hang", hang),
        route("POST /hang", hang),
        route("GET /events", events),
        route("GET /download", download),
        route("GET /much", much),
        pages=pages,
        keep_alive=60,
        head_timeout=60,
        reply_timeout=60,
    )
    client = await _open(served, state)
    await wait_all_tasks_blocked(0.02)
    drain = 0.2 if STATES[state] else 60
    with trio.fail_after(5):
        await served.server.stop(drain)
    assert served.server.connections == 0
    await client.aclose()
    assert not [r for r in caplog.records if r.levelname == "ERROR"]


# -- real clients ----------------------------------------------------------------------------------


async def test_httpx_keeps_its_connection_over_all_kinds_of_requests(serve_routes, route):
    served = await serve_routes(
        route("GET /hello/{name}", hello), route("POST /echo", echo), pages=add_pages
    )

    async def pieces():
        for n in range(5):
            yield b"%d" % n

    limits = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(base_url=served.url, limits=limits) as client:
        assert (await client.get("/hello/ann")).json() == {"hello": "ann"}
        assert (await client.post("/echo", content=pieces())).content == b"01234"
        assert (await client.head("/hello/ann")).content == b""
        assert (await client.get("/page")).text == "a page"
        assert (await client.post("/echo", content=b"x" * 2_000_000)).content == b"x" * 2_000_000
        assert served.server.connections == 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
@pytest.mark.parametrize(
    ("options", "body"),
    [
        ([], b""),
        (["--http1.0"], b""),
        (["--http2-prior-knowledge"], b""),
        (["--http2"], b""),  # an upgrade to h2c is offered, and not taken up
        (["-H", "Connection: close"], b""),
        (["--data-binary", "@-"], b"x" * 5000),  # curl expects 100 from 1 MB on
        (["--data-binary", "@-"], b"x" * 2_000_000),
        (["-H", "Expect: 100-continue", "--data-binary", "@-"], b"abc"),
        (["-H", "Transfer-Encoding: chunked", "--data-binary", "@-"], b"x" * 100_000),
        (["-T", "-", "-X", "POST"], b"x" * 100_000),
        (["--http2-prior-knowledge", "--data-binary", "@-"], b"x" * 100_000),
    ],
)
async def test_curl_is_answered(serve_routes, route, options, body):
    async def length(request):
        return {"length": len(await request.body())}

    served = await serve_routes(route("GET /l", length), route("POST /l", length))
    done = await trio.run_process(
        ["curl", "-sS", "--fail", "--max-time", "10", *options, f"{served.url}/l"],
        stdin=body,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b'{"length":%d}' % len(body))
