"""The node's database: embedded or by DSN, kept up for ever, and one adapter for each plugin.

It is supervised inside itself. When PostgreSQL dies it is started again, when a server elsewhere goes
away it is asked again, with growing pauses and without limit; nothing of that reaches the supervisor
above. Meanwhile every call waits ``grace`` seconds for it to come back and then raises
``DatabaseUnavailable``. What does go up: a data folder another node runs on, at the start; and bugs.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import unquote, urlsplit

import asyncpg
import attrs
import trio

from nexus_actors.database.adapter import DatabaseAdapter, Record
from nexus_actors.database.codecs import decode_json, decode_jsonb, encode_json, encode_jsonb
from nexus_actors.database.embedded import EmbeddedFailed, EmbeddedServer
from nexus_actors.database.errors import is_connection_lost, translate, unavailable
from nexus_actors.database.pool import Connection, Pool, PoolStatistics
from nexus_actors.database.statements import schema_name
from nexus_actors.database.thread import AsyncioThread
from nexus_actors.errors import DatabaseUnavailable, Fault, Invalid

__all__ = ["Database", "DatabaseStatistics", "Settings", "State"]

logger = logging.getLogger("nexus.database")

State = Literal["starting", "ready", "unavailable"]


def _checked_dsn(settings: Settings, attribute: Any, dsn: str | None) -> None:
    """Refuse what cannot be a DSN, without repeating it: it may hold a password."""
    if dsn is None:
        return
    try:
        parts = urlsplit(dsn)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("postgresql", "postgres"):
        raise Invalid(
            [
                Fault(
                    "database url",
                    "it is not the address of a PostgreSQL server",
                    "write postgresql://user:password@host:5432/database",
                )
            ]
        )


@attrs.frozen
class Settings:
    """How the node's database is set up."""

    dsn: str | None = attrs.field(default=None, validator=_checked_dsn, repr=False)
    """``postgresql://...`` of a server; None for the embedded one."""
    data_dir: Path = Path(".nexus")
    """The node's data folder; the embedded server lives in ``postgres`` below it."""
    pool_max: int = attrs.field(default=4, validator=attrs.validators.ge(1))
    """Connections a plugin may have at most."""
    pool_idle: float = 60.0
    """Seconds after which a connection nobody uses is closed."""
    grace: float = 1.0
    """Seconds a call waits for PostgreSQL to come back before it raises DatabaseUnavailable."""
    connect_timeout: float = 5.0
    """Seconds within which a connection must be made."""
    probe_every: float = 10.0
    """Seconds between two looks whether PostgreSQL still answers; a failing call looks at once."""
    first_pause: float = 0.1
    """Seconds before the first new try to start or reach PostgreSQL; doubled at each further one."""
    longest_pause: float = 10.0
    """Seconds between two tries at most."""
    silence: float = 30.0
    """Seconds without any answer after which the embedded server is killed and started again."""
    stop_timeout: float = 10.0
    """Seconds that the embedded server gets to stop."""
    durable: bool = True
    """False: the embedded server gives up safety against a crash of the machine; for tests."""
    statement_cache_size: int = 100
    """Prepared statements kept for each connection; 0 behind pgbouncer in transaction mode."""


@attrs.frozen
class DatabaseStatistics:
    """What the database is doing at one moment."""

    state: State
    reason: str
    restarts: int
    """How often PostgreSQL was lost and came back."""
    pools: dict[str, PoolStatistics]
    """The connections of each plugin that has used its database."""


class _Child(Protocol):
    """What is used of :class:`supervisors.Child`."""

    def started(self, extra: object = None) -> None: ...
    async def wait_stop(self) -> None: ...


