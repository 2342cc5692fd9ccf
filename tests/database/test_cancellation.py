"""However a statement is cancelled, the pool keeps its connections and PostgreSQL stops working."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg
import pytest
import trio
import trio.testing

from nexus_actors.database import (
    Database,
    DatabaseAdapter,
    DatabaseUnavailable,
    EmbeddedServer,
    Settings,
    StatementTimeout,
)
from nexus_actors.database.lines import Line
from nexus_actors.database.pool import PoolStatistics

# ruff: noqa: ASYNC110 - what is waited for happens in PostgreSQL, which sets no event

MARK = "the marked one"

CANCELLATIONS = int(os.environ.get("NEXUS_CANCELLATIONS", "2000"))
"""How many the long test takes: 10,000 take five times as long."""


async def pool_of(database: Database) -> PoolStatistics:
    (pool,) = database.statistics().pools.values()
    return pool


async def running(server: EmbeddedServer, mark: str = MARK) -> int:
    """How many statements with the mark PostgreSQL works on, seen from outside."""
    sql = f"""SELECT count(*) FROM pg_stat_activity WHERE state = 'active'
              AND query LIKE '%{mark}%' AND query NOT LIKE '%pg_stat_activity%'"""
    return int(await trio.to_thread.run_sync(server.run_sql, sql))


async def wait_running(server: EmbeddedServer, count: int) -> None:
    with trio.fail_after(5):
        while await running(server) != count:
            await trio.sleep(0.005)


async def test_a_cancelled_statement_is_gone_from_postgresql_when_the_caller_goes_on(
    server: EmbeddedServer, database: Database, db: DatabaseAdapter
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(db.execute, f"SELECT pg_sleep(60) /* {MARK} */")
        await wait_running(server, 1)
        nursery.cancel_scope.cancel()
    assert await running(server) == 0
    assert await pool_of(database) == PoolStatistics(open=1, idle=1, waiting=0, maximum=2)


async def test_the_connection_of_a_cancelled_statement_is_used_again(db: DatabaseAdapter) -> None:
    process = await db.fetch_value("SELECT pg_backend_pid()")
    with trio.move_on_after(0.05):
        await db.execute("SELECT pg_sleep(60)")
    assert await db.fetch_value("SELECT pg_backend_pid()") == process


async def test_sixty_storms_of_cancellation_leave_the_pool_whole(
    server: EmbeddedServer, database: Database, db: DatabaseAdapter
) -> None:
    """Ten tasks a round on two connections, cancelled at any point of theirs."""
    chance = random.Random(7)
    await db.execute("CREATE TABLE t (n int)")

    async def statement() -> None:
        await db.execute(f"SELECT pg_sleep(0.01) /* {MARK} */")

    async def transaction() -> None:
        async with db.transaction():
            await db.execute("INSERT INTO t VALUES (1)")
            async with db.transaction():
                await db.execute(f"SELECT pg_sleep(0.005) /* {MARK} */")

    async def limited() -> None:
        with suppress(StatementTimeout):
            await db.execute("SELECT pg_sleep(0.01)", timeout=chance.random() * 0.01)

    for _ in range(60):
        with trio.move_on_after(chance.random() * 0.03):
            async with trio.open_nursery() as nursery:
                for number in range(10):
                    nursery.start_soon((statement, transaction, limited)[number % 3])
    pool = await pool_of(database)
    assert pool.waiting == 0
    assert pool.open == pool.idle <= 2
    await wait_running(server, 0)
    # both connections work, side by side
    both = [trio.Event(), trio.Event()]

    async def meet(me: int) -> None:
        async with db.transaction():
            await db.fetch_value("SELECT 1")
            both[me].set()
            await both[1 - me].wait()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(meet, 0)
            nursery.start_soon(meet, 1)
    assert await db.fetch_value("SELECT sum(n) IS NULL OR sum(n) >= 0 FROM t")


async def test_a_connection_comes_to_be_though_nobody_can_wait_for_it(
    settings: Settings, plugin_name: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under deadlines shorter than it takes to open one there would never be one."""
    from nexus_actors.database import engine

    slow = engine._speak_json

    async def slower(connection: Line) -> None:
        await asyncio.sleep(0.05)
        await slow(connection)

    monkeypatch.setattr(engine, "_speak_json", slower)
    database = Database(settings)
    async with database.opened():
        await database.wait_ready()
        db = database.adapter_for(plugin_name(), can_write=True)
        found = 0
        with trio.fail_after(5):
            while not found:
                with trio.move_on_after(0.02):
                    found = await db.fetch_value("SELECT 1")
        assert await pool_of(database) == PoolStatistics(1, 1, 0, 2)


