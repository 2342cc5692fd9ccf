"""A node and its PostgreSQL: lost under load and found again; queries that nobody waits for end."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from node_world import client_of, database_folder, module_of, node_here, until, write_plugin
from raw_client import RawConnection

from nexus_actors.database import Settings as DatabaseOptions
from nexus_actors.events.event import make_event
from nexus_actors.node import Node
from nexus_actors.testing import postgres

SHELF = """
began = trio.Event()
gate = trio.Event()


class P(Plugin):
    async def initialize(self):
        await self.db.execute("CREATE TABLE IF NOT EXISTS rows (words TEXT)")

    @get("/rows")
    async def rows(self):
        return [row["words"] for row in await self.db.fetch_all("SELECT words FROM rows")]

    @post("/rows/{words}")
    async def add(self, words: str):
        await self.db.execute("INSERT INTO rows VALUES ($1)", words)
        return {}

    @post("/slowly")
    async def slowly(self):
        began.set()
        await gate.wait()
        return await self.add("slowly")

    @get("/sleep")
    async def sleep(self):
        await self.db.execute("SELECT pg_sleep(60)")

    @get("/sleeping")
    async def sleeping(self):
        row = await self.db.fetch_one(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state = 'active' AND query LIKE 'SELECT pg_sleep%'"
        )
        return dict(row)

    @event_handler("row")
    async def on_row(self, event):
        await self.add(event.data)
"""
PERMISSIONS = ["database:read", "database:write", "events:subscribe"]


def write_shelf(folder: Path) -> None:
    write_plugin(folder, "shelf", SHELF, permissions=PERMISSIONS)


@asynccontextmanager
async def node_with_database(folder: Path) -> AsyncIterator[Node]:
    """A node over ``folder``, with a database of its own on the session's PostgreSQL."""
    dsn = await postgres.new_database()
    try:
        async with node_here(folder, database=postgres.options(dsn), settled=False) as node:
            await until(lambda: all(cell.state == "running" for cell in node.cells()))
            yield node
    finally:
        with trio.CancelScope(shield=True):
            await postgres.drop_database(dsn)


@pytest.fixture
def folder() -> Iterator[Path]:
    with database_folder() as folder:
        yield folder


async def test_postgresql_killed_under_load_is_no_fault_of_a_plugin(folder: Path) -> None:
    write_shelf(folder / "plugins")
    database = DatabaseOptions(data_dir=folder / "data", durable=False, grace=0.1)
    async with (
        node_here(folder / "plugins", database=database, settled=False) as node,
        client_of(node) as client,
    ):
        cell = node.registry.cell("shelf")
        assert (await client.get("/readyz")).status_code in (200, 503)
        await until(lambda: cell.state == "running")
        assert (await client.post("/rows/before")).status_code == 200
        answers: list[tuple[str, int, bool]] = []
        stop = trio.Event()

        async def load(method: str, path: str) -> None:
            while not stop.is_set():
                response = await client.request(method, path)
                answers.append((path, response.status_code, "retry-after" in response.headers))

        assert node.database is not None
        assert node.database.server is not None
        assert node.database.server.pid is not None
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(load, "GET", "/rows")
            nursery.start_soon(load, "POST", "/rows/during")
            await until(lambda: len(answers) > 50)
            killed = node.database.server.pid
            os.kill(killed, signal.SIGKILL)
            await until(lambda: any(status == 503 for _, status, _ in answers))
            emitted = node.emit(make_event("row", "lost", source="test"))
            assert emitted == 1
            lost = len(answers)
            await until(lambda: any(status == 200 for _, status, _ in answers[lost:]))
            stop.set()
        assert {status for _, status, _ in answers} == {200, 503}
        assert all(told for _, status, told in answers if status == 503), "each with Retry-After"
        assert node.database.server.pid != killed
        assert (cell.state, cell.incarnation, cell.crashes, cell.faults) == ("running", 1, 0, 0)
        rows = (await client.get("/rows")).json()
        assert rows[0] == "before"
        done = [status for path, status, _ in answers if path == "/rows/during"].count(200)
        assert rows.count("during") >= done, "what was answered 200 is there"
        letters = [letter for letter in node.dead_letters.list() if letter.handler == "on_row"]
        assert ("lost" in rows) or [letter.retryable for letter in letters] == [True]


async def test_a_client_that_goes_away_cancels_its_get_down_to_the_query(tmp_path: Path) -> None:
    write_shelf(tmp_path / "plugins")
    async with node_with_database(tmp_path / "plugins") as node, client_of(node) as client:
        cell = node.registry.cell("shelf")

        async def sleeping() -> int:
            return int((await client.get("/sleeping")).json()["count"])

        clients = [await RawConnection.open(node.server.port) for _ in range(3)]  # type: ignore[union-attr]
        for connection in clients:
            await connection.send("GET", "/sleep")

        async def all_sleep() -> bool:
            return await sleeping() == 3

        await until(all_sleep)
        for connection in clients:
            await connection.aclose()

        async def none_sleeps() -> bool:
            return await sleeping() == 0

        await until(none_sleeps, 5)
        await until(lambda: cell.mailbox.statistics().abandoned == 3)
        assert (cell.incarnation, cell.crashes, cell.faults) == (1, 0, 0)
        assert (await client.get("/rows")).json() == []


async def test_a_client_that_goes_away_does_not_stop_its_post(tmp_path: Path) -> None:
    write_shelf(tmp_path / "plugins")
    async with node_with_database(tmp_path / "plugins") as node, client_of(node) as client:
        assert node.server is not None
        gone = await RawConnection.open(node.server.port)
        await gone.send("POST", "/slowly")
        await until(module_of("shelf").began.is_set)
        after = await RawConnection.open(node.server.port)
        await after.send("GET", "/rows")  # waits behind the POST
        mailbox = node.registry.cell("shelf").mailbox
        await until(lambda: mailbox.waiting == 1)
        await gone.aclose()
        await after.aclose()
        await until(lambda: mailbox.statistics().abandoned == 1)  # so both were seen to be gone
        await trio.testing.wait_all_tasks_blocked()
        module_of("shelf").gate.set()
        assert (await client.get("/rows")).json() == ["slowly"]
