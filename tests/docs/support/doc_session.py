"""Does what a page shows in its console blocks, and compares what comes of it with what it shows.

A line that begins with ``$`` is typed, what follows it is expected. A line ``...`` stands for any
number of lines, ``…`` for any text in a line. ``nexus run`` and ``make run`` go on in the
background, ``^C`` stops them. Port 8000 becomes a free one; times and durations need not agree.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from doc_blocks import ROOT, Block

_BIN = Path(sys.executable).parent
_WAIT = 60.0
"""Seconds that anything may take."""


class Session:
    """One terminal, and a second one for the node."""

    def __init__(self, folder: Path, database_url: str = "") -> None:
        """With ``database_url`` nodes use that database in place of one of their own."""
        self.folder = folder
        self.port = _free_port()
        self._log = folder.parent / f"{folder.name}.log"
        self._node: subprocess.Popen[bytes] | None = None
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")},
            "PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}",
            "NEXUS_BIND": f"127.0.0.1:{self.port}",
            "NEXUS_DATABASE_URL": database_url,
            "NEXUS_NODE_LOG_FORMAT": "console",
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "80",
            "PYTEST_ADDOPTS": "-p no:cacheprovider",
        }

    def follow(self, blocks: list[Block]) -> None:
        """Write the files and type the commands of ``blocks``, in order."""
        for block in blocks:
            if block.file is not None or block.addition is not None:
                block.write_below(self.folder)
            elif block.language == "console":
                self.type(block)
            elif block.language == "text":
                self.expect_log(block)

    def type(self, block: Block) -> None:
        """Type the commands of a console block, each compared with what is shown below it."""
        for command, expected in _commands(block.text):
            if re.fullmatch(r"(nexus|make) run.*", command):
                actual = self._start(command)
            elif command == "^C":
                actual = self._stop()
            else:
                done = subprocess.run(
                    # away from a terminal curl would show how it gets on
                    re.sub(r"^curl ", "curl -sS ", command.replace("8000", str(self.port))),
                    shell=True,
                    cwd=self.folder,
                    env=self._env,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    timeout=_WAIT,
                    check=False,
                )
                actual = done.stdout.decode()
            self._compare(expected, actual, f"{block}: $ {command}")

    def expect_log(self, block: Block) -> None:
        """The lines of a text block are in what the node has written, in this order."""
        patterns = [_pattern(line) for line in block.text.splitlines() if line.strip() != "..."]
        deadline = time.monotonic() + 5.0
        while True:
            wanted = iter(patterns)
            missing = next(wanted)
            for line in self._seen(self._read()).splitlines():
                if missing and re.fullmatch(missing, line):
                    missing = next(wanted, "")
            if not missing:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"{block}: the node did not say {missing}:\n{self._read()}")
            time.sleep(0.05)

    def close(self) -> None:
        """Stop a node that still runs."""
        if self._node is not None:
            self._stop()

    def _start(self, command: str) -> str:
        # `make run` is `nexus run` in the checkout; its data belongs to the test
        words = command.replace("make run", f"nexus run --data {self.folder / '.nexus'}").split()
        where = ROOT if command.startswith("make") else self.folder
        with self._log.open("wb") as log:
            self._node = subprocess.Popen(
                words, cwd=where, env=self._env, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + _WAIT
        while "Ctrl-C stops it." not in self._read():
            if self._node.poll() is not None or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        return self._read()

    def _stop(self) -> str:
        assert self._node is not None, "nothing runs that ^C could stop"
        before = len(self._read())
        self._node.send_signal(signal.SIGINT)
        try:
            assert self._node.wait(_WAIT) == 0
        finally:
            self._node.kill()
            self._node = None
        return self._read()[before:]

    def _read(self) -> str:
        return self._log.read_text("utf-8")

    def _seen(self, text: str) -> str:
        """``text`` as the page would show it."""
        return _plain(text.replace(str(self.port), "8000"))

    def _compare(self, expected: str, actual: str, what: str) -> None:
        pattern = "".join(
            "(?:.*\n)*?" if line == "..." else _pattern(line) + "\n"
            for line in expected.splitlines()
        )
        seen = self._seen(actual)
        seen += "" if seen.endswith("\n") or not seen else "\n"
        assert re.fullmatch(pattern, seen), f"{what}\nshown:\n{expected}\nseen:\n{seen}"


def _commands(text: str) -> list[tuple[str, str]]:
    """In: ``$ one\\nout\\n$ two``. Ret: ``[("one", "out\\n"), ("two", "")]``."""
    parts = re.split(r"^\$ (.*(?:\\\n.*)*)\n", text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"output without a command: {parts[0]}"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def _pattern(line: str) -> str:
    return ".*".join(map(re.escape, _plain(line).split("…")))


def _plain(text: str) -> str:
    """Without what differs from one run to the next."""
    text = re.sub(r"\b\d\d:\d\d:\d\d\.\d+", "TIME", text)
    text = re.sub(r"\b\d+\.\d+ ?s\b", "SOME s", text)
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