class Work:
    """Statements of every kind; ``pairs`` has two rows for each transaction that took effect."""

    def __init__(self, db: DatabaseAdapter, chance: random.Random) -> None:
        self.db = db
        self.chance = chance

    async def begin(self) -> None:
        await self.db.execute("CREATE TABLE pairs (n int); CREATE TABLE many (n int)")

    async def whole(self) -> bool:
        count = await self.db.fetch_value("SELECT count(*) FROM pairs")
        return bool(count % 2 == 0)

    def any(self) -> Callable[[], Awaitable[object]]:
        return self.chance.choice(
            [self.sleep, self.new, self.rows, self.pair, self.nested, self.many, self.large]
        )

    async def sleep(self) -> None:
        await self.db.execute(f"SELECT pg_sleep(0.02) /* {MARK} */")

    async def new(self) -> None:
        """It is prepared first."""
        await self.db.fetch_value(f"SELECT $1::int + {self.chance.randrange(10**9)}", 1)

    async def rows(self) -> None:
        await self.db.fetch_all("SELECT n, repeat('x', 500) FROM generate_series(1, 1000) n")

    async def pair(self) -> None:
        async with self.db.transaction():
            for _ in range(2):
                await self.db.execute("INSERT INTO pairs VALUES (1)")

    async def nested(self) -> None:
        async with self.db.transaction():
            await self.db.execute("INSERT INTO pairs VALUES (1)")
            async with self.db.transaction():
                await self.db.execute("INSERT INTO pairs VALUES (1)")

    async def many(self) -> None:
        await self.db.executemany("INSERT INTO many VALUES ($1)", [(n,) for n in range(100)])

    async def large(self) -> None:
        await self.db.fetch_value("SELECT length($1::text)", "x" * 500_000)


@pytest.mark.timeout(120 + CANCELLATIONS / 20)
async def test_any_number_of_random_cancellations_leaves_a_whole_pool(
    server: EmbeddedServer, dsn: str, plugin_name: Callable[[], str]
) -> None:
    """Ten tasks on eight connections, each cancelled somewhere in what it does."""
    database = Database(Settings(dsn=dsn, pool_max=8))
    name = plugin_name()
    cancelled = 0
    async with database.opened():
        await database.wait_ready()
        db = database.adapter_for(name, can_write=True)
        work = Work(db, random.Random(11))
        await work.begin()

        async def repeat() -> None:
            nonlocal cancelled
            while cancelled < CANCELLATIONS:
                with trio.move_on_after(work.chance.random() ** 2 * 0.02) as scope:
                    await work.any()()
                    await trio.lowlevel.checkpoint()
                cancelled += scope.cancelled_caught

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(repeat)
        pool = await pool_of(database)
        assert (pool.waiting, pool.open) == (0, pool.idle)
        await wait_running(server, 0)
        assert await work.whole()
        met = trio.testing.Sequencer()

        async def meet(me: int) -> None:
            async with db.transaction():
                await db.fetch_value("SELECT 1")
                async with met(me):
                    pass
                async with met(8 + me):
                    pass

        with trio.fail_after(5):  # all eight work, side by side
            async with trio.open_nursery() as nursery:
                for number in range(8):
                    nursery.start_soon(meet, number)
        of_plugin = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'nexus {name}'"
        with trio.fail_after(5):
            while int(await trio.to_thread.run_sync(server.run_sql, of_plugin)) != 8:
                await trio.sleep(0.01)
        leaving = trio.current_time()
    assert trio.current_time() - leaving < 5


