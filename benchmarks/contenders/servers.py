"""Servers in processes of their own: our node with a shipped plugin, and its peers.

The peers get an environment of their own under ``.bench``, made the first time.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.harness import ROOT

__all__ = ["PEERS", "fastapi", "have_peers", "node", "peers_environment", "quart", "running"]

PEERS = ("fastapi>=0.115", "uvicorn[standard]>=0.32", "asyncpg>=0.30", "hypercorn==0.18.0") + (
    ("quart-trio==0.12.0",) if sys.version_info < (3, 13) else ("quart-trio==0.13.0",)
)
START = 60.0
"""Seconds that a server gets until it answers."""

_HERE = Path(__file__).parent


def have_peers() -> bool:
    """Whether their environment is made."""
    return _environment().joinpath(".ready").exists()


def _environment() -> Path:
    return ROOT / ".bench" / f"http-{sys.version_info[0]}.{sys.version_info[1]}"


def peers_environment() -> Path:
    """The Python that has the peers; makes its environment where it is not there.

    Raises:
        subprocess.CalledProcessError: pip could not install them.
    """
    folder = _environment()
    python, ready = folder / "bin" / "python", folder / ".ready"
    if not ready.exists() or ready.read_text() != "\n".join(PEERS):
        print(f"  making the peers' environment in {folder.relative_to(ROOT)} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", *PEERS],
            check=True,
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONPATH": ""},
        )
        ready.write_text("\n".join(PEERS))
    return python


def fastapi(port: int) -> list[str]:
    """FastAPI on uvicorn with uvloop and httptools."""
    return [
        *(str(peers_environment()), "-m", "uvicorn", "fastapi_app:app", "--port", str(port)),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
    ]


def quart(port: int) -> list[str]:
    """Quart-Trio as it comes, on Hypercorn's Trio worker, one process."""
    return [
        *(str(peers_environment()), "-m", "hypercorn", "-k", "trio", "-w", "0"),
        *("--bind", f"127.0.0.1:{port}", "quart_app:app"),
    ]


def node(port: int, http: str, plugins: Path, data: Path, dsn: str = "") -> list[str]:
    """A node with the plugins of a folder, started as anybody does."""
    return [
        *(sys.executable, "-m", "nexus_actors.cli", "run", "--bind", f"127.0.0.1:{port}"),
        *("--plugins", str(plugins), "--data", str(data), "--http", http),
        *(("--database-url", dsn) if dsn else ()),
    ]


@contextmanager
def running(
    command: Sequence[str], port: int, path: str, *, env: Mapping[str, str] | None = None
) -> Iterator[psutil.Process]:
    """Run a server in the folder of its application until it is no longer needed.

    Raises:
        RuntimeError: it ended, or did not answer ``path`` in time; with what it said.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            cwd=_HERE,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdout=said,
            stderr=said,
        )
        try:
            if not _answers(process, port, path):
                said.seek(0)
                words = said.read()[-2000:].decode(errors="replace")
                raise RuntimeError(f"{command[2]} did not come up: {words}")
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(process: subprocess.Popen[bytes], port: int, path: str) -> bool:
    until = time.monotonic() + START
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
                return True
        except OSError:
            time.sleep(0.1)
    return False


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def only_plugin(name: str, folder: Path) -> Path:
    """A folder of plugins with one of those that are shipped, as it is shipped."""
    shutil.copytree(ROOT / "plugins" / name, folder / "plugins" / name)
    return folder / "plugins"
