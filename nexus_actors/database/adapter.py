"""What a plugin holds: its own schema in PostgreSQL, with ``execute``, ``fetch_one`` and their kin.

    await self.db.execute("INSERT INTO orders (item, price) VALUES ($1, $2)", "tea", 3)
    row = await self.db.fetch_one("SELECT id, price FROM orders WHERE item = $1", "tea")
    if row is not None:
        print(row["id"], dict(row))

    async with self.db.transaction():
        await self.db.execute("UPDATE stock SET left = left - 1 WHERE item = $1", "tea")
        await self.db.execute("INSERT INTO orders (item) VALUES ($1)", "tea")

Each statement takes a connection from the plugin's pool and gives it back; those inside
``transaction()`` share one (:mod:`nexus_actors.database.transaction` says whose do). A statement
ends with the deadline of the message that is being handled: it is cancelled in PostgreSQL, not left
running.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
import trio

from nexus_actors.actors.bridge import bridged, in_asyncio
from nexus_actors.database.errors import StatementTimeout
from nexus_actors.database.pool import Job, Kind
from nexus_actors.database.statements import lifts_read_only, shorten
from nexus_actors.database.transaction import Engine, Isolation, Transaction, innermost
from nexus_actors.errors import PermissionDenied

__all__ = ["DatabaseAdapter", "Record"]

Record = asyncpg.Record
"""One row: ``row["id"]``, ``row[0]``, ``dict(row)``, ``row.get("name", default)``."""


class DatabaseAdapter:
    """The database of one plugin. Made by the node; a plugin gets it as ``self.db``.

    All methods can be awaited from Trio and from asyncio code in a plugin's compartment.
    ``timeout`` is in seconds; without it the deadline of the message in hand is the only bound.

    Raises (each method):
        DatabaseError: PostgreSQL refused; see :mod:`nexus_actors.database.errors` for the kinds.
        WrongParameter: the values do not fit ``$1``, ``$2``...
        StatementTimeout: ``timeout`` was over.
        DatabaseUnavailable: PostgreSQL cannot be reached. It is not the plugin's fault and does not
            count against it.
        PermissionDenied: it would write, and the manifest asks for ``database:read`` alone.
    """

    def __init__(self, engine: Engine, *, plugin: str, can_write: bool) -> None:
        self._engine = engine
        self._plugin = plugin
        self._can_write = can_write

    async def execute(self, sql: str, *args: Any, timeout: float | None = None) -> str:
        """Run a statement and return PostgreSQL's tag, such as ``INSERT 0 1``.

        Without parameters it may be several statements with ``;`` between them; they take effect
        together or not at all, and the tag is the last one's.
        """
        return str(await self._perform("execute", sql, args, timeout))

    async def fetch_one(self, sql: str, *args: Any, timeout: float | None = None) -> Record | None:
        """The first row, or None when there is none."""
        row: Record | None = await self._perform("fetchrow", sql, args, timeout)
        return row

    async def fetch_all(self, sql: str, *args: Any, timeout: float | None = None) -> list[Record]:
        """All rows; an empty list when there is none."""
        rows: list[Record] = await self._perform("fetch", sql, args, timeout)
        return rows

    async def fetch_value(self, sql: str, *args: Any, timeout: float | None = None) -> Any:
        """The first column of the first row, or None when there is none."""
        return await self._perform("fetchval", sql, args, timeout)

    async def executemany(
        self, sql: str, rows: Iterable[Sequence[Any]], *, timeout: float | None = None
    ) -> None:
        """Run a statement once for each row of parameters, in one go: all take effect or none."""
        await self._perform("executemany", sql, [tuple(row) for row in rows], timeout)

    def transaction(
        self, *, isolation: Isolation | None = None, read_only: bool = False
    ) -> Transaction:
        """``async with db.transaction():`` - the block takes effect as a whole, or not at all.

        Inside another one of this plugin it is a savepoint. See
        :mod:`nexus_actors.database.transaction` for which tasks' statements belong to it.

        Args:
            isolation: ``read_committed`` (PostgreSQL's default), ``repeatable_read`` or
                ``serializable``; the latter two may end in :class:`SerializationFailure`, upon
                which the block is to be run again.
            read_only: PostgreSQL refuses writing statements in it.
        """
        return Transaction(self._engine, isolation=isolation, read_only=read_only)

    async def _perform(
        self, kind: Kind, sql: str, args: Sequence[Any], timeout: float | None
    ) -> Any:
        if not isinstance(sql, str):
            raise TypeError(f"a statement is a str, not {type(sql).__name__}")
        if not self._can_write and lifts_read_only(sql):
            raise self._denied(sql)
        job = Job(kind, sql, args)
        # Whose transaction it is must be asked here: the bridge has a Trio task of its own.
        transaction = innermost(self._engine)
        if in_asyncio():
            return await self._bridged(job, transaction, timeout)
        return await self._run(job, transaction, timeout)

    @bridged
    async def _bridged(
        self, job: Job, transaction: Transaction | None, timeout: float | None
    ) -> Any:
        return await self._run(job, transaction, timeout)

    async def _run(self, job: Job, transaction: Transaction | None, timeout: float | None) -> Any:
        if timeout is not None:
            with trio.move_on_after(timeout):
                return await self._run(job, transaction, None)
            late = StatementTimeout(f"no end within {timeout:.3g} s, cancelled: {shorten(job.sql)}")
            late.statement = shorten(job.sql)
            raise late
        try:
            if transaction is not None:
                return await transaction.perform(job)
            return await self._engine.perform(job)
        except asyncpg.ReadOnlySQLTransactionError:
            if self._can_write:  # it was the block's own read_only=True
                raise
            raise self._denied(job.sql) from None

    def _denied(self, sql: str) -> PermissionDenied:
        return PermissionDenied(
            self._plugin, "database:write", f"write to the database ({shorten(sql, 60)})"
        )
