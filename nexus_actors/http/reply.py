"""Replies as HTTP/1.1 on the wire: one write for a whole one, chunks for a stream."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any
from wsgiref.handlers import format_date_time

from nexus_actors.http.errors import title_of
from nexus_actors.http.heads import Head
from nexus_actors.http.response import Response
from nexus_actors.http.upload import Upload
from nexus_actors.http.wire import Wire

__all__ = ["Sender", "whole_reply"]

BODILESS = {204, 304}
"""Statuses whose reply has no body, nor a length of one."""

_CLOSE = b"connection: close\r\n"
_begun: dict[tuple[int, str], bytes] = {}
"""The first lines of replies that have no header but a Content-Type, by that and the status."""
_BEGUN_MAX = 256


class _Date:
    """The Date header, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = b"date: " + format_date_time(second).encode() + b"\r\n"
        return self._line


_date = _Date()


def whole_reply(
    response: Response, request_id: str, *, method: str, close: bool
) -> tuple[bytes, bool]:
    """A response that is no stream, from its status line to the end of its body.

    ``close`` is whether the connection is to end after it; also returned, for the response itself
    may say so.
    """
    status, body = response.status, response.body
    headers = response.headers
    kind = headers.only("content-type")
    if kind is None:
        headers["X-Request-ID"] = request_id
        wire = [pair for pair in response.to_wire() if pair[0] != b"content-length"]
        close_line = _CLOSE if close else b""
        if any(name == b"connection" for name, _value in wire) and _closes(wire):
            close, close_line = True, b""
        begun = _first_lines(status, wire) + close_line
    else:
        known = _begun.get((status, kind))
        if known is None:
            known = _first_lines(status, headers.to_wire())
            if len(_begun) < _BEGUN_MAX:
                _begun[status, kind] = known
        begun = b"%bx-request-id: %b\r\n%b" % (known, request_id.encode(), _CLOSE if close else b"")
    length = b"" if status in BODILESS else b"content-length: %d\r\n" % len(body)
    if method == "HEAD" or status in BODILESS:
        body = b""
    return b"%b%b%b\r\n%b" % (begun, length, _date.line(), body), close


def _first_lines(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, title_of(status).encode())]
    lines += [b"%b: %b\r\n" % pair for pair in headers]
    return b"".join(lines)


def _closes(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(
        b"close" in [token.strip() for token in value.lower().split(b",")]
        for name, value in headers
        if name.lower() == b"connection"
    )


class Sender:
    """ASGI's ``send`` for one exchange, straight to the wire: for streams and the node's pages."""

    def __init__(self, head: Head, upload: Upload, wire: Wire, *, close: bool) -> None:
        self.finished = False
        """Whether the reply went out to its end."""
        self.close = close
        """Whether the connection ends after it."""
        self._head = head
        self._upload = upload
        self._wire = wire
        self._held = b""
        """The head of the reply, until the first piece of its body is written with it."""
        self._chunked = False
        self._bodiless = False

    async def send(self, message: dict[str, Any]) -> None:
        """Send one ASGI message, ``http.response.start`` or ``http.response.body``."""
        if message["type"] == "http.response.start":
            self._begin(message["status"], list(message.get("headers", ())))
            return
        if message["type"] != "http.response.body":
            return
        data = b"" if self._bodiless else message.get("body", b"")
        more = message.get("more_body", False)
        if self._chunked:
            if data:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            if not more:
                data += b"0\r\n\r\n"
        if self._held:
            data, self._held = self._held + data, b""
        if data and not self._wire.broken:
            await self._wire.write(data)
        if self._wire.broken:
            self._upload.lose()
        elif not more:
            self.finished = True
            self._upload.lose()  # which tells the app that the exchange is over

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        if _closes(headers):
            self.close = True
        elif self.close:
            headers.append((b"connection", b"close"))
        self._upload.begin_reply()
        self._bodiless = status in BODILESS or self._head.method == "HEAD"
        names = {name.lower() for name, _value in headers}
        if b"content-length" not in names and status not in BODILESS:
            if self._head.http11:
                headers.append((b"transfer-encoding", b"chunked"))
                self._chunked = not self._bodiless
            elif not self.close:  # the end of the connection is the end of the body
                self.close = True
                headers.append((b"connection", b"close"))
        self._held = _first_lines(status, headers) + _date.line() + b"\r\n"
