"""One client's connection: Hypercorn's, with the faults mended that it and Quart-Trio have together.

What is mended here, by the letters of the canary tests in ``tests/http/test_stock_faults.py``:

* **A**: a connection that idles after its first request was never closed. Here keep-alive is a
  deadline of the reading itself, set anew by each step of the protocol: there is no timer task
  that somebody must restart.
* **C**: a client that stopped reading held the shutdown for ever, in a shielded write without end.
  Here every write has a deadline, which each byte taken sets anew, and none is shielded.
* **E**: while a pipelined request waited, nobody read from the socket, so the client's end went
  unnoticed. Here reading goes on, up to :data:`PIPELINED_MAX` bytes ahead.
* **F**: there is no read timeout on a connection that owes us nothing (an event stream, a
  websocket): only heads and bodies that have begun must go on.

(**B** is in :mod:`.frontend`, **D** in :mod:`.server`.)
"""

from __future__ import annotations

import contextlib
import logging
import math
import socket as stdlib_socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import h2.events
import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.events import Event as WireEvent
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.events import Body, EndBody, Request, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Response as ResponseEvent
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import STREAM_ID, H2ProtocolAssumedError, H11Protocol, H11WSConnection
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import Handshake, WSStream
from hypercorn.trio.task_group import TaskGroup, _handle
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import parse_socket_addr
from wsproto.events import CloseConnection

from nexus_actors.config.settings import HttpSettings
from nexus_actors.http.errors import problem
from nexus_actors.http.incoming import Incoming
from nexus_actors.http.request import new_request_id
from nexus_actors.http.response import Response

__all__ = ["INCOMING", "Connection", "wire_headers"]

INCOMING = "nexus.incoming"
"""The key in an ASGI scope's extensions under which the front end finds the exchange's queue."""

MAX_RECV = 2**16
PIPELINED_MAX = 2**16
"""Bytes that are read ahead of a request still being answered."""
MAX_HEADERS = 200
"""Headers of one request."""
BODY_TIMEOUT = 30.0
"""Seconds without a byte of a body that has begun."""
LINGER = 2.0
"""Seconds that a client gets to read our last words and close, before we do."""
LINGER_BYTES = 2**20
"""Bytes of an unwanted body that are thrown away meanwhile."""
STOPPING_WRITE = 2.0
"""Seconds without progress that a write gets once the node is stopping."""

_log = logging.getLogger("nexus.http")


def wire_headers(response: Response) -> list[tuple[bytes, bytes]]:
    """The headers of a response as they go out, with the length of its body."""
    headers = [
        pair
        for pair in response.headers.to_wire()
        if pair[0] not in {b"content-length", b"transfer-encoding"}
    ]
    if response.stream is None and response.status not in {204, 304}:
        headers.append((b"content-length", b"%d" % len(response.body)))
    return headers


