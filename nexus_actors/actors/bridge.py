"""Lets a public coroutine of ours be awaited from asyncio code inside a plugin's compartment.

A plugin written for asyncio runs on a trio-asyncio loop of its own; our code is Trio's. A function
marked :func:`bridged` asks sniffio who calls: under Trio it simply runs, under asyncio it runs as a
Trio task of that loop while the asyncio task waits. Context variables go along (a Trio task copies
the context it is started from), so deadlines, call chain and request id hold on both sides.
Cancelling the asyncio task cancels the Trio task.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import attrs
import sniffio
import trio

with warnings.catch_warnings():
    # from 3.12 on, a class it defines for older Pythons warns while it is imported; nobody who
    # turns warnings into errors shall be kept from using us by that
    warnings.simplefilter("ignore", DeprecationWarning)
    import trio_asyncio

__all__ = ["Outcall", "bridged", "in_asyncio", "outcall"]

P = ParamSpec("P")
T = TypeVar("T")


@attrs.define(eq=False)
class Outcall:
    """An asyncio task that waits while a Trio task does something for it."""

    asyncio_task: asyncio.Task[Any] | None
    trio_task: trio.lowlevel.Task | None = None
    """None before that runs."""


outcall: contextvars.ContextVar[Outcall | None] = contextvars.ContextVar(
    "nexus_outcall", default=None
)
"""The innermost call that this context stems from. It is under way here where this task, or one
above it, is its ``trio_task``; others have inherited it, and nobody waits for them."""


def in_asyncio() -> bool:
    """Whether the code that calls runs under asyncio (within a compartment) just now."""
    try:
        return sniffio.current_async_library() == "asyncio"
    except sniffio.AsyncLibraryNotFoundError:
        return False


def bridged(function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Make the Trio coroutine function ``function`` callable from Trio and from asyncio alike."""

    @functools.wraps(function)
    async def either(*args: P.args, **kwargs: P.kwargs) -> T:
        if in_asyncio():
            return await _from_asyncio(function, *args, **kwargs)
        return await function(*args, **kwargs)

    return either


async def _from_asyncio(
    function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run it as a Trio task; a cancellation that came too late for it reaches the asyncio task.

    trio-asyncio hands a cancellation on and then waits: when the Trio side came to a result all the
    same, asyncio has already counted it as delivered, and a task told to end would go on for ever.
    """
    task = asyncio.current_task()
    cancelled_before = 0 if task is None else task.cancelling()
    call = Outcall(task)

    async def run() -> T:
        call.trio_task = trio.lowlevel.current_task()
        return await function(*args, **kwargs)

    token = outcall.set(call)
    try:
        future: Any = trio_asyncio.trio_as_aio(run)()
        future.outcall = call
        result: T = await future
    finally:
        outcall.reset(token)
    if task is not None and task.cancelling() > cancelled_before:
        raise asyncio.CancelledError
    return result
