"""The database looked after: through deaths of PostgreSQL and of the node, and through stops."""

# ruff: noqa: ASYNC110, ASYNC220, ASYNC240 - what is waited for happens in PostgreSQL, which sets no
# event; a process and a look at a folder block for a moment

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest
import trio

from nexus_actors.database import (
    Database,
    DatabaseAdapter,
    DatabaseUnavailable,
    DataFolderInUse,
    EmbeddedServer,
    Settings,
)
from nexus_actors.database.settings import no_connection, shown
from nexus_actors.errors import Invalid


def quick(data_dir: Path, **changes: object) -> Settings:
    return Settings(data_dir=data_dir, durable=False, **changes)  # type: ignore[arg-type]


class FakeChild:
    """What a supervisor gives a start function."""

    def __init__(self) -> None:
        self.up = trio.Event()
        self.stop = trio.Event()

    def started(self, extra: object = None) -> None:
        self.up.set()

    async def wait_stop(self) -> None:
        await self.stop.wait()


async def test_the_embedded_server_is_started_and_found_again(data_dir: Path) -> None:
    database = Database(quick(data_dir))
    assert database.state == "starting"
    async with database.opened():
        await database.wait_ready()
        assert database.state == "ready"
        db = database.adapter_for("shop", can_write=True)
        await db.execute("CREATE TABLE t (n int); INSERT INTO t VALUES (7)")
        assert database.server is not None
        pid = database.server.pid
        assert pid is not None
    assert not psutil.pid_exists(pid)
    assert database.state == "unavailable"
    assert database.reason == "the node is stopping"
    async with Database(quick(data_dir)).opened() as again:
        await again.wait_ready()
        db = again.adapter_for("shop", can_write=True)
        assert await db.fetch_value("SELECT n FROM t") == 7


async def test_as_a_child_it_is_up_before_postgresql_answers_and_stops_when_asked(
    data_dir: Path,
) -> None:
    database = Database(quick(data_dir))
    child = FakeChild()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.run, child)
            await child.up.wait()
            assert not database.is_ready
            db = database.adapter_for("shop", can_write=True)
            await database.wait_ready()
            assert await db.fetch_value("SELECT 1") == 1
            child.stop.set()
    assert database.server is not None
    assert database.server.exit_code() is None


async def test_a_killed_postgresql_comes_back_with_its_data(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="nexus.database")
    async with Database(quick(data_dir, grace=0.2)).opened() as database:
        await database.wait_ready()
        db = database.adapter_for("shop", can_write=True)
        await db.execute("CREATE TABLE t (n int); INSERT INTO t VALUES (7)")
        server = database.server
        assert server is not None
        for _ in range(2):
            old = server.pid
            assert old is not None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_lost_statement, db)
                await _until_active(server)
                os.kill(old, signal.SIGKILL)
            with trio.fail_after(20):
                while database.is_ready and server.pid == old:
                    await trio.sleep(0.01)
                await database.wait_ready()
            assert server.pid != old
            assert await db.fetch_value("SELECT n FROM t") == 7
        assert database.statistics().restarts == 2
        pool = database.statistics().pools["shop"]
        assert pool.open == pool.idle
    assert "PostgreSQL ended (SIGKILL)" in caplog.text


async def test_a_postgresql_that_was_told_to_stop_does_not_wait_for_our_own_connections(
    data_dir: Path,
) -> None:
    async with Database(quick(data_dir, grace=0.2)).opened() as database:
        await database.wait_ready()
        db = database.adapter_for("shop", can_write=True)
        assert await db.fetch_value("SELECT 1") == 1  # and its connection idles in the pool
        server = database.server
        assert server is not None
        old = server.pid
        assert old is not None
        os.kill(old, signal.SIGTERM)
        other = database.adapter_for("other", can_write=True)
        with trio.fail_after(15):
            while server.pid == old:
                # a plugin that needs a new connection is what finds out
                with contextlib.suppress(DatabaseUnavailable):
                    await other.fetch_value("SELECT 1")
                await trio.sleep(0.05)
            await database.wait_ready()
            assert await db.fetch_value("SELECT 1") == 1


async def _lost_statement(db: DatabaseAdapter) -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        await db.execute("SELECT pg_sleep(60)")
    assert "it was lost during SELECT pg_sleep(60), which may or may not" in str(caught.value)


async def _until_active(server: EmbeddedServer) -> None:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
    with trio.fail_after(5):
        while await trio.to_thread.run_sync(server.run_sql, sql) != "1\n":
            await trio.sleep(0.01)


