"""The decoder of chunked bodies: the same whatever pieces the body arrives in."""

from __future__ import annotations

import pytest

from nexus_actors.http.chunks import MAX_LINE, BadChunk, Chunks

BODY = b"3\r\nabc\r\n0A;x=y\r\n0123456789\r\n0\r\nX-Sum: 7\r\n\r\n"
NEXT = b"GET / HTTP/1.1\r\n"


def decode(chunks, buffer, most=2**16):
    found = b""
    while piece := chunks.take(buffer, most):
        found += piece
    return found


@pytest.mark.parametrize("at", range(len(BODY)))
def test_where_it_is_cut_makes_no_difference(at):
    chunks, buffer = Chunks(), bytearray(BODY[:at])
    found = decode(chunks, buffer)
    assert not chunks.complete
    buffer += BODY[at:] + NEXT
    found += decode(chunks, buffer)
    assert found == b"abc0123456789"
    assert chunks.complete
    assert buffer == NEXT, "what follows is another's"
    assert chunks.take(buffer, 10) == b""


def test_a_byte_at_a_time_and_a_byte_at_most():
    chunks, buffer, found = Chunks(), bytearray(), b""
    for byte in BODY:
        buffer.append(byte)
        found += decode(chunks, buffer, most=1)
    assert (found, chunks.complete, bytes(buffer)) == (b"abc0123456789", True, b"")


def test_about_as_much_is_taken_as_is_wanted():
    buffer = bytearray(b"64\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n")
    chunks = Chunks()
    assert chunks.take(buffer, 30) == b"x" * 30
    assert len(buffer) >= 70


@pytest.mark.parametrize(
    "bad",
    [
        b"3;" + b"x" * MAX_LINE + b"\r\n",
        b"3;" + b"x" * MAX_LINE + b"xx",
        b"0\r\nX: " + b"y" * MAX_LINE + b"\r\n\r\n",
        b"0\r\n" + b"X: y\r\n" * MAX_LINE,
        b"0\r\nX : y\r\n\r\n",
        b"0\r\n X: y\r\n\r\n",
        b"0\r\nX: y\n\r\n",
        b"1\r\nab",
        b"1\r\na\n",
        b"g",
        b"-",
        b"\r",
    ],
)
def test_what_is_wrong_is_refused_as_soon_as_it_can_be_told(bad):
    chunks, buffer = Chunks(), bytearray(bad)
    with pytest.raises(BadChunk):
        decode(chunks, buffer)
