"""A request as a handler sees it: its head, and the body in the form it is wanted in."""

from __future__ import annotations

import json as _json
import random
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from werkzeug.sansio.http import parse_cookie

from nexus_actors.actors.bridge import bridged
from nexus_actors.errors import HTTPError
from nexus_actors.http.encoding import decode_json
from nexus_actors.http.fields import Headers, MultiDict, Pairs
from nexus_actors.http.forms import Form, UploadedFile, parse_form
from nexus_actors.http.incoming import BodySource, ClientGone

__all__ = ["Request", "RequestHead", "new_request_id", "request_id_of"]

MAX_QUERY_FIELDS = 1000
"""A query with more fields than this is refused: reading it would cost more than any use of it."""


def new_request_id() -> str:
    """A name for one request, unlike any other: it ties the answer to the log."""
    return f"{_random.getrandbits(128):032x}"


_SANE_ID = re.compile(r"[A-Za-z0-9._\-]{1,128}\Z")


def request_id_of(given: str) -> str:
    """The name for a request whose client calls it ``given``: that, where it is a sane one."""
    return given if given and _SANE_ID.match(given) else new_request_id()


_random = random.Random()  # one of its own: a plugin that seeds the common one must not repeat ids


class RequestHead:
    """What a request and the opening of a websocket have in common."""

    def __init__(
        self,
        method: str = "GET",
        path: str = "/",
        *,
        headers: Pairs = (),
        query: str | Pairs = "",
        path_params: Mapping[str, Any] | None = None,
        client: tuple[str, int] | None = None,
        id: str = "",
        scheme: str = "http",
    ) -> None:
        self.method = method.upper()
        """``GET``, ``POST`` and so on, in capitals."""
        self.path = path
        """The path, decoded, without the query."""
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        """The headers; may be changed, as a middleware does."""
        self.path_params: dict[str, Any] = dict(path_params or {})
        """The path's parameters by name, as text."""
        self.client = client
        """Host and port of the other side; None over a Unix socket."""
        self.id = id or new_request_id()
        """The request's id: the client's own ``X-Request-ID`` where it sent a sane one."""
        self.scheme = scheme
        self.state: dict[str, Any] = {}
        """Free for middlewares and handlers: it lives as long as the request."""
        self._query: MultiDict | None = None
        self.query_string = ""
        """The query as it was sent, without the question mark."""
        if isinstance(query, str):
            self.query_string = query
        else:
            self._query = MultiDict(query)

    @property
    def query(self) -> MultiDict:
        """The fields of the query: ``request.query["a"]``, ``.get("a")``, ``.getlist("a")``.

        Raises:
            HTTPError: 400, where the query is not UTF-8 or has too many fields.
        """
        if self._query is None:
            self._query = MultiDict(_parse_query(self.query_string, "the query"))
        return self._query

    @property
    def url(self) -> str:
        """The address that was asked for, with host and query."""
        host = self.headers.get("host", "localhost")
        question = "?" if self.query_string else ""
        return f"{self.scheme}://{host}{self.path}{question}{self.query_string}"

    @property
    def cookies(self) -> dict[str, str]:
        """The client's cookies by name."""
        found: dict[str, str] = {}
        for header in self.headers.getlist("cookie"):
            found.update(parse_cookie(header).items())
        return found

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {self.path} id={self.id}>"


