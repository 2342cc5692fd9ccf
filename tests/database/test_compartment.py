"""The adapter inside an asyncio compartment: the same methods, awaited by asyncio code."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
import trio
import trio_asyncio

from nexus_actors.database import (
    Database,
    DatabaseAdapter,
    StatementTimeout,
    UniqueViolation,
    current_transaction,
)

T = TypeVar("T")


class Oops(Exception):
    pass


async def in_compartment(function: Callable[[], Awaitable[T]]) -> T:
    """Run an asyncio function on a loop of its own, as a plugin written for asyncio runs."""
    async with trio_asyncio.open_loop():
        result: T = await trio_asyncio.aio_as_trio(function)()
        return result


@pytest.fixture
async def table(db: DatabaseAdapter) -> DatabaseAdapter:
    await db.execute("CREATE TABLE t (n int PRIMARY KEY, metadata jsonb)")
    return db


async def test_every_method_can_be_awaited_from_asyncio(table: DatabaseAdapter) -> None:
    async def plugin() -> None:
        insert = "INSERT INTO t VALUES ($1, $2)"
        assert await table.execute(insert, 1, {"a": [1]}) == "INSERT 0 1"
        await table.executemany(insert, [(2, {}), (3, {})])
        row = await table.fetch_one("SELECT * FROM t WHERE n = 1")
        assert row is not None
        assert dict(row) == {"n": 1, "metadata": {"a": [1]}}
        assert len(await table.fetch_all("SELECT * FROM t")) == 3
        assert await table.fetch_value("SELECT count(*) FROM t") == 3
        with pytest.raises(UniqueViolation):
            await table.execute(insert, 1, None)
        with pytest.raises(StatementTimeout):
            await table.execute("SELECT pg_sleep(60)", timeout=0.05)

    await in_compartment(plugin)


async def test_a_transaction_of_asyncio_commits_rolls_back_and_nests(
    table: DatabaseAdapter,
) -> None:
    told: list[str] = []

    async def plugin() -> None:
        async with table.transaction() as transaction:
            assert current_transaction() is transaction
            transaction.after_commit(lambda: told.append("committed"))
            await table.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(UniqueViolation):
                async with table.transaction() as nested:
                    assert nested.is_savepoint
                    await table.execute("INSERT INTO t VALUES (1)")
            await table.execute("INSERT INTO t VALUES (2)")
        assert current_transaction() is None
        with pytest.raises(Oops):
            async with table.transaction() as transaction:
                transaction.after_commit(lambda: told.append("never"))
                await table.execute("INSERT INTO t VALUES (3)")
                raise Oops

    await in_compartment(plugin)
    assert told == ["committed"]
    assert await table.fetch_value("SELECT array_agg(n ORDER BY n) FROM t") == [1, 2]


async def test_gather_and_wait_for_inside_the_block_belong_to_it(table: DatabaseAdapter) -> None:
    """Both make tasks of their own; one connection serves them in turns."""

    async def plugin() -> None:
        with pytest.raises(Oops):
            async with table.transaction():
                await asyncio.gather(
                    *(table.execute("INSERT INTO t VALUES ($1)", n) for n in range(10))
                )
                await asyncio.wait_for(table.execute("INSERT INTO t VALUES (10)"), 5)
                assert await table.fetch_value("SELECT count(*) FROM t") == 11
                raise Oops

    await in_compartment(plugin)
    assert await table.fetch_value("SELECT count(*) FROM t") == 0


async def test_a_task_that_asyncio_started_inside_is_outside_after_the_block(
    table: DatabaseAdapter,
) -> None:
    async def plugin() -> None:
        over = asyncio.Event()

        async def later() -> None:
            await over.wait()
            assert current_transaction() is None
            await table.execute("INSERT INTO t VALUES (1)")

        async with table.transaction():
            task = asyncio.create_task(later())
            await table.execute("SELECT 1")
        over.set()
        await task

    await in_compartment(plugin)
    assert await table.fetch_value("SELECT count(*) FROM t") == 1


async def test_a_transaction_opened_by_trio_takes_the_statements_of_an_asyncio_handler(
    table: DatabaseAdapter,
) -> None:
    async def handler() -> None:
        assert current_transaction() is not None
        await table.execute("INSERT INTO t VALUES (1)")

    async with trio_asyncio.open_loop():
        with pytest.raises(Oops):
            async with table.transaction():
                await trio_asyncio.aio_as_trio(handler)()
                raise Oops
    assert await table.fetch_value("SELECT count(*) FROM t") == 0


async def test_cancelling_an_asyncio_task_cancels_its_statement(
    database: Database, table: DatabaseAdapter
) -> None:
    async def plugin() -> None:
        task = asyncio.create_task(table.execute("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(table.execute("SELECT pg_sleep(60)"), 0.05)

    with trio.fail_after(5):
        await in_compartment(plugin)
    (pool,) = database.statistics().pools.values()
    assert pool.open == pool.idle == 1


async def test_storms_of_asyncio_cancellation_leave_the_pool_whole(
    database: Database, table: DatabaseAdapter
) -> None:
    async def transaction() -> None:
        async with table.transaction():
            async with table.transaction():
                await table.execute("SELECT pg_sleep(0.003)")

    async def plugin() -> None:
        for round_ in range(20):
            tasks = [asyncio.create_task(transaction()) for _ in range(6)]
            await asyncio.sleep(round_ * 0.001)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            for result in results:
                assert result is None or isinstance(result, asyncio.CancelledError)

    await in_compartment(plugin)
    with trio.fail_after(5):
        while True:
            (pool,) = database.statistics().pools.values()
            if pool.open == pool.idle and not pool.waiting:
                break
            await trio.sleep(0.005)
    assert pool.open <= 2
    assert await table.fetch_value("SELECT 1") == 1


async def test_context_variables_of_the_caller_are_seen_on_the_other_side(
    table: DatabaseAdapter,
) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")
    seen: list[str] = []

    async def plugin() -> None:
        variable.set("asyncio's")
        async with table.transaction() as transaction:
            transaction.after_commit(lambda: seen.append(variable.get()))

    await in_compartment(plugin)
    assert seen == ["asyncio's"]


async def test_a_cancellation_during_commit_commits_and_still_ends_the_task(
    table: DatabaseAdapter,
) -> None:
    """A commit is not interrupted; the asyncio task must not go on as if it had not been told."""
    await table.execute(
        """
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION slow()
        """
    )

    async def plugin() -> None:
        async def insert() -> None:
            async with table.transaction():
                await table.execute("INSERT INTO t VALUES (1)")
                asyncio.get_running_loop().call_later(0.1, task.cancel)
            pytest.fail("it went on")

        task = asyncio.create_task(insert())
        with pytest.raises(asyncio.CancelledError):
            await task

    await in_compartment(plugin)
    assert await table.fetch_value("SELECT count(*) FROM t") == 1


async def test_a_transaction_begun_for_a_task_that_was_cancelled_meanwhile_is_given_back(
    database: Database, table: DatabaseAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nexus_actors.database.pool import Lease, Pool

    lease = Pool.lease

    tasks: list[asyncio.Task[None]] = []
    token = trio.lowlevel.current_trio_token()

    async def late(pool: Pool, begin: str) -> Lease:
        taken = await lease(pool, begin)
        token.run_sync_soon(tasks[0].cancel)  # arrives just before the lease does
        return taken

    async def insert() -> None:
        async with table.transaction():
            pytest.fail("it went on")

    async def plugin() -> None:
        tasks.append(asyncio.create_task(insert()))
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]

    monkeypatch.setattr(Pool, "lease", late)
    await in_compartment(plugin)
    with trio.fail_after(5):
        while True:
            (pool,) = database.statistics().pools.values()
            if pool.open == pool.idle:
                break
            await trio.sleep(0.005)


@pytest.mark.parametrize("error", [None, Oops()], ids=["commit", "rollback"])
async def test_a_task_cancelled_on_the_verge_of_leaving_the_block_rolls_back(
    database: Database, table: DatabaseAdapter, error: Exception | None
) -> None:
    """The cancellation comes before the Trio side of the call has begun."""

    async def insert() -> None:
        async with table.transaction():
            await table.execute("INSERT INTO t VALUES (1)")
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if error is not None:
                raise error

    async def plugin() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(insert())

    await in_compartment(plugin)
    (pool,) = database.statistics().pools.values()
    assert pool.open == pool.idle == 1
    assert await table.fetch_value("SELECT count(*) FROM t") == 0


async def test_a_nested_block_left_like_that_rolls_back_alone(
    database: Database, table: DatabaseAdapter
) -> None:
    async def plugin() -> None:
        async with table.transaction():
            await table.execute("INSERT INTO t VALUES (1)")
            task = asyncio.current_task()
            assert task is not None
            with pytest.raises(asyncio.CancelledError):
                async with table.transaction():
                    await table.execute("INSERT INTO t VALUES (2)")
                    task.cancel()
            task.uncancel()
            await table.execute("INSERT INTO t VALUES (3)")

    await in_compartment(plugin)
    assert await table.fetch_value("SELECT array_agg(n ORDER BY n) FROM t") == [1, 3]
