"""What a handler may return, and what becomes of it."""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import attrs
import msgspec
import pytest

from nexus_actors.http import Response, StreamingResponse, to_response
from nexus_actors.http.encoding import NotSerialisable


class Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class Item:
    name: str
    when: date | None = None


@dataclasses.dataclass
class Pair:
    a: int
    b: object


class Packed(msgspec.Struct):
    n: int


class Row:
    """Like asyncpg's Record: keys and items, but no Mapping."""

    def __init__(self, **values):
        self._values = values

    def keys(self):
        return self._values.keys()

    def __getitem__(self, name):
        return self._values[name]


async def stream():
    yield b"x"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": 1}, {"a": 1}),
        ([1, None, True], [1, None, True]),
        ([], []),
        (Item("pen", date(2024, 2, 29)), {"name": "pen", "when": "2024-02-29"}),
        (Pair(1, [Item("x")]), {"a": 1, "b": [{"name": "x", "when": None}]}),
        (Packed(7), {"n": 7}),
        (Row(id=1, name="a"), {"id": 1, "name": "a"}),
        ([Row(id=1), Row(id=2)], [{"id": 1}, {"id": 2}]),
        ({"data": [Row(id=1)]}, {"data": [{"id": 1}]}),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.ChainMap({"a": 1}), {"a": 1}),
        ({"d": Decimal("1.50")}, {"d": "1.50"}),
        ({"u": uuid.UUID(int=1)}, {"u": "00000000-0000-0000-0000-000000000001"}),
        ({"t": datetime(2024, 1, 2, 3, tzinfo=UTC)}, {"t": "2024-01-02T03:00:00Z"}),
        ({"t": datetime(2024, 1, 2, 3)}, {"t": "2024-01-02T03:00:00"}),
        ({"t": timedelta(seconds=90)}, {"t": "PT90S"}),
        ({"p": Path("/a/b")}, {"p": "/a/b"}),
        ({"s": {1}}, {"s": [1]}),
        ({"c": Colour.RED}, {"c": "red"}),
        ({"b": b"ab"}, {"b": "YWI="}),
        ({"r": range(3)}, {"r": [0, 1, 2]}),
        ({"k": {1: "a"}.keys()}, {"k": [1]}),
        ({"v": {1: "a"}.values()}, {"v": ["a"]}),
        ({"q": collections.deque([1])}, {"q": [1]}),
        ({1: "a", uuid.UUID(int=2): "b"}, {"1": "a", "00000000-0000-0000-0000-000000000002": "b"}),
        ({"big": 2**80}, {"big": 2**80}),
        ({"nan": float("nan")}, {"nan": None}),
    ],
)
def test_data_becomes_json(value, expected):
    response = to_response(value)
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    assert json.loads(response.body) == expected


@pytest.mark.parametrize(
    ("value", "status", "media_type", "body"),
    [
        ("hällo", 200, "text/plain; charset=utf-8", "hällo".encode()),
        ("", 200, "text/plain; charset=utf-8", b""),
        (b"\x00", 200, "application/octet-stream", b"\x00"),
        (bytearray(b"a"), 200, "application/octet-stream", b"a"),
        (None, 204, None, b""),
        (({"a": 1}, 201), 201, "application/json", b'{"a":1}'),
        (("no", 404), 404, "text/plain; charset=utf-8", b"no"),
        ((None, 404), 404, None, b""),
        ((None, 200), 200, None, b""),
        ((Response("x", 200), 202), 202, "text/plain; charset=utf-8", b"x"),
    ],
)
def test_other_values_become_what_they_are(value, status, media_type, body):
    response = to_response(value)
    assert (response.status, response.media_type, response.body) == (status, media_type, body)


def test_headers_of_a_tuple_are_added():
    response = to_response(({"a": 1}, 201, {"X-A": "b", "Content-Type": "application/x+json"}))
    assert response.headers["x-a"] == "b"
    assert response.media_type == "application/x+json"
    cookies = to_response(("x", 200, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]))
    assert cookies.headers.getlist("set-cookie") == ["a=1", "b=2"]
    assert to_response(("x", 200, None)).status == 200


def test_a_response_is_handed_on_as_it_is():
    response = Response("x")
    assert to_response(response) is response


def test_the_status_of_the_route_is_for_values_that_name_none():
    assert to_response({"a": 1}, status=201).status == 201
    assert to_response(({"a": 1}, 200), status=201).status == 200
    assert to_response(None, status=202).status == 202
    assert to_response(Response("x"), status=201).status == 200


def test_an_async_iterator_becomes_a_stream():
    response = to_response(stream())
    assert isinstance(response, StreamingResponse)
    assert response.media_type is None
    assert to_response((stream(), 201)).status == 201