class Request(RequestHead):
    """One request. Its body is read before the handler is called, but for ``stream=True``.

    ``body``, ``json``, ``text`` and ``form`` may be called again and in any order. In a test, build
    one: ``Request("POST", "/data", json={"name": "a"})``.
    """

    def __init__(
        self,
        method: str = "GET",
        path: str = "/",
        *,
        headers: Pairs = (),
        query: str | Pairs = "",
        body: bytes | BodySource = b"",
        json: Any = None,
        path_params: Mapping[str, Any] | None = None,
        client: tuple[str, int] | None = None,
        id: str = "",
        scheme: str = "http",
        max_body: int | None = None,
    ) -> None:
        super().__init__(
            method,
            path,
            headers=headers,
            query=query,
            path_params=path_params,
            client=client,
            id=id,
            scheme=scheme,
        )
        if json is not None:
            body = _json.dumps(json).encode()
            self.headers.setdefault("Content-Type", "application/json")
        self.max_body = max_body
        """The longest body that is read, in bytes; None for no limit."""
        self._body: bytes | None = body if isinstance(body, bytes) else None
        self._source: BodySource | None = None if isinstance(body, bytes) else body
        self._taken = 0
        self._streamed = False
        self._form: Form | None = None

    @classmethod
    def arrived(
        cls,
        method: str,
        path: str,
        headers: Headers,
        query: str,
        body: bytes | BodySource,
        *,
        client: tuple[str, int] | None,
        id: str,
        max_body: int | None,
    ) -> Request:
        """A request from the connection: what the constructor makes of the same, in less time."""
        self: Request = cls.__new__(cls)
        self.method = method
        self.path = path
        self.headers = headers
        self.path_params = {}
        self.client = client
        self.id = id
        self.scheme = "http"
        self.state = {}
        self._query = None
        self.query_string = query
        self.max_body = max_body
        if isinstance(body, bytes):
            self._body, self._source = body, None
        else:
            self._body, self._source = None, body
        self._taken = 0
        self._streamed = False
        self._form = None
        return self

    @property
    def loaded_body(self) -> bytes | None:
        """The body where it has been read already, else None. Never waits."""
        return self._body

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            HTTPError: 413 for a body over the limit, 400 where the client went away before its end.
            RuntimeError: after :meth:`stream`, which keeps nothing.
        """
        if self._body is None:
            if self._streamed:
                raise RuntimeError(
                    f"the body of {self!r} was read with stream(), which keeps nothing of it"
                )
            chunks = []
            while chunk := await self._next_chunk():
                chunks.append(chunk)
            self._body = b"".join(chunks)
        return self._body

    async def json(self) -> Any:
        """The body as JSON.

        Raises:
            HTTPError: 400 with line and column where it is not JSON; else as :meth:`body`.
        """
        try:
            return decode_json(await self.body())
        except HTTPError as error:
            if self.media_type not in {"", "application/json"} and error.status == 400:
                hint = f"{error.detail}; it was sent as {self.media_type}"
                raise HTTPError(400, hint) from None
            raise

    async def text(self) -> str:
        """The body as text, in the charset that its Content-Type names, else UTF-8.

        Raises:
            HTTPError: 400 where the bytes are not of that charset; else as :meth:`body`.
        """
        data = await self.body()
        charset = self._content_type()[1].get("charset", "utf-8")
        try:
            return data.decode(charset)
        except (UnicodeDecodeError, LookupError):
            raise HTTPError(400, f"the body is not text in {charset}") from None

    async def stream(self) -> AsyncIterator[bytes]:
        """The body in pieces, as they arrive on a route with ``stream=True``, which keeps nothing.

        On other routes it is the body that was read, in one piece.

        Raises:
            HTTPError: as :meth:`body`, while iterating.
        """
        if self._body is not None:
            if self._body:
                yield self._body
            return
        self._streamed = True
        while chunk := await self._next_chunk():
            yield chunk

    async def form(self) -> Form:
        """The fields and files of a form, urlencoded or ``multipart/form-data``.

        Raises:
            HTTPError: 415 for another Content-Type, 400 for a broken form; else as :meth:`body`.
        """
        if self._form is None:
            media_type, options = self._content_type()
            self._form = parse_form(media_type, options, await self.body())
        return self._form

    @property
    def files(self) -> Mapping[str, UploadedFile]:
        """The files of the form, by field name, once ``await request.form()`` has read it.

        Raises:
            RuntimeError: before that.
        """
        if self._form is None:
            raise RuntimeError("the form has not been read yet: first `await request.form()`")
        return self._form.files

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, in lower case; empty where there is none."""
        return self._content_type()[0]

    def _content_type(self) -> tuple[str, dict[str, str]]:
        media_type, _, rest = self.headers.get("content-type", "").partition(";")
        options = {}
        for option in rest.split(";"):
            name, _, value = option.strip().partition("=")
            if name:
                options[name.lower()] = value.strip('"')
        return media_type.strip().lower(), options

    async def _next_chunk(self) -> bytes:
        if self._source is None:
            return b""
        length = self.headers.get("content-length", "")
        if self.max_body is not None and length.isdecimal() and int(length) > self.max_body:
            raise _too_long(self.max_body)
        try:
            chunk = await _pull(self._source)
        except ClientGone:
            raise HTTPError(400, "the client went away before the end of the body") from None
        self._taken += len(chunk)
        if self.max_body is not None and self._taken > self.max_body:
            raise _too_long(self.max_body)
        return chunk


@bridged
async def _pull(source: BodySource) -> bytes:
    return await source.next_chunk()


def _too_long(limit: int) -> HTTPError:
    return HTTPError(413, f"the body is longer than the {limit:,} bytes that are taken here")


def _parse_query(text: str, what: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            text,
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_QUERY_FIELDS,
        )
    except UnicodeDecodeError:
        raise HTTPError(400, f"{what} is not UTF-8, percent-encoded") from None
    except ValueError:
        raise HTTPError(400, f"{what} has more than {MAX_QUERY_FIELDS} fields") from None
