"""A websocket as a handler sees it: two bounded queues to the connection, never the socket."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Literal

import attrs
import trio

from nexus_actors.actors.bridge import bridged
from nexus_actors.errors import NexusError
from nexus_actors.http.encoding import decode_json, encode_json
from nexus_actors.http.fields import Headers, Pairs
from nexus_actors.http.request import RequestHead

__all__ = ["WebSocket", "WebSocketClosed"]


class WebSocketClosed(NexusError):
    """The websocket is closed. ``code`` and ``reason`` say why, in the words of RFC 6455.

    1000 is a normal end, 1001 the node or the page went away, 1006 the connection broke,
    1011 the handler failed, 1012 the plugin was restarted.
    """

    def __init__(self, code: int = 1000, reason: str = "") -> None:
        super().__init__(f"the websocket is closed: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


@attrs.frozen
class Command:
    """What the handler wants of the connection."""

    kind: Literal["accept", "send", "close"]
    data: str | bytes = ""
    subprotocol: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    code: int = 1000
    reason: str = ""


class WebSocket(RequestHead):
    """One websocket, from its opening to its close.

    ``async for message in ws`` gives text or bytes until the client goes away::

        @websocket("/echo/{room}")
        async def echo(self, ws, room):
            await ws.accept()
            async for message in ws:
                await ws.send(message)

    It has its request's ``headers``, ``query``, ``cookies``, ``path_params``, ``client``, ``id``.
    """

    def __init__(
        self,
        path: str = "/",
        *,
        headers: Pairs = (),
        query: str | Pairs = "",
        path_params: Mapping[str, Any] | None = None,
        client: tuple[str, int] | None = None,
        id: str = "",
        scheme: str = "ws",
        subprotocols: tuple[str, ...] = (),
        capacity: int = 16,
        deadline: float = math.inf,
    ) -> None:
        super().__init__(
            "GET",
            path,
            headers=headers,
            query=query,
            path_params=path_params,
            client=client,
            id=id,
            scheme=scheme,
        )
        self.subprotocols = subprotocols
        """What the client can speak, its favourite first; give one of them to :meth:`accept`."""
        self.deadline = deadline
        """Time of Trio's clock by which it must be accepted."""
        self.accepted = False
        """Whether it was accepted. Set before :attr:`on_accept` is called."""
        self.closed: tuple[int, str] | None = None
        """Code and reason once it is closed, by either side or by the node."""
        self.on_accept: Callable[[], None] | None = None
        """Called once, synchronously, when the handler has accepted: there its message ends."""
        self.on_close: Callable[[], None] | None = None
        """Called once, synchronously, when it is closed, whoever closed it."""
        self._capacity = capacity
        self._inbox: deque[str | bytes] = deque()
        self._outbox: deque[Command] = deque()
        self._complete = False
        """Whether no further message will be delivered."""
        self._changed = trio.Event()

    # -- for the handler -------------------------------------------------------------------------

    @bridged
    async def accept(self, subprotocol: str | None = None, headers: Pairs = ()) -> None:
        """Open it. Until then nothing can be received or sent; raising answers as for a request.

        Raises:
            WebSocketClosed: the client has gone.
            ValueError: for a subprotocol that the client did not offer.
            RuntimeError: the second time.
        """
        if self.accepted:
            raise RuntimeError("the websocket is accepted already")
        if subprotocol is not None and subprotocol not in self.subprotocols:
            raise ValueError(
                f"the client did not offer the subprotocol {subprotocol!r}, "
                f"it offered {list(self.subprotocols)}"
            )
        await self._put(
            Command("accept", subprotocol=subprotocol, headers=tuple(Headers(headers).to_wire()))
        )
        self.accepted = True
        if self.on_accept is not None:
            self.on_accept()

    @bridged
    async def receive(self) -> str | bytes:
        """The next message, text or bytes.

        Raises:
            WebSocketClosed: there is none any more.
            RuntimeError: before :meth:`accept`.
        """
        self._need_accept("receive from")
        await trio.lowlevel.checkpoint()
        while not self._inbox:
            if self._complete:
                self._raise_if_closed()
            await self._wait_change()
        message = self._inbox.popleft()
        self._notify()
        return message

    async def receive_json(self) -> Any:
        """The next message, which is JSON.

        Raises:
            HTTPError: 400 with line and column where it is not.
            WebSocketClosed, RuntimeError: as :meth:`receive`.
        """
        message = await self.receive()
        data = message.encode() if isinstance(message, str) else message
        return decode_json(data, what="the message")

    @bridged
    async def send(self, message: str | bytes) -> None:
        """Send text or bytes; waits while the client does not take what was sent before.

        Raises:
            WebSocketClosed: nobody receives any more.
            RuntimeError: before :meth:`accept`.
        """
        if not isinstance(message, (str, bytes, bytearray, memoryview)):
            raise TypeError(
                f"a websocket sends text or bytes, not {type(message).__name__}; use send_json"
            )
        self._need_accept("send to")
        data = message if isinstance(message, str) else bytes(message)
        await self._put(Command("send", data))

    async def send_json(self, value: Any) -> None:
        """Send ``value`` as JSON text.

        Raises:
            NotSerialisable: it has a part that has no form in JSON.
            WebSocketClosed, RuntimeError: as :meth:`send`.
        """
        await self.send(encode_json(value, place="the message").decode())

    @bridged
    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, after what was sent before. Nothing happens where it is closed already.

        Before :meth:`accept` it refuses the opening with 403.
        """
        await trio.lowlevel.checkpoint()
        self.end(code, reason)

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except WebSocketClosed:
            raise StopAsyncIteration from None

    # -- for the plugin's host -------------------------------------------------------------------

    def end(self, code: int = 1000, reason: str = "") -> None:
        """Close it from outside the handler, at once: 1011 for a fault, 1012 for a restart."""
        if self.closed is None:
            self._outbox.append(Command("close", code=code, reason=reason))
            self._complete = True
            self._set_closed(code, reason)

    async def wait_closed(self) -> tuple[int, str]:
        """Until it is closed, whoever closed it; returns code and reason."""
        while self.closed is None:
            await self._wait_change()
        return self.closed

    # -- for the connection ----------------------------------------------------------------------

    async def deliver(self, message: str | bytes) -> None:
        """Hand in a message of the client; waits while the handler has ``capacity`` unread."""
        while len(self._inbox) >= self._capacity and not self._complete:
            await self._wait_change()
        if not self._complete:
            self._inbox.append(message)
            self._notify()

    def deliver_no_more(self) -> None:
        """All that the client sent before it closed has been handed in."""
        self._complete = True
        self._notify()

    async def next_command(self) -> Command:
        """What the handler wants next; the last is ``close``, unless the client was first."""
        while not self._outbox:
            await self._wait_change()
        command = self._outbox.popleft()
        self._notify()
        return command

    def lost(self, code: int, reason: str = "") -> None:
        """The client closed it, or the connection broke (1006): nothing can be sent any more.

        What it sent before can still be received, until :meth:`deliver_no_more`.
        """
        if self.closed is None:
            self._set_closed(code, reason)
        self._outbox.clear()

    # -- inside ----------------------------------------------------------------------------------

    async def _put(self, command: Command) -> None:
        await trio.lowlevel.checkpoint()
        self._raise_if_closed()
        while len(self._outbox) >= self._capacity:
            await self._wait_change()
            self._raise_if_closed()
        self._outbox.append(command)
        self._notify()

    def _set_closed(self, code: int, reason: str) -> None:
        self.closed = (code, reason)
        self._notify()
        if self.on_close is not None:
            self.on_close()

    def _raise_if_closed(self) -> None:
        if self.closed is not None:
            raise WebSocketClosed(*self.closed)

    def _need_accept(self, what: str) -> None:
        if not self.accepted and self.closed is None:
            raise RuntimeError(f"cannot {what} the websocket yet: first `await ws.accept()`")

    async def _wait_change(self) -> None:
        await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