async def test_a_coroutine_that_nobody_awaited_is_named_so():
    async def forgotten():
        return 1

    coroutine = forgotten()
    with pytest.raises(TypeError, match=r"never awaited \(is an `await` missing\?\)"):
        to_response(coroutine)
    coroutine.close()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (7, "a handler returned an int; it may return a dict, list"),
        (True, "a handler returned a bool"),
        (object(), "a handler returned an object"),
        ((x for x in [1]), r"a generator \(is `async` missing before its `def`\?\)"),
        ((1,), "a tuple of 1"),
        ((1, 2, 3, 4), "a tuple of 4"),
        (({}, "201"), "a tuple with '201' where the status belongs"),
        (({}, {"X": "1"}), "where the status belongs"),
        (({}, True), "where the status belongs"),
        (({}, 200, 7), "a tuple with 7 where the headers belong"),
        (({}, 200, ["a"]), "where the headers belong"),
    ],
)
def test_anything_else_is_refused_with_what_may_be_returned(value, words):
    with pytest.raises(TypeError, match=words):
        to_response(value)


@pytest.mark.parametrize("status", [0, 99, 100, 199, 600, 1000])
def test_a_status_that_cannot_be_is_refused(status):
    with pytest.raises(ValueError, match="a number from 200 to 599"):
        to_response(({}, status))
    with pytest.raises(ValueError, match="a number from 200 to 599"):
        Response("x", status)


class Socket:
    pass


def _cycle():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": Socket()}, "the reply.a is a Socket"),
        ([1, {"b": [0, Socket()]}], r"the reply\[1\].b\[1\] is a Socket"),
        (Pair(1, {"x": Socket()}), "the reply.b.x is a Socket"),
        ({"rows": [Row(id=Socket())]}, r"the reply.rows\[0\]"),
        ({"a": {(1, 2): 3}}, r"the reply.a is a dict.*keys of type tuple"),
        ({"a": 1j}, "the reply.a is a complex"),
        ({"a": len}, "the reply.a is a builtin_function_or_method"),
        ({"a": Socket}, "the reply.a is a type"),
    ],
)
def test_a_value_without_form_in_json_is_named_with_its_place(value, words):
    with pytest.raises(NotSerialisable, match=words):
        to_response(value)


def test_a_value_that_holds_itself_is_refused():
    with pytest.raises(NotSerialisable, match="it holds itself, or is too deep"):
        to_response(_cycle())


def test_a_body_is_text_or_bytes():
    assert Response("ä").body == "ä".encode()
    with pytest.raises(TypeError, match=r"use Response.json\(value\)"):
        Response({"a": 1})


def test_shorthands():
    assert Response.json([1], 201).body == b"[1]"
    assert Response.html("<p>").media_type == "text/html; charset=utf-8"
    assert Response.redirect("/a").status == 303
    assert Response.redirect("/a", 308).headers["location"] == "/a"
    assert Response.events(stream()).media_type == "text/event-stream"
    with pytest.raises(TypeError, match="a stream is an async iterator, not list"):
        StreamingResponse([1])


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("/lämp a?x=ü y#é", "/l%C3%A4mp%20a?x=%C3%BC%20y#%C3%A9"),
        ("/a%2Fb%20c?x=1&y=%26%C3%A4", "/a%2Fb%20c?x=1&y=%26%C3%A4"),
        ("https://exämple.org:8443/日本", "https://xn--exmple-cua.org:8443/%E6%97%A5%E6%9C%AC"),
        ('/a"b<c>', "/a%22b%3Cc%3E"),
    ],
)
def test_the_address_of_a_redirect_is_percent_encoded_where_it_is_not_yet(url, location):
    assert Response.redirect(url).headers["location"] == location
    assert (b"location", location.encode("ascii")) in Response.redirect(url).to_wire()


@pytest.mark.parametrize("url", ["/a\r\nSet-Cookie: b", "/a\nb", "/a\0"])
def test_the_address_of_a_redirect_has_no_line_breaks(url):
    with pytest.raises(ValueError, match="Location"):
        Response.redirect(url)


def test_a_cookie_is_safe_unless_said_otherwise():
    response = Response("x")
    response.set_cookie("a", "b c", max_age=5)
    response.delete_cookie("old")
    first, second = response.headers.getlist("set-cookie")
    assert "HttpOnly" in first
    assert "SameSite=Lax" in first
    assert "Max-Age=5" in first
    assert second.startswith("old=;")
    assert "Max-Age=0" in second


def test_the_length_is_the_servers_business():
    response = Response("abc", headers={"Content-Length": "99", "Transfer-Encoding": "chunked"})
    wire = dict(response.to_wire())
    assert wire[b"content-length"] == b"3"
    assert b"transfer-encoding" not in wire
    assert b"content-length" not in dict(Response(b"", 204).to_wire())
