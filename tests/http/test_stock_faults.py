"""The faults A to F of stock Hypercorn with Quart-Trio, shown on the stock classes, mended in ours.

A test named ``test_stock_...`` that fails says that the libraries have mended that fault: then our
mending of it can go.
"""

from __future__ import annotations

import pytest
import trio
from quart_trio import QuartTrio
from trio.testing import wait_all_tasks_blocked

from nexus_actors.http.frontend import FrontEnd
from nexus_actors.http.quart_pages import NodePage

SOON = 0.6
"""Seconds for which the stock server is watched not doing what it should do at once."""
PATIENCE = 5.0
"""Seconds that the mended one gets for it, on a busy machine."""


def stock_app():
    app = QuartTrio("stock", static_folder=None)

    @app.get("/quick")
    async def quick():
        return "done"

    @app.post("/early")
    async def early():
        return "no", 401

    return app


async def quick(request):
    return "done"


def add_pages(frontend):
    @frontend.get("/page")
    async def page():
        return "done"

    @frontend.post("/page/early")
    async def early():
        return "no", 401


# -- A: keep-alive -------------------------------------------------------------------------------


async def test_stock_has_fault_a_an_idle_connection_is_never_closed_after_its_first_request(
    serve_stock,
):
    stock = await serve_stock(stock_app(), keep_alive_timeout=0.1, graceful_timeout=0.4)
    client = await stock.connect()
    await client.get("/quick")
    assert (await client.response()).status == 200

    assert not await client.ended(SOON)

    stock.stop.set()
    with trio.move_on_after(0.25):
        await stock.stopped.wait()
    assert not stock.stopped.is_set(), "the idle client makes it wait the whole graceful_timeout"


def with_our_connection(app):
    """A stock app on the stock server, with only Quart-Trio's connection replaced by ours."""
    app.asgi_http_class = NodePage
    return app


async def test_fault_a_is_mended_by_our_quart_connection_alone(serve_stock):
    assert FrontEnd.asgi_http_class is NodePage
    stock = await serve_stock(with_our_connection(stock_app()), keep_alive_timeout=0.1)
    client = await stock.connect()
    await client.get("/quick")
    assert (await client.response()).status == 200
    assert await client.ended()


@pytest.mark.parametrize("path", ["/quick", "/page"])
async def test_fault_a_is_mended_an_idle_connection_is_closed_after_keep_alive(
    serve_routes, route, path
):
    served = await serve_routes(route("GET /quick", quick), pages=add_pages, keep_alive=0.1)
    client = await served.connect()
    for _ in range(3):
        await client.get(path)
        assert (await client.response()).status == 200

    assert await client.ended()


@pytest.mark.parametrize("path", ["/quick", "/page"])
async def test_fault_a_is_mended_an_idle_connection_does_not_delay_the_stop(
    serve_routes, route, path
):
    served = await serve_routes(
        route("GET /quick", quick), pages=add_pages, keep_alive=60, drain=60
    )
    client = await served.connect()
    await client.get(path)
    await client.response()

    with trio.fail_after(PATIENCE):
        await served.server.stop()
    assert await client.ended()


# -- B: a reply before the body ------------------------------------------------------------------


async def test_stock_has_fault_b_a_reply_before_the_body_wedges_the_connection(serve_stock):
    stock = await serve_stock(stock_app())
    client = await stock.connect()
    await client.post("/early", b"abc", length=6)
    assert (await client.response()).status == 401
    await wait_all_tasks_blocked(0.05)  # the server is done with what it does after a reply

    await client.send("def")
    await client.get("/quick")
    with trio.move_on_after(SOON) as waiting:
        await client.stream.receive_some(1)
    assert waiting.cancelled_caught, "neither an answer nor an end"


async def test_fault_b_is_mended_by_our_quart_connection_alone(serve_stock):
    stock = await serve_stock(with_our_connection(stock_app()))
    client = await stock.connect()
    await client.post("/early", b"abc", length=6)
    assert (await client.response()).status == 401
    assert await client.ended()


