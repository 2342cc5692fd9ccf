"""A thread with an asyncio loop of its own, and the batched hand-over of work between it and Trio.

asyncpg wants an asyncio loop. Stepping one inside Trio costs two scheduler passes for each wake-up
of the socket; a thread of its own costs one hand-over each way for each *piece of work*, and when
many are under way at once they share it: whoever finds the other side already called does not call
again.

A piece of work is a coroutine that runs to its end in the thread as one asyncio task. Its Trio
caller waits. When the caller is cancelled, the asyncio task is cancelled and the caller goes on
waiting until it has ended: whatever the work holds is in order again by then. Work must therefore
bound its own cleaning up (see :mod:`nexus_actors.database.pool`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import outcome
import trio

from nexus_actors.errors import DatabaseUnavailable

__all__ = ["AsyncioThread"]

T = TypeVar("T")

ENDING = 2.0
"""Seconds that tasks still running get to end when the thread stops."""


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's loop where it is installed: nothing but speed hangs on it."""
    try:
        import uvloop  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class _Work:
    """One coroutine on its way through the thread, and the Trio task that waits for it."""

    __slots__ = ("args", "begun", "cancelled", "function", "raise_cancel", "task", "waiter")

    def __init__(
        self, function: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]
    ) -> None:
        self.function = function
        self.args = args
        self.waiter = trio.lowlevel.current_task()
        self.task: asyncio.Task[Any] | None = None
        # set by Trio when the waiter is cancelled; read by Trio when the result arrives
        self.raise_cancel: Callable[[], Any] | None = None
        # set and read in the thread
        self.begun = False
        self.cancelled = False


class AsyncioThread:
    """An asyncio loop in a thread, owned by the Trio task that calls :meth:`run`."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._stopping = False
        # Written by Trio, emptied by the thread. True: the thread has been called and will look
        # again.
        self._inbox: deque[_Work] = deque()
        self._thread_called = False
        # Written by the thread, emptied by Trio; the flag likewise.
        self._outbox: deque[tuple[_Work, outcome.Outcome[Any]]] = deque()
        self._trio_called = False
        self._running = 0  # the thread's alone: pieces of work that have not ended
        # Trio's alone: all whose callers wait. Emptied at the end, so that nobody waits for ever.
        self._under_way: set[_Work] = set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the thread until cancelled. Work under way then gets DatabaseUnavailable."""
        self._token = trio.lowlevel.current_trio_token()
        running = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._thread, running)
                await running.wait()
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    self._stopping = True
                    assert self._loop is not None
                    with suppress(RuntimeError):  # it has ended by itself
                        self._loop.call_soon_threadsafe(self._loop.stop)
        finally:
            self._deliver()
            self._inbox.clear()
            while self._under_way:
                # not begun, or not to be ended: its task was left where it stood
                waiter = self._under_way.pop().waiter
                trio.lowlevel.reschedule(waiter, outcome.Error(_stopping()))

    async def _thread(self, running: trio.Event) -> None:
        await trio.to_thread.run_sync(
            self._main, running, limiter=trio.CapacityLimiter(1), abandon_on_cancel=False
        )

    async def call(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Run ``await function(*args)`` in the thread and return what it returns.

        Cancelling cancels the coroutine and then waits for its end; if it comes to a result all the
        same, that result is returned (the next checkpoint raises Cancelled).
        """
        if self._stopping or self._loop is None:
            await trio.lowlevel.checkpoint()
            raise _stopping()
        await trio.lowlevel.checkpoint_if_cancelled()  # what is too late is not begun at all
        work = _Work(function, args)
        loop = self._loop

        def abort(raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
            work.raise_cancel = raise_cancel
            with suppress(RuntimeError):  # the loop is closed: the result is on its way
                loop.call_soon_threadsafe(self._cancel, work)
            return trio.lowlevel.Abort.FAILED

        self._under_way.add(work)
        self._inbox.append(work)
        if not self._thread_called:
            self._thread_called = True
            loop.call_soon_threadsafe(self._take)
        return await trio.lowlevel.wait_task_rescheduled(abort)  # type: ignore[no-any-return]

    def post(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run ``await function()`` in the thread some time; nobody waits for it."""
        if self._loop is not None and not self._stopping:
            self._loop.call_soon_threadsafe(self._start_posted, function)

    # in the thread

    def _main(self, running: trio.Event) -> None:
        assert self._token is not None
        self._loop = loop = _new_loop()
        self._posted: set[asyncio.Task[None]] = set()
        try:
            asyncio.set_event_loop(loop)
            self._token.run_sync_soon(running.set)
            loop.run_forever()
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks, timeout=ENDING))
            # let transports that were just closed say so to their protocols
            loop.run_until_complete(asyncio.sleep(0))
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    def _take(self) -> None:
        self._thread_called = False
        inbox = self._inbox
        loop = self._loop
        assert loop is not None
        while inbox:
            work = inbox.popleft()
            self._running += 1
            work.task = loop.create_task(self._run(work))

    async def _run(self, work: _Work) -> None:
        # Handing over the result as the task's last step, not in a callback of the task, saves a
        # pass of the loop for each piece of work.
        work.begun = True
        try:
            if work.cancelled:
                raise asyncio.CancelledError
            result: outcome.Outcome[Any] = outcome.Value(await work.function(*work.args))
        except BaseException as error:  # noqa: BLE001 - it is raised where the work came from
            result = outcome.Error(error)
        work.task = None
        self._running -= 1
        self._finish(work, result)

    def _cancel(self, work: _Work) -> None:
        work.cancelled = True
        if work.task is not None and work.begun:
            work.task.cancel()

    def _finish(self, work: _Work, result: outcome.Outcome[Any]) -> None:
        self._outbox.append((work, result))
        if not self._trio_called:
            self._trio_called = True
            assert self._loop is not None
            if self._running:
                self._loop.call_soon(self._call_trio)  # others may end in this very pass
            else:
                self._call_trio()

    def _call_trio(self) -> None:
        assert self._token is not None
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._deliver)

    def _start_posted(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        assert self._loop is not None
        task = self._loop.create_task(function())
        self._posted.add(task)
        task.add_done_callback(self._posted.discard)

    # in Trio

    def _deliver(self) -> None:
        self._trio_called = False
        outbox = self._outbox
        while outbox:
            work, result = outbox.popleft()
            if isinstance(result, outcome.Error) and isinstance(
                result.error, asyncio.CancelledError
            ):
                result = (
                    outcome.Error(_stopping())
                    if work.raise_cancel is None
                    else outcome.capture(work.raise_cancel)
                )
            self._under_way.discard(work)
            trio.lowlevel.reschedule(work.waiter, result)


def _stopping() -> DatabaseUnavailable:
    return DatabaseUnavailable("the node is stopping", retry_after=5.0)
