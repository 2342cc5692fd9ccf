"""Replies that go on: server-sent events, and async iterators sent piece by piece."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Any

import attrs
import trio

from nexus_actors.http.encoding import encode_json

__all__ = [
    "EVENT_STREAM",
    "NDJSON",
    "Relay",
    "ServerSentEvent",
    "accepts_events",
    "close_stream",
    "encode_piece",
    "media_type_for",
]

EVENT_STREAM = "text/event-stream"
NDJSON = "application/x-ndjson"
OCTETS = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"

CLOSE_GRACE = 2.0
"""Seconds that an iterator gets to close itself when nobody reads it any more."""

_LINE_END = re.compile(r"\r\n|\r|\n")


@attrs.frozen
class ServerSentEvent:
    """One event of a ``text/event-stream`` (the HTML standard's server-sent events).

    Raises:
        ValueError: for an ``event`` or ``id`` with a line break, or a negative ``retry``.
    """

    data: Any
    """What it says: text as it is, anything else as JSON."""
    event: str | None = attrs.field(default=None)
    """Its type, which ``addEventListener`` takes; without it, it is a ``message``."""
    id: str | None = attrs.field(default=None)
    """Its id; a client that comes back names the last one it saw in ``Last-Event-ID``."""
    retry: int | None = attrs.field(default=None)
    """Milliseconds the client is to wait before it comes back."""

    @event.validator
    @id.validator
    def _check_line(self, attribute: attrs.Attribute[str | None], value: str | None) -> None:
        if value is not None and (_LINE_END.search(value) or "\0" in value):
            raise ValueError(f"the {attribute.name} of an event is one line, not {value!r}")

    @retry.validator
    def _check_retry(self, _attribute: attrs.Attribute[int | None], value: int | None) -> None:
        if value is not None and value < 0:
            raise ValueError(f"retry is in milliseconds, 0 or more, not {value!r}")

    def encode(self) -> bytes:
        """The event as it goes over the wire, with the blank line that ends it."""
        data = self.data if isinstance(self.data, str) else encode_json(self.data).decode()
        lines = [] if self.event is None else [f"event: {self.event}"]
        if self.id is not None:
            lines.append(f"id: {self.id}")
        if self.retry is not None:
            lines.append(f"retry: {self.retry}")
        lines.extend(f"data: {line}" for line in _LINE_END.split(data))
        return ("\n".join(lines) + "\n\n").encode()


def media_type_for(first: object) -> str:
    """What a stream is, decided by its first item.

    ===================== ===========================
    first item            media type
    ===================== ===========================
    ``ServerSentEvent``   ``text/event-stream``
    ``str``               ``text/plain``, UTF-8
    bytes                 ``application/octet-stream``
    a dict, list, object  ``application/x-ndjson``: one JSON value a line
    ===================== ===========================
    """
    if isinstance(first, ServerSentEvent):
        return EVENT_STREAM
    if isinstance(first, str):
        return TEXT
    if isinstance(first, (bytes, bytearray, memoryview)):
        return OCTETS
    return NDJSON


def encode_event(item: object) -> bytes:
    """An item of an event stream: events as they are, anything else as the data of one."""
    event = item if isinstance(item, ServerSentEvent) else ServerSentEvent(item)
    return event.encode()


def encode_piece(item: object, media_type: str) -> bytes:
    """An item of a stream of that media type, as bytes."""
    if media_type.startswith(EVENT_STREAM):
        return encode_event(item)
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    if isinstance(item, ServerSentEvent):
        return item.encode()
    return encode_json(item, place="an item of the stream") + b"\n"


async def close_stream(stream: AsyncIterable[Any]) -> None:
    """End an iterator that may have been left in the middle."""
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()


def accepts_events(headers: Mapping[str, str]) -> bool:
    """Whether the client asked for an event stream, as every browser's EventSource does."""
    return EVENT_STREAM in headers.get("accept", "").lower()


class Relay:
    """An async iterator that runs in one task and is read in another, an item at a time.

    An async generator may hold cancel scopes and nurseries, so all of it must run in one task. The
    owner runs :meth:`run` in a nursery of its own (a plugin's host: in the incarnation's, so that
    the stream ends with it); the reader iterates the relay. Where ``run`` is cancelled, the reader
    sees a clean end; where the iterator raised, the reader gets that error; where the reader calls
    :meth:`aclose`, ``run`` is cancelled.
    """

    def __init__(self, source: AsyncIterable[Any], capacity: int = 1) -> None:
        self._source = source
        self._capacity = capacity
        self._items: deque[Any] = deque()
        self._scope = trio.CancelScope()
        self._ended = False
        self._changed = trio.Event()
        self.fault: Exception | None = None
        """What the iterator raised."""

    async def run(self) -> None:
        """Iterate the source to its end, at most ``capacity`` items ahead of the reader.

        Raises nothing of the source's but cancellation: see :attr:`fault`.
        """
        try:
            with self._scope:
                async for item in self._source:
                    while len(self._items) >= self._capacity:
                        await self._changed.wait()
                    self._items.append(item)
                    self._notify()
        except Exception as error:  # noqa: BLE001 - handed to the reader, who is to blame the source
            self.fault = error
        finally:
            self._ended = True
            self._notify()
            with trio.move_on_after(CLOSE_GRACE, shield=True):
                await close_stream(self._source)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._items:
            if self.fault is not None:
                raise self.fault
            if self._ended:
                raise StopAsyncIteration
            await self._changed.wait()
        item = self._items.popleft()
        self._notify()
        return item

    async def aclose(self) -> None:
        """End it from the reader's side, see :meth:`close`."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """End it from the reader's side: ``run`` is cancelled and closes the source."""
        self._items.clear()
        self._scope.cancel()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
