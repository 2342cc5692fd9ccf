"""Ours: ``nexus run`` with a plugin that does the work in a handler, through ``self.db``.

``python -m benchmarks.contenders.database_node DSN``, a scale on each line of its input
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.contenders import database_tasks as work
from benchmarks.harness import ROOT

PLUGIN = """
import sys
import time

import trio

sys.path.insert(0, {root!r})

from benchmarks.contenders import database_tasks as work
from nexus_actors.http import post
from nexus_actors.plugin import Plugin


class Worker(Plugin):
    async def initialize(self):
        await self.db.execute(work.CREATE)
        await self.db.execute(work.FILL)

    async def row_by_key(self, task):
        await self.db.fetch_one(work.ROW_BY_KEY, task + 1)

    async def insert(self, task):
        await self.db.execute(work.INSERT, "a few words", {{"of": task}})

    async def rows_100(self, task):
        await self.db.fetch_all(work.ROWS, task + 1)

    async def transaction(self, task):
        async with self.db.transaction():
            row = await self.db.fetch_one(work.ROW_BY_KEY, task + 1)
            await self.db.execute(work.INSERT, row["name"], {{"of": task}})
            await self.db.execute(work.UPDATE, task + 1)

    @post("/measure")
    async def measure(self, request):
        wanted = await request.json()
        function = {{
            "row by key": self.row_by_key,
            "insert": self.insert,
            "100 rows": self.rows_100,
            "transaction of 3": self.transaction,
        }}[wanted["statement"]]
        await self.together(function, wanted["tasks"], work.WARM)
        began, before = time.perf_counter(), time.process_time()
        await self.together(function, wanted["tasks"], wanted["count"])
        return [time.perf_counter() - began, time.process_time() - before]

    async def together(self, function, tasks, count):
        async def repeat(task):
            for _ in range(count):
                await function(task)

        async with trio.open_nursery() as nursery:
            for task in range(tasks):
                nursery.start_soon(repeat, task)
"""


def main(dsn: str) -> None:
    """For each line do all of it and print the figures."""
    folder = Path(tempfile.mkdtemp(prefix="nexus-bench-"))
    home = folder / "plugins" / "worker"
    home.mkdir(parents=True)
    (home / "plugin.py").write_text(PLUGIN.format(root=str(ROOT)))
    manifest = {"name": "worker", "version": "1.0.0", "entry_point": "plugin:Worker"}
    (home / "plugin.json").write_text(json.dumps({**manifest, "permissions": ["database:write"]}))
    with socket.create_server(("127.0.0.1", 0)) as free:
        bind = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "nexus_actors.cli", "run", "--plugins", str(home)]
    command += ["--bind", bind, "--data", str(folder / "data"), "--database-url", dsn]
    with (folder / "log").open("w+") as log:
        node = subprocess.Popen(command, cwd=folder, env=_environment(), stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://{bind}", timeout=60, trust_env=False) as client:
                _wait_ready(client, node, folder)
                for turn in sys.stdin:
                    for statement, tasks, count in work.plan(float(turn)):
                        told = {"statement": statement, "tasks": tasks, "count": count}
                        answer = client.post("/measure", json=told)
                        if answer.status_code != 200:
                            raise RuntimeError(f"{answer.text}\n{(folder / 'log').read_text()}")
                        work.tell(statement, tasks, count, *answer.json())
                    print(flush=True)
        finally:
            node.send_signal(signal.SIGTERM)
            node.wait(30)
            shutil.rmtree(folder, ignore_errors=True)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _wait_ready(client: httpx.Client, node: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + 30
    while True:
        if node.poll() is not None or time.monotonic() > until:
            raise RuntimeError((folder / "log").read_text())
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1])
