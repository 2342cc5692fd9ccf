"""The head of an HTTP/1 request: told whether it is plain, and what of it the connection must know.

Whatever is not plain in every respect, the shortcut leaves to Hypercorn's protocol: that one
refuses it or makes sense of it. So one place refuses, and nothing is read in two ways.
"""

from __future__ import annotations

import re

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

__all__ = ["HEAD_END", "MAX_HEADERS", "Head", "loose_line", "read_head"]

HEAD_END = b"\r\n\r\n"
MAX_HEADERS = 200
"""Headers of one request."""

_REQUEST_LINE = re.compile(rb"([A-Z]{3,20}) ([!-~]+) HTTP/1\.([01])\r\n")
_CONNECTION = re.compile(rb"\r\nconnection:([^\r]*)")
_THAT_MATTER = re.compile(
    rb"\r\n(host|connection|content-length|transfer-encoding|expect|upgrade|x-request-id):"
)
_HOST_ONLY = [b"host"]
_BLANK_LINE = re.compile(rb"\n\r?\n")
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")
_FOLDED = re.compile(rb"\n[ \t]")


class _Silent:
    """What httptools calls: nothing, it is only to check."""


_SILENT = _Silent()


class Head:
    """The head of one request that is plain: every line as RFC 9112 has it, one meaning only."""

    __slots__ = (
        "chunked",
        "expects",
        "http11",
        "keep_alive",
        "length",
        "method",
        "raw",
        "request_id",
        "target",
    )

    method: str
    target: bytes
    """Path and query as they were sent; it begins with a slash."""
    raw: bytes
    """All of the head, the blank line included."""
    http11: bool
    keep_alive: bool
    """Whether the client lets the connection go on after this request."""
    length: int
    """The length of the body in bytes; 0 where there is none, or where it is chunked."""
    chunked: bool
    expects: bool
    """Whether the client waits for ``100 Continue`` before it sends the body."""

    request_id: bytes
    """The client's own ``X-Request-ID``, empty where it sent none."""

    @property
    def has_body(self) -> bool:
        """Whether a body follows."""
        return self.chunked or self.length > 0


def read_head(raw: bytes, max_url: int) -> Head | None:
    """The head that ``raw`` is, with the blank line at its end; None where it is not plain.

    Not plain are also: the opening of a websocket, an address in absolute form, one that is longer
    than ``max_url`` bytes, a transfer coding that is not ``chunked`` alone, more than
    :data:`MAX_HEADERS` headers, not exactly one ``Host``.
    """
    line = _REQUEST_LINE.match(raw)
    if line is None:
        return None
    try:
        HttpRequestParser(_SILENT).feed_data(raw)
    except HttpParserUpgrade:
        pass  # what it offers to speak instead is looked at below
    except HttpParserError:
        return None
    head = Head()
    head.raw = raw
    head.method = line[1].decode()
    head.target = target = line[2]
    head.http11 = head.keep_alive = line[3] == b"1"
    head.length = 0
    head.chunked = head.expects = False
    head.request_id = b""
    if target[0] != 0x2F or len(target) > max_url or b"#" in target:
        return None
    low = raw.lower()
    names = _THAT_MATTER.findall(low)
    if names == _HOST_ONLY:
        return head if len(raw) < MAX_HEADERS * 4 or _few_headers(raw) else None
    return head if _read_what_matters(head, low, names) and _few_headers(raw) else None


def _few_headers(raw: bytes) -> bool:
    return raw.count(b"\r\n") <= MAX_HEADERS + 2


def _read_what_matters(head: Head, low: bytes, names: list[bytes]) -> bool:
    """Read the headers that matter to the connection; False where one of them is not plain."""
    raw = head.raw
    hosts = names.count(b"host")
    if hosts != 1 and (hosts or head.http11):
        return False
    if b"upgrade" in names and b"websocket" in low:
        return False
    if b"content-length" in names:
        head.length = int(_value(raw, low, b"content-length"))
    elif b"transfer-encoding" in names:
        if _value(raw, low, b"transfer-encoding").lower() != b"chunked" or not head.http11:
            return False
        head.chunked = True
    if b"x-request-id" in names:
        head.request_id = _value(raw, low, b"x-request-id")
    if b"expect" in names:
        head.expects = _value(raw, low, b"expect").lower() == b"100-continue"
    if head.keep_alive and b"connection" in names:
        tokens = b",".join(_CONNECTION.findall(low)).split(b",")
        head.keep_alive = b"close" not in [token.strip(b" \t") for token in tokens]
    return True


def loose_line(data: bytes) -> str | None:
    """What is wrong with the lines of the head at the beginning of ``data``; None where they are
    as they should be, or where its end has not arrived.

    A line that does not end in CR LF, and one that goes on in the next, are read in two ways by two
    programs: whoever sits between client and server could be made to smuggle.
    """
    blank = _BLANK_LINE.search(data)
    if blank is None:
        return None
    head = data[: blank.end()]
    if _BARE.search(head):
        return "a line of the head does not end in CR LF"
    if _FOLDED.search(head):
        return "a header goes on in the next line"
    return None


def _value(raw: bytes, low: bytes, name: bytes) -> bytes:
    at = low.find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    start = at + len(name) + 3
    return raw[start : raw.index(b"\r", start)].strip(b" \t")
