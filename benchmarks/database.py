"""What a statement costs through ``self.db``, beside asyncpg on asyncio: 1 task, and 8 at once.

``python -m benchmarks.database``

Each contender is a process that stays, so that turns can be short; who has none waits for the next.
PostgreSQL is one embedded server that all share, in which each has tables of its own. Ours is
``nexus run`` with a plugin that does the work in a handler. The peers use PostgreSQL by the same
socket, with asyncpg's own pool of ten connections, which is what a plugin has.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from contextlib import ExitStack

from benchmarks.contenders.database_tasks import STATEMENTS, TASKS
from benchmarks.harness import ROOT, Contender, Figures, Owed, Question, main, options
from nexus_actors.database import EmbeddedServer, temporary_server

__all__ = ["question"]

POOL = "asyncpg pool, asyncio"
"""As everybody uses it: a connection that goes back is reset, which takes a round trip."""

BARE = "asyncpg pool without reset, asyncio"
"""What asyncpg itself costs: one round trip a statement, as ours."""

_NO_UVLOOP = "" if importlib.util.find_spec("uvloop") else "no uvloop here"


class Worker:
    """A program that stays: a line with the scale is a turn, answered by lines of figures and an
    empty one."""

    def __init__(self, stack: ExitStack, dsn: str, module: str, how: tuple[str, ...]) -> None:
        self._command = [sys.executable, "-m", f"benchmarks.contenders.{module}", dsn, *how]
        self._stack = stack
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, scale: float) -> Figures:
        """Let it have a turn; the first starts it."""
        if self._process is None:
            pipe = subprocess.PIPE
            self._process = self._stack.enter_context(
                subprocess.Popen(self._command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{scale}\n")
        process.stdin.flush()
        figures: dict[str, float] = {}
        for line in process.stdout:
            if not line.strip():
                return figures
            told = json.loads(line)
            figures[told["metric"]] = float(told["value"])
        raise RuntimeError(f"it ended with exit code {process.wait(30)}")


def question(server: EmbeddedServer, stack: ExitStack) -> Question:
    """The question, with contenders that use ``server`` until ``stack`` is closed."""

    def program(name: str, *how: str) -> Worker:
        return Worker(stack, server.create_database("_".join((name, *how))), name, how)

    def peer(*how: str) -> Worker:
        return program("asyncpg_peer", *how)

    return Question(
        "database",
        "statements a second through DatabaseAdapter, from 1 task and from 8 at once",
        [
            Contender("nexus_actors", program("database_node")),
            Contender(POOL, peer("asyncio", "reset")),
            Contender(BARE, peer("asyncio", "bare")),
            Contender("asyncpg, a connection a task, asyncio", peer("asyncio", "none")),
            Contender("asyncpg pool, uvloop", peer("uvloop", "reset"), _NO_UVLOOP),
            Contender("asyncpg pool without reset, uvloop", peer("uvloop", "bare"), _NO_UVLOOP),
        ],
        [Owed(f"{statement} x{max(TASKS)}", POOL, 0.7) for statement in STATEMENTS],
        {
            f"{statement} x{tasks}{of}": unit
            for statement in STATEMENTS
            for tasks in TASKS
            for of, unit in (("", "/s"), (", processor time", "µs, less is better"))
        },
    )


if __name__ == "__main__":
    given = options("database")
    with temporary_server() as shared, ExitStack() as processes:
        code = main(question(shared, processes), given)
    sys.exit(code)