class _Exchanges(TaskGroup):
    """Runs the app for each request, in a task of the connection's nursery, fed by an :class:`Incoming`."""

    async def spawn_app(
        self, app: Any, config: Config, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        incoming = Incoming(config.max_app_queue_size)
        scope["extensions"][INCOMING] = incoming
        assert self._nursery is not None
        self._nursery.start_soon(
            _handle,
            app,
            config,
            scope,
            incoming.receive,
            send,
            trio.to_thread.run_sync,
            trio.from_thread.run,
        )
        return incoming.put


class _WebSocketStream(WSStream):
    """A websocket that tells the app with which code the client closed, instead of always 1006."""

    peer_code: int | None = None

    async def _handle_events(self) -> None:
        events = list(self.connection.events())
        for event in events:
            if isinstance(event, CloseConnection):
                self.peer_code = int(event.code)
        self.connection, real = _Replay(self.connection, events), self.connection
        try:
            await super()._handle_events()
        finally:
            self.connection = real

    async def handle(self, event: StreamEvent) -> None:
        if isinstance(event, StreamClosed) and self.peer_code is not None and not self.closed:
            self.closed = True
            if self.app_put is not None:
                await self.app_put({"type": "websocket.disconnect", "code": self.peer_code})
            return
        await super().handle(event)


class _Replay:
    """A wsproto connection whose events were taken already."""

    def __init__(self, connection: Any, events: list[Any]) -> None:
        self._connection = connection
        self._events = events

    def events(self) -> list[Any]:
        return self._events

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class Http1(H11Protocol):
    """HTTP/1.1 of one connection, by h11, with our limits and refusals in problem JSON."""

    stream: Any
    connection: Any

    def __init__(self, *args: Any, settings: HttpSettings) -> None:
        super().__init__(*args)
        self._settings = settings
        self._paused = False
        # Parsing goes on in the reader and, after an answer, in a task of its own: one at a time.
        self._parsing = trio.Lock()

    @property
    def expects(self) -> Literal["request", "head", "body", "nothing"]:
        """What the client owes us next: a new request, the rest of its head, of its body, or nothing."""
        if isinstance(self.connection, H11WSConnection):
            return "nothing"
        state = self.connection.their_state
        if state is h11.IDLE:
            return "head" if self.connection.trailing_data[0] else "request"
        return "body" if state is h11.SEND_BODY else "nothing"

    async def handle(self, event: WireEvent) -> None:
        if isinstance(event, RawData):
            async with self._parsing:
                self.connection.receive_data(event.data)
                await self._handle_events()
            while self._paused and len(self.connection.trailing_data[0]) > PIPELINED_MAX:
                await self.can_read.wait()
        else:
            await super().handle(event)
            self._paused = False
            await self.can_read.set()

    async def _handle_events(self) -> None:
        while True:
            try:
                event = self.connection.next_event()
            except h11.RemoteProtocolError as error:
                await self._refuse_garbage(error)
                break
            if isinstance(event, h11.Request):
                if await self._begin(event):
                    break
            elif event is h11.PAUSED:
                # Reading goes on meanwhile (fault E); _maybe_recycle takes it up from here.
                self._paused = True
                await self.can_read.clear()
                break
            elif isinstance(event, h11.ConnectionClosed) or event is h11.NEED_DATA:
                break
            elif self.stream is None:
                break
            elif isinstance(event, h11.Data):
                await self.stream.handle(Body(stream_id=STREAM_ID, data=bytes(event.data)))
            elif isinstance(event, h11.EndOfMessage):
                await self.stream.handle(EndBody(stream_id=STREAM_ID))
            else:  # a websocket's bytes
                await self.stream.handle(event)

    async def _begin(self, request: h11.Request) -> bool:
        """Start the exchange of a request; True where it was refused and the connection is ending."""
        if request.method == b"PRI" and self.keep_alive_requests == 0:
            await self._check_protocol(request)  # raises H2ProtocolAssumedError
        refusal = _refuse_head(request, self._settings)
        if refusal is not None:
            await self.refuse(*refusal)
            return True
        await self.send(Updated(idle=False))
        await self._create_stream(request)
        return False

    async def _create_stream(self, request: h11.Request) -> None:
        stream_class: type[HTTPStream | WSStream] = HTTPStream
        if _wants_websocket(request):
            stream_class = _WebSocketStream
            self.connection = H11WSConnection(self.connection)
        self.stream = stream_class(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1
        await self.context.mark_request()
        if self.connection.they_are_waiting_for_100_continue:
            # Only when somebody wants the body: a refusal by the head alone saves sending it.
            self.stream.scope["extensions"][INCOMING].on_wanted = self._send_continue

    async def _send_continue(self) -> None:
        if self.connection.they_are_waiting_for_100_continue:
            await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=[]))

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, ResponseEvent) and event.status_code >= 200:
            if self.context.terminated.is_set():
                headers = [*event.headers, (b"connection", b"close")]
                event = ResponseEvent(event.stream_id, headers, event.status_code)
        await super().stream_send(event)

    async def _maybe_recycle(self) -> None:
        if self.connection.our_state is h11.DONE and self.connection.their_state is h11.DONE:
            await self._close_stream()
            if not self.context.terminated.is_set():
                self.connection.start_next_cycle()
                self._paused = False
                await self.can_read.set()
                await self.send(Updated(idle=True))
                if self.connection.trailing_data[0]:
                    self.task_group.spawn(self._go_on)
                return
        await super()._maybe_recycle()

    async def _go_on(self) -> None:
        async with self._parsing:
            await self._handle_events()

    async def _refuse_garbage(self, error: h11.RemoteProtocolError) -> None:
        status = error.error_status_hint
        detail = f"this is not HTTP as it should be: {error}"
        if status == 431:
            if b"\n" not in self.connection.trailing_data[0]:
                status, detail = 414, "the address is too long"
            else:
                detail = f"the head is longer than the {self._settings.max_head:,} bytes taken here"
        await self.refuse(status, detail)

    async def refuse(self, status: int, detail: str) -> None:
        """Answer with a problem without asking the app, and close, where no answer has begun."""
        if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            response = problem(status, detail, request_id=new_request_id())
            if status == 426:
                response.headers["Sec-WebSocket-Version"] = "13"
            headers = [
                *wire_headers(response),
                (b"connection", b"close"),
                *self.config.response_headers("h11"),
            ]
            await self._send_h11_event(h11.Response(status_code=status, headers=headers))
            await self._send_h11_event(h11.Data(data=response.body))
            await self._send_h11_event(h11.EndOfMessage())
        await self.send(Closed())


