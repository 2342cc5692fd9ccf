"""What an author does with ``self.db``: statements, rows, parameters, JSON, words of errors."""

import datetime
import decimal
import enum
import uuid
from collections.abc import Callable
from typing import Any

import asyncpg
import attrs
import msgspec
import pytest
import trio

from nexus_actors.database import (
    CheckViolation,
    Database,
    DatabaseAdapter,
    DatabaseError,
    ForeignKeyViolation,
    IntegrityError,
    NotNullViolation,
    StatementError,
    StatementTimeout,
    UndefinedColumn,
    UndefinedTable,
    UniqueViolation,
    WrongParameter,
)
from nexus_actors.errors import NexusError, PermissionDenied


async def test_the_guides_statements_work_as_written(db: DatabaseAdapter) -> None:
    tag = await db.execute(
        """
            CREATE TABLE IF NOT EXISTS my_plugin_data (
                id SERIAL PRIMARY KEY,
                name VARCHAR(100) NOT NULL,
                value TEXT,
                created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
            )
        """
    )
    assert tag == "CREATE TABLE"
    result = await db.fetch_one(
        "INSERT INTO my_plugin_data (name, value) VALUES ($1, $2) RETURNING id, created_at",
        "first",
        "",
    )
    assert result is not None
    assert result["id"] == 1
    assert result["created_at"].isoformat()
    rows = await db.fetch_all("SELECT * FROM my_plugin_data ORDER BY created_at DESC")
    assert [set(dict(row)) for row in rows] == [{"id", "name", "value", "created_at"}]
    tag = await db.execute("INSERT INTO my_plugin_data (name, value) VALUES ($1, $2)", "a", "b")
    assert tag == "INSERT 0 1"


async def test_no_row_is_none_an_empty_list_and_none(db: DatabaseAdapter) -> None:
    sql = "SELECT 1 AS one WHERE false"
    assert await db.fetch_one(sql) is None
    assert await db.fetch_all(sql) == []
    assert await db.fetch_value(sql) is None


async def test_fetch_value_is_the_first_column_of_the_first_row(db: DatabaseAdapter) -> None:
    assert await db.fetch_value("SELECT a, b FROM (VALUES (1, 2), (3, 4)) AS t (a, b)") == 1


async def test_executemany_takes_all_rows_or_none(db: DatabaseAdapter) -> None:
    await db.execute("CREATE TABLE numbers (n int PRIMARY KEY)")
    await db.executemany("INSERT INTO numbers VALUES ($1)", ([n] for n in range(100)))
    assert await db.fetch_value("SELECT count(*) FROM numbers") == 100
    with pytest.raises(UniqueViolation):
        await db.executemany("INSERT INTO numbers VALUES ($1)", [[200], [201], [1]])
    assert await db.fetch_value("SELECT count(*) FROM numbers") == 100


async def test_several_statements_at_once_take_effect_together(db: DatabaseAdapter) -> None:
    await db.execute("CREATE TABLE a (n int); CREATE TABLE b (n int)")
    with pytest.raises(DatabaseError):
        await db.execute("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1/0)")
    assert await db.fetch_value("SELECT count(*) FROM a") == 0


# JSON


@pytest.mark.parametrize("kind", ["jsonb", "json"])
@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, None, True], "b": {"c": "é \\ \" '"}},
        [],
        {},
        [{"x": 1}],
        "a string, not JSON text",
        '{"looks": "like JSON"}',
        0,
        False,
        1.5,
    ],
    ids=repr,
)
async def test_what_goes_into_json_comes_back(db: DatabaseAdapter, kind: str, value: Any) -> None:
    assert await db.fetch_value(f"SELECT $1::{kind}", value) == value


class _Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class _Point:
    x: int
    y: int


