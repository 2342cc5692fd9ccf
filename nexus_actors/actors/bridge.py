"""Lets a public coroutine of ours be awaited from asyncio code inside a plugin's compartment.

A plugin written for asyncio runs on a trio-asyncio loop of its own; our code is Trio's. A function
marked :func:`bridged` asks sniffio who calls: under Trio it simply runs, under asyncio it runs as a
Trio task of that loop while the asyncio task waits. Context variables go along (a Trio task copies
the context it is started from), so deadlines, call chain and request id hold on both sides.
Cancelling the asyncio task cancels the Trio task.
"""

from __future__ import annotations

import asyncio
import functools
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import sniffio

from nexus_actors.actors.starting import asyncio_caller

with warnings.catch_warnings():
    # from 3.12 on, a class it defines for older Pythons warns while it is imported; nobody who
    # turns warnings into errors shall be kept from using us by that
    warnings.simplefilter("ignore", DeprecationWarning)
    import trio_asyncio

__all__ = ["bridged", "in_asyncio"]

P = ParamSpec("P")
T = TypeVar("T")


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
    token = asyncio_caller.set(task)
    try:
        result: T = await trio_asyncio.trio_as_aio(function)(*args, **kwargs)
    finally:
        asyncio_caller.reset(token)
    if task is not None and task.cancelling() > cancelled_before:
        raise asyncio.CancelledError
    return result
