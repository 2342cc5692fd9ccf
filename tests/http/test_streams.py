"""Replies that go on: event streams, chunks, and how they end."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexus_actors.errors import HTTPError
from nexus_actors.http import Response, ServerSentEvent, StreamingResponse
from nexus_actors.http.streams import Relay


class Stream:
    """A handler with a stream that the test feeds, and that knows how it ended."""

    def __init__(self, *items, media_type=None, on_end=None):
        self.items = list(items)
        self.more = trio.Event()
        self.media_type = media_type
        self.ended = trio.Event()
        self.on_end = on_end

    async def __call__(self, request):
        return StreamingResponse(self.iterate(), media_type=self.media_type)

    async def iterate(self):
        try:
            for item in self.items:
                yield item
            await self.more.wait()
            if self.on_end is not None:
                raise self.on_end
        finally:
            self.ended.set()


# -- what a stream is ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "media_type", "body"),
    [
        (
            [ServerSentEvent("a"), ServerSentEvent({"n": 1}, event="tick", id="7", retry=5)],
            "text/event-stream",
            b'data: a\n\nevent: tick\nid: 7\nretry: 5\ndata: {"n":1}\n\n',
        ),
        ([b"ab", b"c"], "application/octet-stream", b"abc"),
        (["ä", "b"], "text/plain; charset=utf-8", "äb".encode()),
        ([{"a": 1}, [2]], "application/x-ndjson", b'{"a":1}\n[2]\n'),
        ([], "application/octet-stream", b""),
    ],
)
async def test_the_first_item_decides_what_a_stream_is(
    serve_routes, route, items, media_type, body
):
    stream = Stream(*items)
    stream.more.set()
    served = await serve_routes(route("GET /s", stream))
    client = await served.connect()
    await client.get("/s")
    reply = await client.response()
    assert reply.headers["content-type"] == media_type
    assert reply.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in reply.headers
    assert reply.body == body
    await client.get("/s")
    assert (await client.response()).status == 200


async def test_a_client_that_asks_for_events_gets_the_head_before_the_first(serve_routes, route):
    stream = Stream()
    served = await serve_routes(route("GET /s", stream), reply_timeout=0.1)
    client = await served.connect()
    await client.get("/s", "Accept: text/event-stream")
    head = await client.head()
    assert head.headers["content-type"] == "text/event-stream"
    assert head.headers["cache-control"] == "no-cache"


async def test_response_events_sends_the_head_before_the_first(serve_routes, route):
    stream = Stream()

    async def events(request):
        return Response.events(stream.iterate(), headers={"X-A": "b"})

    served = await serve_routes(route("GET /s", events), reply_timeout=0.1)
    client = await served.connect()
    await client.get("/s")
    head = await client.head()
    assert head.headers["content-type"] == "text/event-stream"
    assert head.headers["x-a"] == "b"


async def test_an_item_arrives_when_it_is_yielded(serve_routes, route):
    stream = Stream(b"one")
    served = await serve_routes(route("GET /s", stream))
    client = await served.connect()
    await client.get("/s")
    await client.head()
    assert await client.chunk() == b"one"
    stream.more.set()
    assert await client.chunk() == b""


async def test_a_stream_to_http_1_0_ends_with_the_connection(serve_routes, route):
    stream = Stream(b"one", b"two")
    stream.more.set()
    served = await serve_routes(route("GET /s", stream))
    client = await served.connect()
    await client.send("GET /s HTTP/1.0\r\n\r\n")
    await client.head()
    with trio.fail_after(5):
        data = b""
        while piece := await client.stream.receive_some(100):
            data += piece
    assert client._buffer + data == b"onetwo"


async def test_head_of_a_stream_closes_it_unread(serve_routes, route):
    stream = Stream(b"one")
    served = await serve_routes(route("GET /s", stream))
    client = await served.connect()
    await client.send("HEAD /s HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await client.response("HEAD")).status == 200
    with trio.fail_after(5):
        await stream.ended.wait()


async def test_a_large_item_is_sent_whole(serve_routes, route):
    stream = Stream(b"x" * 1_000_000)
    stream.more.set()
    served = await serve_routes(route("GET /s", stream))
    async with served.client() as client:
        assert len((await client.get("/s")).content) == 1_000_000


async def test_silence_on_an_event_stream_is_broken_by_comments(serve_routes, route, monkeypatch):
    monkeypatch.setattr("nexus_actors.http.exchange.EVENT_PING", 0.05)
    stream = Stream(ServerSentEvent("a"))
    served = await serve_routes(route("GET /s", stream))
    client = await served.connect()
    await client.get("/s")
    await client.head()
    assert [await client.chunk() for _ in range(3)] == [b"data: a\n\n", b": \n\n", b": \n\n"]
    stream.more.set()
    assert await client.chunk() == b""


# -- how a stream fails --------------------------------------------------------------------------


async def test_a_stream_that_fails_before_its_first_item_is_answered_like_any_request(
    serve_routes, route, caplog
):
    for error, status in ((HTTPError(404, "none"), 404), (KeyError("x"), 500)):
        stream = Stream(on_end=error)
        stream.more.set()
        served = await serve_routes(route("GET /s", stream))
        client = await served.connect()
        await client.get("/s")
        reply = await client.response()
        assert reply.status == status
        assert reply.problem


async def test_a_stream_that_does_not_begin_in_time_is_504(serve_routes, route):
    stream = Stream()
    served = await serve_routes(route("GET /s", stream), reply_timeout=0.1)
    client = await served.connect()
    await client.get("/s")
    assert (await client.response()).status == 504
    assert stream.ended.is_set()


async def test_a_stream_that_fails_midway_is_cut_without_its_end(serve_routes, route, caplog):
    stream = Stream(b"one", on_end=KeyError("x"))
    served = await serve_routes(route("GET /s", stream))
    client = await served.connect()
    await client.get("/s")
    await client.head()
    assert await client.chunk() == b"one"
    stream.more.set()
    assert await client.ended()
    assert client._buffer == b"", "no last chunk, so the client can tell"
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert record.getMessage() == "a stream was cut: KeyError: 'x'"


async def test_an_event_stream_that_fails_midway_just_ends(serve_routes, route):
    stream = Stream(ServerSentEvent("a"), on_end=KeyError("x"))
    served = await serve_routes(route("GET /s", stream))
    client = await served.connect()
    await client.get("/s")
    await client.head()
    await client.chunk()
    stream.more.set()
    assert await client.chunk() == b""


async def test_an_item_that_cannot_be_sent_cuts_the_stream_and_is_named(
    serve_routes, route, caplog
):
    stream = Stream({"a": 1}, {"b": object()})
    served = await serve_routes(route("GET /s", stream))
    client = await served.connect()
    await client.get("/s")
    await client.head()
    assert await client.chunk() == b'{"a":1}\n'
    assert await client.ended()
    assert "an item of the stream.b is an object" in caplog.text


async def test_a_client_that_leaves_ends_the_stream_at_once(serve_routes, route):
    for items in ([], [b"one"], [ServerSentEvent("a")]):
        stream = Stream(*items)
        served = await serve_routes(route("GET /s", stream))
        client = await served.connect()
        await client.get("/s")
        if items:
            await client.head()
            await client.chunk()
        else:
            await wait_all_tasks_blocked(0.02)
        await client.aclose()
        with trio.fail_after(5):
            await stream.ended.wait()


async def test_a_client_that_does_not_read_holds_the_stream_up(serve_routes, route):
    made = 0

    async def endless(request):
        async def items():
            nonlocal made
            while True:
                made += 1
                yield b"x" * 100_000

        return items()

    served = await serve_routes(route("GET /s", endless))
    client = await served.connect()
    await client.get("/s")
    await client.head()
    await trio.sleep(0.3)  # what fits into the buffers of the kernel
    before = made
    await trio.sleep(0.1)
    assert made == before
    assert made < 200


# -- the relay -----------------------------------------------------------------------------------


async def test_a_relay_runs_the_iterator_in_one_task(nursery):
    tasks = set()

    async def items():
        for n in range(3):
            tasks.add(trio.lowlevel.current_task())
            with trio.CancelScope():  # needs its task to stay the same
                yield n

    relay = Relay(items())
    nursery.start_soon(relay.run)
    assert [item async for item in relay] == [0, 1, 2]
    assert len(tasks) == 1


async def test_a_relay_is_at_most_its_capacity_ahead(nursery):
    made = []

    async def items():
        for n in range(10):
            made.append(n)
            yield n

    relay = Relay(items(), capacity=2)
    nursery.start_soon(relay.run)
    await wait_all_tasks_blocked()
    assert made == [0, 1, 2]
    assert await anext(relay) == 0
    await wait_all_tasks_blocked()
    assert made == [0, 1, 2, 3]


async def test_a_relay_hands_the_fault_to_its_reader_after_what_came_before(nursery):
    async def items():
        yield 1
        raise KeyError("x")

    relay = Relay(items())
    nursery.start_soon(relay.run)
    assert await anext(relay) == 1
    with pytest.raises(KeyError):
        await anext(relay)
    assert isinstance(relay.fault, KeyError)


async def test_a_relay_whose_owner_ends_is_a_clean_end_for_its_reader():
    async def items():
        yield 1
        await trio.sleep_forever()

    relay = Relay(items())
    async with trio.open_nursery() as owner:
        owner.start_soon(relay.run)
        assert await anext(relay) == 1
        owner.cancel_scope.cancel()
    assert [item async for item in relay] == []


async def test_a_relay_closed_by_its_reader_closes_the_iterator(nursery):
    closed = trio.Event()

    async def items():
        try:
            yield 1
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            closed.set()

    relay = Relay(items())
    nursery.start_soon(relay.run)
    await anext(relay)
    await relay.aclose()
    with trio.fail_after(1):
        await closed.wait()


# -- events --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "wire"),
    [
        ("", b"data: \n\n"),
        ("a\nb\r\nc\rd", b"data: a\ndata: b\ndata: c\ndata: d\n\n"),
        ({"a": "x\ny"}, b'data: {"a":"x\\ny"}\n\n'),
        (7, b"data: 7\n\n"),
        (None, b"data: null\n\n"),
    ],
)
def test_the_data_of_an_event_is_text_or_json_a_line_each(data, wire):
    assert ServerSentEvent(data).encode() == wire


@pytest.mark.parametrize(
    "options", [{"event": "a\nb"}, {"id": "a\rb"}, {"id": "a\0"}, {"retry": -1}]
)
def test_an_event_that_would_break_the_stream_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ServerSentEvent("x", **options)
