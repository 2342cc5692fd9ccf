"""A node of ours with so many plugins, written for the occasion and run by ``nexus run``."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.harness import ROOT

__all__ = ["node_of", "write_plugin"]


def write_plugin(folder: Path, name: str, source: str, **manifest: object) -> None:
    """Write the folder of a plugin called ``name``."""
    home = folder / name
    home.mkdir(parents=True)
    about = {"name": name, "version": "1.0.0", "entry_point": "plugin:Written", **manifest}
    (home / "plugin.json").write_text(json.dumps(about))
    (home / "plugin.py").write_text(source)


@contextmanager
def node_of(plugins: Mapping[str, str], **manifest: object) -> Iterator[str]:
    """Run a node with these plugins (sources by name) and give its URL; it ends with the block.

    Raises:
        RuntimeError: it did not come up.
    """
    with tempfile.TemporaryDirectory(prefix="nexus-bench-") as place:
        folder = Path(place, "plugins")
        for name, source in plugins.items():
            write_plugin(folder, name, source, **manifest)
        port = _free_port()
        log = Path(place, "log")
        with log.open("w") as output:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "nexus_actors.cli", "run"),
                    *("--plugins", str(folder), "--bind", f"127.0.0.1:{port}"),
                    *("--data", str(Path(place, "data"))),
                ],
                cwd=place,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=output,
                stderr=output,
            )
            try:
                url = f"http://127.0.0.1:{port}"
                _wait_ready(url, process, log)
                yield url
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise RuntimeError(f"the node did not come up: {log.read_text()[-2000:]}")
