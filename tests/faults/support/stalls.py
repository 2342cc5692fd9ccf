"""A node in a process of its own whose plugins hold the loop, and what is asked of it meanwhile."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx

from nexus_actors.config.places import control_path

WARN, LIMIT = 0.1, 0.35
"""The node's ``stall_warn`` and ``stall_limit``, seconds."""
PATIENCE = 30.0
"""Seconds that a condition may take to come about on a busy machine; none is expected to."""


@attrs.define(eq=False)
class StalledNode:
    """A running ``nexus run``."""

    process: subprocess.Popen[bytes]
    folder: Path
    url: str
    http: httpx.Client
    control: httpx.Client
    threads: ThreadPoolExecutor
    _read: int = 0
    _records: list[dict[str, Any]] = attrs.field(factory=list)

    @property
    def log(self) -> str:
        return (self.folder / "stderr").read_text(encoding="utf-8")

    def records(self) -> list[dict[str, Any]]:
        """What it has logged; what was read once is kept."""
        with (self.folder / "stderr").open("rb") as file:
            file.seek(self._read)
            new = file.read()
        new = new[: new.rfind(b"\n") + 1]
        self._read += len(new)
        self._records += [json.loads(line) for line in new.splitlines() if line.startswith(b"{")]
        return self._records

    def said(self, plugin: str, words: str) -> list[str]:
        """The messages about ``plugin`` with ``words`` in them."""
        return [
            each["message"]
            for each in self.records()
            if each.get("plugin") == plugin and words in each["message"]
        ]

    def why(self, plugin: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.control.get("/v1/why", params={"plugin": plugin}).json()
        return answer

    def begin(self, method: str, path: str, **request: Any) -> Future[httpx.Response]:
        """Send a request, and do not wait for the reply."""
        return self.threads.submit(self.http.request, method, path, **request)

    def ping(self) -> float:
        """Ask the other plugin; how many seconds that took."""
        began = time.monotonic()
        assert self.http.get("/ping").status_code == 200
        return time.monotonic() - began

    def wait_state(self, plugin: str, *states: str) -> dict[str, Any]:
        return self.until(lambda: (found := self.why(plugin))["state"] in states and found)

    def until(self, condition: Any, timeout: float = PATIENCE) -> Any:
        limit = time.monotonic() + timeout
        while not (found := condition()):
            assert time.monotonic() < limit, self.log[-3000:]
            assert self.process.poll() is None, self.log[-3000:]
            time.sleep(0.01)
        return found

    def terminate(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@contextmanager
def stalled_node(folder: Path, *, toml: str = "", wait: bool = True) -> Iterator[StalledNode]:
    """``nexus run`` over ``folder / "plugins"``, with short limits; killed with the block."""
    (folder / "nexus.toml").write_text(
        f"[node]\nstall_warn = {WARN}\nstall_limit = {LIMIT}\nlog_format = 'json'\n"
        + textwrap.dedent(toml)
    )
    command = [sys.executable, "-m", "nexus_actors.cli", "run", "--bind", "127.0.0.1:0"]
    command += ["--plugins", str(folder / "plugins"), "--data", str(folder / "data")]
    command += ["--config", str(folder / "nexus.toml")]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}
    environ |= {"COLUMNS": "200", "NEXUS_NODE_INSTALLED_PLUGINS": "false"}
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env=environ,
            start_new_session=True,
        )
    threads = ThreadPoolExecutor()
    try:
        url = _address(process, folder) if wait else ""
        with (
            httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False) as http,
            httpx.Client(
                base_url="http://node",
                timeout=PATIENCE,
                transport=httpx.HTTPTransport(uds=str(control_path(folder / "data"))),
            ) as control,
        ):
            yield StalledNode(process, folder, url, http, control, threads)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        threads.shutdown(wait=True)


def _address(process: subprocess.Popen[bytes], folder: Path) -> str:
    limit = time.monotonic() + PATIENCE
    while True:
        found = re.search(r"(http://\S+:\d+)", (folder / "stdout").read_text())
        if found is not None:
            return found[1]
        said = (folder / "stderr").read_text()
        assert process.poll() is None, said
        assert time.monotonic() < limit, said
        time.sleep(0.01)
