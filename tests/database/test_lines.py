"""asyncpg in Trio: what runs on the loop beside, what in the caller's task, and how both end."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import trio
import trio.testing

from nexus_actors.database import Database, DatabaseAdapter, DatabaseUnavailable
from nexus_actors.database.lines import Line, Lines
from nexus_actors.database.pool import PoolStatistics


@pytest.fixture
async def lines(nursery: trio.Nursery) -> Lines:
    lines = Lines()
    await nursery.start(lines.run)
    return lines


@pytest.fixture
async def line(lines: Lines, dsn: str) -> AsyncIterator[Line]:
    """A line whose socket is read by who drives a statement on it."""

    async def connect() -> Line:
        line: Line = await asyncpg.connect(dsn, connection_class=Line)
        return line

    line = await lines.call(connect)
    line.take()
    yield line
    line.terminate()


# -- the loop beside


async def test_asyncio_runs_in_the_same_thread_and_its_result_comes_back(lines: Lines) -> None:
    async def work(a: int, b: int) -> tuple[int, int]:
        await asyncio.sleep(0)
        return a + b, threading.get_ident()

    assert await lines.call(work, 1, 2) == (3, threading.get_ident())


async def test_an_error_comes_back(lines: Lines) -> None:
    async def work() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        await lines.call(work)


async def test_cancelling_waits_until_the_work_has_ended(lines: Lines) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            ended.append("tidied up")

    with trio.move_on_after(0.05) as scope:
        await lines.call(work)
    assert scope.cancelled_caught
    assert ended == ["tidied up"]


async def test_work_cancelled_before_it_began_does_not_begin(lines: Lines) -> None:
    began: list[int] = []

    async def work() -> None:
        began.append(1)

    with trio.CancelScope() as scope:
        scope.cancel()
        await lines.call(work)
    assert scope.cancelled_caught
    assert began == []


async def test_a_result_that_came_in_spite_of_the_cancellation_is_returned(lines: Lines) -> None:
    async def work() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "done all the same"
        return ""

    with trio.move_on_after(0.05):
        assert await lines.call(work) == "done all the same"


async def test_the_end_of_the_loop_ends_all_work() -> None:
    tidied: list[int] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            tidied.append(1)

    async def call() -> None:
        with pytest.raises(DatabaseUnavailable, match="the node is stopping"):
            await lines.call(work)

    lines = Lines()
    with trio.fail_after(5):
        async with trio.open_nursery() as callers:
            async with trio.open_nursery() as nursery:
                await nursery.start(lines.run)
                for _ in range(3):
                    callers.start_soon(call)
                await trio.testing.wait_all_tasks_blocked(0.01)
                nursery.cancel_scope.cancel()
    assert tidied == [1, 1, 1]
    with pytest.raises(DatabaseUnavailable, match="the node is stopping"):
        await lines.call(work)


# -- statements in the caller's task


async def test_a_statement_takes_no_turn_of_the_loop(
    lines: Lines, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is what makes it quick: the loop's turns cost more than the statement."""
    assert await lines.drive(line, line.fetchval("SELECT 1 + $1::int", 1)) == 2  # prepares it
    turns: list[object] = []
    queue = lines._queue

    def counted(*args: object, **options: object) -> object:
        turns.append(args)
        return queue(*args, **options)

    monkeypatch.setattr(lines, "_queue", counted)
    assert await lines.drive(line, line.fetchval("SELECT 1 + $1::int", 2)) == 3
    assert turns == []


async def test_an_answer_of_many_reads_is_whole_and_others_have_their_turn(
    lines: Lines, line: Line
) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        rows = await lines.drive(
            line, line.fetch("SELECT n, repeat('x', 1000) AS x FROM generate_series(1, 3000) n")
        )
        nursery.cancel_scope.cancel()
    assert [row["n"] for row in rows] == list(range(1, 3001))
    assert turns > 20


async def test_a_statement_larger_than_what_can_be_written_at_once(
    lines: Lines, line: Line
) -> None:
    large = "x" * 5_000_000
    assert await lines.drive(line, line.fetchval("SELECT length($1::text)", large)) == len(large)
    assert await lines.drive(line, line.fetchval("SELECT $1::text", large)) == large


async def test_a_line_with_tls_is_read_by_the_loop(
    database: Database, db: DatabaseAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes in through the socket is not asyncpg's there, so nobody else can read it."""
    monkeypatch.setattr(Line, "take", lambda line: None)
    assert await db.fetch_value("SELECT 1") == 1
    process = await db.fetch_value("SELECT pg_backend_pid()")
    with trio.move_on_after(0.05) as scope:
        await db.execute("SELECT pg_sleep(60)")
    assert scope.cancelled_caught
    assert await db.fetch_value("SELECT pg_backend_pid()") == process
    async with db.transaction():
        assert await db.fetch_value("SELECT 2") == 2


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used(
    database: Database, db: DatabaseAdapter, dsn: str
) -> None:
    """Nobody reads from one at rest; it is looked at when it is taken."""
    process = await db.fetch_value("SELECT pg_backend_pid()")
    await _end_backend(database, dsn, process)
    await trio.sleep(0.03)  # as long as it is taken for fresh
    assert await db.fetch_value("SELECT pg_backend_pid()") != process
    (pool,) = database.statistics().pools.values()
    assert pool == PoolStatistics(open=1, idle=1, waiting=0, maximum=2)


async def test_a_connection_that_is_lost_in_a_statement_says_so(
    database: Database, db: DatabaseAdapter, dsn: str
) -> None:
    process = await db.fetch_value("SELECT pg_backend_pid()")
    seen: list[str] = []

    async def sleeper() -> None:
        with pytest.raises(DatabaseUnavailable, match=r"terminating|closed") as caught:
            await db.execute("SELECT pg_sleep(60)")
        seen.append(str(caught.value))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleeper)
            await trio.testing.wait_all_tasks_blocked(0.02)
            await _end_backend(database, dsn, process)
    assert "pg_sleep" in seen[0]
    assert await db.fetch_value("SELECT pg_backend_pid()") != process


async def test_a_line_that_is_cut_ends_the_statement_on_it(lines: Lines, line: Line) -> None:
    async def statement() -> None:
        with pytest.raises(asyncpg.PostgresConnectionError):
            await lines.drive(line, line.execute("SELECT pg_sleep(60)"))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(statement)
            await trio.testing.wait_all_tasks_blocked(0.01)
            lines.cut(line)
    assert line.is_closed()


async def test_the_end_of_the_loop_ends_the_statements(dsn: str) -> None:
    async def connect() -> Line:
        line: Line = await asyncpg.connect(dsn, connection_class=Line)
        return line

    async def statement(line: Line) -> None:
        with pytest.raises((asyncpg.PostgresConnectionError, DatabaseUnavailable)):
            await lines.drive(line, line.execute("SELECT pg_sleep(60)"))

    lines = Lines()
    with trio.fail_after(5):
        async with trio.open_nursery() as callers:
            async with trio.open_nursery() as nursery:
                await nursery.start(lines.run)
                for direct in (True, False):
                    line = await lines.call(connect)
                    if direct:
                        line.take()
                    callers.start_soon(statement, line)
                await trio.testing.wait_all_tasks_blocked(0.01)
                nursery.cancel_scope.cancel()


async def _end_backend(database: Database, dsn: str, process: int) -> None:
    """Have the server end one of its processes, and wait until it has gone."""

    async def end() -> None:
        connection: Any = await asyncpg.connect(dsn)
        await connection.execute("SELECT pg_terminate_backend($1, 5000)", process)
        await connection.close()

    await database.lines.call(end)
