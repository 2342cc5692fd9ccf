"""Finds the route of a method and path: pure, synchronous, quick among ten thousand routes."""

from __future__ import annotations

import heapq
import os.path
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Protocol
from urllib.parse import unquote_to_bytes

import attrs

from nexus_actors.errors import Fault, HTTPError, Invalid
from nexus_actors.http.request import Request
from nexus_actors.http.response import Response
from nexus_actors.http.routes import RouteMark, Segment
from nexus_actors.http.websockets import WebSocket

__all__ = [
    "RESERVED",
    "Endpoint",
    "Match",
    "MethodNotAllowed",
    "NotFound",
    "Route",
    "Router",
    "split_path",
]

RESERVED = ("/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/admin")
"""The node's own pages: these, and all below them, no plugin may claim unless granted."""

GRANTED: Mapping[str, str] = {"/admin": "admin"}
"""Reserved paths that one plugin may have after all: path and plugin."""


class Endpoint(Protocol):
    """What stands behind a route. The plugin layer implements it; the front end only calls it."""

    async def request(self, request: Request, deadline: float) -> Response:
        """The answer to ``request``, by ``deadline`` (a time of Trio's clock).

        The body has been read, unless the route says ``stream=True``. It is cancelled at the
        deadline, and when the client goes away in a way that the route lets matter.

        Raises:
            NexusError: answered as :func:`~nexus_actors.http.errors.response_for_exception` says.
            Exception: answered 500 and logged.
        """
        ...

    async def websocket(self, ws: WebSocket) -> None:
        """Serve one websocket until its session has ended; then it is closed, if it is not yet.

        Raises:
            NexusError: before the accept, answered as a request; after it, by the close code.
            Exception: closes with 1011 and is logged.
        """
        ...


@attrs.frozen
class Route:
    """One method and path, who owns it, and what answers there."""

    method: str
    """``GET`` and so on, or ``WEBSOCKET``."""
    path: str
    """As the plugin wrote it, ``/orders/{id}``."""
    owner: str
    """The plugin's name."""
    target: Endpoint = attrs.field(repr=False)
    options: RouteMark = attrs.field(repr=False)

    @classmethod
    def from_mark(cls, mark: RouteMark, owner: str, target: Endpoint) -> Route:
        """The route that ``mark`` asks for."""
        return cls(mark.method, mark.path, owner, target, mark)


@attrs.frozen
class Match:
    """The route was found. ``params`` are the path's parameters, decoded, as text."""

    route: Route
    params: dict[str, str]


@attrs.frozen
class NotFound:
    """Nothing has that path. ``nearest`` are the known paths most like it."""

    path: str
    nearest: tuple[str, ...]


@attrs.frozen
class MethodNotAllowed:
    """The path is there, for other methods: ``allow`` names them, as the Allow header does.

    ``websocket`` tells that it can (also) be opened as a websocket.
    """

    path: str
    allow: tuple[str, ...]
    websocket: bool = False


class _Node:
    """A place in the tree of segments. ``routes`` are by method."""

    __slots__ = ("literals", "parameter", "rest", "routes")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.rest: _Node | None = None
        self.routes: dict[str, Route] = {}

    def child(self, segment: Segment) -> _Node | None:
        if segment.kind == "literal":
            return self.literals.get(segment.text)
        return self.parameter if segment.kind == "parameter" else self.rest

    def make_child(self, segment: Segment) -> _Node:
        node = self.child(segment)
        if node is None:
            node = _Node()
            if segment.kind == "literal":
                self.literals[segment.text] = node
            elif segment.kind == "parameter":
                self.parameter = node
            else:
                self.rest = node
        return node

    @property
    def empty(self) -> bool:
        return not (self.routes or self.literals or self.parameter or self.rest)


