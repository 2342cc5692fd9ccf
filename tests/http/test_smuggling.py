"""What could be read in two ways is refused, and nothing after it is served on that connection."""

from __future__ import annotations

import pytest

SECRET = b"GET /secret HTTP/1.1\r\nHost: x\r\n\r\n"
"""A request that must never be answered where it hides in another."""


@pytest.fixture
async def served(serve_routes, route):
    async def echo(request):
        return await request.body()

    async def secret(request):
        return "smuggled"

    async def take(request):
        return b"".join([piece async for piece in request.stream()])

    return await serve_routes(
        route("POST /echo", echo),
        route("POST /stream", take, stream=True),
        route("GET /secret", secret),
    )


def post(*headers: str, path: str = "/echo", version: str = "1.1") -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: x", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


HEADS = {
    "both lengths": post("Content-Length: 6", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "both, the other way round": post("Transfer-Encoding: chunked", "Content-Length: 6")
    + b"0\r\n\r\n",
    "two different lengths": post("Content-Length: 0", "Content-Length: 33"),
    "two lengths in one": post("Content-Length: 0, 33"),
    "a negative length": post("Content-Length: -1"),
    "a length with a sign": post("Content-Length: +0"),
    "a length in hexadecimal": post("Content-Length: 0x0"),
    "an empty length": post("Content-Length: "),
    "a length too large for any integer": post(f"Content-Length: {10**30}"),
    "a folded header": b"POST /echo HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "a folded first header": b"POST /echo HTTP/1.1\r\n X: a\r\nHost: x\r\n\r\n",
    "a folded Transfer-Encoding": post("Transfer-Encoding:\r\n chunked") + b"0\r\n\r\n",
    "a folded length": post("Content-Length:\r\n\t0"),
    "bare LF in all lines": b"POST /echo HTTP/1.1\nHost: x\nContent-Length: 0\n\n",
    "bare LF in one line": b"POST /echo HTTP/1.1\r\nHost: x\nContent-Length: 0\r\n\r\n",
    "bare LF before the blank line": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\n\r\n",
    "a blank line of bare LF": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\n",
    "bare CR in a value": post("X: a\rContent-Length: 5", "Content-Length: 0"),
    "a blank before the colon": post("Content-Length : 0"),
    "a tab before the colon": post("Transfer-Encoding\t: chunked") + b"0\r\n\r\n",
    "a blank in the name": post("Content Length: 0"),
    "a line without a colon": post("Content-Length", "Content-Length: 0"),
    "no name": post(": x", "Content-Length: 0"),
    "a control character in the name": post("Content\x0bLength: 0"),
    "a null byte in a value": post("X: \x00", "Content-Length: 0"),
    "a coding before chunked": post("Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "a coding after chunked": post("Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
    "a coding that only ends in chunked": post("Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "chunked with a control character": post("Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n",
    "chunked twice": post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked")
    + b"0\r\n\r\n",
    "chunked in HTTP/1.0": post("Transfer-Encoding: chunked", version="1.0") + b"0\r\n\r\n",
    "two hosts": post("Host: y", "Content-Length: 0"),
    "blanks in the request line": b"POST  /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "a blank after the version": b"POST /echo HTTP/1.1 \r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "no version": b"POST /echo\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("words", HEADS)
async def test_a_head_of_two_meanings_is_refused_and_closed(served, words):
    client = await served.connect()
    await client.send(HEADS[words] + SECRET)
    reply = await client.response()
    assert reply.status in ({400, 501} if "Transfer-Encoding" in str(HEADS[words]) else {400})
    assert reply.problem["detail"]
    assert reply.headers["connection"] == "close"
    assert await client.ended()
    assert b"smuggled" not in client._buffer


CHUNKS = {
    "a size with a sign": b"+3\r\nabc\r\n0\r\n\r\n",
    "a negative size": b"-1\r\nabc\r\n0\r\n\r\n",
    "a size with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a size with a blank before it": b" 3\r\nabc\r\n0\r\n\r\n",
    "an underscore in the size": b"0_3\r\nabc\r\n0\r\n\r\n",
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "a size that is none": b"zz\r\nabc\r\n0\r\n\r\n",
    "a size too large for any integer": b"1" + b"0" * 30 + b"\r\nabc",
    "a size that ends in bare LF": b"3\nabc\r\n0\r\n\r\n",
    "a size that ends in bare CR": b"3\rabc\r\n0\r\n\r\n",
    "an extension that hides bare LF": b"3;a=\nb\r\nabc\r\n0\r\n\r\n",
    "a chunk longer than its size": b"3\r\nabcd\r\n0\r\n\r\n",
    "a chunk that ends in bare LF": b"3\r\nabc\n0\r\n\r\n",
    "a chunk that ends in two other bytes": b"3\r\nabcXX0\r\n\r\n",
}


@pytest.mark.parametrize("path", ["/echo", "/stream"])
@pytest.mark.parametrize("words", CHUNKS)
async def test_a_chunk_of_two_meanings_is_refused_and_closed(served, words, path):
    client = await served.connect()
    head = post("Transfer-Encoding: chunked", path=path)
    await client.send(head + CHUNKS[words] + SECRET)
    reply = await client.response()
    assert reply.status == 400
    assert reply.problem["detail"]
    assert reply.headers["connection"] == "close"
    assert await client.ended()
    assert b"smuggled" not in client._buffer


@pytest.mark.parametrize(
    "body",
    [
        b"3\r\nabc\r\n0\r\n\r\n",
        b"1\r\na\r\n02\r\nbc\r\n000\r\n\r\n",
        b'3;name="a; b"\r\nabc\r\n0;last\r\n\r\n',
        b"3\r\nabc\r\n0\r\nX-Checksum: 7\r\nContent-Length: 99\r\n\r\n",
    ],
)
async def test_what_follows_a_chunked_body_is_the_next_request(served, body):
    client = await served.connect()
    head = post("Transfer-Encoding: chunked")
    await client.send(head + body + post("Content-Length: 2") + b"hi")
    assert (await client.response()).body == b"abc"
    assert (await client.response()).body == b"hi"


async def test_a_body_is_never_read_as_a_request(served):
    client = await served.connect()
    for path in ("/echo", "/nowhere"):
        await client.send(post(f"Content-Length: {len(SECRET)}", path=path) + SECRET)
        reply = await client.response()
        assert reply.body == SECRET or reply.status == 404
    await client.send(post("Content-Length: 3") + b"end")
    assert (await client.response()).body == b"end"
