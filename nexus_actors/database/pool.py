"""The connections of one plugin: opened when needed, lent to one user at a time, closed when idle.

Everything here runs in the asyncio thread (:mod:`nexus_actors.database.thread`). The rule that the
fault tests hold it to: however a piece of work ends, its connection is afterwards either back in
the pool with nothing running on it, or closed and its place free.

asyncpg's own pool is not used: it asks the server to reset the session at every return (a round
trip each time), and takes a connection out of its count when a cancelled caller does not come back
for it. Here a statement that leaves traces in its session costs the session instead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Literal

import asyncpg
import attrs

from nexus_actors.database.errors import (
    DatabaseError,
    concerns_parameters,
    is_connection_lost,
    translate,
)
from nexus_actors.database.statements import leaves_traces, shorten
from nexus_actors.errors import DatabaseUnavailable

__all__ = ["Connection", "Job", "Lease", "Pool", "PoolStatistics"]

Connection = asyncpg.Connection  # its type parameter says the class of rows, always Record here

SETTLING = 5.0
"""Seconds for a cancelled statement to end in PostgreSQL, before its connection is cut."""

Kind = Literal["execute", "fetch", "fetchrow", "fetchval", "executemany"]


@attrs.frozen
class Job:
    """One statement to run."""

    kind: Kind
    """The method of asyncpg's connection that runs it."""
    sql: str
    args: Sequence[Any]
    """The values of ``$1``...; for ``executemany`` the rows of them."""


@attrs.frozen
class PoolStatistics:
    """The connections of one plugin at one moment."""

    open: int
    """Connections there are, those being opened included."""
    idle: int
    """Of these, how many nobody uses."""
    waiting: int
    """Pieces of work that wait for a connection."""
    maximum: int