def _refuse_head(request: h11.Request, settings: HttpSettings) -> tuple[int, str] | None:
    """Status and words for a head that is well formed and yet will not do; None where it will."""
    names = [name for name, _value in request.headers]
    size = sum(len(name) + len(value) + 4 for name, value in request.headers)
    if len(names) > MAX_HEADERS:
        return 431, f"the head has more than {MAX_HEADERS} headers"
    if size > settings.max_head:
        return 431, f"the head is longer than the {settings.max_head:,} bytes taken here"
    if len(request.target) > settings.max_url:
        return 414, f"the address is longer than the {settings.max_url:,} bytes taken here"
    # A proxy in front that reads the one where we read the other could be made to smuggle.
    if b"transfer-encoding" in names and b"content-length" in names:
        return 400, "the request has both Transfer-Encoding and Content-Length: send one of them"
    if b"transfer-encoding" in names and request.http_version < b"1.1":
        return 400, "HTTP/1.0 has no Transfer-Encoding"
    if _wants_websocket(request):
        handshake = Handshake(list(request.headers), request.http_version.decode())
        if not handshake.is_valid():
            if handshake.version not in {None, b"13"}:
                return 426, "websockets are spoken here in version 13"
            return 400, "the opening of the websocket is not as RFC 6455 wants it"
    return None


def _wants_websocket(request: h11.Request) -> bool:
    upgrade = [value.strip().lower() for name, value in request.headers if name == b"upgrade"]
    tokens = [
        token.strip().lower()
        for name, value in request.headers
        if name == b"connection"
        for token in value.split(b",")
    ]
    return upgrade == [b"websocket"] and b"upgrade" in tokens and request.method == b"GET"


class Http2(H2Protocol):
    """HTTP/2 with prior knowledge, as Hypercorn has it, but for what would end the whole connection."""

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if isinstance(event, h2.events.DataReceived) and event.stream_id not in self.streams:
                # Answered before its body had arrived: what still comes of it is thrown away.
                with contextlib.suppress(h2.exceptions.ProtocolError):
                    self.connection.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
                continue
            if isinstance(event, h2.events.RequestReceived):
                path = dict(event.headers).get(b":path", b"")
                if not path.isascii():
                    self.connection.reset_stream(event.stream_id)
                    continue
            await super()._handle_events([event])
        await self._flush()


class _Protocol(ProtocolWrapper):
    """Begins with HTTP/1.1 and goes over to HTTP/2 where the client begins with its preface."""

    protocol: Http1 | Http2

    def __init__(self, *args: Any, settings: HttpSettings) -> None:
        super().__init__(*args)
        self.protocol = Http1(*self._parts, settings=settings)

    @property
    def _parts(self) -> tuple[Any, ...]:
        return (
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.state,
            self.ssl,
            self.client,
            self.server,
            self.send,
        )

    async def handle(self, event: WireEvent) -> None:
        try:
            await self.protocol.handle(event)
        except H2ProtocolAssumedError as error:
            self.protocol = Http2(*self._parts)
            await self.protocol.initiate()
            if error.data:
                await self.protocol.handle(RawData(error.data))


