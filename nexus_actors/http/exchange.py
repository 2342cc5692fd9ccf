"""One request and its reply on the wire: what is left of the body, the response, the stream."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from nexus_actors.errors import HTTPError
from nexus_actors.http.incoming import ClientGone, ForeignIncoming, Incoming
from nexus_actors.http.request import Request
from nexus_actors.http.response import Response
from nexus_actors.http.streams import (
    EVENT_STREAM,
    Relay,
    accepts_events,
    encode_piece,
    media_type_for,
)
from nexus_actors.http.upload import Upload

__all__ = ["Exchange"]

SLICE = 2**16
"""Bytes handed to the connection at once."""
SMALL_BODY = 2**16
"""An unread body up to this length is read and thrown away, so that the connection stays usable."""
SMALL_BODY_TIMEOUT = 1.0
"""Seconds it may take to arrive."""
EVENT_PING = 15.0
"""Seconds of silence after which an event stream sends a comment, so that proxies keep it open."""

_PING = b": \n\n"
_log = logging.getLogger("nexus.http")


class Exchange:
    """The connection's side of one request."""

    def __init__(
        self,
        request: Request,
        incoming: Incoming | ForeignIncoming | Upload,
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        self.request = request
        self.incoming = incoming
        self.status = 0
        """The status that was sent; 0 before."""
        self.reading_body = False
        """Whether the body is being waited for, so that a delay is the client's."""
        self._send = send

    @property
    def gone(self) -> bool:
        """Whether the client has gone away."""
        return self.incoming.disconnected is not None

    async def send_response(self, response: Response) -> None:
        """Send a response that is whole.

        Fault B: a reply sent before the body arrived wedged the connection. A small body is read
        and thrown away first; else the reply says that the connection closes after it.
        """
        headers = self._headers(response)
        if not await self._body_is_out_of_the_way():
            headers.append((b"connection", b"close"))
        await self._start(response.status, headers)
        view = memoryview(b"" if self.request.method == "HEAD" else response.body)
        while len(view) > SLICE:
            await self._body(bytes(view[:SLICE]), more=True)
            view = view[SLICE:]
        await self._body(bytes(view), more=False)

    async def send_stream(
        self,
        response: Response,
        *,
        deadline: float,
        stopping: trio.Event,
        refuse: Callable[[Exception], Response],
    ) -> None:
        """Send a stream to its end; where it fails before its first byte, what ``refuse`` says.

        It ends early when the client goes away, and where it is an event stream also, cleanly, when
        the node stops. One that fails midway is cut without its end, so that the client can tell;
        an event stream just ends, for its client comes back by itself.
        """
        assert response.stream is not None
        async with trio.open_nursery() as nursery:
            if isinstance(response.stream, Relay):
                relay = response.stream
            else:
                relay = Relay(response.stream)
                nursery.start_soon(relay.run)
            try:
                reading = _Reading(relay)
                self.incoming.on_disconnect = reading.end
                if self.gone:
                    reading.end()
                media_type = response.media_type
                if media_type is None and accepts_events(self.request.headers):
                    media_type = EVENT_STREAM
                refusal = None
                if media_type is None:
                    refusal = await self._wait_first(reading, deadline, refuse)
                    media_type = media_type_for(reading.peeked)
                if refusal is None:
                    if media_type.startswith(EVENT_STREAM):
                        nursery.start_soon(_end_when, stopping, reading)
                    await self._send_pieces(response, reading, media_type)
            finally:
                relay.close()
            nursery.cancel_scope.cancel()
        if refusal is not None and not self.gone:
            await self.send_response(refusal)

    async def _wait_first(
        self, reading: _Reading, deadline: float, refuse: Callable[[Exception], Response]
    ) -> Response | None:
        """Wait for the item that decides what the stream is; the answer where it does not come."""
        try:
            if await reading.peek(deadline):
                return None
        except Exception as error:  # noqa: BLE001 - the reply has not begun: it becomes the reply
            return refuse(error)
        request = self.request
        _log.warning(
            "the stream of %s %s did not begin in time",
            request.method,
            request.path,
            extra={"request_id": request.id},
        )
        return refuse(HTTPError(504, "the stream did not begin in time"))

    async def _send_pieces(self, response: Response, reading: _Reading, media_type: str) -> None:
        response.headers["Content-Type"] = media_type
        events = media_type.startswith(EVENT_STREAM)
        if events:
            response.headers.setdefault("Cache-Control", "no-cache")
        await self._start(response.status, self._headers(response))
        if self.request.method == "HEAD":
            await self._body(b"", more=False)
            return
        await self._body(b"", more=True)  # the head goes out now
        try:
            while (item := await reading.next(EVENT_PING if events else math.inf)) is not END:
                piece = _PING if item is SILENCE else encode_piece(item, media_type)
                for index in range(0, len(piece), SLICE):
                    await self._body(piece[index : index + SLICE], more=True)
        except Exception as error:  # noqa: BLE001 - the reply has begun: nothing else can be said
            name = type(error).__name__
            _log.error(
                "a stream was cut: %s: %s", name, error, extra={"request_id": self.request.id}
            )
            if not events:
                return  # the missing end tells the client
        if not self.gone:
            await self._body(b"", more=False)

    async def read_body(self) -> None:
        """Read the body whole, before the request is handed on.

        Raises:
            HTTPError: 413, or 400 where the client went away.
        """
        self.reading_body = True
        await self.request.body()
        self.reading_body = False

    async def body_is_taken(self) -> bool:
        """Whether all of the body was read; a small one that another task is reading is waited for.

        For a reply of Quart's, which reads the body beside its handler; see :meth:`send_response`.
        """
        if self._is_small():
            with trio.move_on_after(SMALL_BODY_TIMEOUT):
                await self.incoming.wait_complete()
        return self.incoming.body_complete or self.gone

    def _is_small(self) -> bool:
        """Whether the body is short enough to be read for nothing."""
        headers = self.request.headers
        length = headers.get("content-length", "0")
        return (
            "transfer-encoding" not in headers
            and length.isdecimal()
            and int(length) <= SMALL_BODY
            and "expect" not in headers
        )

    def _headers(self, response: Response) -> list[tuple[bytes, bytes]]:
        response.headers["X-Request-ID"] = self.request.id
        return response.to_wire()

    async def _body_is_out_of_the_way(self) -> bool:
        incoming = self.incoming
        if incoming.body_complete or self.gone:
            return True
        headers = self.request.headers
        if "transfer-encoding" not in headers and headers.get("content-length", "0") == "0":
            return True
        if not self._is_small():
            return False
        with trio.move_on_after(SMALL_BODY_TIMEOUT):
            try:
                while await incoming.next_chunk():
                    pass
            except (ClientGone, HTTPError):
                pass
        return incoming.body_complete or self.gone

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _body(self, data: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


END = object()
"""There is no further item."""
SILENCE = object()
"""There was none for a while."""


class _Reading:
    """Reads a stream's items so that only the waiting for one can be broken off, never a write."""

    def __init__(self, relay: Relay) -> None:
        self._items = relay.__aiter__()
        self._ended = False
        self._waiting: trio.CancelScope | None = None
        self._peeked: list[Any] = []

    @property
    def peeked(self) -> Any:
        """The first item; bytes where there is none at all."""
        return b"" if not self._peeked or self._peeked[0] is END else self._peeked[0]

    def end(self) -> None:
        """Let there be no further item."""
        self._ended = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def peek(self, deadline: float) -> bool:
        """Wait for the first item; False where it did not come by ``deadline``."""
        item = await self.next(deadline - trio.current_time())
        if item is SILENCE:
            return False
        self._peeked.append(item)
        return True

    async def next(self, patience: float) -> Any:
        """The next item, ``END``, or ``SILENCE`` after ``patience`` seconds."""
        if self._peeked:
            return self._peeked.pop()
        with trio.move_on_after(max(0.0, patience)) as self._waiting:
            if not self._ended:
                return await anext(self._items, END)
        return END if self._ended else SILENCE


async def _end_when(event: trio.Event, reading: _Reading) -> None:
    await event.wait()
    reading.end()
