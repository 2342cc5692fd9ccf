"""The decorators that make a method a route: they leave a mark on it and hand it back."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeVar

import attrs

__all__ = [
    "MARK",
    "METHODS",
    "RouteMark",
    "Segment",
    "delete",
    "get",
    "marks_of",
    "parse_path",
    "patch",
    "post",
    "put",
    "websocket",
]

F = TypeVar("F", bound=Callable[..., Any])

MARK = "__nexus_route__"
"""The attribute of a decorated function that holds its marks, a tuple of :class:`RouteMark`."""

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "WEBSOCKET")
"""What a route may be for. HEAD is answered by GET's route, OPTIONS by the node itself."""


@attrs.frozen
class Segment:
    """What is between two slashes: literal ``users``, parameter ``{id}``, rest ``{p:path}``."""

    kind: Literal["literal", "parameter", "rest"]
    text: str
    """The literal text, or the parameter's name."""


@attrs.frozen
class RouteMark:
    """What a decorator said about a handler; it is read when the plugin is loaded."""

    method: str
    """One of :data:`METHODS`."""
    path: str
    """As written, ``/orders/{id}``."""
    on_error: Literal["restart", "reply"] | None = None
    """What a fault in the handler does: ``reply`` answers 500, ``restart`` also crashes the plugin;
    None takes the manifest's word."""
    alone: bool = False
    """Whether the handler runs with no other message of the plugin beside it."""
    together: bool = False
    """Whether it may run beside the plugin's other messages, whatever ``concurrency`` says."""
    timeout: float | None = None
    """Seconds from the end of the head to the first byte of the reply; None takes the node's."""
    on_disconnect: Literal["cancel", "finish"] | None = None
    """What happens to the handler when the client goes away. None cancels GET and HEAD and lets the
    others finish."""
    stream: bool = False
    """Whether ``request.stream()`` gives the body as it arrives, instead of it being read first."""
    max_body: int | None = None
    """The longest body in bytes; None takes the node's."""
    status: int = 200
    """The status of a reply that names none."""
    summary: str = ""
    """One line for the API's documentation; without it the handler's docstring has it."""

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The path, parsed."""
        return parse_path(self.path)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the path's parameters, in order."""
        return _parameters(self.path)


_PARAMETER = re.compile(r"\{(?P<name>[^{}:]*)(?::(?P<converter>[^{}]*))?\}\Z")
_UNFIT = re.compile(r"[\x00-\x20\x7f?#\\%]")


@functools.lru_cache(maxsize=10_000)
def _parameters(path: str) -> tuple[str, ...]:
    return tuple(s.text for s in parse_path(path) if s.kind != "literal")


def parse_path(path: str) -> tuple[Segment, ...]:
    """In: ``/files/{owner}/{name:path}``. Ret: its segments.

    Raises:
        ValueError: names the path, what is wrong with it, and what to write.
    """
    if not isinstance(path, str):
        raise ValueError(
            f"a route needs its path as text, not {path!r}: "
            'write @get("/path") with the parentheses'
        )

    def refuse(why: str, fix: str) -> ValueError:
        return ValueError(f"route {path!r}: {why}; {fix}")

    if not path.startswith("/"):
        raise refuse("a path begins with a slash", f'write "/{path}"')
    unfit = _UNFIT.search(path)
    if unfit is not None:
        raise refuse(
            f"{unfit.group()!r} does not belong into a path",
            "write the path decoded, without query, blanks and backslashes",
        )
    if path == "/":
        return ()
    segments: list[Segment] = []
    seen: set[str] = set()
    parts = path[1:].split("/")
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if not part and not last:
            raise refuse("it has two slashes in a row", "take one out")
        if part in {".", ".."}:
            raise refuse(f"{part!r} has no meaning here", "write where it leads to")
        if "{" not in part and "}" not in part:
            segments.append(Segment("literal", part))
            continue
        match = _PARAMETER.match(part)
        if match is None:
            if part.count("{") != part.count("}"):
                raise refuse(f"the braces of {part!r} do not pair up", "write {name}")
            raise refuse(
                f"in {part!r} the parameter is only a piece of the segment",
                "make it a whole one, /{name}/",
            )
        name, converter = match["name"], match["converter"]
        if not name.isidentifier():
            raise refuse(f"{name!r} cannot be the name of a parameter", "use a Python name")
        if name in seen:
            raise refuse(f"the parameter {name!r} comes twice", "give each a name of its own")
        seen.add(name)
        if converter is None:
            segments.append(Segment("parameter", name))
        elif converter != "path":
            raise refuse(
                f"{{{name}:{converter}}} names a converter that there is not",
                f"write {{{name}}} and say the type in the signature, `{name}: {converter}`; "
                "only {name:path} is known",
            )
        elif not last:
            raise refuse(f"{{{name}:path}} takes all that follows", "put it last")
        else:
            segments.append(Segment("rest", name))
    return tuple(segments)


