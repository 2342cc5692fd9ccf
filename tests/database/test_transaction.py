"""Transactions: commit, rollback, savepoints, whose statements belong, what a commit sets free."""

from collections.abc import Awaitable, Callable

import asyncpg
import pytest
import trio

from nexus_actors.database import (
    Database,
    DatabaseAdapter,
    DatabaseError,
    SerializationFailure,
    TransactionAborted,
    UniqueViolation,
    WrongParameter,
    current_transaction,
)

Witness = Callable[[], Awaitable[list[int]]]


@pytest.fixture
async def table(db: DatabaseAdapter) -> DatabaseAdapter:
    """An adapter with an empty table ``t (n int primary key)``."""
    await db.execute("CREATE TABLE t (n int PRIMARY KEY)")
    return db


@pytest.fixture
async def witness(table: DatabaseAdapter, dsn: str, database: Database) -> Witness:
    """What others see of the table: read on a connection of its own, outside of any transaction."""
    schema = await table.fetch_value("SELECT current_schema()")

    async def see() -> list[int]:
        async def read() -> list[int]:
            connection = await asyncpg.connect(dsn)
            try:
                rows = await connection.fetch(f"SELECT n FROM {schema}.t ORDER BY n")
            finally:
                await connection.close()
            return [row["n"] for row in rows]

        return await database.lines.call(read)

    return see


class Oops(Exception):
    pass


async def test_a_block_takes_effect_as_a_whole_at_its_end(
    table: DatabaseAdapter, witness: Witness
) -> None:
    async with table.transaction():
        await table.execute("INSERT INTO t VALUES (1)")
        await table.execute("INSERT INTO t VALUES (2)")
        assert await table.fetch_value("SELECT count(*) FROM t") == 2
        assert await witness() == []
    assert await witness() == [1, 2]


async def test_an_exception_takes_all_of_it_back(
    database: Database, table: DatabaseAdapter, witness: Witness
) -> None:
    with pytest.raises(Oops):
        async with table.transaction():
            await table.execute("INSERT INTO t VALUES (1)")
            raise Oops
    assert await witness() == []
    (pool,) = database.statistics().pools.values()
    assert pool.open == pool.idle == 1


async def test_cancellation_takes_all_of_it_back(
    database: Database, table: DatabaseAdapter, witness: Witness
) -> None:
    with trio.CancelScope() as scope:
        async with table.transaction():
            await table.execute("INSERT INTO t VALUES (1)")
            scope.cancel()
            await table.execute("INSERT INTO t VALUES (2)")
    assert scope.cancelled_caught
    assert await witness() == []
    (pool,) = database.statistics().pools.values()
    assert pool.open == pool.idle == 1


async def test_a_block_whose_deadline_has_passed_is_not_committed(
    table: DatabaseAdapter, witness: Witness
) -> None:
    with trio.CancelScope() as scope:
        async with table.transaction():
            await table.execute("INSERT INTO t VALUES (1)")
            scope.cancel()
    assert scope.cancelled_caught
    assert await witness() == []


async def test_a_commit_under_way_is_not_interrupted(
    table: DatabaseAdapter, witness: Witness
) -> None:
    """A deferred trigger makes COMMIT slow; the cancellation arrives while it runs."""
    await table.execute(
        """
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION slow()
        """
    )
    told: list[str] = []
    with trio.move_on_after(0.1) as scope:
        async with table.transaction() as transaction:
            transaction.after_commit(lambda: told.append("committed"))
            await table.execute("INSERT INTO t VALUES (1)")
            scope.deadline = trio.current_time() + 0.1
    assert told == ["committed"]
    assert await witness() == [1]


async def test_an_error_at_commit_leaves_the_block(
    database: Database, table: DatabaseAdapter
) -> None:
    await table.execute("ALTER TABLE t ADD parent int REFERENCES t DEFERRABLE INITIALLY DEFERRED")
    told: list[str] = []
    with pytest.raises(DatabaseError, match="violates foreign key constraint"):
        async with table.transaction() as transaction:
            transaction.after_commit(lambda: told.append("committed"))
            await table.execute("INSERT INTO t VALUES (1, 99)")
    assert told == []
    (pool,) = database.statistics().pools.values()
    assert pool.open == pool.idle == 1