@pytest.mark.parametrize(
    ("value", "comes_back"),
    [
        (datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC), "2026-01-02T03:04:05Z"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.10"), "1.10"),
        (_Colour.RED, "red"),
        (_Point(1, 2), {"x": 1, "y": 2}),
        ({1}, [1]),
        (msgspec.Raw(b'{"ready": true}'), {"ready": True}),
        (float("nan"), None),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_json_does_not_have_comes_back_as_what_it_has(
    db: DatabaseAdapter, value: Any, comes_back: Any
) -> None:
    assert await db.fetch_value("SELECT $1::jsonb", [value]) == [comes_back]


async def test_a_null_column_of_json_is_none(db: DatabaseAdapter) -> None:
    assert await db.fetch_value("SELECT NULL::jsonb") is None
    assert await db.fetch_value("SELECT $1::jsonb IS NULL", None) is True


async def test_a_row_of_the_database_can_be_put_into_json(db: DatabaseAdapter) -> None:
    row = await db.fetch_one("SELECT 1 AS one, 'b' AS two")
    assert await db.fetch_value("SELECT $1::jsonb", {"row": row}) == {"row": {"one": 1, "two": "b"}}


# errors


@pytest.mark.parametrize(
    ("sql", "args", "words"),
    [
        (
            "SELECT $1::int + 1",
            ["seven"],
            "parameter $1 is a PostgreSQL int4 and got a Python str ('str' object cannot be "
            "interpreted as an integer), in: SELECT $1::int + 1; pass an int",
        ),
        (
            "SELECT $1::text, $2::timestamptz",
            ["x", "2026-01-01"],
            "parameter $2 is a PostgreSQL timestamptz and got a Python str (expected a "
            "datetime.date or datetime.datetime instance, got 'str'), in: SELECT $1::text, "
            "$2::timestamptz; pass a datetime.datetime with a time zone",
        ),
        (
            "SELECT $1::text",
            [{"a": 1}],
            "parameter $1 is a PostgreSQL text and got a Python dict (expected str, got dict), "
            "in: SELECT $1::text; pass a str",
        ),
        (
            "SELECT $1::int4",
            [2**40],
            "parameter $1 is a PostgreSQL int4 and got a Python int (value out of int32 range), "
            "in: SELECT $1::int4; pass one from -2**31 to 2**31 - 1, and refuse others where they "
            "come in",
        ),
        (
            "SELECT $1::text",
            ["a\0b"],
            r"parameter $1 is a Python str and has a null character (\0) in its text, which "
            "PostgreSQL does not take, in: SELECT $1::text; refuse such text where it comes in",
        ),
        (
            "SELECT $1::int, $2::text[]",
            [1, ["a", "\0"]],
            r"parameter $2 is a Python list and has a null character (\0) in its text, which "
            "PostgreSQL does not take, in: SELECT $1::int, $2::text[]; refuse such text where it "
            "comes in",
        ),
        (
            "SELECT $1::jsonb",
            [{"a": {"b\0": 1}}],
            r"parameter $1 is a Python dict and has a null character (\0) in its text, which "
            "PostgreSQL does not take, in: SELECT $1::jsonb; refuse such text where it comes in",
        ),
        (
            "SELECT $1::int4[]",
            [["x"]],
            "parameter $1 is a PostgreSQL int4[] and got a Python list (invalid array element at "
            "index 0: 'str' object cannot be interpreted as an integer), in: SELECT $1::int4[]; "
            "pass a list, each item an int",
        ),
        (
            "SELECT $1::jsonb",
            [{"a": object()}],
            "parameter $1 is a PostgreSQL jsonb and got a Python dict (a value of the type object "
            "cannot be written as JSON), in: SELECT $1::jsonb; pass what msgspec can write as JSON",
        ),
        (
            "SELECT $1::int, $2::int",
            [1],
            "2 values wanted, 1 given, in: SELECT $1::int, $2::int; pass one value for each of $1 "
            "to $2 after the statement",
        ),
        (
            "SELECT $1::int",
            [],
            "1 value wanted, 0 given, in: SELECT $1::int; pass one value for each of $1 after the "
            "statement",
        ),
        (
            "SELECT 1",
            [1],
            "no values wanted, 1 given, in: SELECT 1; it has no $1; only SELECT, INSERT, UPDATE, "
            "DELETE, MERGE and VALUES can have one",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("SELECT") else "",
)
async def test_a_wrong_parameter_is_named_with_its_type_and_the_fix(
    db: DatabaseAdapter, sql: str, args: list[Any], words: str
) -> None:
    with pytest.raises(WrongParameter) as caught:
        await db.fetch_one(sql, *args)
    assert str(caught.value) == words
    assert caught.value.statement == sql
    assert caught.value.__cause__ is None


async def test_a_parameter_that_execute_was_not_given_is_a_wrong_parameter(
    db: DatabaseAdapter,
) -> None:
    with pytest.raises(WrongParameter, match=r"there is no parameter \$1, in: SELECT \$1; pass a"):
        await db.execute("SELECT $1")


async def test_a_wrong_parameter_of_executemany_names_its_row(db: DatabaseAdapter) -> None:
    await db.execute("CREATE TABLE numbers (n int)")
    with pytest.raises(WrongParameter, match=r"^parameter \$1 of row 2 is a PostgreSQL int4 and g"):
        await db.executemany("INSERT INTO numbers VALUES ($1)", [[1], [2], ["x"]])


async def test_a_null_character_in_executemany_names_its_row(db: DatabaseAdapter) -> None:
    await db.execute("CREATE TABLE words (word text)")
    with pytest.raises(
        WrongParameter, match=r"^parameter \$1 of row 1 is a Python str and"
    ) as null:
        await db.executemany("INSERT INTO words VALUES ($1)", [["a"], ["b\0"]])
    assert isinstance(null.value, asyncpg.CharacterNotInRepertoireError)
    assert null.value.sqlstate == "22021"


async def test_a_message_holds_no_value_of_a_parameter_or_a_row(db: DatabaseAdapter) -> None:
    await db.execute("CREATE TABLE people (email text PRIMARY KEY)")
    await db.execute("INSERT INTO people VALUES ($1)", "ann@example.org")
    with pytest.raises(UniqueViolation) as twice:
        await db.execute("INSERT INTO people VALUES ($1)", "ann@example.org")
    with pytest.raises(WrongParameter) as wrong:
        await db.execute("INSERT INTO people VALUES ($1)", b"ann@example.org")
    for caught in (twice, wrong):
        assert "ann" not in str(caught.value)
        assert "ann" not in repr(caught.value)
    assert twice.value.detail == "Key (email)=(ann@example.org) already exists."


@pytest.mark.parametrize(
    ("sql", "cls", "theirs", "words"),
    [
        (
            "SELECT * FRM t",
            StatementError,
            asyncpg.PostgresSyntaxError,
            'syntax error at or near "FRM", in: SELECT * FRM t (column 10)',
        ),
        (
            "SELECT n\n  FROM t WHERE x = 1",
            UndefinedColumn,
            asyncpg.UndefinedColumnError,
            'column "x" does not exist, in: SELECT n FROM t WHERE x = 1 (line 2, column 16)',
        ),
        (
            "SELECT * FROM nowhere",
            UndefinedTable,
            asyncpg.UndefinedTableError,
            'relation "nowhere" does not exist, in: SELECT * FROM nowhere (column 15); create it '
            "in initialize() with CREATE TABLE IF NOT EXISTS; tables of other plugins are not seen",
        ),
        (
            "INSERT INTO t VALUES (1)",
            UniqueViolation,
            asyncpg.UniqueViolationError,
            'duplicate key value violates unique constraint "t_pkey", in: INSERT INTO t VALUES (1)',
        ),
        (
            "INSERT INTO t VALUES (NULL)",
            NotNullViolation,
            asyncpg.NotNullViolationError,
            'null value in column "n" of relation "t" violates not-null constraint, in: INSERT '
            "INTO t VALUES (NULL)",
        ),
        (
            "INSERT INTO t VALUES (-1)",
            CheckViolation,
            asyncpg.CheckViolationError,
            'new row for relation "t" violates check constraint "t_n_check", in: INSERT INTO t '
            "VALUES (-1)",
        ),
        (
            "INSERT INTO u VALUES (7)",
            ForeignKeyViolation,
            asyncpg.ForeignKeyViolationError,
            'insert or update on table "u" violates foreign key constraint "u_n_fkey", in: INSERT '
            "INTO u VALUES (7)",
        ),
        (
            "SELECT 1/0",
            DatabaseError,
            asyncpg.DivisionByZeroError,
            "division by zero, in: SELECT 1/0",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)
async def test_a_refused_statement_is_named_with_place_and_fix(
    db: DatabaseAdapter,
    sql: str,
    cls: type[DatabaseError],
    theirs: type[asyncpg.PostgresError],
    words: str,
) -> None:
    """Each error is an instance of our class and of asyncpg's, so that either can be caught."""
    await db.execute("CREATE TABLE t (n int PRIMARY KEY CHECK (n > 0)); INSERT INTO t VALUES (1)")
    await db.execute("CREATE TABLE u (n int REFERENCES t)")
    with pytest.raises(cls) as caught:
        await db.execute(sql)
    error: DatabaseError = caught.value
    assert isinstance(error, theirs)
    assert isinstance(error, NexusError)
    assert isinstance(error, IntegrityError) == ("violates" in words)
    assert str(error) == words
    assert error.sqlstate == theirs.sqlstate


async def test_the_constraint_of_a_violation_can_be_asked(db: DatabaseAdapter) -> None:
    await db.execute("CREATE TABLE t (n int CONSTRAINT only_once UNIQUE)")
    await db.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(UniqueViolation) as caught:
        await db.execute("INSERT INTO t VALUES (1)")
    assert caught.value.constraint_name == "only_once"
    assert caught.value.table_name == "t"


async def test_an_error_costs_no_connection(database: Database, db: DatabaseAdapter) -> None:
    for _ in range(5):
        with pytest.raises(DatabaseError):
            await db.execute("SELECT 1/0")
    (pool,) = database.statistics().pools.values()
    assert (pool.open, pool.idle) == (1, 1)


async def test_a_statement_must_be_text(db: DatabaseAdapter) -> None:
    with pytest.raises(TypeError, match="a statement is a str, not bytes"):
        await db.execute(b"SELECT 1")  # type: ignore[arg-type]


async def test_a_statement_ends_with_its_timeout(db: DatabaseAdapter) -> None:
    with pytest.raises(StatementTimeout) as caught:
        await db.fetch_value("SELECT pg_sleep(60)", timeout=0.05)
    assert str(caught.value) == "no end within 0.05 s, cancelled: SELECT pg_sleep(60)"
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, DatabaseError)


async def test_a_statement_begun_by_hand_is_refused_with_the_right_way(
    database: Database, db: DatabaseAdapter
) -> None:
    with pytest.raises(DatabaseError, match=r"use `async with db.transaction\(\)`"):
        await db.execute("BEGIN")
    assert await db.fetch_value("SELECT pg_current_xact_id_if_assigned() IS NULL") is True


# who sees what


async def test_two_plugins_with_one_table_name_do_not_see_each_other(
    database: Database, plugin_name: Callable[[], str]
) -> None:
    one = database.adapter_for(plugin_name(), can_write=True)
    other = database.adapter_for(plugin_name(), can_write=True)
    for db, item in ((one, "tea"), (other, "coffee")):
        await db.execute("CREATE TABLE things (item text)")
        await db.execute("INSERT INTO things VALUES ($1)", item)
    assert await one.fetch_value("SELECT string_agg(item, ',') FROM things") == "tea"
    assert await other.fetch_value("SELECT string_agg(item, ',') FROM things") == "coffee"


async def test_a_schema_is_named_from_the_plugin_with_underscores(
    database: Database, plugin_name: Callable[[], str]
) -> None:
    name = plugin_name()
    db = database.adapter_for(name, can_write=True)
    assert await db.fetch_value("SELECT current_schema()") == name.replace("-", "_")
    assert await db.fetch_value("SHOW search_path") == f'"{name.replace("-", "_")}"'


async def test_two_names_with_one_schema_are_refused(
    database: Database, plugin_name: Callable[[], str]
) -> None:
    name = plugin_name()
    database.adapter_for(name, can_write=True)
    with pytest.raises(ValueError, match="would share the schema"):
        database.adapter_for(name.replace("-", "_"), can_write=True)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (2)",
        "CREATE TABLE another (n int)",
        "DELETE FROM t",
        "SET default_transaction_read_only = off",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "BEGIN READ WRITE; INSERT INTO t VALUES (2); COMMIT",
        "SET SESSION CHARACTERISTICS AS TRANSACTION read  write",
        "RESET ALL",
    ],
)
async def test_a_plugin_that_may_only_read_cannot_write(
    database: Database, plugin_name: Callable[[], str], sql: str
) -> None:
    name = plugin_name()
    await database.adapter_for(name, can_write=True).execute(
        "CREATE TABLE t (n int); INSERT INTO t VALUES (1)"
    )
    reader = database.adapter_for(name, can_write=False)
    with pytest.raises(PermissionDenied) as caught:
        await reader.execute(sql)
    assert str(caught.value).startswith(f"{name} may not write to the database (")
    assert 'add "database:write" to "permissions" in its plugin.json' in str(caught.value)
    assert await reader.fetch_value("SELECT array_agg(n) FROM t") == [1]


async def test_a_plugin_that_may_only_read_cannot_write_in_a_transaction_either(
    database: Database, plugin_name: Callable[[], str]
) -> None:
    reader = database.adapter_for(plugin_name(), can_write=False)
    with pytest.raises(PermissionDenied):
        async with reader.transaction():
            await reader.execute("CREATE TABLE t (n int)")


async def test_a_plugin_that_may_only_read_gets_its_schema_too(
    database: Database, plugin_name: Callable[[], str]
) -> None:
    name = plugin_name()
    reader = database.adapter_for(name, can_write=False)
    assert await reader.fetch_value("SELECT current_schema()") == name.replace("-", "_")


async def test_what_a_statement_leaves_in_its_session_does_not_reach_the_next(
    database: Database, db: DatabaseAdapter
) -> None:
    await db.execute("SET timezone = 'Asia/Tokyo'")
    await db.execute("CREATE TEMP TABLE scratch (n int)")
    await db.execute("SELECT pg_advisory_lock(1)")
    assert await db.fetch_value("SHOW timezone") == "UTC"
    with pytest.raises(UndefinedTable):
        await db.execute("SELECT * FROM scratch")
    (pool,) = database.statistics().pools.values()
    assert pool.open == 1


# outside a node


async def test_statements_of_many_tasks_wait_for_a_connection(
    database: Database, db: DatabaseAdapter
) -> None:
    seen: list[int] = []

    async def one(number: int) -> None:
        seen.append(await db.fetch_value("SELECT $1::int", number))

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(one, number)
    assert sorted(seen) == list(range(50))
    (pool,) = database.statistics().pools.values()
    assert (pool.open, pool.idle, pool.waiting) == (2, 2, 0)
