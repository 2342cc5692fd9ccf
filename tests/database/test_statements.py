"""What is read out of the text of a statement: its short form, its traces, its dodges."""

import pytest

from nexus_actors.database.statements import leaves_traces, lifts_read_only, schema_name, shorten


@pytest.mark.parametrize(
    ("sql", "short"),
    [
        ("SELECT 1", "SELECT 1"),
        ("\n  SELECT a,\n         b\n    FROM t\n", "SELECT a, b FROM t"),
        ("SELECT '" + "x" * 200 + "'", "SELECT '" + "x" * 69 + "..."),
        ("", ""),
    ],
)
def test_a_message_names_a_statement_on_one_short_line(sql: str, short: str) -> None:
    assert shorten(sql) == short
    assert len(shorten(sql)) <= 80


@pytest.mark.parametrize(
    "sql",
    [
        "SET timezone = 'UTC'",
        "set search_path to x",
        "  SET SESSION statement_timeout = 1",
        "SELECT 1; SET timezone = 'UTC'",
        "-- first\nSET timezone = 'UTC'",
        "/* first */ SET timezone = 'UTC'",
        "RESET ALL",
        "LISTEN orders",
        "LOAD 'x'",
        "PREPARE p AS SELECT 1",
        "DISCARD ALL",
        "DO $$ BEGIN SET timezone = 'UTC'; END $$",
        "CREATE TEMP TABLE t (n int)",
        "CREATE TEMPORARY VIEW v AS SELECT 1",
        "CREATE TABLE pg_temp.t (n int)",
        "SELECT 1 INTO TEMP t",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_lock(1)",
        "SELECT pg_advisory_lock_shared(1)",
        "SELECT set_config('a.b', 'c', false)",
        "SELECT setseed(0.5)",
        r"SELECT E'it\'s'; SET timezone = 'UTC'",
        "/* one /* in */ another */ SET timezone = 'UTC'",
    ],
)
def test_a_statement_that_changes_its_session_is_recognised(sql: str) -> None:
    assert leaves_traces(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "UPDATE t SET n = 1",
        "UPDATE t\nSET n = 1",
        "INSERT INTO t VALUES (1) ON CONFLICT (n) DO UPDATE SET n = 2",
        "INSERT INTO t VALUES ('; SET x')",
        "SELECT $$; SET x = 1$$",
        "SELECT $body$; LISTEN x$body$",
        "-- SET x = 1\nSELECT 1",
        "/* ; RESET ALL */ SELECT 1",
        "SET LOCAL timezone = 'UTC'",
        "SET CONSTRAINTS ALL DEFERRED",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT pg_try_advisory_xact_lock(1)",
        "SELECT temperature, template FROM weather",
        "SELECT preset FROM resets",
        "PREPARE TRANSACTION 'x'",
        "ALTER TABLE t ALTER COLUMN n SET DEFAULT 1",
    ],
)
def test_a_statement_that_leaves_its_session_alone_keeps_its_connection(sql: str) -> None:
    assert not leaves_traces(sql)


def test_a_long_statement_is_read_as_well_as_a_short_one() -> None:
    filler = "/* " + "x" * 5000 + " */"
    assert leaves_traces(f"{filler} SET timezone = 'UTC'")
    assert not leaves_traces(f"{filler} SELECT 1")


@pytest.mark.parametrize(
    ("sql", "lifts"),
    [
        ("SET default_transaction_read_only = off", True),
        ("SET TRANSACTION READ WRITE", True),
        ("BEGIN READ\n WRITE", True),
        ("SELECT set_config('x' || 'y', 'off', false)", True),
        ("RESET ALL", True),
        ("DISCARD ALL", True),
        ("SET SESSION AUTHORIZATION DEFAULT; SELECT session_authorization", True),
        ("SET TRANSACTION READ/**/WRITE", True),
        ("SET TRANSACTION READ -- and\n WRITE", True),
        ("SET TRANSACTION READ /* a /* b */ c */ WRITE", True),
        ("BEGIN READ /*x*/ WRITE", True),
        ('SET U&"transaction_read\\005fonly" = off', True),
        ("DO $$ BEGIN EXECUTE 'SET transaction' || '_read_' || 'only = off'; END $$", True),
        ("SELECT 1; /* ; */ do 'begin end'", True),
        ("-- first\nDO 'begin end'", True),
        ("SELECT E'\\''; DO 'begin end' --'", True),
        ("SELECT 1 AS a$$; DO 'begin end'; SELECT 1 AS b$$", True),
        ("SET standard_conforming_strings = off", True),
        ("COMMIT", True),
        ("SELECT 1; rollback", True),
        ("START TRANSACTION", True),
        ("END", True),
        ("abort", True),
        ("SELECT 1", False),
        ("SELECT '; do it' AS \"; end\", $a1$; commit$a1$ -- ; begin\n", False),
        ("SELECT CASE WHEN a THEN 1 END, begin FROM t /* ; do */", False),
        ("SELECT 'read write', read, write FROM t", False),
        ("SELECT 1 /* without an end", False),
        ("SELECT already_written FROM t", False),
        ("SHOW transaction_isolation", False),
    ],
)
def test_a_statement_that_would_lift_read_only_is_recognised(sql: str, lifts: bool) -> None:
    assert lifts_read_only(sql) is lifts


@pytest.mark.parametrize(
    ("plugin", "schema"),
    [
        ("my-first-plugin", "my_first_plugin"),
        ("shop", "shop"),
        ("Shop2", "shop2"),
        ("public", "plugin_public"),
        ("information-schema", "plugin_information_schema"),
        ("pg-tools", "plugin_pg_tools"),
        ("a" * 63, "a" * 63),
    ],
)
def test_a_schema_is_the_plugins_name_with_underscores(plugin: str, schema: str) -> None:
    assert schema_name(plugin) == schema


@pytest.mark.parametrize(
    "plugin", ["", "a b", 'x"y', "1st", "a.b", "ä", "a" * 64, "public" + "x" * 60]
)
def test_a_name_that_cannot_name_a_schema_is_refused(plugin: str) -> None:
    with pytest.raises(ValueError, match="cannot name a schema"):
        schema_name(plugin)
