"""A request as a handler sees it: head, body in all its forms, and from asyncio too."""

from __future__ import annotations

import pytest
import trio
import trio_asyncio

from nexus_actors.errors import HTTPError
from nexus_actors.http import Headers, MultiDict, Request
from nexus_actors.http.incoming import ClientGone


class Pieces:
    """A body that arrives in pieces."""

    def __init__(self, *pieces, breaks=False):
        self.pieces = list(pieces)
        self.breaks = breaks

    async def next_chunk(self):
        await trio.lowlevel.checkpoint()  # only Trio's own tasks may do that
        if self.pieces:
            return self.pieces.pop(0)
        if self.breaks:
            raise ClientGone
        return b""


# -- head ----------------------------------------------------------------------------------------


def test_headers_know_no_case_and_keep_their_order():
    headers = Headers([("Accept", "a"), ("X-Two", "1"), ("accept", "b")])
    assert headers["ACCEPT"] == "a"
    assert headers.getlist("Accept") == ["a", "b"]
    assert "aCCept" in headers
    assert list(headers) == ["Accept", "X-Two"]
    assert len(headers) == 2
    headers["accept"] = "c"
    assert headers.multi_items() == [("accept", "c"), ("X-Two", "1")]
    del headers["x-two"]
    assert "X-Two" not in headers
    with pytest.raises(KeyError):
        del headers["x-two"]
    with pytest.raises(KeyError):
        headers["x-two"]
    assert headers.get("x-two", "none") == "none"
    copy = headers.copy()
    copy.add("B", "1")
    assert "B" not in headers


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x", "a\nb", "a\0b", "a\x7fb", "a\x0bb"])
def test_a_header_cannot_smuggle_another(value):
    with pytest.raises(ValueError, match="cannot hold"):
        Headers({"X": value})
    with pytest.raises(ValueError, match="cannot hold"):
        Headers()["X"] = value


@pytest.mark.parametrize("name", ["", "a b", "a:b", "ä", "a\n"])
def test_a_header_needs_a_name_that_can_be(name):
    with pytest.raises(ValueError, match="cannot be the name of a header"):
        Headers().add(name, "x")


def test_a_number_may_be_the_value_of_a_header():
    headers = Headers()
    headers["X-Count"] = 7
    assert headers["x-count"] == "7"


def test_the_query_is_a_mapping_that_may_repeat_names():
    request = Request(query="a=1&b=&a=2&c=x%20y+z&d=%C3%A4")
    assert request.query["a"] == "1"
    assert request.query.getlist("a") == ["1", "2"]
    assert dict(request.query) == {"a": "1", "b": "", "c": "x y z", "d": "ä"}
    assert request.query.get("none") is None
    assert request.query.getlist("none") == []
    assert request.query is request.query


@pytest.mark.parametrize(
    ("query", "why"), [("a=%ff", "not UTF-8"), ("&".join(["a=1"] * 1001), "more than 1000")]
)
def test_a_query_that_cannot_be_read_is_400(query, why):
    with pytest.raises(HTTPError, match=why) as caught:
        Request(query=query).query  # noqa: B018 - reading it is the test
    assert caught.value.status == 400


def test_a_request_can_be_built_for_a_unit_test():
    request = Request(
        "post",
        "/data",
        json={"name": "a"},
        headers={"Cookie": "a=1; b=2"},
        query={"q": "x"},
        path_params={"id": 7},
    )
    assert request.method == "POST"
    assert request.headers["content-type"] == "application/json"
    assert request.cookies == {"a": "1", "b": "2"}
    assert request.query["q"] == "x"
    assert request.path_params == {"id": 7}
    assert request.client is None
    assert request.state == {}
    assert len(request.id) == 32
    assert repr(request).startswith("<Request POST /data id=")


def test_a_multidict_takes_pairs_or_a_mapping():
    assert MultiDict({"a": "1"}) == MultiDict([("a", "1")])
    assert MultiDict([("a", "1"), ("a", "2")]).multi_items() == [("a", "1"), ("a", "2")]


# -- body ----------------------------------------------------------------------------------------


async def test_the_body_may_be_read_again_and_in_every_form():
    request = Request("POST", body=Pieces(b'{"a"', b": 1}"))
    assert request.loaded_body is None
    assert await request.json() == {"a": 1}
    assert request.loaded_body == b'{"a": 1}'
    assert await request.body() == b'{"a": 1}'
    assert await request.text() == '{"a": 1}'
    assert await request.json() == {"a": 1}
    assert [piece async for piece in request.stream()] == [b'{"a": 1}']


async def test_a_streamed_body_is_not_kept():
    request = Request("POST", body=Pieces(b"a", b"b"))
    assert [piece async for piece in request.stream()] == [b"a", b"b"]
    with pytest.raises(RuntimeError, match="which keeps nothing"):
        await request.body()


async def test_text_is_read_in_the_charset_it_names():
    headers = {"Content-Type": 'text/plain; charset="latin-1"'}
    assert await Request(body=b"\xe4", headers=headers).text() == "ä"
    with pytest.raises(HTTPError, match="not text in utf-8"):
        await Request(body=b"\xe4").text()
    with pytest.raises(HTTPError, match="not text in klingon"):
        await Request(body=b"a", headers={"Content-Type": "text/x; charset=klingon"}).text()


