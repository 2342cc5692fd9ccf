"""Lets a public coroutine of ours be awaited from asyncio code inside a plugin's compartment.

A plugin written for asyncio runs on a trio-asyncio loop of its own; our code is Trio's. A function
marked :func:`bridged` asks sniffio who calls: under Trio it simply runs, under asyncio it runs as a
Trio task of that loop while the asyncio task waits. Context variables go along (a Trio task copies
the context it is started from), so deadlines, call chain and request id hold on both sides.
Cancelling the asyncio task cancels the Trio task.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import sniffio
import trio_asyncio

__all__ = ["bridged", "in_asyncio", "iterate_bridged"]

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
            return await trio_asyncio.trio_as_aio(function)(*args, **kwargs)  # type: ignore[no-any-return]
        return await function(*args, **kwargs)

    return either


async def iterate_bridged(items: AsyncIterator[T]) -> AsyncIterator[T]:
    """Iterate a Trio iterator from Trio or from asyncio, a bridged step at a time."""
    step = bridged(items.__anext__)
    while True:
        try:
            item = await step()
        except StopAsyncIteration:
            return
        yield item
