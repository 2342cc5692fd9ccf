"""Clients that are looked at byte by byte: an HTTP/1.1 connection and a websocket over Trio."""

from __future__ import annotations

from typing import Any

import attrs
import h11
import trio
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Message, RejectConnection
from wsproto.events import Request as Opening


@attrs.define
class Reply:
    """A whole response."""

    status: int
    headers: dict[str, str]
    body: bytes


class RawConnection:
    """One HTTP/1.1 connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._h11 = h11.Connection(h11.CLIENT)

    @classmethod
    async def open(cls, port: int) -> RawConnection:
        return cls(await trio.open_tcp_stream("127.0.0.1", port))

    async def send(self, method: str, path: str, body: bytes = b"") -> None:
        """Send a request, whole."""
        headers = [("Host", "test"), ("Content-Length", str(len(body)))]
        data = self._h11.send(h11.Request(method=method, target=path, headers=headers)) or b""
        data += self._h11.send(h11.Data(data=body)) or b""
        data += self._h11.send(h11.EndOfMessage()) or b""
        await self.stream.send_all(data)

    async def event(self) -> Any:
        """The next event of the response.

        Raises:
            h11.RemoteProtocolError: the connection was cut in the midst of it.
        """
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            try:
                data = await self.stream.receive_some(2**16)
            except trio.BrokenResourceError:
                data = b""
            self._h11.receive_data(data)
        return event

    async def reply(self) -> Reply:
        """The whole response; fails where it is cut short."""
        head = await self.event()
        assert isinstance(head, h11.Response), head
        body = b""
        while not isinstance(event := await self.event(), h11.EndOfMessage):
            body += event.data
        return Reply(
            head.status_code, {name.decode(): value.decode() for name, value in head.headers}, body
        )

    async def aclose(self) -> None:
        await self.stream.aclose()


class RawWebSocket:
    """One websocket."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._ws = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._events: list[Any] = []

    @classmethod
    async def open(cls, port: int, path: str) -> RawWebSocket:
        """Open it; fails where it is refused."""
        self = cls(await trio.open_tcp_stream("127.0.0.1", port))
        await self.stream.send_all(self._ws.send(Opening(host="test", target=path)))
        event = await self.event()
        assert isinstance(event, AcceptConnection), event
        return self

    async def send(self, text: str) -> None:
        await self.stream.send_all(self._ws.send(Message(data=text)))

    async def event(self) -> Any:
        """The next event; a :class:`CloseConnection` with 1006 where the connection was cut."""
        while not self._events:
            try:
                data = await self.stream.receive_some(2**16)
            except trio.BrokenResourceError:
                data = b""
            if not data:
                return CloseConnection(code=1006, reason="cut")
            self._ws.receive_data(data)
            self._events += [*self._ws.events()]
        event = self._events.pop(0)
        if isinstance(event, CloseConnection):
            await self.stream.send_all(self._ws.send(event.response()))
        return event

    async def aclose(self) -> None:
        await self.stream.aclose()


__all__ = ["RawConnection", "RawWebSocket", "RejectConnection", "Reply"]
