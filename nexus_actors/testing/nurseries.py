"""A Trio nursery for a block of a test, whichever library the test is written for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio
import trio_asyncio

from nexus_actors.actors.bridge import in_asyncio

__all__ = ["any_nursery"]


def any_nursery() -> AbstractAsyncContextManager[trio.Nursery]:
    """A nursery whose tasks are cancelled at the end of the block; what they raise is raised."""
    return _asyncio_nursery() if in_asyncio() else _trio_nursery()


@asynccontextmanager
async def _trio_nursery() -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _asyncio_nursery() -> AsyncIterator[trio.Nursery]:
    """A Trio nursery for a block of asyncio code: a Trio task holds it open meanwhile.

    A task in it that dies cancels the block, as it would under Trio.
    """
    block = asyncio.current_task()
    assert block is not None
    opened: asyncio.Future[trio.Nursery] = asyncio.get_running_loop().create_future()
    left = trio.Event()

    async def hold() -> None:
        async with trio.open_nursery() as nursery:
            opened.set_result(nursery)
            await left.wait()
            nursery.cancel_scope.cancel()

    died = False

    def ended(_: asyncio.Future[None]) -> None:
        nonlocal died
        if not left.is_set():
            died = True
            block.cancel()

    holder = asyncio.ensure_future(trio_asyncio.trio_as_aio(hold)())
    holder.add_done_callback(ended)
    try:
        yield await opened
    except asyncio.CancelledError:
        if not died or block.uncancel():  # somebody else's cancellation goes on
            raise
    finally:
        left.set()
        await holder  # what a task in the nursery raised is raised here