async def test_a_killed_worker_process_of_postgresql_is_got_over(data_dir: Path) -> None:
    """PostgreSQL then ends all connections and recovers by itself."""
    async with Database(quick(data_dir, grace=10)).opened() as database:
        await database.wait_ready()
        db = database.adapter_for("shop", can_write=True)
        await db.execute("CREATE TABLE t (n int); INSERT INTO t VALUES (7)")
        with pytest.raises(DatabaseUnavailable):
            async with db.transaction():
                os.kill(await db.fetch_value("SELECT pg_backend_pid()"), signal.SIGKILL)
                await db.execute("INSERT INTO t VALUES (8)")
        with trio.fail_after(20):
            while True:
                try:
                    assert await db.fetch_value("SELECT array_agg(n) FROM t") == [7]
                    break
                except DatabaseUnavailable:
                    await trio.sleep(0.05)


async def test_a_server_that_does_not_react_is_killed_and_replaced(data_dir: Path) -> None:
    settings = quick(data_dir, probe_every=0.05, connect_timeout=0.2, silence=0.3)
    async with Database(settings).opened() as database:
        await database.wait_ready()
        server = database.server
        assert server is not None
        old = server.pid
        assert old is not None
        os.kill(old, signal.SIGSTOP)
        with trio.fail_after(20):
            while server.pid == old:
                await trio.sleep(0.02)
            await database.wait_ready()
        assert await database.adapter_for("shop", can_write=True).fetch_value("SELECT 1") == 1


async def test_while_postgresql_is_away_calls_are_told_so_quickly(
    settings: Settings, plugin_name: Callable[[], str]
) -> None:
    """The next try is further away than the grace: nothing is gained by waiting for it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    dsn = f"postgresql://ann:s3cr%2Ft@127.0.0.1:{port}/shop"
    async with Database(
        Settings(dsn=dsn, grace=30, first_pause=70, longest_pause=70)
    ).opened() as database:
        db = database.adapter_for(plugin_name(), can_write=True)
        assert database.state == "starting"
        with trio.fail_after(5):
            for _ in range(2):
                with pytest.raises(DatabaseUnavailable, match="Connection refused") as caught:
                    await db.execute("SELECT 1")
                assert database.state == "unavailable"
        assert caught.value.retry_after is not None
        assert 50 < caught.value.retry_after < 90
        assert database.reason == f"Connection refused (ann@127.0.0.1:{port}/shop)"


class Proxy:
    """A way to a Unix socket by TCP that is closed and opened, as a server elsewhere goes away."""

    def __init__(self) -> None:
        self.port = 0

    async def serve(self, path: str, task_status: trio.TaskStatus[None]) -> None:
        listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]

        async def one(client: trio.SocketStream) -> None:
            async with client, await trio.open_unix_socket(path) as server:
                async with trio.open_nursery() as nursery:

                    async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
                        try:
                            async for data in source:
                                await sink.send_all(data)
                        except (trio.BrokenResourceError, trio.ClosedResourceError):
                            pass
                        nursery.cancel_scope.cancel()

                    nursery.start_soon(pump, client, server)
                    await pump(server, client)

        await trio.serve_listeners(one, listeners, task_status=task_status)  # type: ignore[arg-type]


async def test_a_call_waits_for_a_try_that_is_near(
    server: EmbeddedServer, dsn: str, plugin_name: Callable[[], str]
) -> None:
    async with Database(Settings(dsn=dsn, grace=30)).opened() as database:
        assert database.state == "starting"
        db = database.adapter_for(plugin_name(), can_write=True)
        assert await db.fetch_value("SELECT 1") == 1


async def test_a_call_waits_no_longer_than_the_grace(
    plugin_name: Callable[[], str],
) -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, _say_nothing, 0)
        port = listeners[0].socket.getsockname()[1]
        settings = Settings(dsn=f"postgresql://ann@127.0.0.1:{port}/shop", grace=0.1)
        async with Database(settings).opened() as database:
            db = database.adapter_for(plugin_name(), can_write=True)
            with trio.fail_after(3):
                with pytest.raises(DatabaseUnavailable, match="connecting to "):
                    await db.execute("SELECT 1")
        nursery.cancel_scope.cancel()


async def _say_nothing(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize("gone", [False, True], ids=["as it was", "with older data"])
async def test_a_server_elsewhere_is_reconnected_when_it_is_back(
    server: EmbeddedServer, dsn: str, plugin_name: Callable[[], str], gone: bool
) -> None:
    """When it comes back without the plugin's schema, that is made anew."""
    name = plugin_name()
    path = str(server.data / ".s.PGSQL.5432")
    proxy = Proxy()
    async with trio.open_nursery() as nursery:
        line = await _open(nursery, proxy, path)
        user, rest = dsn.split("@/")
        by_tcp = f"{user}@127.0.0.1:{proxy.port}/{rest.split('?')[0]}?sslmode=disable"
        async with Database(Settings(dsn=by_tcp, grace=0.1)).opened() as database:
            await database.wait_ready()
            db = database.adapter_for(name, can_write=True)
            await db.execute("CREATE TABLE t (n int); INSERT INTO t VALUES (7)")
            line.cancel()
            with pytest.raises(DatabaseUnavailable):
                while True:
                    await db.execute("SELECT 1")
            with trio.fail_after(5):  # well before the next regular look
                while database.state != "unavailable":
                    await trio.sleep(0.01)
            if gone:
                schema = name.replace("-", "_")
                await trio.to_thread.run_sync(drop_schema, server, dsn, schema)
            line = await _open(nursery, proxy, path)
            with trio.fail_after(10):
                await database.wait_ready()
            if gone:
                await db.execute("CREATE TABLE t (n int); INSERT INTO t VALUES (7)")
            assert await db.fetch_value("SELECT n FROM t") == 7
        line.cancel()


