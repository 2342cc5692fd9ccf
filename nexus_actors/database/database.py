"""The node's database: embedded or by DSN, kept up for ever, and one adapter for each plugin.

It is supervised inside itself. When PostgreSQL dies it is started again, when a server elsewhere
goes away it is asked again, with growing pauses and without limit; nothing of that reaches the
supervisor above. Meanwhile every call waits ``grace`` seconds for it to come back and then raises
``DatabaseUnavailable``. What does go up: a data folder another node runs on, at the start; and
bugs.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, Protocol

import asyncpg
import attrs
import trio

from nexus_actors.database.adapter import DatabaseAdapter
from nexus_actors.database.embedded import EmbeddedFailed, EmbeddedServer
from nexus_actors.database.engine import PluginEngine
from nexus_actors.database.lines import Lines
from nexus_actors.database.pool import Pool, PoolStatistics
from nexus_actors.database.settings import Settings, no_connection, shown
from nexus_actors.database.statements import schema_name
from nexus_actors.errors import DatabaseUnavailable

__all__ = ["Database", "DatabaseStatistics", "State"]

logger = logging.getLogger("nexus.database")

_NAME = {"application_name": "nexus"}

State = Literal["starting", "ready", "unavailable"]


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

    Run it as a child of the supervision tree (``ChildSpec("database", database.run)``), or in a
    test::

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
        self._changed = trio.Event()  # set, and a new one, whenever it is found, lost or missed
        self._suspected = trio.Event()  # a new one at each look
        self._restarts = 0
        self._has_answered = False
        self._dsn = self.settings.dsn
        self._server: EmbeddedServer | None = None
        self.lines = Lines()
        self._engines: dict[tuple[str, bool], PluginEngine] = {}
        self._stopping = False

    # for the supervision tree and the tests

    async def run(self, child: _Child) -> None:
        """The start function of its child spec: up when it looks after PostgreSQL, there or not."""
        async with self.opened():
            child.started(self)
            await child.wait_stop()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Database]:
        """Look after PostgreSQL while the block runs. Leaving takes about ``stop_timeout`` at most.

        Raises:
            DataFolderInUse: no DSN, and another process runs on the data folder.
        """
        if self.settings.dsn is None:
            self._server = EmbeddedServer(
                self.settings.data_dir,
                durable=self.settings.durable,
                check=trio.from_thread.check_cancelled,
            )
            self._server.claim()
        self._stopping = False
        self._reason = (
            "PostgreSQL is starting"
            if self.settings.dsn is None
            else f"connecting to {shown(self.settings.dsn)}"
        )
        self.lines = Lines()
        for engine in self._engines.values():
            engine.pool = self._pool_for(engine)
        block_error: BaseException | None = None
        try:
            async with trio.open_nursery() as lines:
                await lines.start(self.lines.run)
                try:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._watch)
                        try:
                            yield self
                        except BaseException as error:  # noqa: BLE001 - raised again below
                            block_error = error
                        nursery.cancel_scope.cancel()
                finally:
                    self._stopping = True
                    self._lost("the node is stopping", pause=5.0)
                    with trio.CancelScope(shield=True):
                        await self._close_pools()
                    lines.cancel_scope.cancel()
        finally:
            if self._server is not None:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(self._server.stop, self.settings.stop_timeout)
                logger.info("PostgreSQL stopped")
        if block_error is not None:
            raise block_error  # out here the nurseries do not wrap it into groups

    @property
    def state(self) -> State:
        """``starting`` until the first try has ended, then ``ready`` or ``unavailable``."""
        return self._state

    @property
    def is_ready(self) -> bool:
        """Whether PostgreSQL answered when it was last looked at."""
        return self._state == "ready"

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
            await self._changed.wait()

    async def wait_changed(self) -> None:
        """Wait until PostgreSQL is found or lost, or another try has failed."""
        await self._changed.wait()

    def adapter_for(self, plugin: str, *, can_write: bool) -> DatabaseAdapter:
        """The adapter of a plugin: its own schema and connections, made at the first statement.

        May be called before PostgreSQL answers. The same plugin gets the same connections again,
        also in its next incarnation.

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
            engine = PluginEngine(self, plugin, schema, can_write)
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
            self._lost(why, pause)
            await trio.sleep(pause)

    def _found(self) -> None:
        if self._has_answered:
            self._restarts += 1
        self._has_answered = True
        for engine in self._engines.values():
            engine.schema_is_there = False  # it may be another server, or older data
        self._state, self._reason = "ready", "it answers"
        self._change()
        where = "embedded" if self._server is not None else shown(self._dsn or "")
        logger.info("PostgreSQL answers (%s)", where)

    def _lost(self, why: str, pause: float) -> None:
        self._state = "unavailable"
        self._retry_at = trio.current_time() + pause
        if why != self._reason and not self._stopping:
            logger.warning("PostgreSQL is not available: %s; next try in %.1f s", why, pause)
        self._reason = why
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

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
                return await self._kill(server)
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
                if server is not None and "shutting down" in why:
                    # somebody told it to stop, and it waits for our own connections to leave
                    server.hurry()
                return why
            else:
                # the process is there and says nothing: one missed look may be a busy machine
                silent_since = silent_since or now
                if looked - silent_since >= self.settings.silence:
                    return await self._kill(server)
                self._suspected.set()

    async def _kill(self, server: EmbeddedServer) -> str:
        await trio.to_thread.run_sync(server.kill)
        return f"PostgreSQL did not answer for {self.settings.silence:.0f} s and was killed"

    async def _probe(self) -> tuple[bool, str | None]:
        """Ask on a new connection. Whether it said anything, and what is wrong (None: nothing)."""
        try:
            return await self.lines.call(self._ask)
        except DatabaseUnavailable as error:  # the loop is stopping
            return False, str(error)

    async def _ask(self) -> tuple[bool, str | None]:
        try:
            connection = await asyncpg.connect(
                self._dsn, timeout=self.settings.connect_timeout, server_settings=_NAME
            )
            try:
                await connection.fetchval("SELECT 1", timeout=self.settings.connect_timeout)
            finally:
                await connection.close(timeout=1.0)
        except asyncpg.TooManyConnectionsError:
            return True, None  # busy, and well
        except Exception as error:  # noqa: BLE001 - that there is none, and why, is the answer
            return isinstance(error, asyncpg.PostgresError), no_connection(error, self._dsn or "")
        return True, None

    def suspect(self) -> None:
        """A call could not get through: look at once."""
        self._suspected.set()

    # for the engines

    async def available(self) -> None:
        """Return when PostgreSQL is there; ``grace`` seconds are waited for it, if that may help.

        Raises:
            DatabaseUnavailable: it is not; with the reason, and when the next try will be.
        """
        await trio.lowlevel.checkpoint()
        until = trio.current_time() + self.settings.grace
        with trio.CancelScope(deadline=until):
            while self._state != "ready" and self._retry_at <= until and not self._stopping:
                await self._changed.wait()
        if self._state == "ready":
            return
        wait = max(1.0, round(self._retry_at - trio.current_time(), 1))
        raise DatabaseUnavailable(self._reason, retry_after=wait)

    def _pool_for(self, engine: PluginEngine) -> Pool:
        return Pool(self.lines, engine.connect, self.settings.pool_max, self.settings.pool_idle)

    async def _close_pools(self) -> None:
        async with trio.open_nursery() as nursery:
            for engine in self._engines.values():
                nursery.start_soon(engine.pool.close, 1.0)


def _is_an_answer(words: str) -> bool:
    """Whether psql's words are PostgreSQL's own, and not that nothing is there or nothing came."""
    return "FATAL" in words or "ERROR" in words