async def test_a_cancelled_statement_has_gone_from_postgresql_within_a_tenth_of_a_second(
    server: EmbeddedServer, db: DatabaseAdapter
) -> None:
    took = []
    for _ in range(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(db.execute, f"SELECT pg_sleep(60) /* {MARK} */")
            await wait_running(server, 1)
            began = trio.current_time()
            nursery.cancel_scope.cancel()
        took.append(trio.current_time() - began)
        assert await running(server) == 0
    assert min(took) < 0.1


@pytest.mark.parametrize("seed", range(4))
async def test_leaving_never_hangs_whatever_goes_on(
    dsn: str, plugin_name: Callable[[], str], seed: int
) -> None:
    """Statements that do not end, waits for a connection, transactions and cancellations."""
    chance = random.Random(seed)
    database = Database(Settings(dsn=dsn, pool_max=3))

    async def repeat(work: Work, limit: float) -> None:
        with suppress(DatabaseUnavailable):
            while True:
                with trio.move_on_after(limit):
                    await work.any()()
                await trio.lowlevel.checkpoint()

    async def endless(work: Work) -> None:
        with suppress(DatabaseUnavailable):
            async with work.db.transaction():
                await work.db.execute(f"SELECT pg_sleep({60 if seed else 0})")
                await trio.sleep(0.5)

    async with trio.open_nursery() as nursery:
        async with database.opened():
            await database.wait_ready()
            work = Work(database.adapter_for(plugin_name(), can_write=True), chance)
            await work.begin()
            nursery.start_soon(endless, work)
            for number in range(8):
                nursery.start_soon(repeat, work, 0.005 * (number + 1))
            await trio.sleep(0.1 + chance.random() * 0.1)
            leaving = trio.current_time()
        assert trio.current_time() - leaving < 4
        with trio.fail_after(1):  # nobody is left waiting
            while len(nursery.child_tasks):
                await trio.sleep(0.01)


async def test_a_cancelled_wait_for_a_connection_loses_none(
    database: Database, db: DatabaseAdapter
) -> None:
    release = trio.Event()

    async def hold() -> None:
        async with db.transaction():
            await db.execute("SELECT 1")
            await release.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        nursery.start_soon(hold)
        with trio.fail_after(5):
            while (await pool_of(database)).open < 2:
                await trio.sleep(0.001)
        for _ in range(5):
            with trio.move_on_after(0.01) as scope:
                await db.execute("SELECT 1")
            assert scope.cancelled_caught
        assert (await pool_of(database)).waiting == 0
        release.set()
    assert await pool_of(database) == PoolStatistics(open=2, idle=2, waiting=0, maximum=2)


async def test_a_statement_after_the_deadline_is_not_begun(db: DatabaseAdapter) -> None:
    await db.execute("CREATE TABLE t (n int)")
    for _ in range(20):
        with trio.move_on_after(0):
            await db.execute("INSERT INTO t VALUES (1)")
    assert await db.fetch_value("SELECT count(*) FROM t") == 0


async def test_a_connection_that_cannot_be_settled_is_cut_and_its_place_is_free(
    database: Database, db: DatabaseAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server does not react to the request to cancel: the caller goes on all the same."""
    monkeypatch.setattr("nexus_actors.database.lines.SETTLING", 0.1)

    async def lost(*args: object, **kwargs: object) -> None:
        pass

    monkeypatch.setattr(asyncpg.connect_utils, "_cancel", lost)
    process = await db.fetch_value("SELECT pg_backend_pid()")
    with trio.fail_after(3), trio.move_on_after(0.05):
        await db.execute("SELECT pg_sleep(60)")
    assert await db.fetch_value("SELECT pg_backend_pid()") != process
    assert await pool_of(database) == PoolStatistics(open=1, idle=1, waiting=0, maximum=2)


async def test_connections_nobody_uses_are_closed(
    settings: Settings, dsn: str, plugin_name: Callable[[], str]
) -> None:
    database = Database(Settings(dsn=dsn, pool_idle=0.05))
    async with database.opened():
        db = database.adapter_for(plugin_name(), can_write=True)
        assert await pool_of(database) == PoolStatistics(0, 0, 0, 4)
        await db.execute("SELECT 1")
        assert (await pool_of(database)).open == 1
        with trio.fail_after(5):
            while (await pool_of(database)).open:
                await trio.sleep(0.01)


async def test_connections_that_cannot_be_made_leave_their_places_free(
    settings: Settings, plugin_name: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nexus_actors.database import engine

    async def broken(connection: object) -> None:
        raise OSError("the line is cut")

    database = Database(settings)
    async with database.opened():
        await database.wait_ready()
        db = database.adapter_for(plugin_name(), can_write=True)
        with monkeypatch.context() as patch:
            patch.setattr(engine, "_speak_json", broken)

            async def refused() -> None:
                with pytest.raises(DatabaseUnavailable, match="the line is cut"):
                    await db.execute("SELECT 1")

            with trio.fail_after(5):  # more than there are places
                async with trio.open_nursery() as nursery:
                    for _ in range(5):
                        nursery.start_soon(refused)
        assert await db.fetch_value("SELECT 1") == 1
        assert await pool_of(database) == PoolStatistics(1, 1, 0, 2)


async def test_a_connection_that_is_being_closed_by_the_server_is_not_used_again(
    database: Database, db: DatabaseAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server says that it is stopping; the line is not yet closed."""

    async def dying(line: Line, sql: str) -> None:
        raise asyncpg.AdminShutdownError("terminating connection due to administrator command")

    process = await db.fetch_value("SELECT pg_backend_pid()")
    with monkeypatch.context() as patch:
        patch.setattr(Line, "execute", dying)
        for _ in range(2):
            with pytest.raises(
                DatabaseUnavailable, match="terminating connection due to administr"
            ):
                await db.execute("SELECT 1")
        assert (await pool_of(database)).open == 0
    await database.wait_ready()
    assert await db.fetch_value("SELECT pg_backend_pid()") != process