class Connection(TCPServer):
    """One connection from its accept to its close. ``await`` :meth:`run`; it never raises but Cancelled."""

    protocol: _Protocol

    def __init__(
        self,
        app: Any,
        config: Config,
        context: WorkerContext,
        stream: trio.SocketStream,
        settings: HttpSettings,
    ) -> None:
        super().__init__(app, config, context, {}, stream)  # type: ignore[arg-type,typeddict-item]
        self._settings = settings
        self._reading: trio.CancelScope | None = None
        self._writing: trio.CancelScope | None = None
        self._idle = True
        """Whether no request is in hand. Written by the protocol's Updated events alone."""
        self._idle_since = trio.current_time()
        self._head_since = math.inf
        self._closing_until: float | None = None
        """Once our side is shut: the time until which the client's last bytes are thrown away."""
        self._broken = False
        """Whether a write failed or was cut: nothing may be written after it."""
        self._stopping = False

    async def run(self) -> None:
        socket = self.stream.socket
        try:
            client = parse_socket_addr(socket.family, socket.getpeername())
            server = parse_socket_addr(socket.family, socket.getsockname())
            async with _Exchanges() as task_group:
                self._task_group = task_group
                self.protocol = _Protocol(
                    self.app,
                    self.config,
                    self.context,
                    task_group,
                    {},
                    False,
                    client,
                    server,
                    self.protocol_send,
                    "http/1.1",
                    settings=self._settings,
                )
                await self._read_data()
        except* OSError:
            pass  # the client has gone; nobody is left to tell
        except* Exception as faults:
            # The boundary of one client: what a peculiar one brings about must not end the others.
            _log.error("a connection ended by a fault of the server", exc_info=faults)
        finally:
            self._close_socket()

    def wind_down(self) -> None:
        """The node is stopping: close now if idle, hurry up stuck writes, finish the rest."""
        self._stopping = True
        self._rearm()
        if self._writing is not None:
            self._writing.deadline = min(
                self._writing.deadline, trio.current_time() + STOPPING_WRITE
            )

    # -- reading ---------------------------------------------------------------------------------

    async def _read_data(self) -> None:
        thrown_away = 0
        while True:
            expects = self._expects
            if expects != "head":
                self._head_since = math.inf
            elif self._head_since == math.inf:
                self._head_since = trio.current_time()
            with trio.CancelScope(deadline=self._read_deadline()) as self._reading:
                try:
                    data = await self.stream.receive_some(MAX_RECV)
                except (trio.ClosedResourceError, trio.BrokenResourceError):
                    break
            if self._reading.cancelled_caught:
                if self._closing_until is None:
                    await self._give_up_reading()
                    if self._closing_until is not None:
                        continue
                break
            if self._closing_until is None:
                await self.protocol.handle(RawData(bytes(data)))
            else:
                thrown_away += len(data)
            if not data or thrown_away > LINGER_BYTES:
                break
        await self.protocol.handle(Closed())

    @property
    def _expects(self) -> Literal["request", "head", "body", "nothing"]:
        protocol = self.protocol.protocol
        if isinstance(protocol, Http1):
            return protocol.expects
        return "request" if protocol.idle else "nothing"

    def _read_deadline(self) -> float:
        """Until when the next byte must come."""
        if self._closing_until is not None:
            return self._closing_until
        expects = self._expects
        if expects == "request" and self._idle:
            if self._stopping:
                return trio.current_time()  # what has arrived already is still read
            return self._idle_since + self._settings.keep_alive
        if expects == "head":
            return self._head_since + self._settings.head_timeout
        if expects == "body":
            return trio.current_time() + BODY_TIMEOUT
        return math.inf

    def _rearm(self) -> None:
        if self._reading is not None:
            self._reading.deadline = self._read_deadline()

    async def _give_up_reading(self) -> None:
        """The client owed us bytes and did not send them."""
        protocol = self.protocol.protocol
        if isinstance(protocol, Http1) and self._expects in {"head", "body"}:
            await protocol.refuse(408, f"the {self._expects} of the request did not arrive in time")

    # -- writing ---------------------------------------------------------------------------------

    async def protocol_send(self, event: WireEvent) -> None:
        if isinstance(event, RawData):
            async with self.send_lock:
                await self._write(event.data)
            if self._broken:
                await self.protocol.handle(Closed())
        elif isinstance(event, Closed):
            self._shut_down()
            await self.protocol.handle(Closed())
        elif isinstance(event, Updated):
            self._idle = event.idle
            if event.idle:
                self._idle_since = trio.current_time()
                self._rearm()

    async def _write(self, data: bytes) -> None:
        """Write all of ``data``, or mark the connection broken: when it is, when it is stuck, when cancelled."""
        view = memoryview(data)
        try:
            while view and not self._broken:
                limit = self._settings.write_timeout
                if self._stopping:
                    limit = min(limit, STOPPING_WRITE)
                with trio.move_on_after(limit) as self._writing:
                    view = view[await self.stream.socket.send(view) :]
                if self._writing.cancelled_caught:
                    _log.info("a client stopped reading; its connection is closed")
                    self._break()
        except (OSError, trio.ClosedResourceError, trio.BrokenResourceError):
            self._break()
        except BaseException:  # cancelled between two bytes: what follows would be garbage
            self._break()
            raise
        finally:
            self._writing = None

    def _break(self) -> None:
        self._broken = True
        # a reset, so that the kernel does not keep what nobody reads
        with contextlib.suppress(OSError):
            self.stream.socket.setsockopt(
                stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        self._closing_until = -math.inf
        self._rearm()

    def _shut_down(self) -> None:
        """End our side and let the client read it: closing at once could take back what was sent."""
        if self._closing_until is None:
            linger = LINGER / 4 if self._stopping else LINGER
            self._closing_until = trio.current_time() + linger
            with contextlib.suppress(OSError):
                self.stream.socket.shutdown(stdlib_socket.SHUT_WR)
            self._rearm()

    def _close_socket(self) -> None:
        with contextlib.suppress(OSError):
            if not self._broken:
                self.stream.socket.shutdown(stdlib_socket.SHUT_WR)
        self.stream.socket.close()