@attrs.define(eq=False)
class Pool:
    """At most ``maximum`` connections made by ``connect``; none at first."""

    connect: Callable[[], Awaitable[Connection[Any]]]
    maximum: int = 4
    idle_after: float = 60.0
    """Seconds after which a connection nobody uses is closed."""

    # Newest last: the last one used is used next, so that those not needed grow old.
    _idle: list[tuple[Connection[Any], float]] = attrs.field(factory=list, init=False)
    # Places taken: idle, lent or being opened. Never above maximum.
    _open: int = attrs.field(default=0, init=False)
    # Who waits, in order. A future gets a connection, or None: a place is free, try again.
    _waiting: deque[asyncio.Future[Connection[Any] | None]] = attrs.field(factory=deque, init=False)
    _lent: set[Connection[Any]] = attrs.field(factory=set, init=False)
    _reaper: asyncio.TimerHandle | None = attrs.field(default=None, init=False)
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _all_back: asyncio.Event | None = attrs.field(default=None, init=False)  # set while closing

    def statistics(self) -> PoolStatistics:
        """What there is just now; from another thread the numbers are approximate."""
        return PoolStatistics(self._open, len(self._idle), len(self._waiting), self.maximum)

    async def perform(self, job: Job) -> Any:
        """Run one statement on a connection of its own and give the connection back."""
        connection = await self._acquire()
        try:
            result = await run(connection, job)
            if _in_transaction(connection):
                raise _by_hand(job)
        except asyncio.CancelledError:
            await settle(connection)
            raise
        finally:
            self._release(connection, reuse=not leaves_traces(job.sql))
        return result

    async def lease(self, begin: str) -> Lease:
        """Take a connection out of the pool and begin a transaction with ``begin``."""
        connection = await self._acquire()
        lease = Lease(self, connection)
        try:
            await run(connection, Job("execute", begin, ()))
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                await settle(connection)
            await lease.drop()
            raise
        return lease

    async def close(self, timeout: float) -> None:
        """Close every connection; those lent get ``timeout`` seconds to come back, then are cut."""
        self._closed = True
        self._drop_reaper()
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(_closing())
        closing = [asyncio.ensure_future(_close(connection)) for connection, _ in self._idle]
        self._idle.clear()
        if self._lent:
            self._all_back = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._all_back.wait()
        for connection in self._lent:
            connection.terminate()
        self._lent.clear()
        if closing:
            await asyncio.wait(closing, timeout=1.0)
        self._open = 0

    async def _acquire(self) -> Connection[Any]:
        while True:
            if self._closed:
                raise _closing()
            while self._idle:
                connection, _ = self._idle.pop()
                if connection.is_closed():
                    self._open -= 1
                    continue
                self._lent.add(connection)
                return connection
            if self._open < self.maximum:
                return await self._new()
            handed = await self._wait()
            if handed is not None:
                return handed

    async def _new(self) -> Connection[Any]:
        self._open += 1
        try:
            connection = await self.connect()
        except BaseException:
            self._free_place()
            raise
        if self._closed:
            connection.terminate()
            raise _closing()
        self._lent.add(connection)
        return connection

    async def _wait(self) -> Connection[Any] | None:
        waiter: asyncio.Future[Connection[Any] | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled() or not waiter.done():
                with suppress(ValueError):
                    self._waiting.remove(waiter)
            elif waiter.exception() is None:
                # cancelled in the same step in which it was handed something: hand it on
                connection = waiter.result()
                if connection is None:
                    self._wake_one()
                else:
                    self._release(connection, reuse=True)
            raise

    def _release(self, connection: Connection[Any], *, reuse: bool) -> None:
        self._lent.discard(connection)
        if self._all_back is not None and not self._lent:
            self._all_back.set()
        if connection.is_closed() or self._closed:
            connection.terminate()
            self._free_place()
        elif not reuse or connection.is_in_transaction():
            # closing takes a round trip; the place is free at once
            self._later(_close(connection))
            self._free_place()
        else:
            while self._waiting:
                waiter = self._waiting.popleft()
                if not waiter.done():
                    self._lent.add(connection)
                    waiter.set_result(connection)
                    return
            loop = asyncio.get_running_loop()
            self._idle.append((connection, loop.time()))
            if self._reaper is None:
                self._reaper = loop.call_later(self.idle_after, self._reap)

    def _free_place(self) -> None:
        self._open = max(0, self._open - 1)
        self._wake_one()

    def _wake_one(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _reap(self) -> None:
        self._reaper = None
        loop = asyncio.get_running_loop()
        old = loop.time() - self.idle_after
        keep: list[tuple[Connection[Any], float]] = []
        for connection, since in self._idle:
            if since > old and not connection.is_closed():
                keep.append((connection, since))
            else:
                self._open -= 1
                self._later(_close(connection))
        self._idle[:] = keep
        if keep:
            self._reaper = loop.call_at(keep[0][1] + self.idle_after, self._reap)

    def _drop_reaper(self) -> None:
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@attrs.define(eq=False)
class Lease:
    """A connection held for one transaction. The holder sees to one piece of work at a time."""

    pool: Pool
    connection: Connection[Any]
    _traces: bool = attrs.field(default=False, init=False)
    _ended: bool = attrs.field(default=False, init=False)

    async def perform(self, job: Job) -> Any:
        """Run one statement in the transaction."""
        self._check()
        self._traces = self._traces or leaves_traces(job.sql)
        try:
            result = await run(self.connection, job)
        except asyncio.CancelledError:
            await settle(self.connection)
            raise
        if not _in_transaction(self.connection):
            await self.drop()
            raise _ended_by_hand(job)
        return result

    async def end(self, sql: str) -> str:
        """Run the last statement (``COMMIT``), give the connection back, return the tag."""
        self._check()
        try:
            tag = await run(self.connection, Job("execute", sql, ()))
        except asyncio.CancelledError:
            # whether it took effect is not known: the server decides when the connection is cut
            self.connection.terminate()
            raise
        finally:
            await self.drop()
        return str(tag)

    async def drop(self) -> None:
        """Give the connection back, rolling back what is still open. Idempotent, never raises."""
        if self._ended:
            return
        self._ended = True
        try:
            if _in_transaction(self.connection):
                await asyncio.wait_for(self.connection.execute("ROLLBACK"), SETTLING)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            self.connection.terminate()
        except BaseException:
            self.connection.terminate()
            raise
        finally:
            self.pool._release(self.connection, reuse=not self._traces)

    def _check(self) -> None:
        if self._ended:
            raise DatabaseUnavailable("the transaction's connection was given back already")


async def run(connection: Connection[Any], job: Job) -> Any:
    """Run a job; what goes wrong is put in words by :func:`~.errors.translate`."""
    try:
        match job.kind:
            case "execute":
                return await connection.execute(job.sql, *job.args)
            case "fetch":
                return await connection.fetch(job.sql, *job.args)
            case "fetchrow":
                return await connection.fetchrow(job.sql, *job.args)
            case "fetchval":
                return await connection.fetchval(job.sql, *job.args)
            case "executemany":
                return await connection.executemany(job.sql, job.args)
    except Exception as error:  # noqa: BLE001 - every one is raised again, most in other words
        if is_connection_lost(error):
            connection.terminate()
        # What is raised instead says everything; asyncpg's own message holds values.
        wanted = await _wanted(connection, job, error)
        raise translate(
            error, job.sql, wanted=wanted, args=job.args, many=job.kind == "executemany"
        ) from None


async def settle(connection: Connection[Any]) -> None:
    """After a cancelled statement: wait until PostgreSQL has ended it, or cut the connection.

    asyncpg has asked the server to cancel; the next statement waits for the answer. Here the next
    one is ``SELECT 1``, so that no later statement can be hit by a late cancellation. Errors of it
    are fine (the transaction may be spoiled): they are answers.
    """
    try:
        async with asyncio.timeout(SETTLING):
            await connection.execute("SELECT 1")
    except asyncpg.PostgresError as error:
        if is_connection_lost(error):
            connection.terminate()
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError):
        connection.terminate()
    except asyncio.CancelledError:
        connection.terminate()
        raise


async def _wanted(
    connection: Connection[Any], job: Job, error: Exception
) -> Sequence[asyncpg.Type]:
    """The types PostgreSQL has for the parameters, asked only when one of them was refused."""
    if not concerns_parameters(error) or connection.is_closed() or not job.args:
        return ()
    try:
        async with asyncio.timeout(SETTLING):
            statement = await connection.prepare(job.sql)
        return statement.get_parameters()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        return ()


async def _close(connection: Connection[Any]) -> None:
    """Close politely within a second, else cut; never raises."""
    try:
        await connection.close(timeout=1.0)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        connection.terminate()


def _in_transaction(connection: Connection[Any]) -> bool:
    return not connection.is_closed() and connection.is_in_transaction()


def _closing() -> DatabaseUnavailable:
    return DatabaseUnavailable("the node is stopping", retry_after=5.0)


def _by_hand(job: Job) -> DatabaseError:
    return DatabaseError(
        "a transaction cannot be begun by a statement, since the next statement may run on another "
        f"connection: use `async with db.transaction()` (rolled back: {shorten(job.sql)})"
    )


def _ended_by_hand(job: Job) -> DatabaseError:
    return DatabaseError(
        "the transaction was ended by a statement in its block: let the end of `async with "
        f"db.transaction()` do that (the statement: {shorten(job.sql)})"
    )