class Database:
    """PostgreSQL for the plugins of one node.

    Run it as a child of the supervision tree (``ChildSpec("database", database.run)``), or in a test::

        async with database.opened():
            await database.wait_ready()
            db = database.adapter_for("my-first-plugin", can_write=True)

    Attributes:
        settings: How it was set up.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._state: State = "starting"
        self._reason = "not started"
        self._retry_at = 0.0  # trio time of the next try while unavailable
        self._ready = trio.Event()  # a new one at each loss
        self._suspected = trio.Event()  # a new one at each look
        self._restarts = 0
        self._dsn = self.settings.dsn
        self._server: EmbeddedServer | None = None
        self._thread = AsyncioThread("nexus-database")
        self._engines: dict[tuple[str, bool], _Engine] = {}
        self._stopping = False

    # for the supervision tree and the tests

    async def run(self, child: _Child) -> None:
        """The start function of its child spec: up when it is being looked after, not when it answers."""
        async with self.opened():
            child.started(self)
            await child.wait_stop()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Database]:
        """Look after PostgreSQL while the block runs. Leaving takes about ``stop_timeout`` at most.

        Raises:
            DataFolderInUse: no DSN, and another process runs on the data folder.
        """
        if self._dsn is None or self._server is not None:
            self._server = EmbeddedServer(self.settings.data_dir, durable=self.settings.durable)
            self._server.claim()
        self._stopping = False
        self._thread = AsyncioThread("nexus-database")
        for engine in self._engines.values():
            engine.pool = self._pool_for(engine)
        try:
            async with trio.open_nursery() as threads:
                await threads.start(self._thread.run)
                try:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._watch)
                        try:
                            yield self
                        finally:
                            nursery.cancel_scope.cancel()
                finally:
                    self._lost("the node is stopping", pause=5.0)
                    self._stopping = True
                    with trio.CancelScope(shield=True):
                        await self._close_pools()
                    threads.cancel_scope.cancel()
        finally:
            if self._server is not None:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(self._server.stop, self.settings.stop_timeout)
                logger.info("PostgreSQL stopped")

    @property
    def state(self) -> State:
        """``starting`` before it has answered for the first time, then ``ready`` or ``unavailable``."""
        return self._state

    @property
    def reason(self) -> str:
        """Why it is in that state, in words."""
        return self._reason

    @property
    def dsn(self) -> str | None:
        """Where PostgreSQL is, None before the embedded one has started. Holds a password."""
        return self._dsn

    @property
    def server(self) -> EmbeddedServer | None:
        """The embedded server, or None with a DSN."""
        return self._server

    def statistics(self) -> DatabaseStatistics:
        """State, restarts and the connections of each plugin."""
        pools = {engine.name: engine.pool.statistics() for engine in self._engines.values()}
        return DatabaseStatistics(self._state, self._reason, self._restarts, pools)

    async def wait_ready(self) -> None:
        """Wait until PostgreSQL answers, for as long as that takes."""
        await trio.lowlevel.checkpoint()
        while self._state != "ready":
            await self._ready.wait()

    def adapter_for(self, plugin: str, *, can_write: bool) -> DatabaseAdapter:
        """The adapter of a plugin: its own schema, its own connections, made at the first statement.

        May be called before PostgreSQL answers. The same plugin gets the same connections again, also
        in its next incarnation.

        Raises:
            ValueError: the name cannot name a schema, or another plugin has that schema
                (``a-b`` and ``a_b``).
        """
        schema = schema_name(plugin)
        for other in self._engines.values():
            if other.schema == schema and other.plugin != plugin:
                raise ValueError(f"{plugin!r} and {other.plugin!r} would share the schema {schema}")
        engine = self._engines.get((plugin, can_write))
        if engine is None:
            engine = _Engine(self, plugin, schema, can_write)
            engine.pool = self._pool_for(engine)
            self._engines[plugin, can_write] = engine
        return DatabaseAdapter(engine, plugin=plugin, can_write=can_write)

    # looking after PostgreSQL

    async def _watch(self) -> None:
        tries = 0
        while True:
            self._suspected = trio.Event()
            why = await self._bring_up()
            if why is None:
                came_up = trio.current_time()
                self._found()
                why = await self._until_lost()
                if trio.current_time() - came_up > 3 * self.settings.longest_pause:
                    tries = 0
            pause = min(self.settings.longest_pause, self.settings.first_pause * 2**tries)
            pause *= random.uniform(0.8, 1.2)
            tries = min(tries + 1, 30)
            self._lost(why, pause=pause)
            await trio.sleep(pause)

    def _found(self) -> None:
        if self._state == "unavailable":
            self._restarts += 1
        for engine in self._engines.values():
            engine.schema_is_there = False  # it may be another server, or an older copy of the data
        self._state, self._reason = "ready", "it answers"
        self._ready.set()
        where = "embedded" if self._server is not None else _shown(self._dsn or "")
        logger.info("PostgreSQL answers (%s)", where)

    def _lost(self, why: str, *, pause: float) -> None:
        """``starting`` stays until the first answer; after that it is ``unavailable``."""
        if self._state == "ready":
            self._ready = trio.Event()
        if self._state == "ready" or self._restarts or self._state == "unavailable":
            self._state = "unavailable"
        why = self._scrubbed(why)
        if why != self._reason and not self._stopping:
            logger.warning("PostgreSQL is not available: %s; next try in %.1f s", why, pause)
        self._reason = why
        self._retry_at = trio.current_time() + pause

    async def _bring_up(self) -> str | None:
        """One try to have PostgreSQL answering. None when it does, else why not."""
        server = self._server
        if server is None:
            return (await self._probe())[1]
        if server.pid is None or server.exit_code() is not None:
            try:
                await trio.to_thread.run_sync(server.launch)
            except EmbeddedFailed as error:
                return str(error)
        silent_since = trio.current_time()
        while server.exit_code() is None:
            why = await trio.to_thread.run_sync(server.answers)
            if why is None:
                self._dsn = server.dsn()
                return None
            if _is_an_answer(why):
                silent_since = trio.current_time()  # it is recovering: that may take its time
                self._reason = f"PostgreSQL is starting: {why}"
            elif trio.current_time() - silent_since > self.settings.silence:
                await trio.to_thread.run_sync(server.kill)
                return f"PostgreSQL did not answer for {self.settings.silence:.0f} s and was killed"
            await trio.sleep(0.03)
        return server.obituary()

    async def _until_lost(self) -> str:
        """Wait until PostgreSQL is gone; return why."""
        server = self._server
        looked = trio.current_time()
        silent_since: float | None = None
        while True:
            suspected = self._suspected
            with trio.move_on_after(0.25 if server is not None else self.settings.probe_every):
                await suspected.wait()
            if server is not None and server.exit_code() is not None:
                return server.obituary()
            now = trio.current_time()
            if not suspected.is_set() and now - looked < self.settings.probe_every:
                continue
            self._suspected = trio.Event()
            answered, why = await self._probe()
            looked = trio.current_time()
            if why is None:
                silent_since = None
            elif server is None or answered:
                return why
            else:
                # the process is there and says nothing: one missed look may be a busy machine
                silent_since = silent_since or now
                if looked - silent_since >= self.settings.silence:
                    await trio.to_thread.run_sync(server.kill)
                    return f"PostgreSQL did not answer for {looked - silent_since:.0f} s and was killed"
                self._suspected.set()

    async def _probe(self) -> tuple[bool, str | None]:
        """Ask on a new connection. Whether anything came back, and why it is not fine (None: it is)."""
        try:
            await self._thread.call(self._ask)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            return not isinstance(error, TimeoutError), self._scrubbed(unavailable(error).args[0])
        except DatabaseUnavailable as error:
            return False, str(error)
        return True, None

    async def _ask(self) -> None:
        assert self._dsn is not None
        connection = await asyncpg.connect(
            self._dsn, timeout=self.settings.connect_timeout, server_settings=_NAMED
        )
        try:
            await connection.fetchval("SELECT 1", timeout=self.settings.connect_timeout)
        finally:
            await connection.close(timeout=1.0)

    def _suspect(self) -> None:
        """A call could not get through: look at once."""
        self._suspected.set()

    # for the engines

    async def _available(self) -> None:
        """Return when PostgreSQL is there; wait ``grace`` seconds for it at most."""
        if self._stopping:
            await trio.lowlevel.checkpoint()
            raise DatabaseUnavailable("the node is stopping", retry_after=5.0)
        with trio.move_on_after(self.settings.grace):
            await self.wait_ready()
            return
        wait = max(1.0, round(self._retry_at - trio.current_time(), 1))
        raise DatabaseUnavailable(self._reason, retry_after=wait)

    def _pool_for(self, engine: _Engine) -> Pool:
        return Pool(engine.connect, self.settings.pool_max, self.settings.pool_idle)

    async def _close_pools(self) -> None:
        async with trio.open_nursery() as nursery:
            for engine in self._engines.values():
                nursery.start_soon(self._thread.call, engine.pool.close, 2.0)

    def _scrubbed(self, words: str) -> str:
        """Without the password, in case a library repeats it."""
        with contextlib.suppress(ValueError):
            secret = urlsplit(self._dsn or "").password
            for form in (secret, unquote(secret or "")):
                if form:
                    words = words.replace(form, "***")
        return words


class _Engine:
    """One plugin's way to the database: its pool, and how a connection of it is made."""

    pool: Pool

    def __init__(self, database: Database, plugin: str, schema: str, can_write: bool) -> None:
        self.plugin = plugin
        self.schema = schema
        self.name = plugin if can_write else f"{plugin} (read only)"
        self.schema_is_there = False
        self._can_write = can_write
        self._database = database

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        if self._database._state != "ready":
            await self._database._available()
        return await self.call_at_once(function, *args)

    async def call_at_once(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return await self._database._thread.call(function, *args)
        except DatabaseUnavailable:
            self._database._suspect()
            raise

    def post(self, function: Callable[[], Any]) -> None:
        self._database._thread.post(function)

    async def connect(self) -> Connection[Any]:
        """A new connection, in the plugin's schema. Runs in the thread."""
        settings = {"application_name": f"nexus {self.plugin}", "search_path": f'"{self.schema}"'}
        if not self._can_write:
            settings["default_transaction_read_only"] = "on"
        database = self._database
        assert database._dsn is not None
        try:
            connection = await asyncpg.connect(
                database._dsn,
                timeout=database.settings.connect_timeout,
                statement_cache_size=database.settings.statement_cache_size,
                server_settings=settings,
                record_class=Record,
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            # whatever keeps a connection from being made, the plugin is not to blame for it
            lost = unavailable(error)
            raise DatabaseUnavailable(database._scrubbed(_why(lost))) from None
        try:
            async with _cut_unless_done(connection):
                await _speak_json(connection)
                if not self.schema_is_there:
                    await self._make_schema(connection)
                    self.schema_is_there = True
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            if is_connection_lost(error):
                raise unavailable(error) from None
            raise translate(error, f'CREATE SCHEMA "{self.schema}"') from None
        return connection

    async def _make_schema(self, connection: Connection[Any]) -> None:
        if await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", f'"{self.schema}"'):
            return
        with contextlib.suppress(asyncpg.DuplicateSchemaError, asyncpg.UniqueViolationError):
            # READ WRITE: also on the connections of a plugin that may only read
            await connection.execute(
                f'BEGIN READ WRITE; CREATE SCHEMA IF NOT EXISTS "{self.schema}"; COMMIT'
            )


_NAMED = {"application_name": "nexus"}


async def _speak_json(connection: Connection[Any]) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="binary", encoder=encode_jsonb, decoder=decode_jsonb
    )
    await connection.set_type_codec(
        "json", schema="pg_catalog", format="binary", encoder=encode_json, decoder=decode_json
    )


@asynccontextmanager
async def _cut_unless_done(connection: Connection[Any]) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        connection.terminate()
        raise


def _why(error: DatabaseUnavailable) -> str:
    return str(error).removeprefix("the database is not available: ")


def _is_an_answer(words: str) -> bool:
    """Whether psql's words are PostgreSQL's own, and not that nothing is there or nothing came."""
    return "FATAL" in words or "ERROR" in words


def _shown(dsn: str) -> str:
    """A DSN without its password."""
    parts = urlsplit(dsn)
    user = f"{parts.username}@" if parts.username else ""
    port = f":{parts.port}" if parts.port else ""
    return f"{user}{parts.hostname or 'localhost'}{port}{parts.path}"