class Router:
    """All routes of a node.

    Matching: literal segments win over parameters, a parameter over ``{name:path}``. HEAD is
    answered by GET's route. A path without parameters is found by one look into a dict; others by
    walking a tree, a step a segment, so the number of routes does not matter.

    ``reserved`` paths (and all below) are refused, except to the owner that ``granted`` names.
    """

    def __init__(
        self,
        reserved: Iterable[str] = RESERVED,
        granted: Mapping[str, str] = GRANTED,
    ) -> None:
        self._reserved = tuple(reserved)
        self._granted = dict(granted)
        self._root = _Node()
        # path as written -> its node, for paths that have no parameter: the quick way
        self._static: dict[str, _Node] = {}
        # method and path -> what was found there, for paths without parameters that were asked for
        self._plain: dict[tuple[str, str], Match] = {}
        self._by_owner: dict[str, list[Route]] = {}
        self._near = _Nearest()

    def check(self, routes: Iterable[Route]) -> list[Fault]:
        """What stands against adding ``routes``: every path claimed twice, every reserved one."""
        faults: list[Fault] = []
        claimed: dict[tuple[str, tuple[str, ...]], Route] = {}
        for route in routes:
            place = f"plugin {route.owner}: {_words(route)}"
            reserved = self._reserved_for(route)
            if reserved is not None:
                faults.append(
                    Fault(place, f"{reserved} belongs to the node itself", "use another path")
                )
            other = self._holder(route) or claimed.get(_shape(route))
            if other is not None:
                whose = "itself" if other.owner == route.owner else f"plugin {other.owner}"
                faults.append(
                    Fault(
                        place,
                        f"the path is taken by {whose}: {_words(other)}",
                        "change one of the two",
                    )
                )
            claimed.setdefault(_shape(route), route)
        return faults

    def add(self, routes: Iterable[Route]) -> None:
        """Add all of ``routes``, or none.

        Raises:
            Invalid: with every path that is claimed twice (naming both owners) or reserved.
        """
        routes = list(routes)
        faults = self.check(routes)
        if faults:
            raise Invalid(faults)
        for route in routes:
            node = self._root
            segments = route.options.segments
            for segment in segments:
                node = node.make_child(segment)
            node.routes[route.method] = route
            if all(segment.kind == "literal" for segment in segments):
                self._static[route.path] = node
            self._by_owner.setdefault(route.owner, []).append(route)
        self._plain.clear()
        self._near.reset(self.paths())

    def remove(self, owner: str) -> None:
        """Take out every route of ``owner``; it may have none."""
        for route in self._by_owner.pop(owner, ()):
            self._take_out(self._root, route, route.options.segments)
        self._plain.clear()
        self._near.reset(self.paths())

    def routes(self, owner: str | None = None) -> list[Route]:
        """The routes of ``owner``, or all, in the order of adding."""
        if owner is not None:
            return list(self._by_owner.get(owner, ()))
        return [route for routes in self._by_owner.values() for route in routes]

    def paths(self) -> set[str]:
        """Every path there is a route for."""
        return {route.path for routes in self._by_owner.values() for route in routes}

    def is_reserved(self, path: str) -> bool:
        """Whether ``path`` is the node's own: reserved, and granted to no plugin."""
        return any(
            path == reserved or path.startswith(reserved + "/")
            for reserved in self._reserved
            if reserved not in self._granted or self._granted[reserved] not in self._by_owner
        )

    def match(self, method: str, raw_path: str) -> Match | NotFound | MethodNotAllowed:
        """What answers ``method raw_path``; the path is as it was sent, still percent-encoded.

        Raises:
            HTTPError: 400 for a path that nothing can have: see :func:`split_path`.
        """
        node = self._static.get(raw_path)
        if node is not None:
            route = _for_method(node.routes, method)
            if route is not None:
                return Match(route, {})
        segments = split_path(raw_path)
        allowed: set[str] = set()
        for node, values in _walk(self._root, segments, 0, ()):
            route = _for_method(node.routes, method)
            if route is not None:
                return Match(route, dict(zip(route.options.parameters, values, strict=True)))
            allowed.update(node.routes)
        path = "/" + "/".join(segments)
        if allowed:
            return MethodNotAllowed(path, allow_header(allowed), "WEBSOCKET" in allowed)
        return NotFound(path, self.nearest(path))

    def match_plain(self, method: str, raw_path: str) -> Match | None:
        """The route of a request, where it is surely a plugin's and its path needs no refusal; None
        for all others, which :meth:`match` and :meth:`is_reserved` then tell apart."""
        plain = self._plain.get((method, raw_path))
        if plain is not None:
            return plain
        try:
            found = self.match(method, raw_path)
        except HTTPError:
            return None
        if not isinstance(found, Match):
            return None
        segments = found.route.options.segments
        if not segments or segments[0].kind != "literal":
            return None  # what begins with a parameter might be a page of the node
        if not found.params and raw_path == found.route.path:
            self._plain[method, raw_path] = found
        return found

    def nearest(self, path: str, also: Iterable[str] = ()) -> tuple[str, ...]:
        """The known paths most like ``path``, at most three; ``also`` are further known ones."""
        return self._near.find(path, also)

    def _reserved_for(self, route: Route) -> str | None:
        for reserved in self._reserved:
            if route.path == reserved or route.path.startswith(reserved + "/"):
                return None if self._granted.get(reserved) == route.owner else reserved
        return None

    def _holder(self, route: Route) -> Route | None:
        node: _Node | None = self._root
        for segment in route.options.segments:
            node = node.child(segment) if node is not None else None
        return None if node is None else node.routes.get(route.method)

    def _take_out(self, node: _Node, route: Route, segments: tuple[Segment, ...]) -> None:
        if not segments:
            del node.routes[route.method]
            if not node.routes:
                self._static.pop(route.path, None)
            return
        child = node.child(segments[0])
        assert child is not None, f"{route} was added but is not in the tree"
        self._take_out(child, route, segments[1:])
        if child.empty:
            if segments[0].kind == "literal":
                del node.literals[segments[0].text]
            elif segments[0].kind == "parameter":
                node.parameter = None
            else:
                node.rest = None