def marks_of(function: object) -> tuple[RouteMark, ...]:
    """The marks that decorators left on ``function``; empty for anything else."""
    marks = getattr(function, MARK, ())
    return marks if isinstance(marks, tuple) else ()


def _route(
    method: str,
    path: str,
    *,
    on_error: Literal["restart", "reply"] | None,
    alone: bool,
    together: bool,
    timeout: float | None,
    on_disconnect: Literal["cancel", "finish"] | None,
    stream: bool = False,
    max_body: int | None = None,
    status: int = 200,
    summary: str,
) -> Callable[[F], F]:
    parse_path(path)

    def check(good: bool, option: str, value: object, fix: str) -> None:
        if not good:
            raise ValueError(f"route {path!r}: {option}={value!r} is not possible; {fix}")

    check(on_error in {None, "restart", "reply"}, "on_error", on_error, 'use "restart" or "reply"')
    check(
        on_disconnect in {None, "cancel", "finish"},
        "on_disconnect",
        on_disconnect,
        'use "cancel" or "finish"',
    )
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    good = timeout is None or (is_number and timeout > 0)
    check(good, "timeout", timeout, "use seconds above 0")
    check(max_body is None or max_body >= 0, "max_body", max_body, "use bytes, 0 or more")
    check(200 <= status <= 299, "status", status, "use 200 to 299, others go with the reply")
    check(not (alone and together), "together", together, "alone=True says the opposite")
    mark = RouteMark(
        method,
        path,
        on_error,
        alone,
        together,
        timeout,
        on_disconnect,
        stream,
        max_body,
        status,
        summary,
    )

    def decorate(function: F) -> F:
        setattr(function, MARK, (*marks_of(function), mark))
        return function

    return decorate


class RouteDecorator(Protocol):
    """What ``get``, ``post`` and the like are; the options are those of :class:`RouteMark`."""

    def __call__(
        self,
        path: str,
        *,
        on_error: Literal["restart", "reply"] | None = None,
        alone: bool = False,
        together: bool = False,
        timeout: float | None = None,
        on_disconnect: Literal["cancel", "finish"] | None = None,
        stream: bool = False,
        max_body: int | None = None,
        status: int = 200,
        summary: str = "",
    ) -> Callable[[F], F]:
        """Make the decorated function the handler of that method and ``path``."""
        ...


def _decorator(method: str) -> RouteDecorator:
    def decorator(
        path: str,
        *,
        on_error: Literal["restart", "reply"] | None = None,
        alone: bool = False,
        together: bool = False,
        timeout: float | None = None,
        on_disconnect: Literal["cancel", "finish"] | None = None,
        stream: bool = False,
        max_body: int | None = None,
        status: int = 200,
        summary: str = "",
    ) -> Callable[[F], F]:
        return _route(
            method,
            path,
            on_error=on_error,
            alone=alone,
            together=together,
            timeout=timeout,
            on_disconnect=on_disconnect,
            stream=stream,
            max_body=max_body,
            status=status,
            summary=summary,
        )

    decorator.__name__ = decorator.__qualname__ = method.lower()
    decorator.__doc__ = f"""Make the decorated method the handler of ``{method} path``.

    ``path`` may have parameters, ``/orders/{{id}}``, which the handler takes by name and types by
    annotation; a last ``{{name:path}}`` takes all that follows. Options: see :class:`RouteMark`.

    Raises:
        ValueError: for a path or option that cannot be, with what to write instead.
    """
    return decorator


get = _decorator("GET")
post = _decorator("POST")
put = _decorator("PUT")
patch = _decorator("PATCH")
delete = _decorator("DELETE")


def websocket(
    path: str,
    *,
    on_error: Literal["restart", "reply"] | None = None,
    alone: bool = False,
    together: bool = False,
    timeout: float | None = None,
    summary: str = "",
) -> Callable[[F], F]:
    """Make the decorated method the handler of websockets opened at ``path``.

    It takes the :class:`~nexus_actors.http.WebSocket` as ``ws`` (or ``websocket``, or by its
    annotation) and the path's parameters by name. ``timeout`` (seconds) bounds the time until it
    accepts.

    Raises:
        ValueError: for a path or option that cannot be, with what to write instead.
    """
    return _route(
        "WEBSOCKET",
        path,
        on_error=on_error,
        alone=alone,
        together=together,
        timeout=timeout,
        on_disconnect=None,
        summary=summary,
    )
