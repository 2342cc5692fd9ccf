"""The compartment of a plugin: where its code is called, under Trio or on its own asyncio loop.

A plugin written for asyncio runs unchanged: each such plugin has one trio-asyncio loop, opened
around its whole subtree, never nested. Both kinds of compartment answer the same few questions, so
that nothing else needs to know which library a plugin was written for.

asyncio forgets a task that died while nobody awaited it: a background loop could be dead for weeks.
Here that is a crash of whoever started the task: an exception nobody retrieved within
:data:`GRACE` seconds, and one that leaves a ``call_soon`` callback.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
)
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from typing import Any, Literal, Protocol

import trio
import trio_asyncio
from trio_asyncio._base import TrioAsyncioExit
from trio_asyncio._handles import AsyncHandle

from nexus_actors import log
from nexus_actors.plugin.stalls import Owner, owned_by, owner_here

__all__ = ["AsyncioCompartment", "Compartment", "Owner", "TrioCompartment", "open_compartment"]

GRACE = 1.0
"""Seconds an asyncio task's exception may go unretrieved before it is a crash."""

_PATIENCE = 4.0
"""Seconds an asyncio task may swallow its cancellation before it is ended by force."""

_INSIST = 1.0
"""Seconds after which a cancelled asyncio task that goes on is cancelled again."""


class ExitRaised(BaseException):
    """A plugin raised SystemExit or KeyboardInterrupt, which is ``meant``.

    asyncio lets those two out of the loop itself, and the loop would be dead; this it keeps.
    """

    def __init__(self, meant: BaseException) -> None:
        super().__init__(f"{type(meant).__name__}: {meant}")
        self.meant = meant


