"""The body of one request, pulled off the connection by whoever reads it."""

from __future__ import annotations

import trio

from nexus_actors.errors import HTTPError
from nexus_actors.http.chunks import BadChunk, Chunks
from nexus_actors.http.heads import Head
from nexus_actors.http.incoming import ClientGone, Event
from nexus_actors.http.reader import Reader
from nexus_actors.http.wire import Wire

__all__ = ["Upload"]

BODY_TIMEOUT = 30.0
"""Seconds without a byte of a body that has begun."""
PIECE = 2**16
"""Bytes of a body that are handed over at once."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Upload:
    """What a client sends on one exchange: the same to its reader as :class:`.incoming.Incoming`,
    but nothing lies between it and the socket. While nobody reads, the client is held up."""

    def __init__(self, head: Head, reader: Reader, wire: Wire) -> None:
        self.disconnected: Event | None = None
        self.body_complete = not head.has_body
        self.on_disconnect: object = None
        self._reader = reader
        self._wire = wire
        self._chunks = Chunks() if head.chunked else None
        self._left = head.length
        self._wants_word = head.expects
        self._bad: HTTPError | None = None
        """Why the rest of the body cannot be read."""
        self._over = False
        """Whether nobody may take from the connection's buffer any more."""
        self._changed = trio.Event()

    def lose(self) -> None:
        """The client is gone, or the exchange is over."""
        if self.disconnected is not None:
            return
        self.disconnected = {"type": "http.disconnect"}
        self._changed.set()
        if callable(self.on_disconnect):
            self.on_disconnect()

    def close(self) -> None:
        """The exchange is over: what has not been read of the body never will be."""
        self._over = True
        self.lose()

    def begin_reply(self) -> None:
        """The reply begins: no word of encouragement may come in between any more."""
        self._wants_word = False

    async def receive(self) -> Event:
        """The next event, as ASGI's ``receive``; after all others the disconnect, for ever."""
        if not self.body_complete and self.disconnected is None:
            try:
                data = await self.next_chunk()
            except (ClientGone, HTTPError):
                self.lose()
            else:
                more = not self.body_complete
                return {"type": "http.request", "body": data, "more_body": more}
        elif self.disconnected is None and self._empty_is_due:
            self._empty_is_due = False
            return {"type": "http.request", "body": b"", "more_body": False}
        while self.disconnected is None:
            await self._changed.wait()
        return self.disconnected

    _empty_is_due = True
    """Whether a request without a body still has to be told so."""

    async def wait_complete(self) -> None:
        """Until somebody else has read all of it, or the client is gone."""
        while not self.body_complete and self.disconnected is None:
            self._changed = trio.Event()
            await self._changed.wait()

    async def next_chunk(self) -> bytes:
        """The next piece, ``b""`` at the end.

        Raises:
            ClientGone: the client went away first.
            HTTPError: 408, nothing came for :data:`BODY_TIMEOUT`; 400, it is not chunked as it
                should be.
        """
        while not self.body_complete:
            if self._bad is not None:
                raise self._bad
            if self._over:
                raise ClientGone
            piece = self._take()
            if piece or self.body_complete:
                self._empty_is_due = False
                return piece
            if self._reader.ended or self.disconnected is not None:
                raise ClientGone
            await self._wait()
        return b""

    def _take(self) -> bytes:
        buffer = self._reader.buffer
        if self._chunks is not None:
            try:
                piece = self._chunks.take(buffer, PIECE)
            except BadChunk as error:
                self._bad = HTTPError(400, f"this is not HTTP as it should be: {error}")
                raise self._bad from None
            complete = self._chunks.complete
        else:
            size = min(self._left, PIECE, len(buffer))
            piece = bytes(buffer[:size])
            del buffer[:size]
            self._left -= size
            complete = not self._left
        if complete:
            self.body_complete = True
            self._changed.set()
        return piece

    async def _wait(self) -> None:
        if self._wants_word:
            # only when somebody wants the body: a refusal by the head alone saves sending it
            self._wants_word = False
            if not self._reader.buffer:
                await self._wire.write(_CONTINUE)
        if not await self._reader.fill_aside(BODY_TIMEOUT) and self.disconnected is None:
            self._bad = HTTPError(408, "the body of the request did not arrive in time")
            raise self._bad