async def test_a_body_over_the_limit_is_413_by_its_length_or_while_it_comes():
    declared = Request(body=Pieces(b"x"), headers={"Content-Length": "11"}, max_body=10)
    with pytest.raises(HTTPError, match="longer than the 10 bytes") as caught:
        await declared.body()
    assert caught.value.status == 413
    with pytest.raises(HTTPError, match="longer than the 10 bytes"):
        await Request(body=Pieces(b"x" * 6, b"x" * 6), max_body=10).body()
    assert await Request(body=Pieces(b"x" * 5, b"x" * 5), max_body=10).body() == b"x" * 10


async def test_a_client_that_leaves_is_400_not_a_fault():
    with pytest.raises(HTTPError, match="the client went away") as caught:
        await Request(body=Pieces(b"x", breaks=True)).body()
    assert caught.value.status == 400


# -- forms ---------------------------------------------------------------------------------------

MULTIPART = (
    b"--edge\r\n"
    b'Content-Disposition: form-data; name="name"\r\n\r\n'
    b"Ann \xc3\xa4\r\n"
    b"--edge\r\n"
    b'Content-Disposition: form-data; name="photo"; filename="../a.png"\r\n'
    b"Content-Type: image/png\r\n\r\n"
    b"\x89PNG\r\n\x00\r\n"
    b"--edge\r\n"
    b'Content-Disposition: form-data; name="photo"; filename="b.txt"\r\n\r\n'
    b"\r\n"
    b"--edge--\r\n"
)


def multipart(body=MULTIPART, content_type="multipart/form-data; boundary=edge"):
    return Request("POST", body=body, headers={"Content-Type": content_type})


async def test_a_multipart_form_has_fields_and_files():
    request = multipart()
    with pytest.raises(RuntimeError, match=r"first `await request.form\(\)`"):
        request.files  # noqa: B018 - reading it is the test
    form = await request.form()
    assert dict(form) == {"name": "Ann ä"}
    photo = form.files["photo"]
    assert (photo.filename, photo.content_type, photo.data, photo.size) == (
        "../a.png",
        "image/png",
        b"\x89PNG\r\n\x00",
        7,
    )
    assert [file.filename for file in request.files.getlist("photo")] == ["../a.png", "b.txt"]
    assert form.files.getlist("photo")[1].data == b""
    assert await request.form() is form


async def test_an_urlencoded_form_has_fields():
    request = Request(
        "POST",
        body=b"a=1&b=x+y&a=2&c=%C3%A4",
        headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
    )
    form = await request.form()
    assert dict(form) == {"a": "1", "b": "x y", "c": "ä"}
    assert form.getlist("a") == ["1", "2"]
    assert len(form.files) == 0


@pytest.mark.parametrize(
    ("content_type", "body", "status", "why"),
    [
        ("", b"a=1", 415, "a body without Content-Type"),
        ("application/json", b"{}", 415, "not application/json"),
        ("multipart/form-data", MULTIPART, 400, "names no boundary"),
        ("multipart/form-data; boundary=edge", MULTIPART[:-20], 400, "broken"),
        ("multipart/form-data; boundary=edge", b"nonsense", 400, "broken"),
        ("multipart/form-data; boundary=edge", MULTIPART.replace(b"\xc3", b"\xff"), 400, "UTF-8"),
        ("application/x-www-form-urlencoded", b"a=%ff", 400, "UTF-8"),
        ("application/x-www-form-urlencoded", "a=ä".encode(), 400, "UTF-8"),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 1001), 400, "more than 1000"),
        (
            "multipart/form-data; boundary=edge",
            b'--edge\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 1001 + b"--edge--",
            400,
            "more than 1000",
        ),
    ],
)
async def test_a_form_that_cannot_be_read_is_refused(content_type, body, status, why):
    headers = {"Content-Type": content_type} if content_type else {}
    with pytest.raises(HTTPError, match=why) as caught:
        await Request("POST", body=body, headers=headers).form()
    assert caught.value.status == status


# -- from asyncio --------------------------------------------------------------------------------


async def test_a_body_that_was_read_needs_no_trio():
    request = Request("POST", json={"a": 1})
    coroutine = request.json()
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    assert done.value.value == {"a": 1}


async def test_a_body_that_still_arrives_can_be_read_from_asyncio():
    async def handler(request):
        import asyncio

        await asyncio.sleep(0)
        return await request.json()

    async def streaming(request):
        return [piece async for piece in request.stream()]

    async with trio_asyncio.open_loop():
        request = Request("POST", body=Pieces(b'{"a"', b": 1}"))
        assert await trio_asyncio.aio_as_trio(handler)(request) == {"a": 1}
        request = Request("POST", body=Pieces(b"a", b"b"))
        assert await trio_asyncio.aio_as_trio(streaming)(request) == [b"a", b"b"]


async def test_a_websocket_can_be_used_from_asyncio(nursery):
    from nexus_actors.http import WebSocket

    async def handler(ws):
        import asyncio

        await ws.accept()
        await asyncio.sleep(0)
        async for message in ws:
            await ws.send(message.upper())
        await ws.close()

    ws = WebSocket()
    sent = []

    async def client():
        await ws.deliver("a")
        for _ in range(2):
            command = await ws.next_command()
            sent.append((command.kind, command.data))
        ws.lost(1000)
        ws.deliver_no_more()

    async with trio_asyncio.open_loop():
        nursery.start_soon(client)
        await trio_asyncio.aio_as_trio(handler)(ws)
    assert sent == [("accept", ""), ("send", "A")]
