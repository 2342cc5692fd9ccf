"""From a request to its answer: dispatch, deadlines, disconnects, middleware, the node's pages."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexus_actors.errors import (
    ActorRestarted,
    ActorStopped,
    AskCycle,
    AskTimeout,
    DatabaseUnavailable,
    Fault,
    HTTPError,
    Invalid,
    MailboxFull,
    NoSuchActor,
    RemoteError,
)
from nexus_actors.http import Response
from nexus_actors.http.incoming import INCOMING, Incoming


async def hello(request):
    return {"hello": request.path_params.get("name", "you")}


class Hang:
    """A handler that never ends by itself, and knows how it ended."""

    def __init__(self):
        self.started, self.cancelled, self.done = trio.Event(), trio.Event(), trio.Event()
        self.go_on = trio.Event()

    async def __call__(self, request):
        self.started.set()
        try:
            await self.go_on.wait()
        except trio.Cancelled:
            self.cancelled.set()
            raise
        self.done.set()
        return "done"


# -- answers -------------------------------------------------------------------------------------


async def test_a_request_reaches_its_endpoint_and_the_answer_the_client(serve_routes, route):
    async def create(request):
        data = await request.json()
        return (
            {
                "method": request.method,
                "path": request.path,
                "id": request.path_params["id"],
                "query": request.query["q"],
                "header": request.headers["x-thing"],
                "cookie": request.cookies["c"],
                "client": request.client[0],
                "data": data,
                "url": request.url,
            },
            201,
            {"X-Made": "yes"},
        )

    served = await serve_routes(route("POST /things/{id}", create))
    async with served.client() as client:
        reply = await client.post(
            "/things/a%20b?q=1",
            json={"n": 1},
            headers={"X-Thing": "t", "Cookie": "c=d"},
        )
    assert reply.status_code == 201
    assert reply.headers["x-made"] == "yes"
    assert reply.json() == {
        "method": "POST",
        "path": "/things/a b",
        "id": "a b",
        "query": "1",
        "header": "t",
        "cookie": "d",
        "client": "127.0.0.1",
        "data": {"n": 1},
        "url": f"{served.url}/things/a b?q=1",
    }


async def test_head_is_answered_like_get_without_the_body(serve_routes, route):
    served = await serve_routes(route("GET /hello", hello))
    client = await served.connect()
    await client.send("HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n")
    reply = await client.response("HEAD")
    assert reply.status == 200
    assert reply.headers["content-length"] == str(len(b'{"hello":"you"}'))
    await client.get("/hello")
    assert (await client.response()).body == b'{"hello":"you"}'


async def test_an_answer_without_body_has_no_length(serve_routes, route):
    async def nothing(request):
        return None

    served = await serve_routes(route("GET /nothing", nothing), route("GET /hello", hello))
    client = await served.connect()
    await client.get("/nothing")
    reply = await client.response()
    assert reply.status == 204
    assert "content-length" not in reply.headers
    await client.get("/hello")
    assert (await client.response()).status == 200


async def test_a_large_body_arrives_whole_in_both_directions(serve_routes, route):
    async def echo(request):
        return await request.body()

    served = await serve_routes(route("POST /echo", echo))
    body = bytes(range(256)) * 20_000
    async with served.client() as client:
        reply = await client.post("/echo", content=body)
    assert reply.content == body


async def test_a_body_in_tiny_chunks_is_put_together(serve_routes, route):
    pieces = []

    async def take(request):
        async for piece in request.stream():
            pieces.append(piece)

    served = await serve_routes(route("POST /take", take, stream=True))
    client = await served.connect()
    await client.send(
        b"POST /take HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1\r\nx\r\n" * 5_000
        + b"0\r\n\r\n"
    )
    assert (await client.response()).status == 204
    assert b"".join(pieces) == b"x" * 5_000
    assert len(pieces) < 10


async def test_pipelined_requests_are_answered_in_order(serve_routes, route):
    async def echo(request):
        return request.path_params["n"] + (await request.body()).decode()

    served = await serve_routes(route("GET /{n}", echo), route("POST /{n}", echo))
    client = await served.connect()
    for n in range(5):
        await client.get(f"/{n}")
        await client.post(f"/{n}", b"p")
    replies = [(await client.response()).body.decode() for _ in range(10)]
    assert replies == ["0", "0p", "1", "1p", "2", "2p", "3", "3p", "4", "4p"]


async def test_a_flood_of_pipelined_requests_is_not_read_without_bound(serve_routes, route):
    hang = Hang()
    served = await serve_routes(route("GET /hang", hang), route("GET /hello", hello))
    client = await served.connect()
    await client.get("/hang")
    await hang.started.wait()
    many = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n" * 10_000
    with trio.move_on_after(0.3):
        for _ in range(200):
            await client.send(many)
    (connection,) = served.server._connections
    assert connection.ahead < 4 * 2**16
    hang.go_on.set()
    assert (await client.response()).body == b"done"
    assert (await client.response()).status == 200


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "detail", "headers"),
    [
        (HTTPError(404, "no such order"), 404, "no such order", {}),
        (HTTPError(429, "slow", headers={"Retry-After": "7"}), 429, "slow", {"retry-after": "7"}),
        (RemoteError("billing", "KeyError"), 502, "billing failed while answering; the log", {}),
        (ActorStopped("shop", "suspended", 2.2), 503, "shop is suspended", {"retry-after": "3"}),
        (ActorRestarted("shop"), 503, "shop was restarted", {"retry-after": "1"}),
        (MailboxFull("shop", 1000, 0.1), 503, "mailbox of shop is full", {"retry-after": "1"}),
        (NoSuchActor("biling", ["billing"]), 502, "did you mean 'billing'", {}),
        (AskTimeout("shop", 5), 504, "no reply within 5 s", {}),
        (AskCycle(["a", "b", "a"]), 508, "a > b > a", {}),
        (
            DatabaseUnavailable("gone"),
            503,
            "the database is not available just now",
            {"retry-after": "1"},
        ),
        (ExceptionGroup("g", [HTTPError(409, "twice")]), 409, "twice", {}),
    ],
)
async def test_an_error_becomes_its_answer_and_no_fault(
    serve_routes, route, caplog, error, status, detail, headers
):
    async def fail(request):
        raise error

    served = await serve_routes(route("GET /fail", fail))
    client = await served.connect()
    await client.get("/fail", "X-Request-ID: abc")
    reply = await client.response()
    assert reply.status == status
    assert detail in reply.problem["detail"]
    assert reply.problem["request_id"] == "abc"
    assert headers.items() <= reply.headers.items()
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


async def test_invalid_input_is_422_with_all_faults(serve_routes, route):
    async def fail(request):
        raise Invalid([Fault("body.a", "is missing"), Fault("body.b", "must be text", "write it")])

    served = await serve_routes(route("GET /fail", fail))
    client = await served.connect()
    await client.get("/fail")
    assert (await client.response()).problem["errors"] == [
        {"path": "body.a", "message": "is missing"},
        {"path": "body.b", "message": "must be text", "fix": "write it"},
    ]


@pytest.mark.parametrize(
    "error",
    [
        KeyError("secret-password"),
        RuntimeError("secret-password"),
        ExceptionGroup("two", [ValueError("secret-password"), KeyError("b")]),
    ],
)
async def test_an_unmeant_error_is_500_and_only_the_log_knows_why(
    serve_routes, route, caplog, error
):
    async def fail(request):
        raise error

    served = await serve_routes(route("GET /fail", fail), route("GET /hello", hello))
    client = await served.connect()
    await client.get("/fail", "X-Request-ID: abc")
    reply = await client.response()
    assert reply.status == 500
    assert "request id abc" in reply.problem["detail"]
    assert b"secret-password" not in reply.body
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert record.name == "nexus.http"
    assert record.request_id == "abc"
    assert record.exc_info is not None
    await client.get("/hello")
    assert (await client.response()).status == 200


async def test_what_cannot_be_a_reply_is_500_and_the_log_says_what_can(serve_routes, route, caplog):
    async def fail(request):
        return 7

    served = await serve_routes(route("GET /fail", fail))
    client = await served.connect()
    await client.get("/fail")
    assert (await client.response()).status == 500
    assert "a handler returned an int; it may return a dict" in caplog.text


# -- deadlines -----------------------------------------------------------------------------------


async def test_no_reply_in_time_is_504_and_the_handler_is_cancelled(serve_routes, route):
    hang = Hang()
    served = await serve_routes(route("POST /hang", hang), reply_timeout=0.1)
    client = await served.connect()
    await client.post("/hang")
    reply = await client.response()
    assert reply.status == 504
    assert reply.problem["detail"] == "there was no reply in time"
    assert reply.problem["instance"] == "/hang"
    assert hang.cancelled.is_set()


async def test_a_route_may_have_its_own_timeout(serve_routes, route):
    hang = Hang()
    served = await serve_routes(route("POST /hang", hang, timeout=0.1), reply_timeout=60)
    client = await served.connect()
    await client.post("/hang")
    assert (await client.response()).status == 504


async def test_the_endpoint_is_told_the_deadline(serve_routes, route):
    seen = {}

    async def look(request):
        seen["left"] = request.state["deadline"] - trio.current_time()
        return None

    served = await serve_routes(route("GET /look", look), reply_timeout=30)
    async with served.client() as client:
        await client.get("/look")
    assert 28 < seen["left"] <= 30


# -- disconnects ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "on_disconnect", "cancelled"),
    [
        ("GET", None, True),
        ("POST", None, False),
        ("PUT", None, False),
        ("DELETE", None, False),
        ("GET", "finish", False),
        ("POST", "cancel", True),
    ],
)
async def test_a_disconnect_cancels_what_only_reads(
    serve_routes, route, method, on_disconnect, cancelled
):
    hang = Hang()
    served = await serve_routes(route(f"{method} /hang", hang, on_disconnect=on_disconnect))
    client = await served.connect()
    await client.send(f"{method} /hang HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    await hang.started.wait()
    await client.aclose()
    if cancelled:
        with trio.fail_after(5):
            await hang.cancelled.wait()
        await wait_all_tasks_blocked(0.02)
        assert served.told[0][2] == 499
    else:
        await wait_all_tasks_blocked(0.05)
        assert not hang.cancelled.is_set()
        hang.go_on.set()
        with trio.fail_after(5):
            await hang.done.wait()


async def test_a_handler_that_goes_on_without_client_has_its_deadline_still(serve_routes, route):
    hang = Hang()
    served = await serve_routes(route("POST /hang", hang), reply_timeout=0.2)
    client = await served.connect()
    await client.post("/hang")
    await hang.started.wait()
    await client.aclose()
    with trio.fail_after(5):
        await hang.cancelled.wait()


async def test_a_client_that_left_before_the_dispatch_is_not_answered(serve_routes, route):
    hang = Hang()
    served = await serve_routes(route("GET /hang", hang))
    incoming = Incoming()
    await incoming.put({"type": "http.request", "body": b"", "more_body": False})
    await incoming.put({"type": "http.disconnect"})
    with trio.fail_after(5):
        await ask_asgi(served.frontend, "GET", "/hang", extensions={INCOMING: incoming})
    assert served.told[0][2] == 499


async def test_a_client_that_leaves_in_the_middle_of_its_body_ends_the_request(
    serve_routes, route, eventually
):
    called = []

    async def never(request):
        called.append(request)

    served = await serve_routes(route("POST /a", never))
    client = await served.connect()
    await client.post("/a", b"x", length=10)
    await client.aclose()
    await eventually(lambda: served.told, "the request is over")
    assert not called


# -- streamed bodies -----------------------------------------------------------------------------


async def test_a_body_is_handed_over_as_it_arrives_where_the_route_says_so(serve_routes, route):
    pieces, first = [], trio.Event()

    async def take(request):
        async for piece in request.stream():
            pieces.append(piece)
            first.set()
        return {"bytes": sum(map(len, pieces))}

    served = await serve_routes(route("POST /take", take, stream=True))
    client = await served.connect()
    await client.post("/take", b"one", length=6)
    with trio.fail_after(5):
        await first.wait()
    assert pieces == [b"one"]
    await client.send("two")
    assert (await client.response()).body == b'{"bytes":6}'


async def test_a_streamed_body_is_bounded_where_nobody_reads_it(serve_routes, route):
    hang = Hang()
    served = await serve_routes(route("POST /take", hang, stream=True), max_body=2**30)
    client = await served.connect()
    await client.post("/take", b"", length=500_000_000)
    sent = 0
    with trio.move_on_after(0.5):
        while sent < 500_000_000:
            await client.send(b"x" * 1_000_000)
            sent += 1_000_000
    assert sent < 60_000_000, "the client was held up, not buffered for"


async def test_a_streamed_body_over_the_limit_is_413(serve_routes, route):
    async def take(request):
        async for _piece in request.stream():
            pass

    served = await serve_routes(route("POST /take", take, stream=True, max_body=5))
    client = await served.connect()
    await client.post("/take", b"123456")
    assert (await client.response()).status == 413


async def test_a_streamed_body_that_breaks_off_is_no_fault_of_the_plugin(
    serve_routes, route, caplog
):
    ended, errors = trio.Event(), []

    async def take(request):
        try:
            async for _piece in request.stream():
                pass
        except HTTPError as error:
            errors.append(error)
            raise
        finally:
            ended.set()

    served = await serve_routes(route("POST /take", take, stream=True))
    client = await served.connect()
    await client.post("/take", b"123", length=10)
    await wait_all_tasks_blocked(0.02)
    await client.aclose()
    with trio.fail_after(5):
        await ended.wait()
    assert "the client went away" in errors[0].detail
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


# -- ids and the access log ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("abc-1.2_3", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("a;b", False)],
)
async def test_a_sane_request_id_is_kept_and_any_other_replaced(serve_routes, route, sent, kept):
    seen = []

    async def look(request):
        seen.append(request.id)

    served = await serve_routes(route("GET /look", look))
    async with served.client() as client:
        reply = await client.get("/look", headers={"X-Request-ID": sent})
    assert reply.headers["x-request-id"] == seen[0]
    assert (seen[0] == sent) is kept
    assert len(seen[0]) >= 3


async def test_every_answer_has_a_request_id_and_is_told(serve_routes, route):
    def pages(frontend):
        @frontend.get("/livez")
        async def livez():
            return {"ok": True}

    served = await serve_routes(route("GET /hello/{name}", hello), pages=pages)
    async with served.client() as client:
        for path in ("/hello/a", "/nowhere", "/livez", "/livez/x", "/a%00"):
            reply = await client.get(path)
            assert reply.headers["x-request-id"], path
    told = [(method, path, status, owner) for method, path, status, _s, _id, owner in served.told]
    assert told == [
        ("GET", "/hello/a", 200, "shop"),
        ("GET", "/nowhere", 404, ""),
        ("GET", "/livez", 200, ""),
        ("GET", "/livez/x", 404, ""),
        ("GET", "/a\x00", 400, ""),
    ]
    assert all(0 <= seconds < 5 for *_rest, seconds, _id, _owner in served.told)


# -- the node's own pages ------------------------------------------------------------------------


def node_pages(frontend):
    @frontend.get("/livez")
    async def livez():
        return {"status": "alive"}

    @frontend.get("/fails")
    async def fails():
        raise RuntimeError("secret-password")

    @frontend.get("/refuses")
    async def refuses():
        raise HTTPError(418, "a teapot")

    @frontend.post("/takes")
    async def takes():
        from quart import request

        return await request.get_json()


async def test_a_page_of_the_node_is_a_quart_route(serve_routes, route):
    served = await serve_routes(pages=node_pages)
    async with served.client() as client:
        assert (await client.get("/livez")).json() == {"status": "alive"}
        assert (await client.post("/takes", json=[1])).json() == [1]
        reply = await client.post("/livez")
        assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        assert (await client.get("/refuses")).json()["detail"] == "a teapot"
        assert (await client.get("/live")).json()["nearest"] == ["/livez"]


async def test_a_page_that_fails_is_500_in_problem_json(serve_routes, route, caplog):
    served = await serve_routes(pages=node_pages)
    client = await served.connect()
    await client.get("/fails", "X-Request-ID: abc")
    reply = await client.response()
    assert reply.status == 500
    assert reply.problem["request_id"] == "abc"
    assert b"secret" not in reply.body
    assert "RuntimeError: secret-password" in caplog.text
    await client.get("/livez")
    assert (await client.response()).status == 200


async def test_quarts_own_refusals_are_problem_json_too(serve_routes, route):
    served = await serve_routes(pages=node_pages, max_body=10)
    client = await served.connect()
    await client.post("/takes", b"not json", "Content-Type: application/json")
    assert (await client.response()).problem["status"] == 400
    await client.post("/takes", b"[1,2,3,4,5,6,7,8]", "Content-Type: application/json")
    assert (await client.response()).problem["status"] == 413


async def test_a_plugin_that_takes_every_path_does_not_get_the_nodes(serve_routes, route):
    served = await serve_routes(route("GET /{rest:path}", hello), pages=node_pages)
    async with served.client() as client:
        assert (await client.get("/livez")).json() == {"status": "alive"}
        assert (await client.get("/metrics")).status_code == 404
        assert (await client.get("/anything")).status_code == 200


# -- middleware ----------------------------------------------------------------------------------


async def test_middleware_wraps_every_request_outermost_first(serve_routes, route):
    def named(name):
        async def middleware(request, call_next):
            request.headers["X-Way"] = request.headers.get("x-way", "") + name
            response = await call_next(request)
            response.headers["X-Back"] = response.headers.get("x-back", "") + name
            return response

        return middleware

    async def look(request):
        return request.headers["x-way"]

    served = await serve_routes(route("GET /look", look), middleware=[named("a"), named("b")])
    async with served.client() as client:
        reply = await client.get("/look")
        assert (reply.text, reply.headers["x-back"]) == ("ab", "ba")
        reply = await client.get("/nowhere")
        assert (reply.status_code, reply.headers["x-back"]) == (404, "ba")


async def test_middleware_may_refuse_before_the_body_is_read(serve_routes, route):
    async def guard(request, call_next):
        if "authorization" not in request.headers:
            return Response.json({"who": "are you"}, 401)
        return await call_next(request)

    async def never(request):
        raise AssertionError("must not be reached")

    served = await serve_routes(route("POST /a", never), middleware=[guard])
    client = await served.connect()
    await client.post("/a", b"", length=10**9)
    reply = await client.response()
    assert (reply.status, reply.headers["connection"]) == (401, "close")


async def test_a_fault_in_middleware_is_500(serve_routes, route):
    async def broken(request, call_next):
        raise ValueError("secret")

    served = await serve_routes(route("GET /hello", hello), middleware=[broken])
    async with served.client() as client:
        assert (await client.get("/hello")).status_code == 500


async def test_middleware_counts_into_the_reply_timeout(serve_routes, route):
    async def slow(request, call_next):
        await trio.sleep_forever()

    served = await serve_routes(route("GET /hello", hello), middleware=[slow], reply_timeout=0.1)
    async with served.client() as client:
        assert (await client.get("/hello")).status_code == 504


# -- under another server ------------------------------------------------------------------------


async def ask_asgi(app, method, path, body=b"", extensions=None):
    """What another ASGI server would do, without our extension of the scope."""
    sent = []
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if messages:
            return messages.pop(0)
        await trio.sleep_forever()

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"node")],
        "extensions": extensions or {},
    }
    await app(scope, receive, send)
    if not sent:
        return None
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


async def test_the_front_end_is_an_asgi_app_for_any_server(serve_routes, route):
    async def echo(request):
        return await request.json()

    served = await serve_routes(route("POST /echo", echo), pages=node_pages)
    assert await ask_asgi(served.frontend, "POST", "/echo", b'{"a": 1}') == (200, b'{"a":1}')
    assert (await ask_asgi(served.frontend, "GET", "/livez"))[0] == 200
    assert (await ask_asgi(served.frontend, "GET", "/nowhere"))[0] == 404


async def test_a_stream_that_does_not_begin_in_time_is_504_and_logged(serve_routes, route, caplog):
    async def silent(request):
        async def never():
            await trio.sleep_forever()
            yield b""

        return never()

    served = await serve_routes(route("GET /silent", silent, timeout=0.05))
    client = await served.connect()
    await client.get("/silent", "X-Request-ID: abc")
    assert (await client.response()).problem["instance"] == "/silent"
    (record,) = caplog.records
    assert record.getMessage() == "the stream of GET /silent did not begin in time"
    assert (record.levelname, record.request_id) == ("WARNING", "abc")
