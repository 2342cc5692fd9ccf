"""A server on loopback with fake endpoints, and a client that speaks bytes."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import httpx
import pytest
import trio
from hypercorn.config import Config
from hypercorn.trio import serve as stock_serve

from nexus_actors.config.settings import HttpSettings
from nexus_actors.http import to_response
from nexus_actors.http.frontend import FrontEnd
from nexus_actors.http.router import Route, Router
from nexus_actors.http.routes import RouteMark
from nexus_actors.http.server import Server, serve

PATIENCE = 5.0
"""Seconds after which something that should have happened has not."""


class FakeEndpoint:
    """Stands for a plugin: calls a function with the request or websocket."""

    def __init__(self, function: Callable[..., Awaitable[Any]]) -> None:
        self.function = function

    async def request(self, request: Any, deadline: float) -> Any:
        request.state["deadline"] = deadline
        return to_response(await self.function(request))

    async def websocket(self, ws: Any) -> None:
        await self.function(ws)


def make_route(text: str, function: Any, owner: str = "shop", **options: Any) -> Route:
    method, path = text.split(" ")
    return Route.from_mark(RouteMark(method, path, **options), owner, FakeEndpoint(function))


@attrs.frozen
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The body, which must be problem JSON, agree with the status, and show no traceback."""
        assert self.headers["content-type"] == "application/problem+json", self
        found: dict[str, Any] = json.loads(self.body)
        assert found["status"] == self.status
        assert found["title"]
        assert "Traceback" not in self.body.decode()
        return found


class RawClient:
    """A connection on which a test sends what it likes."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def send(self, data: str | bytes) -> None:
        await self.stream.send_all(data.encode("latin-1") if isinstance(data, str) else data)

    async def get(self, path: str, *headers: str) -> None:
        lines = [f"GET {path} HTTP/1.1", "Host: x", *headers]
        await self.send("\r\n".join(lines) + "\r\n\r\n")

    async def post(
        self, path: str, body: bytes = b"", *headers: str, length: int | None = None
    ) -> None:
        size = len(body) if length is None else length
        lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {size}", *headers]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def until(self, mark: bytes) -> bytes:
        """What arrives up to and with ``mark``."""
        with trio.fail_after(PATIENCE):
            while mark not in self._buffer:
                data = await self.stream.receive_some(2**16)
                assert data, f"the connection ended before {mark!r}: {self._buffer!r}"
                self._buffer += data
        found, _, self._buffer = self._buffer.partition(mark)
        return found + mark

    async def exactly(self, size: int) -> bytes:
        with trio.fail_after(PATIENCE):
            while len(self._buffer) < size:
                data = await self.stream.receive_some(2**16)
                assert data, f"the connection ended after {len(self._buffer)} of {size} bytes"
                self._buffer += data
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    async def head(self) -> Reply:
        """The head of the next response; its body is still to be read."""
        lines = (await self.until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            if line:
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
        return Reply(int(lines[0].split()[1]), headers, b"")

    async def response(self, method: str = "GET") -> Reply:
        """The next response, whole."""
        head = await self.head()
        if method == "HEAD" or head.status in {204, 304}:
            body = b""
        elif head.headers.get("transfer-encoding") == "chunked":
            body = b""
            while chunk := await self.chunk():
                body += chunk
        else:
            body = await self.exactly(int(head.headers["content-length"]))
        return attrs.evolve(head, body=body)

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at its end."""
        size = int(await self.until(b"\r\n"), 16)
        return (await self.exactly(size + 2))[:-2]

    async def ended(self, within: float = PATIENCE) -> bool:
        """Whether the server ends the connection in that time; what it still sends is dropped."""
        with trio.move_on_after(within):
            try:
                while await self.stream.receive_some(2**16):
                    pass
            except trio.BrokenResourceError:
                pass
            return True
        return False

    async def aclose(self) -> None:
        await self.stream.aclose()


async def connect(port: int) -> RawClient:
    return RawClient(await trio.open_tcp_stream("127.0.0.1", port))


@attrs.define
class Served:
    """A running server with its front end, and what it told of its requests."""

    server: Server
    frontend: FrontEnd
    told: list[tuple[str, str, int, float, str, str]]

    @property
    def url(self) -> str:
        return self.server.url

    async def connect(self) -> RawClient:
        return await connect(self.server.port)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=PATIENCE)


@pytest.fixture(params=["stock", "shortcut"])
def http_path(request):
    """The two ways from the socket to the router: every test of the server is for both."""
    return request.param


@pytest.fixture
def serve_routes(nursery, http_path):
    """Start a server for routes: ``await serve_routes(route("GET /a", function), drain=1)``."""

    async def start(
        *routes: Route, middleware: Any = (), pages: Any = None, **settings: Any
    ) -> Served:
        router = Router()
        for route in routes:
            router.add([route])
        told: list[Any] = []
        frontend = FrontEnd(
            router,
            HttpSettings(**{"bind": "127.0.0.1:0", "drain": 2.0, "path": http_path, **settings}),
            middleware=middleware,
            on_request=lambda *about: told.append(about),
        )
        if pages is not None:
            pages(frontend)
        server = await nursery.start(serve, frontend, frontend.settings)
        return Served(server, frontend, told)

    return start


@attrs.define
class Stock:
    """Stock Hypercorn with a stock Quart-Trio app."""

    port: int
    stop: trio.Event
    stopped: trio.Event

    async def connect(self) -> RawClient:
        return await connect(self.port)


@pytest.fixture
def serve_stock(nursery):
    """Start stock ``hypercorn.trio.serve`` with an app; keyword arguments are of its Config."""

    async def start(app: Any, **options: Any) -> Stock:
        config = Config.from_mapping(
            bind=["127.0.0.1:0"], accesslog=None, errorlog=_silent, **options
        )
        stop, stopped = trio.Event(), trio.Event()

        async def run(task_status: Any) -> None:
            await stock_serve(app, config, shutdown_trigger=stop.wait, task_status=task_status)
            stopped.set()

        (url,) = await nursery.start(run)
        return Stock(int(url.rpartition(":")[2]), stop, stopped)

    return start


_silent = logging.getLogger("stock-hypercorn")
_silent.propagate = False


@pytest.fixture
def route():
    """Make a route to a fake endpoint: ``route("GET /a", function, timeout=1)``."""
    return make_route


@pytest.fixture
def eventually():
    """Wait for what no event tells of, such as a real socket's close; says what did not come."""

    async def wait(condition: Callable[[], object], what: str) -> None:
        with trio.move_on_after(PATIENCE):
            while not condition():  # noqa: ASYNC110 - there is nothing to wait on
                await trio.sleep(0.005)
            return
        pytest.fail(f"waited {PATIENCE} s in vain: {what}")

    return wait