def allow_header(methods: Iterable[str]) -> tuple[str, ...]:
    """What a path with routes for ``methods`` answers: HEAD comes with GET, OPTIONS always."""
    found = set(methods) - {"WEBSOCKET", "OPTIONS"}
    if "GET" in found:
        found.add("HEAD")
    return (*sorted(found), "OPTIONS")


_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def split_path(raw_path: str) -> list[str]:
    """In: ``/files/a%2Fb/c``. Ret: ``["files", "a/b", "c"]``: an encoded slash stays inside.

    Raises:
        HTTPError: 400 for a broken escape, bytes that are not UTF-8, a null byte or other control
            character, a backslash, or a ``.`` or ``..`` that climbs, also an encoded one.
    """
    if not raw_path.startswith("/"):
        raise HTTPError(400, "the path does not begin with a slash")
    segments = raw_path[1:].split("/") if raw_path != "/" else []
    if "%" in raw_path:
        if _BAD_ESCAPE.search(raw_path):
            raise HTTPError(400, "the path has a % that two hexadecimal digits do not follow")
        try:
            segments = [_unquote(segment) for segment in segments]
        except UnicodeDecodeError:
            raise HTTPError(400, "the path is not UTF-8, percent-encoded") from None
    for segment in segments:
        if _CONTROL.search(segment):
            raise HTTPError(400, "the path has a null byte or another control character in it")
        if "\\" in segment:
            raise HTTPError(400, "the path has a backslash in it")
        if "." in segment and any(part in {".", ".."} for part in segment.split("/")):
            raise HTTPError(400, "the path has a . or .. segment in it: write where it leads to")
    return segments


def _unquote(segment: str) -> str:
    return unquote_to_bytes(segment).decode("utf-8")


def _for_method(routes: Mapping[str, Route], method: str) -> Route | None:
    route = routes.get(method)
    if route is None and method == "HEAD":
        route = routes.get("GET")
    return route


def _walk(
    node: _Node, segments: list[str], index: int, values: tuple[str, ...]
) -> Iterator[tuple[_Node, tuple[str, ...]]]:
    """Every node that fits the segments, the best first, with the values of its parameters."""
    if index == len(segments):
        if node.routes:
            yield node, values
        return
    text = segments[index]
    literal = node.literals.get(text)
    if literal is not None:
        yield from _walk(literal, segments, index + 1, values)
    if node.parameter is not None and text:
        yield from _walk(node.parameter, segments, index + 1, (*values, text))
    if node.rest is not None and node.rest.routes:
        yield node.rest, (*values, "/".join(segments[index:]))


def _shape(route: Route) -> tuple[str, tuple[str, ...]]:
    """What two routes may not share: the method, and the path without its parameters' names."""
    return route.method, tuple(
        segment.text if segment.kind == "literal" else f"{{{segment.kind}}}"
        for segment in route.options.segments
    )


def _words(route: Route) -> str:
    return f"{route.method} {route.path}"


# Comparing is dear: a flood of unknown paths must not cost much more than one of known paths.
_CANDIDATES = 200
_COMPARED = 16
_REMEMBERED = 512
_LONGEST = 200


class _Nearest:
    """Finds the paths most like a wrong one, among a bounded number of candidates."""

    def __init__(self) -> None:
        self._by_first: dict[str, list[str]] = {}
        self._found: dict[tuple[str, ...], tuple[str, ...]] = {}

    def reset(self, paths: Iterable[str]) -> None:
        self._found.clear()
        self._by_first.clear()
        for path in sorted(paths):
            self._by_first.setdefault(_first(path), []).append(path)

    def find(self, path: str, also: Iterable[str]) -> tuple[str, ...]:
        if len(path) > _LONGEST:
            return ()
        asked = (path, *also)
        if asked not in self._found:
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            self._found[asked] = self._look(path, asked[1:])
        return self._found[asked]

    def _look(self, path: str, also: tuple[str, ...]) -> tuple[str, ...]:
        first = _first(path)
        candidates = list(self._by_first.get(first, ()))[:_CANDIDATES]
        if not candidates:
            firsts = list(self._by_first)[: 2 * _CANDIDATES]
            for near in get_close_matches(first, _most_alike(first, firsts), n=3, cutoff=0.5):
                candidates += self._by_first[near][: _CANDIDATES // 3]
        alike = _most_alike(path, [*candidates, *also])
        return tuple(get_close_matches(path, alike, n=3, cutoff=0.5))


def _most_alike(text: str, others: list[str]) -> list[str]:
    """The few of ``others`` that share most of their beginning and end with ``text``: a guess."""

    def shared(other: str) -> int:  # a letter wrong in the middle leaves nearly all of both
        begin = len(os.path.commonprefix((text, other)))  # noqa: RUF071 - characters are meant
        ends = text[:begin:-1], other[:begin:-1]
        end = len(os.path.commonprefix(ends))  # noqa: RUF071 - as above
        return begin + end - abs(len(text) - len(other))

    return heapq.nlargest(_COMPARED, others, key=shared)


def _first(path: str) -> str:
    return path.split("/", 2)[1] if path.startswith("/") else path
