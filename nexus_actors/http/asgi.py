"""Between ASGI's scope and our request."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

from nexus_actors.http.fields import Headers
from nexus_actors.http.heads import Head
from nexus_actors.http.incoming import ForeignIncoming, Incoming
from nexus_actors.http.request import Request, request_id_of
from nexus_actors.http.websockets import WebSocket

__all__ = ["opening_of", "raw_path_of", "request_of", "scope_of"]


def raw_path_of(scope: Any) -> str:
    """The path as it was sent. Of an absolute form (RFC 9112 3.2.2) only the path counts."""
    raw = scope.get("raw_path")
    path = quote(scope["path"]) if raw is None else raw.decode("latin-1")
    if path.startswith(("http://", "https://")):
        path = "/" + path.split("//", 1)[1].partition("/")[2]
    return str(path)


def request_of(
    scope: Any, raw_path: str, incoming: Incoming | ForeignIncoming, max_body: int
) -> Request:
    """The request that an HTTP scope is the head of; its body comes from ``incoming``."""
    headers = Headers.from_wire(scope["headers"])
    client = scope.get("client")
    return Request(
        scope["method"],
        unquote(raw_path),
        headers=headers,
        query=scope["query_string"].decode("latin-1"),
        body=incoming,
        client=(client[0], client[1]) if client else None,
        id=request_id_of(headers.get("x-request-id", "")),
        scheme=scope.get("scheme", "http"),
        max_body=max_body,
    )


def opening_of(scope: Any, raw_path: str) -> WebSocket:
    """The websocket whose opening a scope is."""
    headers = Headers.from_wire(scope["headers"])
    client = scope.get("client")
    return WebSocket(
        unquote(raw_path),
        headers=headers,
        query=scope["query_string"].decode("latin-1"),
        client=(client[0], client[1]) if client else None,
        id=request_id_of(headers.get("x-request-id", "")),
        scheme=scope.get("scheme", "ws"),
        subprotocols=tuple(scope.get("subprotocols", ())),
    )


def scope_of(
    head: Head,
    request: Request,
    client: tuple[str, int] | None,
    server: tuple[str, int] | None,
) -> dict[str, Any]:
    """ASGI's scope for a request of the shortcut, where Quart is to answer it."""
    path, _, query = head.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.1"},
        "http_version": "1.1" if head.http11 else "1.0",
        "method": head.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": request.headers.to_wire(),
        "client": client,
        "server": server,
        "state": {},
        "extensions": {},
    }
