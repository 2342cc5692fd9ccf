"""One embedded PostgreSQL for the session; a database object and fresh plugin names per test."""

import itertools
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from nexus_actors.database import (
    Database,
    DatabaseAdapter,
    EmbeddedServer,
    Settings,
    temporary_server,
)

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """A server that answers, without safety against a crash of the machine."""
    with temporary_server() as server:
        yield server


@pytest.fixture(scope="session")
def dsn(server: EmbeddedServer) -> str:
    """A database that all tests share: each works in schemas of its own."""
    return server.create_database("shared")


@pytest.fixture
def settings(dsn: str) -> Settings:
    return Settings(dsn=dsn, pool_max=2)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """A database object that is ready, with two connections a plugin."""
    database = Database(settings)
    async with database.opened():
        await database.wait_ready()
        yield database


@pytest.fixture
def plugin_name() -> Callable[[], str]:
    """Names that no other test has used."""
    return lambda: f"plugin-{next(_numbers)}"


@pytest.fixture
def db(database: Database, plugin_name: Callable[[], str]) -> DatabaseAdapter:
    """The adapter of a plugin that may write."""
    return database.adapter_for(plugin_name(), can_write=True)


@pytest.fixture
def empty_dir() -> Iterator[Path]:
    """A data folder; not in tmp_path, for the reason that :func:`temporary_server` gives."""
    folder = Path(tempfile.mkdtemp(prefix="nexus-test-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def made_once() -> Iterator[Path]:
    """A data folder in which a server has run: a copy of it saves the time to make one."""
    folder = Path(tempfile.mkdtemp(prefix="nexus-test-"))
    with EmbeddedServer(folder, durable=False):
        pass
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def data_dir(made_once: Path, empty_dir: Path) -> Path:
    """A data folder in which a server has run before."""
    subprocess.run(["cp", "-a", str(made_once / "postgres"), str(empty_dir)], check=True)
    return empty_dir