def drop_schema(server: EmbeddedServer, dsn: str, schema: str) -> None:
    server.run_sql(f"\\connect {urlsplit(dsn).path[1:]}\nDROP SCHEMA {schema} CASCADE")


async def _open(nursery: trio.Nursery, proxy: Proxy, path: str) -> trio.CancelScope:
    scope = trio.CancelScope()

    async def serve(task_status: trio.TaskStatus[None]) -> None:
        with scope:
            await proxy.serve(path, task_status)

    await nursery.start(serve)
    return scope


async def test_no_message_and_no_log_holds_the_password(
    server: EmbeddedServer, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = dsn.replace(dsn.split(":")[2].split("@")[0], "hunter%2F2")
    async with Database(Settings(dsn=wrong, grace=0.1)).opened() as database:
        with trio.fail_after(10):
            while database.state == "starting":
                await trio.sleep(0.01)
        db = database.adapter_for("shop", can_write=True)
        with pytest.raises(DatabaseUnavailable, match="password authentication failed") as caught:
            await db.execute("SELECT 1")
    for words in (caplog.text, str(caught.value), database.reason, repr(database.settings)):
        assert "hunter" not in words


@pytest.mark.parametrize("dsn", ["mysql://a:secret@b/c", "secret", "postgresql://a:secret@b:x/c"])
def test_what_is_no_address_of_postgresql_is_refused_without_repeating_it(dsn: str) -> None:
    with pytest.raises(Invalid, match="write postgresql://user:password@host:5432") as caught:
        Settings(dsn=dsn)
    assert "secret" not in str(caught.value)


async def test_a_second_node_on_one_data_folder_is_refused_with_folder_and_process(
    data_dir: Path,
) -> None:
    async with Database(quick(data_dir)).opened() as database:
        await database.wait_ready()
        with pytest.raises(DataFolderInUse) as caught:
            async with Database(quick(data_dir)).opened():
                pytest.fail("it was let in")
        assert str(caught.value) == (
            f"the data folder {data_dir} is in use by process {os.getpid()}: stop that node, or "
            "give this one a folder of its own (--data)"
        )
        db = database.adapter_for("shop", can_write=True)
        assert await db.fetch_value("SELECT 1") == 1


async def test_data_of_another_version_say_so(empty_dir: Path) -> None:
    (empty_dir / "postgres").mkdir()
    (empty_dir / "postgres" / "PG_VERSION").write_text("16\n")
    async with Database(quick(empty_dir, grace=0.1)).opened() as database:
        with trio.fail_after(10):
            while database.state == "starting":
                await trio.sleep(0.01)
        assert database.reason.startswith(
            f"{empty_dir}/postgres was made by PostgreSQL 16 and this"
        )
        with pytest.raises(DatabaseUnavailable, match="pg_upgrade"):
            await database.adapter_for("shop", can_write=True).execute("SELECT 1")


NODE = """
import sys, trio
from pathlib import Path
from nexus_actors.database import Database, Settings

async def main():
    async with Database(Settings(data_dir=Path(sys.argv[1]), durable=False)).opened() as database:
        await database.wait_ready()
        db = database.adapter_for("shop", can_write=True)
        await db.execute("CREATE TABLE IF NOT EXISTS t (n int); INSERT INTO t VALUES (1)")
        print(database.server.pid, database.server._guard.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.parametrize("postgresql", ["is stopped", "still runs", "was killed too"])
async def test_after_kill_9_of_the_node_the_next_one_finds_the_data(
    data_dir: Path, postgresql: str
) -> None:
    node = subprocess.Popen(
        [sys.executable, "-c", NODE, str(data_dir)], stdout=subprocess.PIPE, text=True
    )
    assert node.stdout is not None
    try:
        old, guard = map(int, (await trio.to_thread.run_sync(node.stdout.readline)).split())
        assert psutil.pid_exists(old)
        if postgresql == "still runs":
            os.kill(guard, signal.SIGKILL)
    finally:
        node.kill()
        node.wait()
        node.stdout.close()
    if postgresql == "was killed too":
        os.kill(old, signal.SIGKILL)
    elif postgresql == "is stopped":
        with trio.fail_after(10):
            while _alive(old):
                await trio.sleep(0.01)
    else:
        assert _alive(old)
    async with Database(quick(data_dir)).opened() as database:
        with trio.fail_after(20):
            await database.wait_ready()
        assert database.server is not None
        assert database.server.pid != old
        db = database.adapter_for("shop", can_write=True)
        assert await db.fetch_value("SELECT count(*) FROM t") == 1
    assert not _alive(old)


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def test_leaving_is_bounded_while_a_statement_runs(data_dir: Path) -> None:
    """As at the second signal: everything is cancelled at once."""
    database = Database(quick(data_dir))
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            async with database.opened():
                await database.wait_ready()
                db = database.adapter_for("shop", can_write=True)
                server = database.server
                assert server is not None
                nursery.start_soon(_lost_statement_at_stop, db)
                await _until_active(server)
                pid = server.pid
                assert pid is not None
    assert not psutil.pid_exists(pid)


async def _lost_statement_at_stop(db: DatabaseAdapter) -> None:
    with pytest.raises(DatabaseUnavailable):
        await db.execute("SELECT pg_sleep(60)")


async def test_leaving_by_cancellation_stops_postgresql_as_well(data_dir: Path) -> None:
    with trio.fail_after(15):
        with trio.CancelScope() as scope:
            async with Database(quick(data_dir)).opened() as database:
                await database.wait_ready()
                server = database.server
                assert server is not None
                pid = server.pid
                assert pid is not None
                scope.cancel()
                await trio.sleep_forever()
    assert not psutil.pid_exists(pid)


async def test_leaving_during_the_first_start_does_not_wait_for_it(empty_dir: Path) -> None:
    with trio.fail_after(5):
        async with Database(quick(empty_dir)).opened():
            while not list(empty_dir.glob("postgres.new-*")):
                await trio.sleep(0.005)
    assert not (empty_dir / "postgres").exists()


async def test_an_error_in_the_block_leaves_it_as_it_is(settings: Settings) -> None:
    with pytest.raises(KeyError):
        async with Database(settings).opened():
            raise KeyError("not in a group")


async def test_a_schema_that_may_not_be_made_says_what_to_do(
    server: EmbeddedServer, dsn: str
) -> None:
    name = "closed"
    server.run_sql(f"CREATE DATABASE {name}")
    try:
        async with Database(Settings(dsn=server.dsn(name))).opened() as database:
            await database.wait_ready()
            with pytest.raises(Exception, match="run CREATE SCHEMA shop AUTHORIZATION"):
                await database.adapter_for("shop", can_write=True).execute("SELECT 1")
    finally:
        server.drop_database(name)


async def test_asyncpg_errors_of_connecting_are_no_fault_of_the_plugin(
    settings: Settings, plugin_name: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database(settings).opened() as database:
        await database.wait_ready()

        async def full(*args: object, **kwargs: object) -> None:
            raise asyncpg.TooManyConnectionsError("sorry, too many clients already")

        monkeypatch.setattr(asyncpg, "connect", full)
        with pytest.raises(DatabaseUnavailable, match="sorry, too many clients already"):
            await database.adapter_for(plugin_name(), can_write=True).execute("SELECT 1")


@pytest.mark.parametrize(
    ("dsn", "where"),
    [
        ("postgresql://ann:secret@db.example:5433/shop", "ann@db.example:5433/shop"),
        ("postgresql://ann@db.example/shop?password=secret", "ann@db.example/shop"),
        ("postgresql://ann:s%65cret@/shop?host=%2Frun%2Fpg", "ann@/run/pg/shop"),
        ("postgresql://:secret@/shop", "localhost/shop"),
    ],
)
def test_an_address_is_shown_without_its_password(dsn: str, where: str) -> None:
    assert shown(dsn) == where
    words = no_connection(ValueError(f"cannot read secret in {dsn}"), dsn)
    assert "secret" not in words
    assert "s%65cret" not in words
    assert words.endswith(f" ({where})")
