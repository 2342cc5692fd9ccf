"""The protocols of a connection, as Hypercorn drives them, with our limits and refusals."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, Literal

import h2.events
import h11
import trio
from hypercorn.events import Closed, RawData, Updated
from hypercorn.events import Event as WireEvent
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.events import Body, Data, EndBody, Request, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Response as ResponseEvent
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import STREAM_ID, H2ProtocolAssumedError, H11Protocol, H11WSConnection
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import FrameTooLargeError, Handshake, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason

from nexus_actors.config.settings import HttpSettings
from nexus_actors.http.errors import problem, title_of
from nexus_actors.http.heads import MAX_HEADERS, loose_line
from nexus_actors.http.incoming import INCOMING
from nexus_actors.http.request import new_request_id

__all__ = ["Http1", "Http2", "Protocols"]

PIPELINED_MAX = 2**16
"""Bytes that are read ahead of a request still being answered."""


class _WebSocketStream(WSStream):
    """A websocket that tells the app with which code it was closed; Hypercorn says 1006 always.

    And that closes, with a code, where the client breaks the protocol or sends too much, instead of
    dropping the connection or going on.
    """

    closed_by: int | None = None
    """The code of the client's close, or of ours where it broke a rule."""

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, Message):
                try:
                    self.buffer.extend(event)
                except FrameTooLargeError:
                    await self._close_with(CloseConnection(code=CloseReason.MESSAGE_TOO_BIG))
                    return
                if event.message_finished:
                    assert self.app_put is not None, "accepted, so there is an app"
                    await self.app_put(self.buffer.to_message())
                    self.buffer.clear()
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                begun_by_client = self.connection.state is ConnectionState.REMOTE_CLOSING
                await self._close_with(event.response() if begun_by_client else event)
                return

    async def _close_with(self, event: CloseConnection) -> None:
        """Send our close frame, unless one was sent, and end."""
        self.closed_by = int(event.code)
        await self._send_wsproto_event(event)
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def handle(self, event: StreamEvent) -> None:
        if self.closed:
            return
        if isinstance(event, Request):
            # Without compression: wsproto inflates without limit, 64 KiB to 64 MiB at once.
            kept = [pair for pair in event.headers if pair[0] != b"sec-websocket-extensions"]
            event = dataclasses.replace(event, headers=kept)
        if isinstance(event, StreamClosed) and self.closed_by is not None:
            await self._disconnect(self.closed_by)
        elif isinstance(event, Data) and not self.handshake.accepted:
            await self._refuse_hasty()
        else:
            await super().handle(event)

    async def _refuse_hasty(self) -> None:
        """Frames came before our answer to the opening, which RFC 6455 forbids (4.1)."""
        await self._disconnect(CloseReason.PROTOCOL_ERROR)
        response = problem(
            400, "frames came before the websocket was open", request_id=new_request_id()
        )
        headers = [*response.to_wire(), (b"connection", b"close")]
        await self.send(ResponseEvent(self.stream_id, headers, response.status))
        await self.send(Body(self.stream_id, response.body))
        await self.send(EndBody(self.stream_id))
        await self.send(StreamClosed(self.stream_id))

    async def _disconnect(self, code: int) -> None:
        self.closed = True  # from here on, nothing that the app sends goes out
        if self.app_put is not None:
            await self.app_put({"type": "websocket.disconnect", "code": int(code)})


class Http1(H11Protocol):
    """HTTP/1.1 of one connection, by h11, with our limits and refusals in problem JSON."""

    stream: Any
    connection: Any

    def __init__(self, *args: Any, settings: HttpSettings) -> None:
        super().__init__(*args)
        self._settings = settings
        self._paused = False
        self._held_head = b""
        """The head of a reply of known length, until the first of its body is written with it."""
        # Parsing goes on in the reader and, after an answer, in a task of its own: one at a time.
        self._parsing = trio.Lock()

    @property
    def expects(self) -> Literal["request", "head", "body", "nothing"]:
        """What the client owes us next: a request, the rest of its head or body, or nothing."""
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
        pieces: list[bytes] = []
        while True:
            if self.expects == "head":  # h11 takes lines that others read differently
                loose = loose_line(self.connection.trailing_data[0])
                if loose is not None:
                    await self.refuse(400, f"this is not HTTP as it should be: {loose}")
                    break
            try:
                event = self.connection.next_event()
            except h11.RemoteProtocolError as error:
                await self._refuse_garbage(error)
                break
            if isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
                continue
            if pieces and self.stream is not None:
                # What arrived together goes on together: a body in chunks of one byte is not to
                # cost the node a thousand times what it costs the client.
                await self.stream.handle(Body(stream_id=STREAM_ID, data=b"".join(pieces)))
            pieces.clear()
            if isinstance(event, h11.Request):
                if await self._begin(event):
                    break
            elif event is h11.PAUSED:
                # Reading goes on meanwhile (fault E); _maybe_recycle takes it up from here.
                self._paused = True
                await self.can_read.clear()
                break
            elif (
                self.stream is None
                or event is h11.NEED_DATA
                or isinstance(event, h11.ConnectionClosed)
            ):
                break
            elif isinstance(event, h11.EndOfMessage):
                await self.stream.handle(EndBody(stream_id=STREAM_ID))
            else:  # a websocket's bytes
                await self.stream.handle(event)

    async def _begin(self, request: h11.Request) -> bool:
        """Start the exchange of a request; True where it was refused, and the connection ends."""
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
        stopping = self.context.terminated.is_set()
        if stopping and isinstance(event, ResponseEvent) and event.status_code >= 200:
            headers = [*event.headers, (b"connection", b"close")]
            event = ResponseEvent(event.stream_id, headers, event.status_code)
        await super().stream_send(event)

    async def _send_h11_event(self, event: Any) -> None:
        if isinstance(event, h11.Response) and not event.reason:  # Hypercorn leaves it empty
            event = h11.Response(
                status_code=event.status_code,
                headers=event.headers,
                reason=title_of(event.status_code).encode(),
            )
        try:
            data = self._held_head + (self.connection.send(event) or b"")
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        self._held_head = b""
        if isinstance(event, h11.Response) and any(
            name == b"content-length" for name, _value in event.headers
        ):
            self._held_head = data  # its body follows at once: both go out in one write
        elif data:
            await self.send(RawData(data))

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
            scope = getattr(self.stream, "scope", None) or {}  # where the head was read
            response = problem(
                status, detail, request_id=new_request_id(), instance=scope.get("path", "")
            )
            if status == 426:
                response.headers["Sec-WebSocket-Version"] = "13"
            headers = [
                *response.to_wire(),
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
        if {b"content-length", b"transfer-encoding"} & set(names):
            return 400, "the opening of a websocket has no body"
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
    """HTTP/2 with prior knowledge, without the faults by which one stream ends all of them."""

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


class Protocols(ProtocolWrapper):
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
