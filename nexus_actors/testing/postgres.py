"""The PostgreSQL of a test session: one embedded server, a database for each TestApplication."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import trio

from nexus_actors.database import EmbeddedServer
from nexus_actors.database import Settings as DatabaseOptions

__all__ = ["drop_database", "new_database", "options", "stop"]

_server: EmbeddedServer | None = None
_folder: Path | None = None
_numbers = itertools.count(1)


async def new_database() -> str:
    """Make an empty database, starting the server if it is the first; return its DSN."""
    return await trio.to_thread.run_sync(_new_database)


async def drop_database(dsn: str) -> None:
    """Drop what :func:`new_database` made."""
    name = urlsplit(dsn).path.lstrip("/")
    if _server is not None:
        await trio.to_thread.run_sync(_server.drop_database, name)


def options(dsn: str) -> DatabaseOptions:
    """How a test's node uses its database: pools that do not outlive the test."""
    return DatabaseOptions(dsn=dsn, stop_timeout=5.0)


def stop() -> None:
    """Stop the server and remove its data; nothing happens where none was started."""
    global _server, _folder
    if _server is not None:
        _server.stop(immediately=True)
        _server = None
    if _folder is not None:
        shutil.rmtree(_folder, ignore_errors=True)
        _folder = None


def _new_database() -> str:
    global _server, _folder
    if _server is None:
        _folder = Path(tempfile.mkdtemp(prefix="nexus-test-"))
        server = EmbeddedServer(_folder, durable=False)
        server.start()
        _server = server
    return _server.create_database(f"test_{os.getpid()}_{next(_numbers)}")
