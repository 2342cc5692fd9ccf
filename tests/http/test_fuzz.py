"""Requests mutilated at random: whatever comes, the answer is HTTP, and the server goes on."""

from __future__ import annotations

import logging
import random

import h11
import pytest
import trio

SEEDS = [
    b"GET /hello/bob?a=1 HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n" + b'{"a": [1]}'[:9],
    b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    b"\x81\x82\x00\x00\x00\x00ab",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
]


def mutilate(seed: bytes, rng: random.Random) -> bytes:
    data = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data)) if data else 0
        kind = rng.randrange(5)
        if kind == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del data[at : at + rng.randint(1, 10)]
        elif kind == 2:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 10)))
        elif kind == 3:
            data[at:at] = data[at : at + rng.randint(1, 40)]
        else:
            data[at:at] = rng.choice([b"\r\n", b"\x00", b"%", b"..", b": ", b"HTTP/9.9", b"-1"])
    return bytes(data)


@pytest.mark.parametrize("round_", range(4))
async def test_mutilated_requests_do_no_harm(serve_routes, route, caplog, round_):
    async def hello(request):
        return {"q": dict(request.query)}

    async def echo(request):
        return await request.json()

    async def chat(ws):
        await ws.accept()
        async for message in ws:
            await ws.send(message)

    served = await serve_routes(
        route("GET /hello/{name}", hello), route("POST /echo", echo), route("WEBSOCKET /ws", chat)
    )
    rng = random.Random(round_)

    async def one(data: bytes) -> None:
        client = await served.connect()
        reader = h11.Connection(h11.CLIENT)
        answered = b""
        with trio.move_on_after(10) as patience:
            try:
                await client.send(data)
                await client.stream.send_eof()
                while piece := await client.stream.receive_some(2**16):
                    answered += piece
            except trio.BrokenResourceError:
                pass
        assert not patience.cancelled_caught, f"no end to {data!r}, but {answered!r}"
        await client.aclose()
        if answered and not data.startswith(b"PRI"):
            reader.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
            reader.send(h11.EndOfMessage())
            reader.receive_data(answered)
            event = reader.next_event()
            assert isinstance(event, (h11.Response, h11.InformationalResponse)), answered

    for _ in range(15):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(one, mutilate(rng.choice(SEEDS), rng))

    client = await served.connect()
    await client.get("/hello/after")
    assert (await client.response()).status == 200
    loud = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert not loud, [r.getMessage() for r in loud]
