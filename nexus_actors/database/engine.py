"""One plugin's way to the database: its pool, and how a connection of it is made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import asyncpg

from nexus_actors.database.adapter import Record
from nexus_actors.database.codecs import decode_json, decode_jsonb, encode_json, encode_jsonb
from nexus_actors.database.errors import DatabaseError, is_connection_lost, unavailable
from nexus_actors.database.lines import Line, Lines
from nexus_actors.database.pool import Job, Pool
from nexus_actors.database.settings import Settings, no_connection
from nexus_actors.errors import DatabaseUnavailable

__all__ = ["Place", "PluginEngine"]


class Place(Protocol):
    """What is asked of :class:`~nexus_actors.database.database.Database`."""

    settings: Settings
    lines: Lines

    @property
    def dsn(self) -> str | None: ...
    @property
    def is_ready(self) -> bool: ...
    async def available(self) -> None: ...
    def suspect(self) -> None: ...


class PluginEngine:
    """One plugin's way to the database: its pool, and how a connection of it is made."""

    pool: Pool

    def __init__(self, database: Place, plugin: str, schema: str, can_write: bool) -> None:
        self.plugin = plugin
        self.schema = schema
        self.name = plugin if can_write else f"{plugin} (read only)"
        self.schema_is_there = False
        self._can_write = can_write
        self._database = database

    async def perform(self, job: Job) -> Any:
        database = self._database
        if not database.is_ready:
            await database.available()
        try:
            return await self.pool.perform(job)
        except DatabaseUnavailable:
            database.suspect()
            raise

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        if not self._database.is_ready:
            await self._database.available()
        return await self.call_at_once(function, *args)

    async def call_at_once(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return await function(*args)
        except DatabaseUnavailable:
            self._database.suspect()
            raise

    def post(self, function: Callable[[], Any]) -> None:
        with suppress(DatabaseUnavailable):  # the loop has ended, and all connections with it
            self._database.lines.post(function)

    async def connect(self) -> Line:
        """A new connection, in the plugin's schema. asyncio's: it runs on the loop."""
        settings = {"application_name": f"nexus {self.plugin}", "search_path": f'"{self.schema}"'}
        if not self._can_write:
            settings["default_transaction_read_only"] = "on"
        database = self._database
        dsn = database.dsn
        assert dsn is not None, "available() returned before PostgreSQL had an address"
        try:
            connection: Line = await asyncpg.connect(
                dsn,
                timeout=database.settings.connect_timeout,
                statement_cache_size=database.settings.statement_cache_size,
                max_cached_statement_lifetime=0,  # else a timer for each; the oldest make room
                server_settings=settings,
                record_class=Record,
                connection_class=Line,
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the plugin is not to blame
            raise DatabaseUnavailable(no_connection(error, dsn)) from None
        try:
            await _speak_json(connection)
            if not self.schema_is_there:
                await self._make_schema(connection)
                self.schema_is_there = True
        except asyncpg.InsufficientPrivilegeError:
            connection.terminate()
            raise DatabaseError(
                f"the schema {self.schema} is not there and may not be made: as the database's "
                f"owner run CREATE SCHEMA {self.schema} AUTHORIZATION <the node's user>"
            ) from None
        except BaseException as error:
            connection.terminate()
            if is_connection_lost(error):
                raise unavailable(error) from None
            raise
        return connection

    async def _make_schema(self, connection: Line) -> None:
        if await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", f'"{self.schema}"'):
            return
        # READ WRITE: also on the connections of a plugin that may only read
        await connection.execute("BEGIN READ WRITE")
        try:
            await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{self.schema}"')
        except (asyncpg.DuplicateSchemaError, asyncpg.UniqueViolationError):
            await connection.execute("ROLLBACK")  # another node made it in this very moment
        else:
            await connection.execute("COMMIT")


async def _speak_json(connection: Line) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="binary", encoder=encode_jsonb, decoder=decode_jsonb
    )
    await connection.set_type_codec(
        "json", schema="pg_catalog", format="binary", encoder=encode_json, decoder=decode_json
    )