async def test_a_swallowed_error_does_not_pass_for_a_commit(
    table: DatabaseAdapter, witness: Witness
) -> None:
    """PostgreSQL answers COMMIT of a failed transaction by rolling it back, without an error."""
    told: list[str] = []
    with pytest.raises(TransactionAborted) as caught:
        async with table.transaction() as transaction:
            transaction.after_commit(lambda: told.append("committed"))
            await table.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(UniqueViolation):
                await table.execute("INSERT INTO t VALUES (1)")
    assert "nothing of this transaction took effect" in str(caught.value)
    assert 'duplicate key value violates unique constraint "t_pkey"' in str(caught.value)
    assert told == []
    assert await witness() == []


async def test_a_statement_after_a_failed_one_says_what_to_do(table: DatabaseAdapter) -> None:
    with pytest.raises(TransactionAborted, match=r"nested `async with db.transaction\(\)`"):
        async with table.transaction():
            with pytest.raises(DatabaseError):
                await table.execute("SELECT 1/0")
            await table.execute("INSERT INTO t VALUES (1)")


async def test_a_wrong_parameter_does_not_spoil_the_transaction(
    table: DatabaseAdapter, witness: Witness
) -> None:
    async with table.transaction():
        with pytest.raises(WrongParameter):
            await table.execute("INSERT INTO t VALUES ($1)", "one")
        await table.execute("INSERT INTO t VALUES ($1)", 1)
    assert await witness() == [1]


async def test_a_statement_that_ends_the_transaction_by_hand_is_refused(
    database: Database, table: DatabaseAdapter
) -> None:
    with pytest.raises(DatabaseError, match="was ended by a statement in its block"):
        async with table.transaction():
            await table.execute("COMMIT")
    (pool,) = database.statistics().pools.values()
    assert pool.open == pool.idle == 1


async def test_isolation_and_read_only_reach_postgresql(table: DatabaseAdapter) -> None:
    async with table.transaction(isolation="repeatable_read", read_only=True):
        assert await table.fetch_value("SHOW transaction_isolation") == "repeatable read"
        assert await table.fetch_value("SHOW transaction_read_only") == "on"
    with pytest.raises(DatabaseError, match="read-only transaction"):
        async with table.transaction(read_only=True):
            await table.execute("INSERT INTO t VALUES (1)")


async def test_a_conflict_of_two_transactions_says_to_run_it_again(
    database: Database, table: DatabaseAdapter
) -> None:
    await table.execute("INSERT INTO t VALUES (1)")
    read, written = trio.Event(), trio.Event()

    async def slower() -> None:
        with pytest.raises(SerializationFailure, match="run the transaction again from its start"):
            async with table.transaction(isolation="repeatable_read"):
                await table.fetch_value("SELECT n FROM t")
                read.set()
                await written.wait()
                await table.execute("UPDATE t SET n = 3")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(slower)
        await read.wait()
        await table.execute("UPDATE t SET n = 2")
        written.set()


async def test_a_block_is_entered_once(table: DatabaseAdapter) -> None:
    transaction = table.transaction()
    async with transaction:
        pass
    with pytest.raises(RuntimeError, match=r"call db.transaction\(\) for each block"):
        async with transaction:
            pass


# savepoints


async def test_a_nested_block_can_fail_alone(table: DatabaseAdapter, witness: Witness) -> None:
    async with table.transaction():
        await table.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(UniqueViolation):
            async with table.transaction() as nested:
                assert nested.is_savepoint
                await table.execute("INSERT INTO t VALUES (2)")
                await table.execute("INSERT INTO t VALUES (1)")
        async with table.transaction():
            await table.execute("INSERT INTO t VALUES (3)")
    assert await witness() == [1, 3]