class Compartment(Protocol):
    """Where a plugin's code runs."""

    library: Literal["trio", "asyncio"]

    async def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``function``, a coroutine function or an ordinary one, and return its result."""

    async def pump(self, items: AsyncIterable[Any], put: Callable[[Any], Awaitable[None]]) -> None:
        """Give each of ``items`` to ``put`` (Trio's), all in one task, and close them."""

    def as_owner(self, owner: Owner) -> AbstractContextManager[None]:
        """While it is open, code in this context is ``owner``'s, asyncio tasks begun there too."""

    def belonging_to(self, owner: Owner) -> AbstractAsyncContextManager[None]:
        """The same, and at its end all of ``owner``'s tasks are gone."""


class TrioCompartment:
    """The plugin is written for Trio: its code is simply called."""

    library: Literal["trio", "asyncio"] = "trio"

    async def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """See :class:`Compartment`."""
        result = function(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    async def pump(self, items: AsyncIterable[Any], put: Callable[[Any], Awaitable[None]]) -> None:
        """See :class:`Compartment`."""
        await _pump(items, put)

    def as_owner(self, owner: Owner) -> AbstractContextManager[None]:
        """See :class:`Compartment`. The owner's nursery keeps its tasks."""
        return owned_by(owner)

    @asynccontextmanager
    async def belonging_to(self, owner: Owner) -> AsyncIterator[None]:
        """See :class:`Compartment`. The owner's nursery keeps its tasks."""
        try:
            with owned_by(owner):
                yield
        finally:
            owner.ended = True


class AsyncioCompartment:
    """The plugin is written for asyncio: its code runs on ``loop``."""

    library: Literal["trio", "asyncio"] = "asyncio"

    def __init__(self, loop: trio_asyncio.TrioEventLoop, name: str) -> None:
        self._loop = loop
        self._name = name
        self._queue = loop._queue_handle
        loop._queue_handle = self._guard_handle
        self._stop_loop = loop.stop
        loop.stop = self._refuse_stop
        loop.set_task_factory(self._make_task)
        loop.set_exception_handler(self._on_loop_error)

    async def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """See :class:`Compartment`."""

        async def on_loop() -> Any:
            result = function(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return await self._run(on_loop)

    async def pump(self, items: AsyncIterable[Any], put: Callable[[Any], Awaitable[None]]) -> None:
        """See :class:`Compartment`."""

        async def put_from_loop(item: Any) -> None:
            await trio_asyncio.trio_as_aio(put)(item)

        # one asyncio task for the whole of it: timeouts and groups may stand around a yield
        await self.call(_pump, items, put_from_loop)

    @contextmanager
    def as_owner(self, owner: Owner) -> Iterator[None]:
        """See :class:`Compartment`."""
        loop_token = trio_asyncio.current_loop.set(self._loop)
        try:
            with owned_by(owner):
                yield
        finally:
            trio_asyncio.current_loop.reset(loop_token)

    @asynccontextmanager
    async def belonging_to(self, owner: Owner) -> AsyncIterator[None]:
        """See :class:`Compartment`."""
        try:
            with self.as_owner(owner):
                yield
        finally:
            with trio.CancelScope(shield=True):
                await self._end_tasks(owner)

    async def _run(self, function: Callable[[], Any]) -> Any:
        task = self._loop.create_task(function())
        reschedule = trio.lowlevel.reschedule
        here = trio.lowlevel.current_task()
        waiter: trio.lowlevel.Task | None = here
        raise_cancel: Callable[[], Any] | None = None
        cancelled_at = math.inf

        def wake(_: object) -> None:
            nonlocal waiter
            if waiter is not None:
                sleeping, waiter = waiter, None
                reschedule(sleeping)

        def insist() -> None:
            # asyncio cancels once, and a task may swallow it; a deadline here is not argued with
            if not task.done():
                self._end(task, since=cancelled_at)
                self._loop.call_later(_INSIST, insist)

        def abort(raising: Callable[[], Any]) -> trio.lowlevel.Abort:
            nonlocal raise_cancel, cancelled_at
            raise_cancel, cancelled_at = raising, trio.current_time()
            insist()
            return trio.lowlevel.Abort.FAILED

        task.add_done_callback(wake)
        here.custom_sleep_data = task  # so that it can be seen what the Trio task waits for
        await trio.lowlevel.wait_task_rescheduled(abort)
        try:
            return task.result()
        except ExitRaised as raised:
            raise raised.meant from None
        except asyncio.CancelledError:
            if raise_cancel is not None:
                raise_cancel()
            raise

    async def _end_tasks(self, owner: Owner) -> None:
        """Cancel what ``owner`` left running, and wait until it is gone."""
        owner.ended = True
        began = trio.current_time()
        while tasks := self._tasks_of(owner):
            for task in tasks:
                self._end(task, since=began)
            with trio.move_on_after(_INSIST):
                async with trio.open_nursery() as nursery:
                    for task in tasks:
                        nursery.start_soon(_wait_quietly, task)

    def _end(self, task: asyncio.Task[Any], *, since: float) -> None:
        """Cancel ``task``; one that has swallowed that for :data:`_PATIENCE` seconds is closed."""
        coroutine = task.get_coro()
        if trio.current_time() - since >= _PATIENCE and isinstance(coroutine, Coroutine):
            name = getattr(coroutine, "__qualname__", repr(coroutine))
            log.plugin_logger(self._name).error(
                f"the asyncio task {name} swallows its cancellation; it is closed by force"
            )
            with suppress(RuntimeError, ValueError):  # it ignores even that, or runs just now
                coroutine.close()
        task.cancel()

    def _tasks_of(self, owner: Owner) -> list[asyncio.Task[Any]]:
        return [
            task for task in asyncio.all_tasks(self._loop) if getattr(task, "owner", None) is owner
        ]

    def _make_task(self, loop: Any, coroutine: Any, **kwargs: Any) -> asyncio.Task[Any]:
        guarded: Any = _guarded(coroutine)
        guarded.__name__ = getattr(coroutine, "__name__", "task")
        guarded.__qualname__ = getattr(coroutine, "__qualname__", "task")
        task = _OwnedTask(guarded, loop=loop, **kwargs)
        # one that is cancelled before its first step never comes to await the coroutine
        task.add_done_callback(lambda _: coroutine.close())
        task.owner = owner_here.get()
        task.add_done_callback(self._look_at)
        return task

    def _guard_handle(self, handle: asyncio.Handle) -> Any:
        # every callback passes here; those of Trio's own tasks are coroutine functions
        callback = handle._callback  # type: ignore[attr-defined]
        if callback is not None and not isinstance(handle, AsyncHandle):
            handle._callback = functools.partial(_call_guarded, callback)  # type: ignore[attr-defined]
        return self._queue(handle)

    def _refuse_stop(self, waiter: trio.Event | None = None) -> Any:
        # whoever opened the loop has no owner; a loop that a plugin stops would leave its callers
        # waiting for ever
        owner = owner_here.get()
        if owner is None:
            return self._stop_loop(waiter)
        self._crash(
            owner, RuntimeError("it called loop.stop(): the loop it runs on is not its own")
        )
        return None

    def _look_at(self, task: asyncio.Task[Any]) -> None:
        # asyncio itself keeps this flag for "exception was never retrieved"
        if not task.cancelled() and getattr(task, "_log_traceback", False):
            self._loop.call_later(GRACE, self._crash_if_unseen, task)

    def _crash_if_unseen(self, task: asyncio.Task[Any]) -> None:
        if getattr(task, "_log_traceback", False):
            error = task.exception()
            assert error is not None
            self._crash(getattr(task, "owner", None), error)

    def _on_loop_error(self, loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, BaseException):
            log.plugin_logger(self._name).error(f"asyncio: {context.get('message')}")
        elif isinstance(context.get("future") or context.get("task"), asyncio.Future):
            pass  # its task is looked at by _look_at
        else:
            self._crash(_owner_of(context.get("handle")), error)

    def _crash(self, owner: Owner | None, error: BaseException) -> None:
        if owner is None or owner.ended:
            log.plugin_logger(self._name).error(
                f"an asyncio task that belongs to nobody any more died: {error!r}", exc_info=error
            )
        else:
            owner.crash(error)


class _OwnedTask(asyncio.Task):  # type: ignore[type-arg]
    owner: Owner | None = None


async def _guarded(coroutine: Any) -> Any:
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise ExitRaised(error) from error


def _call_guarded(callback: Callable[..., Any], *args: Any) -> Any:
    try:
        return callback(*args)
    except TrioAsyncioExit:  # a SystemExit by which the loop stops itself
        raise
    except (SystemExit, KeyboardInterrupt) as error:
        raise ExitRaised(error) from error


async def _pump(items: AsyncIterable[Any], put: Callable[[Any], Awaitable[None]]) -> None:
    source = aiter(items)
    try:
        async for item in source:
            await put(item)
    finally:
        close = getattr(source, "aclose", None)  # iterators that are no generators lack it
        if close is not None:
            await close()


def _owner_of(handle: Any) -> Owner | None:
    """Who scheduled a callback: asyncio keeps the context it was scheduled in, and runs the
    exception handler outside of it."""
    context = getattr(handle, "_context", None)
    return None if context is None else context.get(owner_here)


async def _wait_quietly(task: asyncio.Task[Any]) -> None:
    done = trio.Event()
    task.add_done_callback(lambda _: done.set())
    await done.wait()
    if not task.cancelled():
        task.exception()  # retrieved: it ends with its owner, which is ending anyway


@asynccontextmanager
async def open_compartment(
    library: Literal["trio", "asyncio"], name: str
) -> AsyncIterator[Compartment]:
    """Open the compartment of the plugin ``name``, written for ``library``."""
    if library == "trio":
        yield TrioCompartment()
        return
    async with trio_asyncio.open_loop() as loop:
        yield AsyncioCompartment(loop, name)
