"""Middleware: code of a plugin that runs around each of its HTTP routes."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from nexus_actors.http.request import Request
from nexus_actors.http.response import Response

__all__ = ["CallNext", "Middleware", "MiddlewareLike", "check_middleware", "name_of"]

CallNext = Callable[[Request], Awaitable[Response]]
"""What a middleware goes on with: the next middleware, or after the last the route's handler."""

MiddlewareLike = Callable[[Request, CallNext], Awaitable[Any]]
"""A :class:`Middleware` object or any async function of the same two parameters."""


class Middleware(abc.ABC):
    """Wraps the routes of the plugin that adds it.

    ::

        class Timing(Middleware):
            async def __call__(self, request, call_next):
                began = trio.current_time()
                response = await call_next(request)
                response.headers["X-Process-Time"] = f"{trio.current_time() - began:.6f}"
                return response

        # in the plugin's initialize()
        self.add_middleware(Timing())

    The first one added is the outermost: it sees the request first and the response last. The
    headers of both may be changed. Not going on, and returning a Response of its own, answers the
    request at once; an exception of the handler passes through ``call_next`` and may be answered
    there. ``super().__init__()`` need not be called.
    """

    @abc.abstractmethod
    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        """Answer ``request``; ``await call_next(request)`` gives the answer of what is inside.

        ``call_next`` may be called once. What is returned must be a Response.
        """


def name_of(middleware: object) -> str:
    """How errors speak of a middleware: its class's name, or the function's."""
    name = getattr(middleware, "__qualname__", None)
    return name if isinstance(name, str) else type(middleware).__qualname__


def check_middleware(middleware: object) -> MiddlewareLike:
    """``middleware`` itself, if it can be one.

    Raises:
        TypeError: for a class, something that cannot be called with ``(request, call_next)``, or is
            not async, naming it and the fix.
    """
    name = name_of(middleware)
    if inspect.isclass(middleware):
        raise TypeError(f"add_middleware takes an object: write {name}(...), not {name}")
    if not callable(middleware):
        raise TypeError(
            f"{name} object cannot be a middleware: give a Middleware object or an async function "
            "(request, call_next)"
        )
    if not (
        inspect.iscoroutinefunction(middleware)
        or inspect.iscoroutinefunction(type(middleware).__call__)
    ):
        raise TypeError(f"the middleware {name} must be async: write `async def`")
    try:
        inspect.signature(middleware).bind(None, None)
    except TypeError:
        raise TypeError(
            f"the middleware {name} must take (request, call_next), and takes "
            f"{inspect.signature(middleware)}"
        ) from None
    return middleware
