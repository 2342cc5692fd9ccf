"""The chain: middlewares and, inside them, the endpoint, made one callable."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from nexus_actors.http.request import Request
from nexus_actors.http.response import Response
from nexus_actors.middleware.base import CallNext, MiddlewareLike, name_of

__all__ = ["compose"]


def compose(middlewares: Iterable[MiddlewareLike], endpoint: CallNext) -> CallNext:
    """``endpoint`` with ``middlewares`` around it, the first outermost.

    ``endpoint(request)`` must give a Response; so does the result. With no middlewares it *is* the
    endpoint. Exceptions pass through from the inside out, each middleware may answer them. What was
    added went through :func:`.check_middleware`; composing is cheap enough for each request.

    Raises (when called):
        TypeError: for a middleware that returns something else than a Response, naming it.
        RuntimeError: for a middleware that calls ``call_next`` a second time, naming it.
    """
    chained = endpoint
    for middleware in reversed([*middlewares]):
        chained = _around(middleware, chained)
    return chained


def _around(middleware: MiddlewareLike, inner: CallNext) -> CallNext:
    async def call(request: Request) -> Response:
        called = False

        async def call_next(request: Request) -> Response:
            nonlocal called
            if called:
                # the handler's effects would happen twice for one request
                raise RuntimeError(
                    f"the middleware {name_of(middleware)} called call_next twice for one request"
                )
            called = True
            return await inner(request)

        response = await middleware(request, call_next)
        if not isinstance(response, Response):
            raise TypeError(_not_a_response(name_of(middleware), response))
        return response

    return call


def _not_a_response(name: str, returned: object) -> str:
    what = f"the middleware {name} returned"
    if inspect.iscoroutine(returned):
        returned.close()  # else a warning of Python's would speak of the wrong place
        return f"{what} without awaiting: write `return await call_next(request)`"
    if returned is None:
        return f"{what} nothing: end it with `return response`"
    return f"{what} {type(returned).__name__}, not a Response: write Response.json(...) around it"
