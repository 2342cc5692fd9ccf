"""Nodes for tests: plugins in a folder, and a node over them in this process or in another."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import trio

from nexus_actors.config import HttpSettings, NodeSettings, PluginTable, Settings
from nexus_actors.node import Node
from nexus_actors.plugin.loader import load_plugins

PATIENCE = 30.0
"""Seconds that a condition may take to come about on a busy machine; none is expected to."""

HEAD = """
import time
from pathlib import Path

import trio

from nexus_actors.database import DatabaseAdapter
from nexus_actors.events import event_handler
from nexus_actors.http import (
    HTTPError, Request, Response, ServerSentEvent, WebSocket, get, post, websocket,
)
from nexus_actors.plugin import Plugin
from nexus_actors.services import Service, inject
"""
"""What every written plugin begins with."""


def write_plugin(folder: Path, name: str, source: str, **manifest: Any) -> Path:
    """Write the plugin ``name`` into ``folder``; its class is called ``P``. Return its folder.

    ``source`` follows :data:`HEAD`; ``manifest`` are further members of its plugin.json.
    """
    home = folder / name
    home.mkdir(parents=True)
    (home / "plugin.py").write_text(HEAD + textwrap.dedent(source), encoding="utf-8")
    document = {"name": name, "version": "1.0.0", "entry_point": "plugin:P", **manifest}
    (home / "plugin.json").write_text(json.dumps(document, indent=2), encoding="utf-8")
    return home


@contextmanager
def database_folder() -> Iterator[Path]:
    """A folder for a node with an embedded PostgreSQL, in place of pytest's ``tmp_path``.

    PostgreSQL under root runs as a user of its own, and is let into the folders above by access
    control lists. Every pytest that starts takes those away from the folder that all ``tmp_path``
    are in, also from under one that runs.
    """
    folder = Path(tempfile.mkdtemp(prefix="nexus-node-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# -- a node in this process --------------------------------------------------------------------


@asynccontextmanager
async def node_here(
    plugins: Path,
    *,
    database: Any = None,
    node: dict[str, Any] | None = None,
    http: dict[str, Any] | None = None,
    settled: bool = True,
    config: dict[str, dict[str, Any]] | None = None,
) -> AsyncIterator[Node]:
    """Run a node over the plugins in ``plugins`` within the block; then stop it in good order.

    ``node`` and ``http`` are settings of these sections, ``config`` has each plugin's table.
    """
    told = Settings(
        node=NodeSettings(
            plugins=(plugins,),
            installed_plugins=False,
            data=plugins.parent / "data",
            **{"stop_timeout": 20.0, **(node or {})},
        ),
        http=HttpSettings(bind="127.0.0.1:0", **{"drain": 1.0, **(http or {})}),
        plugins={name: PluginTable(options=table) for name, table in (config or {}).items()},
    )
    made = Node(told, load_plugins(told), control=False, database=database)
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        try:
            if settled:
                with trio.fail_after(PATIENCE):
                    await made.wait_settled()
            yield made
        finally:
            made.stop()
            if sys.exc_info()[0] is not None:
                made.stop()  # the test has failed: what it left hanging need not be drained


def module_of(plugin: str) -> Any:
    """The module of a plugin that runs in this process, with what the test keeps in it."""
    return sys.modules[f"nexus_plugins.{plugin.replace('-', '_')}.plugin"]


def client_of(node: Node | NodeProcess, **options: Any) -> httpx.AsyncClient:
    """An HTTP client for a node; as many connections as there are requests."""
    base = node.url if isinstance(node, NodeProcess) else node.server.url  # type: ignore[union-attr]
    return httpx.AsyncClient(
        base_url=base,
        timeout=PATIENCE,
        trust_env=False,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        **options,
    )


async def until(condition: Callable[[], Any], timeout: float = PATIENCE) -> Any:
    """Wait until ``condition()``, or what it awaits, is true; return what it said."""
    with trio.fail_after(timeout):
        while True:
            found = condition()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return found
            await trio.sleep(0.01)


# -- a node in a process of its own ------------------------------------------------------------


@attrs.define(eq=False)
class NodeProcess:
    """A running ``nexus run``."""

    process: trio.Process
    folder: Path
    """Where its output is."""
    url: str = ""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text(encoding="utf-8")

    def logged(self) -> list[dict[str, Any]]:
        """Its log records."""
        found = []
        for line in self.stderr.splitlines():
            if line.startswith("{"):
                found.append(json.loads(line))
        return found

    def signal(self, number: int) -> None:
        """Send it a signal; see :meth:`wait_exit`."""
        self.process.send_signal(number)

    async def wait_exit(self, timeout: float) -> int:
        """Its exit code; fails where it has not ended within ``timeout`` seconds."""
        try:
            with trio.fail_after(timeout):
                return await self.process.wait()
        except trio.TooSlowError:
            raise AssertionError(
                f"still running after {timeout} s; its stderr:\n{self.stderr}"
            ) from None

    async def terminate(self, timeout: float = PATIENCE) -> int:
        """SIGTERM, and its exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait_exit(timeout)

    async def wait_serving(self) -> None:
        """Wait for the line with its address."""

        def address() -> str | None:
            found = re.search(r"(http://\S+:\d+)", self.stdout)
            if found is None and self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.poll()}:\n{self.stderr}")
            return found and found[1]

        self.url = await until(address)


_numbers = iter(range(1, 10_000))


@asynccontextmanager
async def node_process(
    folder: Path, *options: str, toml: str = "", wait: bool = True
) -> AsyncIterator[NodeProcess]:
    """``nexus run`` over ``folder / "plugins"`` with its data in ``folder / "data"``.

    ``toml`` is its settings file. Whatever becomes of the test, the process ends with the block.
    """
    output = folder / f"run-{next(_numbers)}"
    output.mkdir()
    (folder / "nexus.toml").write_text(textwrap.dedent(toml), encoding="utf-8")
    command = [sys.executable, "-m", "nexus_actors.cli", "run", "--bind", "127.0.0.1:0"]
    command += ["--plugins", str(folder / "plugins"), "--data", str(folder / "data")]
    command += ["--config", str(folder / "nexus.toml"), *options]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}
    environ |= {"COLUMNS": "200", "NEXUS_NODE_INSTALLED_PLUGINS": "false"}
    with (output / "stdout").open("wb") as stdout, (output / "stderr").open("wb") as stderr:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env=environ,
            start_new_session=True,
        )
    node = NodeProcess(process, output)
    try:
        if wait:
            await node.wait_serving()
        yield node
    finally:
        if process.poll() is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
