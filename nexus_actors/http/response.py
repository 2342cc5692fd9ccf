"""A response, and how what a handler returns becomes one."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from werkzeug.http import dump_cookie
from werkzeug.urls import iri_to_uri

from nexus_actors.http.encoding import encode_json
from nexus_actors.http.fields import Headers, Pairs
from nexus_actors.http.streams import EVENT_STREAM
from nexus_actors.words import with_article

__all__ = ["Response", "StreamingResponse", "to_response"]

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class Response:
    """An answer: status, headers, and a body or a stream.

    ``body`` is bytes, or text that becomes UTF-8. ``headers`` may be changed until it is sent;
    ``Content-Length`` is written by the server from the body as it then is.

    Raises:
        ValueError: for a status out of 200 to 599, or a header that cannot be.
        TypeError: for a body that is neither text nor bytes.
    """

    stream: AsyncIterable[Any] | None = None
    """What is sent piece by piece instead of :attr:`body`, see :class:`StreamingResponse`."""

    def __init__(
        self,
        body: bytes | str = b"",
        status: int = 200,
        headers: Pairs | None = None,
        media_type: str | None = None,
    ) -> None:
        if isinstance(body, str):
            media_type = media_type or TEXT
            body = body.encode()
        elif not isinstance(body, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"the body of a Response is bytes or text, not {type(body).__name__}; "
                "use Response.json(value) for anything else"
            )
        self.status = _checked_status(status)
        self.headers = Headers(headers or ())
        if media_type is not None:
            self.headers["Content-Type"] = media_type
        self.body = bytes(body)

    @classmethod
    def json(
        cls,
        value: Any,
        status: int = 200,
        headers: Pairs | None = None,
        *,
        media_type: str = JSON,
    ) -> Response:
        """``value`` as JSON.

        Raises:
            NotSerialisable: names the type and the place of what has no form in JSON.
        """
        body = encode_json(value)
        if headers is not None:
            return Response(body, status, headers, media_type)
        # most replies are made here: nothing of this needs the constructor's checks
        response = Response.__new__(Response)
        response.status = _checked_status(status)
        response.headers = Headers.of_type(media_type)
        response.body = body
        return response

    @classmethod
    def html(cls, text: str, status: int = 200, headers: Pairs | None = None) -> Response:
        """A page."""
        return Response(text, status, headers, "text/html; charset=utf-8")

    @classmethod
    def redirect(cls, url: str, status: int = 303, headers: Pairs | None = None) -> Response:
        """Send the client elsewhere: 303 by GET, 307 by the same method, 301 and 308 for ever.

        What a header cannot hold of ``url``, such as blanks and other scripts, is percent-encoded;
        what is encoded already stays as it is.
        """
        response = Response(b"", status, headers)
        response.headers["Location"] = url  # refuses line breaks, which the next line would drop
        response.headers["Location"] = iri_to_uri(url)
        return response

    @classmethod
    def events(
        cls, stream: AsyncIterable[Any], status: int = 200, headers: Pairs | None = None
    ) -> StreamingResponse:
        """Server-sent events: each item is a ``ServerSentEvent`` or the data of one.

        The head goes out at once, before the first event.
        """
        return StreamingResponse(stream, status, headers, EVENT_STREAM)

    @property
    def status_code(self) -> int:
        """The status, by the name that HTTP clients use."""
        return self.status

    @property
    def media_type(self) -> str | None:
        """The Content-Type, None where none is set."""
        return self.headers.get("content-type")

    def set_cookie(
        self,
        name: str,
        value: str = "",
        *,
        max_age: int | None = None,
        expires: datetime | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = True,
        samesite: Literal["Lax", "Strict", "None"] | None = "Lax",
    ) -> None:
        """Add a cookie. ``max_age`` is in seconds; without it the cookie ends with the browser.

        Unless said otherwise, scripts do not see it (``httponly``) and other sites do not send it
        (``samesite``).
        """
        self.headers.add(
            "Set-Cookie",
            dump_cookie(
                name,
                value,
                max_age=max_age,
                expires=expires,
                path=path,
                domain=domain,
                secure=secure,
                httponly=httponly,
                samesite=samesite,
            ),
        )

    def delete_cookie(
        self, name: str, *, path: str | None = "/", domain: str | None = None
    ) -> None:
        """Have the client forget a cookie; path and domain must be those it was set with."""
        self.set_cookie(name, "", max_age=0, path=path, domain=domain)

    def to_wire(self) -> list[tuple[bytes, bytes]]:
        """The headers as they go out, with the length of the body."""
        framing = {b"content-length", b"transfer-encoding"}  # the server's business
        headers = [pair for pair in self.headers.to_wire() if pair[0] not in framing]
        if self.stream is None and self.status not in {204, 304}:
            headers.append((b"content-length", b"%d" % len(self.body)))
        return headers

    def __repr__(self) -> str:
        what = "stream" if self.stream is not None else f"{len(self.body)} bytes"
        return f"<{type(self).__name__} {self.status} {what}>"


class StreamingResponse(Response):
    """A response whose body is sent piece by piece, as an async iterator yields it.

    ``media_type`` None is decided by the first item: ``ServerSentEvent`` makes an event stream,
    text and bytes go as they are, other values become JSON, one a line. The head waits for that
    first item, unless the media type is given here or the client asked for ``text/event-stream``.
    """

    def __init__(
        self,
        stream: AsyncIterable[Any],
        status: int = 200,
        headers: Pairs | None = None,
        media_type: str | None = None,
    ) -> None:
        if not hasattr(stream, "__aiter__"):
            raise TypeError(
                f"a stream is an async iterator, not {type(stream).__name__}; "
                "write `async def` with `yield`"
            )
        super().__init__(b"", status, headers, media_type)
        self.stream = stream


_MAY_RETURN = (
    "a dict, list, attrs or data class (JSON), text, bytes, None (204), a Response, an async "
    "iterator (a stream), or one of these with a status, `(value, status)`, or with status and "
    "headers, `(value, status, headers)`"
)


def to_response(value: Any, *, status: int = 200) -> Response:
    """What a handler returned, as a response. ``status`` is for values that name none.

    ======================================= ============================================
    returned                                answer
    ======================================= ============================================
    dict, list, attrs or data class, struct JSON; also rows of the database, sets, ...
    ``(value, status)``                     the same with that status
    ``(value, status, headers)``            the same with these headers added
    text                                    ``text/plain``, UTF-8
    bytes                                   ``application/octet-stream``
    ``None``                                204 without a body
    ``Response``                            as it is
    an async iterator                       streamed, see :class:`StreamingResponse`
    ======================================= ============================================

    Raises:
        TypeError: for anything else; says what may be returned.
        NotSerialisable: for a value with a part that has no form in JSON; names part and place.
        ValueError: for a status or header that cannot be.
    """
    if type(value) is tuple:
        return _from_tuple(value)
    return _from_value(value, status)


def _from_tuple(value: tuple[Any, ...]) -> Response:
    if len(value) not in {2, 3}:
        raise TypeError(f"a handler returned a tuple of {len(value)}; it may return {_MAY_RETURN}")
    body, status, *rest = value
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(
            f"a handler returned a tuple with {status!r} where the status belongs; "
            f"it may return {_MAY_RETURN}"
        )
    response = _from_value(body, _checked_status(status))
    response.status = status
    for name, header in _header_pairs(rest[0]) if rest and rest[0] is not None else ():
        if name.lower() == "set-cookie":
            response.headers.add(name, header)
        else:
            response.headers[name] = header
    return response


def _header_pairs(headers: Any) -> Iterable[tuple[str, str]]:
    if isinstance(headers, Headers):
        return headers.multi_items()
    if isinstance(headers, Mapping):
        return headers.items()
    try:
        return [(name, value) for name, value in headers]
    except (TypeError, ValueError):
        raise TypeError(
            f"a handler returned a tuple with {headers!r} where the headers belong; give a dict"
        ) from None


def _from_value(value: Any, status: int) -> Response:
    if type(value) is dict or type(value) is list:
        return Response.json(value, status)
    if isinstance(value, Response):
        return value
    if value is None:
        return Response(b"", 204 if status == 200 else status)
    if isinstance(value, str):
        return Response(value, status)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Response(bytes(value), status, media_type="application/octet-stream")
    if hasattr(value, "__aiter__"):
        return StreamingResponse(value, status)
    if not _is_data(value):
        raise TypeError(
            f"a handler returned {with_article(type(value).__name__)}{_hint(value)}; "
            f"it may return {_MAY_RETURN}"
        )
    return Response.json(value, status)


def _is_data(value: Any) -> bool:
    """Whether it is a value of parts, which alone make a JSON reply."""
    cls = type(value)
    return (
        isinstance(value, (dict, list, tuple, set, frozenset, Mapping))
        or hasattr(cls, "__attrs_attrs__")
        or hasattr(cls, "__dataclass_fields__")
        or hasattr(cls, "__struct_fields__")
        or (callable(getattr(value, "keys", None)) and hasattr(value, "__getitem__"))
    )


def _hint(value: Any) -> str:
    if hasattr(value, "__await__"):
        return " that was never awaited (is an `await` missing?)"
    if hasattr(value, "__next__"):
        return " (is `async` missing before its `def`?)"
    return ""


def _checked_status(status: int) -> int:
    if type(status) is int and 200 <= status <= 599:
        return status
    if not isinstance(status, int) or isinstance(status, bool) or not 200 <= status <= 599:
        raise ValueError(f"the status of a response is a number from 200 to 599, not {status!r}")
    return int(status)
