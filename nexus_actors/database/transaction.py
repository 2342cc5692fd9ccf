"""An open transaction: whose statements it takes, how it nests, and what waits for its commit.

Which statements belong to it
    It is bound to the task that opened it, by a context variable. A task started inside the block
    inherits the variable, so the variable alone decides nothing:

    ======================================================  ========================================
    statement comes from                                    it runs
    ======================================================  ========================================
    the task that opened the block                          in the transaction
    a task of a nursery opened *inside* the block           in the transaction: it ends before the
                                                            block does. One statement at a time
    a task of any other nursery (``self.nursery``...)       on a connection of its own, outside
    any asyncio task started inside, while the block        in the transaction. asyncio does not say
    is open                                                 who waits for a task (``wait_for`` makes
                                                            one, too). One statement at a time
    any task, after the block                               on a connection of its own
    ======================================================  ========================================

Nesting
    ``db.transaction()`` inside one of the same adapter is a savepoint. While it is open, statements
    of other tasks that belong to the outer one wait for its end; savepoints of two tasks never
    overlap.

Ending
    Without an exception it commits, with any (a cancellation too) it rolls back. A commit is not
    interrupted half-way: it gets up to :data:`ENDING` seconds, so that it is known whether it
    happened.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Literal, Protocol

import trio

from nexus_actors.actors.bridge import bridged, in_asyncio
from nexus_actors.database.errors import DatabaseError, TransactionAborted, WrongParameter
from nexus_actors.database.pool import Job, Lease, Pool
from nexus_actors.errors import DatabaseUnavailable

__all__ = ["Engine", "Isolation", "Transaction", "current_transaction", "innermost"]

ENDING = 8.0
"""Seconds that a COMMIT or ROLLBACK gets before its connection is cut."""

Isolation = Literal["read_committed", "repeatable_read", "serializable"]


class Engine(Protocol):
    """What a transaction needs of the database: the plugin's pool, and a way to it."""

    pool: Pool

    async def perform(self, job: Job) -> Any:
        """Run a statement on a connection of its own, as :meth:`call` would."""

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Await it; when PostgreSQL is away, wait a little, then raise."""

    async def call_at_once(self, function: Callable[..., Any], *args: Any) -> Any:
        """The same without looking first whether PostgreSQL is there: to end what has begun."""

    def post(self, function: Callable[[], Any]) -> None:
        """Await it some time; nobody waits."""


_current: ContextVar[Transaction | None] = ContextVar("nexus_transaction", default=None)


class Transaction:
    """``async with db.transaction() as transaction``: the block commits as a whole or not at all.

    Attributes:
        is_savepoint: it is inside another one and is a savepoint of that.
    """

    def __init__(
        self, engine: Engine, *, isolation: Isolation | None = None, read_only: bool = False
    ) -> None:
        self._engine = engine
        self._isolation = isolation
        self._read_only = read_only
        self._state: Literal["new", "open", "ended"] = "new"
        self._lease: Lease | None = None
        # The transaction that this one is a savepoint of; None in the outermost, whose _names it
        # uses.
        self._parent: Transaction | None = None
        self._names = itertools.count(1)
        self._savepoint = ""
        # What the context had before: innermost() follows it to transactions further out.
        self._previous: Transaction | None = None
        # The Trio task that opened it, and the nurseries it had before; None when opened from
        # asyncio.
        self._owner: trio.lowlevel.Task | None = None
        self._nurseries_before: frozenset[trio.Nursery] = frozenset()
        # Held by a statement while it runs, and by a savepoint directly inside while it is open.
        # A semaphore, not a lock: under asyncio each call is a Trio task of its own.
        self._floor = trio.Semaphore(1)
        self._after_commit: list[Callable[[], None]] = []
        self._abandoned = False
        # The first error of a statement, for the words of the errors that follow from it.
        self._failure = ""

    @property
    def is_savepoint(self) -> bool:
        """Whether it is inside another one, and is a savepoint of that."""
        return self._parent is not None

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Have ``callback()`` called as soon as the outermost transaction has committed.

        Never called when that rolls back, nor when the savepoint in which it was registered does.
        It is called in the order of registering, before the block is left. What it raises leaves
        the block, after the others were called; the transaction has committed then.

        Raises:
            RuntimeError: the transaction has ended, or not begun.
        """
        if self._state != "open":
            raise RuntimeError("after_commit() belongs inside the block of the transaction")
        self._after_commit.append(callback)

    async def perform(self, job: Job) -> Any:
        """Run one statement in it, when no other one is running. Called on the Trio side."""
        await _take(self._floor)
        try:
            if self._state != "open" or self._lease is None:
                raise DatabaseError("the transaction ended before it was this statement's turn")
            try:
                return await self._engine.call_at_once(self._lease.perform, job)
            except (DatabaseError, DatabaseUnavailable) as error:
                if not self._failure and not isinstance(error, WrongParameter):
                    self._failure = str(error)
                raise
        finally:
            self._floor.release()

    async def __aenter__(self) -> Transaction:
        if self._state != "new":
            raise RuntimeError(
                "a transaction is entered once: call db.transaction() for each block"
            )
        self._previous = _current.get()
        self._parent = innermost(self._engine)
        if self._parent is not None and (self._isolation or self._read_only):
            raise DatabaseError(
                "isolation and read_only belong to the outermost transaction; this is a savepoint"
            )
        if not in_asyncio():
            self._owner = trio.lowlevel.current_task()
            self._nurseries_before = frozenset(self._owner.child_nurseries)
        try:
            await self._begin()
        except BaseException:
            self._abandon()
            raise
        _current.set(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _current.set(self._previous)
        try:
            if error is None:
                await self._commit()
            else:
                await self._roll_back()
        finally:
            # A cancellation from asyncio may come before the Trio side of the call has begun; it is
            # then not begun at all.
            while self._state == "open":
                with suppress(asyncio.CancelledError):
                    await self._roll_back()

    # on the Trio side, also when the caller is asyncio

    @bridged
    async def _begin(self) -> None:
        if self._parent is None:
            self._lease = await self._engine.call(self._engine.pool.lease, self._begin_statement())
        else:
            self._names = self._parent._names
            self._savepoint = f"nexus_{next(self._names)}"
            await _take(self._parent._floor)
            try:
                self._lease = self._parent._lease
                if self._lease is None or self._parent._state != "open":
                    raise DatabaseError("the transaction ended before this savepoint's turn")
                await self._run(f"SAVEPOINT {self._savepoint}")
            except BaseException:
                self._parent._floor.release()
                self._lease = None
                raise
        self._state = "open"
        if self._abandoned:
            self._abandon()

    def _begin_statement(self) -> str:
        words = ["BEGIN"]
        if self._isolation is not None:
            words.append(f"ISOLATION LEVEL {self._isolation.replace('_', ' ').upper()}")
        if self._read_only:
            words.append("READ ONLY")
        return " ".join(words)

    def _abandon(self) -> None:
        """The block was never entered (cancelled meanwhile): give back what has been taken."""
        self._abandoned = True
        lease, self._lease = self._lease, None
        self._state = "ended"
        if lease is None:
            return
        if self._parent is None:
            self._engine.post(lease.drop)
        else:
            # the savepoint may stay: it goes with its transaction
            self._parent._floor.release()

    @bridged
    async def _commit(self) -> None:
        try:
            # a task that asyncio started may still have a statement under way
            await _take(self._floor)
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            await self._roll_back_now()
            raise
        if self._parent is not None:
            await self._release_savepoint(self._parent)
            return
        lease, self._lease = self._lease, None
        self._state = "ended"
        assert lease is not None
        tag = ""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + ENDING) as scope:
            tag = await self._engine.call_at_once(lease.end, "COMMIT")
        if scope.cancelled_caught:
            raise DatabaseUnavailable(
                f"COMMIT had no answer within {ENDING:.0f} s; whether it took effect is not known"
            )
        if tag != "COMMIT":  # PostgreSQL's quiet way to end a failed transaction
            raise self._aborted()
        self._call_back()

    async def _release_savepoint(self, parent: Transaction) -> None:
        try:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + ENDING):
                await self._run(f"RELEASE SAVEPOINT {self._savepoint}")
                parent._after_commit += self._after_commit
                return
            raise DatabaseUnavailable(f"RELEASE SAVEPOINT had no answer within {ENDING:.0f} s")
        except TransactionAborted:
            await self._undo()
            raise self._aborted() from None
        finally:
            self._lease = None
            self._state = "ended"
            parent._floor.release()

    @bridged
    async def _roll_back(self) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + ENDING):
            await _take(self._floor)
        await self._roll_back_now()

    async def _roll_back_now(self) -> None:
        lease, self._state = self._lease, "ended"
        if lease is None:
            return
        with trio.CancelScope(shield=True):  # lease.drop has a bound of its own
            if self._parent is None:
                await self._engine.call_at_once(lease.drop)
            else:
                try:
                    await self._undo()
                finally:
                    self._parent._floor.release()
        self._lease = None

    async def _undo(self) -> None:
        """Back to the savepoint. When that fails the connection is gone, and all of it with it."""
        try:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + ENDING):
                await self._run(
                    f"ROLLBACK TO SAVEPOINT {self._savepoint}; RELEASE SAVEPOINT {self._savepoint}"
                )
        except (DatabaseError, DatabaseUnavailable) as error:
            assert self._parent is not None
            self._parent._failure = self._parent._failure or str(error)

    async def _run(self, sql: str) -> None:
        assert self._lease is not None
        await self._engine.call_at_once(self._lease.perform, Job("execute", sql, ()))

    def _aborted(self) -> TransactionAborted:
        cause = f" ({self._failure})" if self._failure else ""
        return TransactionAborted(
            f"nothing of this transaction took effect: one of its statements failed{cause} and its "
            "error did not leave the block; let it, or put that statement into a nested "
            "`async with db.transaction()`"
        )

    def _call_back(self) -> None:
        errors: list[Exception] = []
        for callback in self._after_commit:
            try:
                callback()
            except Exception as error:  # noqa: BLE001 - the others are owed their call
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup("after the commit", errors)

    def _includes_caller(self) -> bool:
        """Whether the task that runs now belongs to it: the table at the top of this file."""
        if self._owner is None or in_asyncio():
            return True
        task = trio.lowlevel.current_task()
        while task is not self._owner:
            nursery = task.parent_nursery
            if nursery is None:
                return False
            if nursery.parent_task is self._owner:
                return nursery not in self._nurseries_before
            task = nursery.parent_task
        return True


def current_transaction() -> Transaction | None:
    """The innermost open transaction that the running task belongs to, of any plugin; None without.

    The plugin layer asks it: an event emitted inside goes out with ``after_commit``.
    """
    return innermost(None)


def innermost(engine: Engine | None) -> Transaction | None:
    """The same for one plugin's transactions alone."""
    transaction = _current.get()
    while transaction is not None:
        if (
            (engine is None or transaction._engine is engine)
            and transaction._state == "open"
            and transaction._includes_caller()
        ):
            return transaction
        transaction = transaction._previous
    return None


async def _take(floor: trio.Semaphore) -> None:
    try:
        floor.acquire_nowait()  # nearly always, and without a pass of the scheduler
    except trio.WouldBlock:
        await floor.acquire()
