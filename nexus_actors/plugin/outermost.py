"""Node middleware: a plugin's code around every request of the node, outside every mailbox.

It runs in the front end's connection task, so it must never hold it up: it has
:data:`NODE_MIDDLEWARE_TIME` seconds of its own before and after what it wraps. It reaches its own
plugin by messages only, like everybody else.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import trio

from nexus_actors import log
from nexus_actors.errors import Fault, HTTPError, Invalid
from nexus_actors.http.request import Request
from nexus_actors.http.response import Response
from nexus_actors.middleware.base import CallNext, MiddlewareLike, check_middleware, name_of
from nexus_actors.plugin.base import Plugin
from nexus_actors.plugin.catalogue import place_of
from nexus_actors.plugin.stalls import Owner, StallInterrupt, importing, owned_by, stall_in

__all__ = ["NODE_MIDDLEWARE_TIME", "node_middleware_of", "within_its_time"]

NODE_MIDDLEWARE_TIME = 5.0
"""Seconds a node middleware may take itself, before and again after what it wraps."""


def node_middleware_of(kind: type[Plugin], proxy: Any) -> MiddlewareLike | None:
    """What the ``node_middleware`` of the plugin class ``kind`` makes, given its own ``proxy``.

    Raises:
        Invalid: it raises, or what it returns can be no middleware.
    """
    place = place_of(kind.node_middleware)
    try:
        with importing(log.speaker(kind.__module__) or kind.__module__):
            made = kind.node_middleware(proxy)
    except (Exception, StallInterrupt) as error:  # one plugin must not end the node
        raise Invalid(
            [
                Fault(
                    place,
                    f"it raised {type(error).__name__}: {error}",
                    "mend it: it runs before the plugin does, when the node is put together",
                )
            ]
        ) from error
    if made is None:
        return None
    if inspect.iscoroutine(made):
        made.close()
        raise Invalid([Fault(place, "it is async", "write `def`, without async")])
    try:
        return check_middleware(made)
    except TypeError as error:
        raise Invalid([Fault(place, str(error), "return a Middleware object or None")]) from None


def within_its_time(
    middleware: MiddlewareLike,
    plugin: str,
    crash: Callable[[BaseException], None] = lambda error: None,
) -> MiddlewareLike:
    """``middleware`` of ``plugin``, cut off with 504 where it takes too long itself.

    The time of what it wraps does not count. Where it holds the loop and is interrupted, the client
    gets a 500, and ``crash`` the interrupt.
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
            owner = Owner(plugin, crash)
            try:
                with owned_by(owner):
                    response: Response = await middleware(request, uncounted)
            except BaseException as error:
                interrupt = stall_in(error)
                if interrupt is None:
                    raise
                crash(interrupt)
                if isinstance(error, BaseExceptionGroup):
                    rest = error.split(StallInterrupt)[1]
                    if rest is not None:  # a cancellation must not get lost
                        raise rest from None
                raise HTTPError(500, f"{plugin} failed while answering") from interrupt
            finally:
                owner.ended = True
            return response
        raise HTTPError(
            504, f"{name_of(middleware)} of the plugin {plugin} took more than {seconds:g} s"
        )

    return bounded