async def test_a_nested_block_goes_with_the_outer_one(
    table: DatabaseAdapter, witness: Witness
) -> None:
    with pytest.raises(Oops):
        async with table.transaction():
            async with table.transaction():
                await table.execute("INSERT INTO t VALUES (1)")
            raise Oops
    assert await witness() == []


async def test_a_swallowed_error_in_a_nested_block_takes_only_that_back(
    table: DatabaseAdapter, witness: Witness
) -> None:
    async with table.transaction():
        await table.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(TransactionAborted, match="division by zero"):
            async with table.transaction():
                await table.execute("INSERT INTO t VALUES (2)")
                with pytest.raises(DatabaseError):
                    await table.execute("SELECT 1/0")
        await table.execute("INSERT INTO t VALUES (3)")
    assert await witness() == [1, 3]


async def test_a_cancelled_nested_block_leaves_the_outer_one_usable(
    table: DatabaseAdapter, witness: Witness
) -> None:
    async with table.transaction():
        await table.execute("INSERT INTO t VALUES (1)")
        with trio.move_on_after(0.05) as scope:
            async with table.transaction():
                await table.execute("INSERT INTO t VALUES (2)")
                await table.execute("SELECT pg_sleep(60)")
        assert scope.cancelled_caught
        await table.execute("INSERT INTO t VALUES (3)")
    assert await witness() == [1, 3]


async def test_options_belong_to_the_outermost_block(table: DatabaseAdapter) -> None:
    async with table.transaction():
        with pytest.raises(DatabaseError, match="this is a savepoint"):
            async with table.transaction(isolation="serializable"):
                pass


# whose statements belong to it


async def test_tasks_of_a_nursery_inside_the_block_belong_to_it(
    table: DatabaseAdapter, witness: Witness
) -> None:
    """They take turns on its one connection, and are rolled back with it."""

    async def insert(n: int) -> None:
        assert current_transaction() is transaction
        await table.execute("INSERT INTO t SELECT $1 FROM pg_sleep(0.001)", n)

    async def deeper(n: int) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(insert, n)

    with pytest.raises(Oops):
        async with table.transaction() as transaction:
            async with trio.open_nursery() as nursery:
                for n in range(10):
                    nursery.start_soon(insert, n)
                    nursery.start_soon(deeper, n + 10)
            assert await table.fetch_value("SELECT count(*) FROM t") == 20
            assert await witness() == []
            raise Oops
    assert await witness() == []


async def test_a_background_task_started_inside_is_outside(
    table: DatabaseAdapter, witness: Witness
) -> None:
    """A task of a nursery that outlives the block is not rolled back with it."""
    inserted = trio.Event()

    async def insert() -> None:
        assert current_transaction() is None
        await table.execute("INSERT INTO t VALUES (1)")
        inserted.set()

    async with trio.open_nursery() as nursery:
        with pytest.raises(Oops):
            async with table.transaction():
                await table.execute("INSERT INTO t VALUES (2)")
                nursery.start_soon(insert)
                await inserted.wait()
                raise Oops
    assert await witness() == [1]


async def test_savepoints_of_two_tasks_take_turns(table: DatabaseAdapter, witness: Witness) -> None:
    """Overlapping ones would release each other; one fails alone, the other stays."""

    async def good(n: int) -> None:
        async with table.transaction():
            await table.execute("INSERT INTO t VALUES ($1)", n)
            await trio.lowlevel.checkpoint()
            await table.execute("INSERT INTO t VALUES ($1)", n + 1)

    async def bad(n: int) -> None:
        with pytest.raises(Oops):
            async with table.transaction():
                await table.execute("INSERT INTO t VALUES ($1)", n)
                await trio.lowlevel.checkpoint()
                raise Oops

    async with table.transaction():
        async with trio.open_nursery() as nursery:
            for n in range(0, 40, 4):
                nursery.start_soon(good, n)
                nursery.start_soon(bad, n + 2)
    assert await witness() == [n + k for n in range(0, 40, 4) for k in (0, 1)]