@pytest.mark.parametrize("path", ["/unknown", "/page/early", "/quick"])
async def test_fault_b_is_mended_the_body_may_come_after_all(serve_routes, route, path):
    """A small body is read and thrown away, so the connection goes on."""
    served = await serve_routes(route("GET /quick", quick), pages=add_pages)
    client = await served.connect()
    await client.post(path, b"abc", length=6)
    await client.send("def")
    assert (await client.response()).status in {401, 404, 405}

    await client.get("/quick")
    assert (await client.response()).status == 200


@pytest.mark.parametrize("path", ["/unknown", "/page/early", "/quick"])
async def test_fault_b_is_mended_the_connection_ends_where_the_body_does_not_come(
    serve_routes, route, path, monkeypatch
):
    monkeypatch.setattr("nexus_actors.http.exchange.SMALL_BODY_TIMEOUT", 0.05)
    served = await serve_routes(route("GET /quick", quick), pages=add_pages)
    client = await served.connect()
    await client.post(path, b"abc", length=6)
    assert (await client.response()).status in {401, 404, 405}

    await client.send("def")
    await client.get("/quick")
    assert await client.ended()


async def test_fault_b_is_mended_a_long_body_is_not_waited_for(serve_routes, route):
    served = await serve_routes(route("GET /quick", quick))
    client = await served.connect()
    await client.post("/unknown", b"abc", length=10_000_000)
    reply = await client.response()
    assert reply.status == 404
    assert reply.headers["connection"] == "close"
    assert await client.ended()


# -- C: a client that does not read --------------------------------------------------------------

MUCH = 30_000_000


async def test_stock_has_fault_c_a_client_that_stops_reading_holds_the_shutdown_for_ever(
    serve_stock,
):
    app = stock_app()

    @app.get("/much")
    async def much():
        return b"x" * MUCH

    stock = await serve_stock(app, graceful_timeout=0.1)
    client = await stock.connect()
    await client.get("/much")
    await client.head()

    stock.stop.set()
    with trio.move_on_after(SOON + 0.4):
        await stock.stopped.wait()
    assert not stock.stopped.is_set()
    await client.aclose()  # only the client can end it


async def much(request):
    return b"x" * MUCH


async def test_fault_c_is_mended_a_client_that_stops_reading_does_not_hold_the_stop(
    serve_routes, route, monkeypatch
):
    monkeypatch.setattr("nexus_actors.http.wire.STOPPING_WRITE", 0.1)
    served = await serve_routes(route("GET /much", much), drain=60)
    client = await served.connect()
    await client.get("/much")
    await client.head()
    await wait_all_tasks_blocked(0.3)  # the write is stuck: the kernel takes no more either

    with trio.fail_after(PATIENCE):
        await served.server.stop()


async def test_fault_c_is_mended_a_client_that_stops_reading_is_cut_off_also_without_a_stop(
    serve_routes, route, eventually
):
    served = await serve_routes(route("GET /much", much), write_timeout=0.1)
    client = await served.connect()
    await client.get("/much")
    await client.head()

    await eventually(lambda: not served.server.connections, "the connection is closed")


async def test_a_client_that_reads_slowly_is_not_cut_off(serve_routes, route):
    """The deadline of a write is for progress: a byte taken sets it anew."""

    async def some(request):
        return b"x" * 8_000_000

    served = await serve_routes(route("GET /some", some), write_timeout=0.2)
    client = await served.connect()
    await client.get("/some")
    head = await client.head()
    got = 0
    with trio.fail_after(10):
        while got < int(head.headers["content-length"]) - len(client._buffer):
            data = await client.stream.receive_some(400_000)
            assert data, f"cut off after {got} bytes"
            got += len(data)
            await trio.sleep(0.02)


# -- D: connections without limit ----------------------------------------------------------------


