"""Node middleware: a plugin's code around every request of the node, outside every mailbox.

It runs in the front end's connection task, so it must never hold it up: it has
:data:`NODE_MIDDLEWARE_TIME` seconds of its own before and after what it wraps. It reaches its own
plugin by messages only, like everybody else.
"""

from __future__ import annotations

import math

import trio

from nexus_actors.errors import HTTPError
from nexus_actors.http.request import Request
from nexus_actors.http.response import Response
from nexus_actors.middleware.base import CallNext, MiddlewareLike, name_of

__all__ = ["NODE_MIDDLEWARE_TIME", "within_its_time"]

NODE_MIDDLEWARE_TIME = 5.0
"""Seconds a node middleware may take itself, before and again after what it wraps."""


def within_its_time(middleware: MiddlewareLike, plugin: str) -> MiddlewareLike:
    """``middleware`` of ``plugin``, cut off with 504 where it takes too long itself.

    The time of what it wraps does not count.
    """
    seconds = NODE_MIDDLEWARE_TIME

    async def bounded(request: Request, call_next: CallNext) -> Response:
        async def uncounted(request: Request) -> Response:
            scope.deadline = math.inf
            try:
                return await call_next(request)
            finally:
                scope.deadline = trio.current_time() + seconds

        with trio.CancelScope(deadline=trio.current_time() + seconds) as scope:
            response: Response = await middleware(request, uncounted)
            return response
        raise HTTPError(
            504, f"{name_of(middleware)} of the plugin {plugin} took more than {seconds:g} s"
        )

    return bounded