async def test_a_task_that_outlived_the_block_uses_a_connection_of_its_own(
    table: DatabaseAdapter, witness: Witness
) -> None:
    over = trio.Event()

    async def later() -> None:
        await over.wait()
        assert current_transaction() is None
        await table.execute("INSERT INTO t VALUES (1)")

    async with trio.open_nursery() as nursery:
        async with table.transaction():
            nursery.start_soon(later)
        over.set()
    assert await witness() == [1]


async def test_transactions_of_two_tasks_are_two(table: DatabaseAdapter, witness: Witness) -> None:
    both = [trio.Event(), trio.Event()]
    seen = [trio.Event(), trio.Event()]

    async def one(me: int) -> None:
        async with table.transaction():
            await table.execute("INSERT INTO t VALUES ($1)", me)
            both[me].set()
            await both[1 - me].wait()
            assert await table.fetch_value("SELECT array_agg(n) FROM t") == [me]
            seen[me].set()
            await seen[1 - me].wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, 0)
        nursery.start_soon(one, 1)
    assert await witness() == [0, 1]


async def test_a_transaction_is_one_plugins(
    database: Database, table: DatabaseAdapter, plugin_name: Callable[[], str]
) -> None:
    """Inside one plugin's block another plugin's adapter works on its own."""
    other = database.adapter_for(plugin_name(), can_write=True)
    await other.execute("CREATE TABLE t (n int)")
    with pytest.raises(Oops):
        async with table.transaction() as outer:
            await other.execute("INSERT INTO t VALUES (1)")
            async with other.transaction() as inner:
                assert not inner.is_savepoint
                assert current_transaction() is inner
                await table.execute("INSERT INTO t VALUES (1)")
            assert current_transaction() is outer
            raise Oops
    assert await other.fetch_value("SELECT count(*) FROM t") == 1
    assert await table.fetch_value("SELECT count(*) FROM t") == 0


# after the commit


async def test_callbacks_run_after_the_commit_in_order(
    table: DatabaseAdapter,
) -> None:
    told: list[str] = []
    async with table.transaction() as transaction:
        assert current_transaction() is transaction
        transaction.after_commit(lambda: told.append("first"))
        async with table.transaction() as nested:
            assert current_transaction() is nested
            nested.after_commit(lambda: told.append("second"))
        transaction.after_commit(lambda: told.append("third"))
        assert told == []
    assert told == ["first", "second", "third"]
    assert current_transaction() is None


async def test_a_rollback_drops_the_callbacks(table: DatabaseAdapter) -> None:
    told: list[str] = []
    with pytest.raises(Oops):
        async with table.transaction() as transaction:
            transaction.after_commit(lambda: told.append("never"))
            raise Oops
    assert told == []


async def test_a_rolled_back_savepoint_drops_its_own_callbacks_alone(
    table: DatabaseAdapter,
) -> None:
    told: list[str] = []
    async with table.transaction() as transaction:
        transaction.after_commit(lambda: told.append("outer"))
        with pytest.raises(Oops):
            async with table.transaction() as nested:
                nested.after_commit(lambda: told.append("nested"))
                async with table.transaction() as innermost:
                    innermost.after_commit(lambda: told.append("innermost"))
                raise Oops
    assert told == ["outer"]


async def test_the_data_are_there_when_the_callback_runs(
    table: DatabaseAdapter, witness: Witness
) -> None:
    seen = trio.Event()
    async with table.transaction() as transaction:
        transaction.after_commit(seen.set)
        await table.execute("INSERT INTO t VALUES (1)")
        assert not seen.is_set()
    assert seen.is_set()
    assert await witness() == [1]


async def test_a_raising_callback_keeps_no_other_from_running(table: DatabaseAdapter) -> None:
    told: list[str] = []

    def fail() -> None:
        raise Oops

    with pytest.raises(Oops):
        async with table.transaction() as transaction:
            transaction.after_commit(fail)
            transaction.after_commit(lambda: told.append("second"))
    assert told == ["second"]


async def test_a_callback_is_refused_outside_of_the_block(table: DatabaseAdapter) -> None:
    async with table.transaction() as transaction:
        pass
    with pytest.raises(RuntimeError, match="inside the block"):
        transaction.after_commit(lambda: None)
