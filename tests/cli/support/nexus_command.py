"""Runs ``nexus`` in a folder, and writes plugins into it."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from nexus_actors.cli import main
from nexus_actors.plugin.importing import forget_plugin

NEXUS = Path(sys.executable).with_name("nexus")
LIMIT = 60.0
"""Seconds that anything may take."""

IMPORTS = """\
from nexus_actors.events import event_handler
from nexus_actors.http import get, post
from nexus_actors.plugin import Plugin

"""


class Running:
    """A ``nexus run`` that goes on in the background."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self._out, self._err = folder / "node.out", folder / "node.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command, cwd=folder, env=env, stdout=out, stderr=err, stdin=subprocess.DEVNULL
            )

    @property
    def out(self) -> str:
        """What it has printed."""
        return self._out.read_text("utf-8")

    @property
    def err(self) -> str:
        """What it has logged."""
        return self._err.read_text("utf-8")

    @property
    def port(self) -> str:
        """Where it serves; it must have said so."""
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.out)
        assert found, f"it has not said where it serves:\n{self.out}\n{self.err}"
        return found[1]

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until ``condition`` holds."""
        deadline = time.monotonic() + LIMIT
        while not condition():
            assert self.process.poll() is None, f"it ended before {what}:\n{self.out}\n{self.err}"
            assert time.monotonic() < deadline, f"no {what}:\n{self.out}\n{self.err}"
            time.sleep(0.02)

    def wait_up(self) -> "Running":
        """Wait until it has said how to stop it."""
        self.wait_for(lambda: "Ctrl-C stops it." in self.out, "table")
        return self

    def interrupt(self) -> int:
        """Ctrl-C; return the exit code."""
        return self.end(signal.SIGINT)

    def end(self, number: int) -> int:
        """Send that signal; return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(LIMIT)


class Here:
    """A working folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[Running] = []

    def nexus(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, here: a process of its own would take a second to begin."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main(words)
        assert isinstance(ended.value.code, int)
        return subprocess.CompletedProcess(words, ended.value.code, out.getvalue(), err.getvalue())

    def process(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same in a process of its own."""
        return self._run(str(NEXUS), *words)

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The Python that ``nexus`` has."""
        return self._run(sys.executable, *words)

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, "COLUMNS": "80"},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=LIMIT,
            check=False,
        )

    def run(self, *options: str, **environ: str) -> Running:
        """``nexus run`` on a free port, in the background."""
        env = {**os.environ, "NEXUS_BIND": "127.0.0.1:0", "COLUMNS": "80", **environ}
        running = Running([str(NEXUS), "run", *options], self.folder, env)
        self._running.append(running)
        return running

    def plugin(self, name: str, body: str = "", *, base: str = "plugins", **fields: Any) -> Path:
        """Write a plugin with the class ``P``, whose indented ``body`` is given."""
        folder = self.folder / base / name
        folder.mkdir(parents=True)
        manifest = {"name": name, "version": "1.0.0", "entry_point": "plugin:P", **fields}
        (folder / "plugin.json").write_text(json.dumps(manifest))
        (folder / "plugin.py").write_text(f"{IMPORTS}\nclass P(Plugin):\n    '''{name}'''\n{body}")
        return folder

    def close(self) -> None:
        """End what was left running, and forget the plugins that were imported here."""
        for manifest in self.folder.rglob("plugin.json"):
            forget_plugin(manifest.parent.name)
        for running in self._running:
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()
