"""What a client sends on one exchange, on its way from the connection to who reads the body."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio

__all__ = ["INCOMING", "BodySource", "ClientGone", "ForeignIncoming", "Incoming"]

INCOMING = "nexus.incoming"
"""The key in an ASGI scope's extensions under which the front end finds the exchange's queue."""

Event = dict[str, Any]
"""An ASGI event: ``http.request``, ``http.disconnect``, ``websocket.receive`` and so on."""

_DISCONNECTS = {"http.disconnect", "websocket.disconnect"}


class ClientGone(Exception):
    """The client went away before it had sent all of the body. Never leaves this package."""


class BodySource(Protocol):
    """Where a request's body comes from, a piece at a time."""

    async def next_chunk(self) -> bytes:
        """The next piece, ``b""`` at the end.

        Raises:
            ClientGone: the client went away first.
        """
        ...


class Incoming:
    """A bounded queue of one exchange's events, written by the connection's reader.

    It is the backpressure of an upload: the reader waits in :meth:`put` while ``capacity`` events
    lie here, and while it waits the client's TCP window fills. The disconnect is not bounded: it
    overtakes what waits, so that it is noticed also while nobody reads, and it cannot block the
    task that reports it.
    """

    def __init__(self, capacity: int = 10) -> None:
        self._capacity = capacity
        self._events: deque[Event] = deque()
        self._wake_reader = trio.Event()
        self._wake_writer = trio.Event()
        self._complete = trio.Event()
        self.disconnected: Event | None = None
        """The disconnect event, once there was one. Whether from the client or by our own close."""
        self.body_complete = False
        """Whether the last piece of the body has been handed out."""
        self.on_disconnect: Callable[[], None] | None = None
        """Called once, synchronously, when the client is gone."""
        self.on_wanted: Callable[[], Awaitable[None]] | None = None
        """Awaited once, before the first event is waited for: sends ``100 Continue``."""

    async def put(self, event: Event) -> None:
        """Add an event; waits while the queue is full. After the disconnect, events are dropped."""
        if event["type"] in _DISCONNECTS:
            self._disconnect(event)
            return
        while len(self._events) >= self._capacity and self.disconnected is None:
            self._wake_writer = trio.Event()
            await self._wake_writer.wait()
        if self.disconnected is None:
            self._events.append(event)
            self._wake_reader.set()

    def _disconnect(self, event: Event) -> None:
        if self.disconnected is not None:
            return
        self.disconnected = event
        self._complete.set()
        self._wake_reader.set()
        self._wake_writer.set()
        if self.on_disconnect is not None:
            self.on_disconnect()

    async def receive(self) -> Event:
        """The next event, as ASGI's ``receive``; after all others the disconnect, for ever."""
        if self.on_wanted is not None:
            wanted, self.on_wanted = self.on_wanted, None
            if not self._events:
                await wanted()
        while not self._events:
            if self.disconnected is not None:
                return self.disconnected
            self._wake_reader = trio.Event()
            await self._wake_reader.wait()
        event = self._events.popleft()
        self._wake_writer.set()
        if event["type"] == "http.request" and not event.get("more_body", False):
            self.body_complete = True
            self._complete.set()
        return event

    async def wait_complete(self) -> None:
        """Until the last piece of the body was handed out, or the client is gone."""
        await self._complete.wait()

    async def next_chunk(self) -> bytes:
        """See :class:`BodySource`."""
        return await _next_chunk(self)


class ForeignIncoming:
    """The same over the plain ``receive`` of another server, which tells of no disconnect early."""

    def __init__(self, receive: Callable[[], Awaitable[Any]]) -> None:
        self._receive = receive
        self.disconnected: Event | None = None
        self.body_complete = False
        self.on_disconnect: Callable[[], None] | None = None

    async def receive(self) -> Event:
        """The next event."""
        event: Event = await self._receive()
        if event["type"] in _DISCONNECTS:
            self.disconnected = event
        elif event["type"] == "http.request" and not event.get("more_body", False):
            self.body_complete = True
        return event

    async def wait_complete(self) -> None:
        """Nothing is known of it beforehand: see :attr:`body_complete`."""
        await trio.lowlevel.checkpoint()

    async def next_chunk(self) -> bytes:
        """See :class:`BodySource`."""
        return await _next_chunk(self)


async def _next_chunk(incoming: Incoming | ForeignIncoming) -> bytes:
    while not incoming.body_complete:
        event = await incoming.receive()
        if event["type"] != "http.request":
            raise ClientGone
        chunk: bytes = event.get("body", b"")
        if chunk:
            return chunk
    return b""
