"""What a plugin wrote survives its node, by SIGTERM and by kill -9; no PostgreSQL stays behind."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from node_world import NodeProcess, client_of, database_folder, node_process, until, write_plugin

from nexus_actors.database import EmbeddedServer

NOTES = """
class P(Plugin):
    async def initialize(self):
        await self.db.execute("CREATE TABLE IF NOT EXISTS notes (words TEXT)")

    @get("/notes")
    async def notes(self):
        return [row["words"] for row in await self.db.fetch_all("SELECT words FROM notes")]

    @post("/notes/{words}")
    async def add(self, words: str):
        await self.db.execute("INSERT INTO notes VALUES ($1)", words)
        return {}

    @get("/sleep")
    async def sleep(self):
        self.logger.info("sleeping")
        await self.db.execute("SELECT pg_sleep(60)")
"""


def postmaster_of(folder: Path) -> int:
    """The process that the data folder names as its PostgreSQL."""
    lines = (folder / "data" / "postgres" / "postmaster.pid").read_text().splitlines()
    return int(lines[0])


def runs(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def notes_of(node: NodeProcess) -> list[str]:
    async with client_of(node) as client:
        found: list[str] = (await client.get("/notes")).raise_for_status().json()
        return found


async def add_note(node: NodeProcess, words: str) -> None:
    async with client_of(node) as client:
        (await client.post(f"/notes/{words}")).raise_for_status()


@pytest.fixture(scope="module")
def fresh_data() -> Iterator[Path]:
    """A data folder with a PostgreSQL that was stopped: making one takes seconds, a copy none."""
    with database_folder() as folder:
        server = EmbeddedServer(folder / "data")
        server.start()
        server.stop()
        yield folder / "data"


@pytest.fixture
def folder(fresh_data: Path) -> Iterator[Path]:
    with database_folder() as folder:
        write_plugin(
            folder / "plugins", "notes", NOTES, permissions=["database:read", "database:write"]
        )
        subprocess.run(["cp", "-a", str(fresh_data), str(folder / "data")], check=True)
        yield folder


async def test_data_is_there_after_a_restart_and_after_kill_9(folder: Path) -> None:
    async with node_process(folder) as node:
        await add_note(node, "first")
        postmaster = postmaster_of(folder)
        assert runs(postmaster)
        assert await node.terminate(20) == 0, node.stderr
        assert not runs(postmaster), "the node took its PostgreSQL with it"
    async with node_process(folder) as node:
        assert await notes_of(node) == ["first"]
        await add_note(node, "second")
        left_behind = postmaster_of(folder)
        node.process.kill()
        assert await node.wait_exit(5) == -signal.SIGKILL
        assert runs(left_behind), "nobody told it"
    async with node_process(folder) as node:
        assert await notes_of(node) == ["first", "second"]
        assert not runs(left_behind)
        found_again = postmaster_of(folder)
        assert await node.terminate(20) == 0, node.stderr
        assert not runs(found_again)


@pytest.mark.parametrize("how", ["a second signal", "a plugin that ignores being killed"])
async def test_no_postgresql_stays_behind_when_a_stop_is_cut_short(folder: Path, how: str) -> None:
    deaf = """
    class P(Plugin):
        async def cleanup(self):
            self.logger.info("cleaning up")
            with trio.CancelScope(shield=SHIELD):
                await trio.sleep_forever()
    """
    ignores = how != "a second signal"
    write_plugin(
        folder / "plugins",
        "deaf",
        deaf.replace("SHIELD", str(ignores)),
        supervision={"shutdown": 60},
    )
    toml = f"[node]\nstop_timeout = {1 if ignores else 60}\n[http]\ndrain = 0.1"
    async with node_process(folder, toml=toml) as node:
        await add_note(node, "kept")
        postmaster = postmaster_of(folder)
        node.signal(signal.SIGTERM)
        await until(lambda: "cleaning up" in node.stderr)
        if not ignores:
            node.signal(signal.SIGTERM)
        assert await node.wait_exit(8) == 1
        assert "deaf" in node.stderr
        await until(lambda: not runs(postmaster), 10)
        with pytest.raises(ProcessLookupError):
            os.kill(node.process.pid, 0)
