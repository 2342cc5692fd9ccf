"""The service on its own: how it asks the API, and in which words it says what went wrong."""

from contextlib import asynccontextmanager

import pytest
import trio
from external_api import service as module
from external_api.service import APIError, ExternalAPIService, NoSuchUser, NotConfigured


@asynccontextmanager
async def a_service(url, **config):
    service = ExternalAPIService({"api_base_url": url, **config})
    await service.initialize()
    try:
        yield service
    finally:
        await service.cleanup()


@asynccontextmanager
async def a_server(converse):
    """A server whose every connection is handled by ``converse``; gives its address."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, converse, [listener])
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def test_a_user_is_fetched_with_the_key(api):
    async with a_service(api.url, api_key="s3cret") as service:
        assert await service.fetch_user_data("42") == {"id": "42", "name": "Ann"}
    assert api.seen == [("GET", "/v1/users/42", "Bearer s3cret")]


async def test_without_a_key_none_is_sent(api):
    async with a_service(api.url) as service:
        await service.fetch_user_data("42")
    assert api.seen == [("GET", "/v1/users/42", None)]


async def test_any_id_stays_one_segment_of_the_address(api):
    async with a_service(f"{api.url}/") as service:
        assert await service.fetch_user_data("a/b c") == {"id": "a/b c"}
        for crooked in ("../admin", "42?x=1", "42#x", "%2e%2e"):
            with pytest.raises(NoSuchUser):
                await service.fetch_user_data(crooked)
    assert [path for _, path, _ in api.seen[1:]] == [
        "/v1/users/..%2Fadmin",
        "/v1/users/42%3Fx%3D1",
        "/v1/users/42%23x",
        "/v1/users/%252e%252e",
    ]


@pytest.mark.parametrize("crooked", ["", ".", ".."])
async def test_an_id_that_would_lead_elsewhere_is_not_asked_for(api, crooked):
    async with a_service(api.url) as service:
        with pytest.raises(NoSuchUser):
            await service.fetch_user_data(crooked)
    assert api.seen == []


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_a_user_is_synced_when_the_api_says_so(api, status):
    api.reply = (status, b"")
    async with a_service(api.url) as service:
        await service.sync_user_data({"id": 1})
    assert api.seen == [("POST", "/v1/users", None)]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((500, b"a traceback"), "the API answered 500"),
        ((401, b"{}"), "the API answered 401"),
        ((302, b""), "the API answered 302"),
        ((200, b"<html>"), "the API answered something that is not JSON"),
        ((200, b"\xff"), "the API answered something that is not JSON"),
        ((200, b"[" * 100_000), "the API answered something that is not JSON"),
    ],
)
async def test_a_reply_that_is_no_user_is_an_error_that_tells_nothing_of_it(api, reply, words):
    api.reply = reply
    async with a_service(api.url, api_key="s3cret") as service:
        with pytest.raises(APIError) as caught:
            await service.fetch_user_data("42")
    assert str(caught.value) == words


async def test_a_sync_that_the_api_refuses_is_an_error(api):
    api.reply = (404, b"")
    async with a_service(api.url) as service:
        with pytest.raises(APIError, match=r"^the API answered 404$"):
            await service.sync_user_data({"id": 1})


async def test_a_reply_without_end_is_left_when_it_is_too_long(monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 1000)
    left = trio.Event()

    async def never_end(stream):
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        try:
            while True:
                await stream.send_all(b" " * 100)
        except trio.BrokenResourceError:
            left.set()

    with trio.fail_after(10):
        async with a_server(never_end) as url, a_service(url, timeout=20) as service:
            with pytest.raises(APIError, match=r"^the API answered more than 1000 bytes$"):
                await service.fetch_user_data("42")
            await left.wait()


async def test_its_connections_are_kept_until_it_is_cleaned_up():
    connections, closed = [], trio.Event()

    async def answer(stream):
        connections.append(stream)
        while await stream.receive_some():
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        closed.set()

    with trio.fail_after(10):
        async with a_server(answer) as url:
            async with a_service(url) as service:
                for _ in range(3):
                    assert await service.fetch_user_data("42") == {}
                assert len(connections) == 1
                assert not closed.is_set()
            await closed.wait()


async def test_an_api_that_nobody_serves_cannot_be_reached():
    async with a_server(lambda stream: stream.aclose()) as url:
        pass
    async with a_service(url) as service:
        with pytest.raises(APIError, match=r"^the API cannot be reached: "):
            await service.fetch_user_data("42")


async def test_a_connection_that_breaks_is_an_error():
    async def hang_up(stream):
        await stream.receive_some()

    async with a_server(hang_up) as url, a_service(url) as service:
        with pytest.raises(APIError, match=r"^the API cannot be reached: Server disconnected"):
            await service.fetch_user_data("42")


async def test_the_time_for_a_request_is_up_however_slowly_the_reply_drips():
    async def drip(stream):
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            await stream.send_all(b" ")
            await trio.sleep(0.01)

    with trio.fail_after(5):
        async with a_server(drip) as url, a_service(url, timeout=0.2) as service:
            with pytest.raises(APIError, match=r"^the API did not answer within 0\.2 s$"):
                await service.fetch_user_data("42")


async def test_without_an_address_it_says_what_to_set_at_the_start_and_to_each_caller(caplog):
    async with a_service(None) as service:
        assert not service.is_configured
        assert "api_base_url is not set" in caplog.text
        for call in (service.fetch_user_data("42"), service.sync_user_data({"id": 1})):
            with pytest.raises(NotConfigured, match="NEXUS_PLUGINS_EXTERNAL_API_API_BASE_URL"):
                await call


@pytest.mark.parametrize(
    "base",
    ["api.example.com", "ftp://a", "http://", "http://a:b", "http://a/?q", "http://a/#f",
     "http://user:password@a"],
)  # fmt: skip
def test_an_address_that_cannot_be_is_refused_before_anything_starts(base):
    with pytest.raises(ValueError, match="is not a plain address of HTTP"):
        ExternalAPIService({"api_base_url": base})
