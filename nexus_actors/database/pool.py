"""The connections of one plugin: opened when needed, lent to one user at a time, closed when idle.

The rule that the fault tests hold it to: however a piece of work ends, its connection is afterwards
either back in the pool with nothing running on it, or closed and its place free.

asyncpg's own pool is not used: it asks the server to reset the session at every return (a round
trip each time), and takes a connection out of its count when a cancelled caller does not come back
for it. Here a statement that leaves traces in its session costs the session instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Literal

import asyncpg
import attrs
import outcome
import trio

from nexus_actors.database.errors import (
    DatabaseError,
    concerns_parameters,
    is_connection_lost,
    translate,
)
from nexus_actors.database.lines import SETTLING, Line, Lines, settle
from nexus_actors.database.statements import leaves_traces, shorten
from nexus_actors.errors import DatabaseUnavailable

__all__ = ["Job", "Lease", "Pool", "PoolStatistics"]

FRESH = 0.02
"""Seconds after its use in which a connection is taken for alive without a look at its socket."""

Kind = Literal["execute", "fetch", "fetchrow", "fetchval", "executemany"]


@attrs.define(eq=False)
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
    """Pieces of work that wait for a connection, and none is being opened for them."""
    maximum: int


@attrs.define(eq=False)
class Pool:
    """At most ``maximum`` connections made by ``connect``; none at first."""

    lines: Lines
    connect: Callable[[], Coroutine[Any, Any, Line]]
    """Makes one; asyncio's."""
    maximum: int = 4
    idle_after: float = 60.0
    """Seconds after which a connection nobody uses is closed."""

    # Newest last: the last one used is used next, so that those not needed grow old.
    _idle: list[tuple[Line, float]] = attrs.field(factory=list, init=False)
    # Places taken: idle, lent or being opened. Never above maximum.
    _open: int = attrs.field(default=0, init=False)
    # How many of these are being opened.
    _opening: int = attrs.field(default=0, init=False)
    # Who waits, in order. Each is woken with a connection or an error.
    _waiting: dict[trio.lowlevel.Task, None] = attrs.field(factory=dict, init=False)
    _lent: set[Line] = attrs.field(factory=set, init=False)
    _reaper: asyncio.TimerHandle | None = attrs.field(default=None, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _all_back: trio.Event | None = attrs.field(default=None, init=False)  # set while closing

    def statistics(self) -> PoolStatistics:
        """What there is just now."""
        waiting = max(0, len(self._waiting) - self._opening)
        return PoolStatistics(self._open, len(self._idle), waiting, self.maximum)

    async def perform(self, job: Job) -> Any:
        """Run one statement on a connection of its own and give the connection back."""
        await trio.lowlevel.checkpoint_if_cancelled()  # what is too late is not begun at all
        line = self._take_idle() or await self._acquire()
        try:
            result = await run(self.lines, line, job)
            if _in_transaction(line):
                raise _by_hand(job)
        finally:
            self._release(line, reuse=not leaves_traces(job.sql))
        return result

    async def lease(self, begin: str) -> Lease:
        """Take a connection out of the pool and begin a transaction with ``begin``."""
        await trio.lowlevel.checkpoint_if_cancelled()
        line = self._take_idle() or await self._acquire()
        lease = Lease(self, line)
        try:
            await run(self.lines, line, Job("execute", begin, ()))
        except BaseException:
            with trio.CancelScope(shield=True):  # bounded
                await lease.drop()
            raise
        return lease

    async def close(self, timeout: float) -> None:
        """Close every connection; those lent get ``timeout`` seconds to come back, then are cut.

        It takes about twice ``timeout`` at most.
        """
        self._closed = True
        self._drop_reaper()
        for task in self._waiting:
            trio.lowlevel.reschedule(task, outcome.Error(_closing()))
        self._waiting.clear()
        idle = [line for line, _ in self._idle]
        self._idle.clear()
        with trio.move_on_after(timeout):
            async with trio.open_nursery() as nursery:
                for line in idle:
                    nursery.start_soon(self._close_idle, line)
                await self._wait_all_back()
        for line in self._lent:
            self.lines.cut(line)
        # who has a statement on one is told by its end
        self._lent = {line for line in self._lent if self.lines.is_driven(line)}
        with trio.move_on_after(timeout):
            await self._wait_all_back()
        self._open = 0

    async def _close_idle(self, line: Line) -> None:
        with suppress(DatabaseUnavailable):  # the loop has ended, and it with the loop
            await self.lines.call(_close, line)

    async def _wait_all_back(self) -> None:
        while self._lent:
            self._all_back = trio.Event()
            await self._all_back.wait()

    def _take_idle(self) -> Line | None:
        while self._idle:
            line, since = self._idle.pop()
            if line.is_quiet() if trio.current_time() - since > FRESH else not line.is_closed():
                self._lent.add(line)
                return line
            self._open -= 1
        return None

    async def _acquire(self) -> Line:
        """Wait for one that comes back or is opened, whichever is there first."""
        if self._closed or not self.lines.is_running:
            raise _closing()
        task = trio.lowlevel.current_task()
        self._waiting[task] = None
        self._grow()

        def abort(_: object) -> trio.lowlevel.Abort:
            del self._waiting[task]
            return trio.lowlevel.Abort.SUCCEEDED

        # Once it is handed something it cannot be cancelled any more: nothing is lost on the way.
        line: Line = await trio.lowlevel.wait_task_rescheduled(abort)
        return line

    def _grow(self) -> None:
        """Open as many as are waited for, while there are places."""
        while (
            self._opening < len(self._waiting)
            and self._open < self.maximum
            and self.lines.is_running
        ):
            self._open += 1
            self._opening += 1
            self.lines.post(self._open_one)

    async def _open_one(self) -> None:
        """Open one for whoever waits first. It goes on when that one is cancelled: under deadlines
        shorter than it takes there would never be one."""
        try:
            line = await self.lines.call(self.connect)
        except BaseException as error:
            self._opening -= 1
            self._open = max(0, self._open - 1)
            if not isinstance(error, Exception):
                self._wake_one(outcome.Error(_closing()))
                raise
            self._wake_one(outcome.Error(error))
            self._grow()
        else:
            self._opening -= 1
            line.take()
            self._release(line, reuse=True)

    def _release(self, line: Line, *, reuse: bool) -> None:
        self._lent.discard(line)
        if self._all_back is not None and not self._lent:
            self._all_back.set()
        if self._closed or line.is_closed():
            line.terminate()
            self._free_place()
        elif not reuse or line.is_in_transaction():
            # closing takes a round trip; the place is free at once
            self.lines.create_task(_close(line))
            self._free_place()
        elif self._waiting:
            self._lent.add(line)
            self._wake_one(outcome.Value(line))
        else:
            self._idle.append((line, trio.current_time()))
            if self._reaper is None:
                self._reaper = self.lines.call_later(self.idle_after, self._reap)

    def _free_place(self) -> None:
        self._open = max(0, self._open - 1)
        self._grow()

    def _wake_one(self, told: outcome.Outcome[Line]) -> None:
        if self._waiting:
            task = next(iter(self._waiting))
            del self._waiting[task]
            trio.lowlevel.reschedule(task, told)

    def _reap(self) -> None:
        self._reaper = None
        now = trio.current_time()
        keep: list[tuple[Line, float]] = []
        for line, since in self._idle:
            if not line.is_quiet():
                self._open -= 1
            elif since > now - self.idle_after:
                keep.append((line, since))
            else:
                self._open -= 1
                self.lines.create_task(_close(line))
        self._idle[:] = keep
        if keep:
            left = keep[0][1] + self.idle_after - now
            self._reaper = self.lines.call_later(max(left, 0), self._reap)

    def _drop_reaper(self) -> None:
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None


@attrs.define(eq=False)
class Lease:
    """A connection held for one transaction. The holder sees to one piece of work at a time."""

    pool: Pool
    line: Line
    _traces: bool = attrs.field(default=False, init=False)
    _ended: bool = attrs.field(default=False, init=False)

    async def perform(self, job: Job) -> Any:
        """Run one statement in the transaction."""
        self._check()
        await trio.lowlevel.checkpoint_if_cancelled()
        self._traces = self._traces or leaves_traces(job.sql)
        result = await run(self.pool.lines, self.line, job)
        if not _in_transaction(self.line):
            await self.drop()
            raise _ended_by_hand(job)
        return result

    async def end(self, sql: str) -> str:
        """Run the last statement (``COMMIT``), give the connection back, return the tag."""
        self._check()
        try:
            tag = await run(self.pool.lines, self.line, Job("execute", sql, ()))
        except trio.Cancelled:
            # whether it took effect is not known: the server decides when the connection is cut
            self.line.terminate()
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
            if _in_transaction(self.line):
                with trio.move_on_after(SETTLING) as scope:
                    await self.pool.lines.drive(self.line, self.line.execute("ROLLBACK"))
                if scope.cancelled_caught:
                    self.line.terminate()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            self.line.terminate()
        except BaseException:
            self.line.terminate()
            raise
        finally:
            self.pool._release(self.line, reuse=not self._traces)

    def _check(self) -> None:
        if self._ended:
            raise DatabaseUnavailable("the transaction's connection was given back already")


async def run(lines: Lines, line: Line, job: Job) -> Any:
    """Run a job; what goes wrong is put in words by :func:`~.errors.translate`."""
    try:
        if job.kind == "executemany":
            return await _execute_many(lines, line, job)
        return await lines.drive(line, getattr(line, job.kind)(job.sql, *job.args))
    except Exception as error:  # noqa: BLE001 - every one is raised again, most in other words
        if is_connection_lost(error):
            line.terminate()
        # What is raised instead says everything; asyncpg's own message holds values.
        wanted = await _wanted(lines, line, job, error)
        raise translate(
            error, job.sql, wanted=wanted, args=job.args, many=job.kind == "executemany"
        ) from None


async def _execute_many(lines: Lines, line: Line, job: Job) -> Any:
    """It waits for room to write in: that is the loop's."""

    async def many() -> None:
        try:
            await line.executemany(job.sql, job.args)
        except asyncio.CancelledError:
            await settle(line)
            raise

    line.give()
    try:
        return await lines.call(many)
    finally:
        line.take()


async def _wanted(lines: Lines, line: Line, job: Job, error: Exception) -> Sequence[asyncpg.Type]:
    """The types PostgreSQL has for the parameters, asked only when one of them was refused."""
    if not concerns_parameters(error) or line.is_closed() or not job.args:
        return ()
    try:
        with trio.move_on_after(SETTLING):
            statement = await lines.drive(line, line.prepare(job.sql))
            return tuple(statement.get_parameters())
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        pass
    return ()


async def _close(line: Line) -> None:
    """Close politely within a second, else cut; never raises."""
    line.give()
    try:
        await line.close(timeout=1.0)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        line.terminate()


def _in_transaction(line: Line) -> bool:
    return not line.is_closed() and line.is_in_transaction()


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
