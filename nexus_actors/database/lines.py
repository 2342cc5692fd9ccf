"""asyncpg inside Trio: statements run in the task that calls, everything else on a loop beside.

asyncpg wants an asyncio loop, and a loop of its own - stepped by Trio, or in a thread - costs more
than the statement itself. What a statement needs of the loop is little: the bytes it writes go out
at once, then it waits for those of the answer. So the calling Trio task steps asyncpg's coroutine
itself, waits until the socket can be read, and hands what it reads to asyncpg's protocol
(:meth:`Lines.drive`). One wait, no other task, no other thread.

All the rest - connecting, TLS, cancelling, closing, answers too large for one write - runs as
asyncio tasks on a trio-asyncio loop (:meth:`Lines.call`), and a :class:`Line` goes to and fro: the
loop reads its socket, except while it is ``direct``.

Whoever is cancelled in a statement goes on when PostgreSQL has ended it and the line is in order
again, or is cut: :data:`SETTLING` seconds at most.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any, TypeVar

import asyncpg
import trio
import trio_asyncio

from nexus_actors.database.errors import is_connection_lost
from nexus_actors.errors import DatabaseUnavailable

__all__ = ["SETTLING", "Line", "Lines"]

T = TypeVar("T")

logger = logging.getLogger("nexus.database")

SETTLING = 5.0
"""Seconds for a cancelled statement to end in PostgreSQL, before its connection is cut."""

ENDING = 2.0
"""Seconds that statements still under way get to end when the loop does."""

_READ = 65536
"""Bytes read at once: other tasks have their turn between two reads of a large answer."""


class Line(asyncpg.Connection):  # type: ignore[misc,type-arg,unused-ignore]
    """A connection, and who reads from its socket.

    Attributes:
        fd: The socket's, None where bytes are not asyncpg's as they come (TLS).
        feed: Hands bytes to asyncpg.
        direct: Its socket is read by :meth:`Lines.drive` alone.
    """

    __slots__ = ("direct", "fd", "feed", "transport")

    def __init__(self, protocol: Any, transport: Any, *args: Any, **options: Any) -> None:
        super().__init__(protocol, transport, *args, **options)
        self.transport = transport
        plain = transport.get_extra_info("ssl_object") is None
        self.fd: int | None = transport.get_extra_info("socket").fileno() if plain else None
        self.feed: Callable[[bytes], None] = protocol.data_received
        self.direct = False

    def take(self) -> None:
        """Have its socket read by whoever drives a statement; with TLS the loop goes on."""
        if self.fd is not None and not self.is_closed():
            self.transport.pause_reading()
            self.direct = True

    def give(self) -> None:
        """Have its socket read by the loop."""
        if self.direct:
            self.direct = False
            self.transport.resume_reading()

    def is_quiet(self) -> bool:
        """Whether it is open and nothing has come that nobody asked for. Asked of one at rest."""
        if self.is_closed():
            return False
        if self.direct and self.fd is not None:
            try:
                self._unasked(os.read(self.fd, _READ))
            except BlockingIOError:
                pass
            except OSError:
                self.terminate()
        return not self.is_closed()

    def _unasked(self, data: bytes) -> None:
        """A notice; or an error or the end, with which the server takes its leave."""
        if not data or data.startswith(b"E"):
            self.terminate()
        else:
            self.feed(data)
            self.is_quiet()


class Lines:
    """The loop beside, and the way past it. Owned by the Trio task that calls :meth:`run`."""

    def __init__(self) -> None:
        self._loop: trio_asyncio.TrioEventLoop | None = None
        self._context = Context()  # the loop's; a task's own may be another loop's
        self._nursery: trio.Nursery | None = None
        self._queue: Callable[..., Any] = _not_running
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio itself would forget them
        self._stopping = False
        # What the bytes that are being fed may bring the answer to.
        self._awaited: asyncio.Future[Any] | None = None
        # Those with a statement on them; their callers are not left waiting at the end.
        self._driven: set[Line] = set()
        self._none_driven = trio.Event()
        self._wakes: set[Callable[[object], None]] = set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the loop until cancelled. Work under way then gets DatabaseUnavailable."""
        async with trio_asyncio.open_loop() as loop:
            loop.set_exception_handler(_log)
            loop.getaddrinfo = functools.partial(_getaddrinfo, loop)
            self._queue = loop.call_soon
            loop.call_soon = self._call_soon
            self._loop = loop
            self._context = copy_context()
            try:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    task_status.started()
                    await trio.sleep_forever()
            finally:
                self._stopping = True
                for line in self._driven:
                    self.cut(line)
                with trio.move_on_after(ENDING, shield=True):
                    while self._driven:
                        self._none_driven = trio.Event()
                        await self._none_driven.wait()
                for wake in tuple(self._wakes):
                    wake(None)

    @property
    def is_running(self) -> bool:
        """Whether :meth:`run` has begun and not been told to end."""
        return self._nursery is not None and not self._stopping

    async def call(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Run asyncio's ``await function(*args)`` on the loop and return what it returns.

        Cancelling cancels the coroutine and then waits for its end; if it comes to a result all the
        same, that result is returned (the next checkpoint raises Cancelled).
        """
        if self._stopping or self._loop is None:
            await trio.lowlevel.checkpoint()
            raise _stopping()
        await trio.lowlevel.checkpoint_if_cancelled()  # what is too late is not begun at all
        loop = self._loop
        task = self._context.run(_task, loop, function, args)
        try:
            result: T = await _finished(task)
        except asyncio.CancelledError:  # by the loop's end
            raise _stopping() from None
        return result

    def post(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run Trio's ``await function()`` some time; nobody waits for it.

        Raises:
            DatabaseUnavailable: the loop has ended, or not begun.
        """
        if self._nursery is None or self._stopping:
            raise _stopping()
        self._nursery.start_soon(function)

    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run asyncio's ``coroutine`` some time; nobody waits for it."""
        if self._loop is None or self._stopping:
            coroutine.close()
            return
        task = self._context.run(self._loop.create_task, coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call ``callback()`` after ``seconds``, unless the handle's ``cancel()`` is called."""
        assert self._loop is not None
        handle: asyncio.TimerHandle = self._loop.call_later(seconds, callback)
        return handle

    def cut(self, line: Line) -> None:
        """End it at once, also while a statement is on it: that one ends with an error."""
        if line in self._driven and line.direct:
            # who waits for the socket is woken by its end; a closed one would wake nobody
            with suppress(OSError):
                line.transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        else:
            line.terminate()

    def is_driven(self, line: Line) -> bool:
        """Whether a statement is on it just now."""
        return line in self._driven

    async def drive(self, line: Line, statement: Coroutine[Any, Any, T]) -> T:
        """Run ``statement``, a coroutine of asyncpg's on ``line``, in the calling Trio task.

        When the caller is cancelled, PostgreSQL is asked to cancel the statement; Cancelled is
        raised when that has ended, or its line is cut.
        """
        self._driven.add(line)
        transport = line.transport
        waiter: asyncio.Future[Any] | None = None
        try:
            waiter = statement.send(None)
            while True:
                assert waiter is not None
                if line.direct and not transport.is_closing():
                    await trio.lowlevel.wait_readable(line.fd)  # type: ignore[arg-type]
                    if not transport.is_closing():  # a write that failed closes it
                        self._read(line, waiter)
                else:
                    await self._done(waiter)
                if waiter.done():
                    waiter = statement.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await self._withdraw(line, statement, waiter)
            raise
        except Exception:
            raise  # the statement's error
        except BaseException:  # somewhere in between: it is not known where the line stands
            line.terminate()
            raise
        finally:
            self._driven.discard(line)
            if self._stopping and not self._driven:
                self._none_driven.set()

    def _read(self, line: Line, waiter: asyncio.Future[Any]) -> None:
        """Hand asyncpg what has come."""
        try:
            data = os.read(line.fd, _READ)  # type: ignore[arg-type]
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            line.give()  # asyncio's transport finds that it is closed, and says so to asyncpg
            return
        self._awaited = waiter
        try:
            line.feed(data)
        except Exception as error:  # noqa: BLE001 - what a transport does with it: the line is cut
            logger.error("asyncpg failed over what PostgreSQL sent: %r", error)
            line.give()
            line.transport.abort()
        finally:
            self._awaited = None

    def _call_soon(self, callback: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """The loop's ``call_soon``. What asyncpg itself hangs on the answer to a statement runs at
        once, which it can take: a turn of the loop for it would cost as much as the statement."""
        if args and args[0] is self._awaited:
            callback(*args)
            return None
        return self._queue(callback, *args, **options)

    async def _withdraw(
        self, line: Line, statement: Coroutine[Any, Any, Any], waiter: asyncio.Future[Any] | None
    ) -> None:
        """End a statement whose caller was cancelled, as asyncio would have."""
        line.give()
        if waiter is not None:
            waiter.cancel()  # asyncpg's callback on that asks the server, before what follows here
        try:
            await self.call(_end, line, statement)
        except DatabaseUnavailable:  # the loop has ended
            with suppress(RuntimeError):
                line.terminate()
        line.take()

    async def _done(self, waiter: asyncio.Future[Any]) -> None:
        """Wait until a future is done, whatever comes of it. Cancelling leaves it as it is."""
        if waiter.done():
            await trio.lowlevel.checkpoint()
            return
        task = trio.lowlevel.current_task()

        def wake(_: object) -> None:
            if wake in self._wakes:
                self._wakes.discard(wake)
                trio.lowlevel.reschedule(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._wakes.discard(wake)
            return trio.lowlevel.Abort.SUCCEEDED

        self._wakes.add(wake)
        waiter.add_done_callback(wake)
        await trio.lowlevel.wait_task_rescheduled(abort)
        if not waiter.done():
            raise _stopping()


async def _end(line: Line, statement: Coroutine[Any, Any, Any]) -> None:
    """Step ``statement`` to its end by cancelling what it waits for, then settle its line."""
    with suppress(StopIteration, Exception, asyncio.CancelledError):
        for _ in range(10):
            waiter = statement.send(None)
            waiter.cancel()
            await asyncio.sleep(0)  # asyncpg's callback asks the server
        line.terminate()
    await settle(line)


async def settle(line: asyncpg.Connection[Any]) -> None:
    """After a cancelled statement: wait until PostgreSQL has ended it, or cut the connection.

    asyncpg has asked the server to cancel; the next statement waits for the answer. Here the next
    one is ``SELECT 1``, so that no later statement can be hit by a late cancellation. Errors of it
    are fine (the transaction may be spoiled): they are answers.
    """
    try:
        async with asyncio.timeout(SETTLING):
            await line.execute("SELECT 1")
    except asyncpg.PostgresError as error:
        if is_connection_lost(error):
            line.terminate()
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError):
        line.terminate()
    except asyncio.CancelledError:
        line.terminate()
        raise


def _task(
    loop: Any, function: Callable[..., Coroutine[Any, Any, T]], args: tuple[Any, ...]
) -> asyncio.Task[T]:
    task: asyncio.Task[T] = loop.create_task(function(*args))
    return task


async def _finished(task: asyncio.Task[T]) -> T:
    """Wait for an asyncio task; cancelling cancels it, and it is waited for all the same."""
    waiting = trio.lowlevel.current_task()
    raise_cancel: Callable[[], Any] | None = None

    def abort(raise_it: Callable[[], Any]) -> trio.lowlevel.Abort:
        nonlocal raise_cancel
        raise_cancel = raise_it
        task.cancel()
        return trio.lowlevel.Abort.FAILED

    task.add_done_callback(lambda _: trio.lowlevel.reschedule(waiting))
    await trio.lowlevel.wait_task_rescheduled(abort)
    if task.cancelled() and raise_cancel is not None:
        raise_cancel()
    return task.result()


async def _getaddrinfo(
    loop: trio_asyncio.TrioEventLoop, host: Any, port: Any, **options: Any
) -> Any:
    """Trio's, which leaves a resolver that hangs to itself: a node can stop meanwhile."""
    resolve = functools.partial(trio.socket.getaddrinfo, host, port, **options)
    return await loop.trio_as_future(resolve)


def _log(loop: object, context: dict[str, Any]) -> None:
    error = context.get("exception")
    level = logging.WARNING if isinstance(error, Exception) else logging.DEBUG
    logger.log(level, "asyncpg: %s", context.get("message"), exc_info=error)


def _not_running(*args: object, **options: object) -> None:
    raise RuntimeError("the loop is not running")


def _stopping() -> DatabaseUnavailable:
    return DatabaseUnavailable("the node is stopping", retry_after=5.0)