async def test_stock_has_fault_d_it_takes_any_number_of_connections(serve_stock):
    stock = await serve_stock(stock_app())
    clients = [await stock.connect() for _ in range(40)]
    for client in clients:
        await client.get("/quick")
        assert (await client.response()).status == 200


async def test_fault_d_is_mended_a_connection_over_the_limit_is_told_and_closed(
    serve_routes, route, eventually
):
    served = await serve_routes(route("GET /quick", quick), max_connections=3)
    clients = [await served.connect() for _ in range(3)]
    for client in clients:
        await client.get("/quick")
        assert (await client.response()).status == 200

    surplus = await served.connect()
    await surplus.get("/quick")
    reply = await surplus.response()
    assert reply.status == 503
    assert reply.headers["retry-after"] == "1"
    assert reply.headers["connection"] == "close"
    assert reply.problem["detail"] == "as many connections are open as may be, 3"
    assert await surplus.ended()
    assert served.server.refused == 1

    await clients[0].aclose()
    await eventually(lambda: served.server.connections < 3, "there is room again")
    again = await served.connect()
    await again.get("/quick")
    assert (await again.response()).status == 200


# -- E: a disconnect behind a pipelined request --------------------------------------------------


async def test_stock_has_fault_e_a_disconnect_behind_a_pipelined_request_goes_unnoticed(
    serve_stock,
):
    app, started, ended = stock_app(), trio.Event(), trio.Event()

    @app.get("/hang")
    async def hang():
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    stock = await serve_stock(app)
    client = await stock.connect()
    await client.get("/hang")
    await client.get("/quick")
    await started.wait()
    await client.aclose()

    with trio.move_on_after(SOON):
        await ended.wait()
    assert not ended.is_set()


async def test_fault_e_is_mended_a_disconnect_behind_a_pipelined_request_cancels_the_handler(
    serve_routes, route
):
    started, ended = trio.Event(), trio.Event()

    async def hang(request):
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    served = await serve_routes(route("GET /hang", hang), route("GET /quick", quick))
    client = await served.connect()
    await client.get("/hang")
    await client.get("/quick")
    await started.wait()
    await client.aclose()

    with trio.fail_after(PATIENCE):
        await ended.wait()


async def test_fault_e_is_mended_a_dispatch_has_a_deadline_also_before_a_pipelined_request(
    serve_routes, route
):
    async def hang(request):
        await trio.sleep_forever()

    served = await serve_routes(
        route("GET /hang", hang), route("GET /quick", quick), reply_timeout=0.1
    )
    client = await served.connect()
    await client.get("/hang")
    await client.get("/quick")
    assert (await client.response()).status == 504
    assert (await client.response()).status == 200


# -- F: the read timeout -------------------------------------------------------------------------


async def events():
    yield {"n": 1}
    await trio.sleep(SOON)
    yield {"n": 2}


async def test_stock_has_fault_f_its_read_timeout_ends_an_event_stream(serve_stock):
    app = stock_app()

    @app.get("/events")
    async def stream():
        async def items():
            async for _item in events():
                yield b"data: 1\n\n"

        return items(), {"Content-Type": "text/event-stream"}

    stock = await serve_stock(app, read_timeout=0.1)
    client = await stock.connect()
    await client.get("/events")
    await client.head()
    await client.chunk()
    assert await client.ended(SOON / 2)


async def test_fault_f_is_mended_timeouts_are_for_clients_that_owe_something(serve_routes, route):
    async def stream(request):
        return events()

    served = await serve_routes(
        route("GET /events", stream),
        keep_alive=0.1,
        head_timeout=0.1,
        write_timeout=0.1,
        reply_timeout=0.1,
    )
    client = await served.connect()
    await client.get("/events", "Accept: text/event-stream")
    reply = await client.response()
    assert reply.body == b'data: {"n":1}\n\ndata: {"n":2}\n\n'
