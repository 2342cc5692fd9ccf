"""Children that do as they are told, and keep a log that all of them share."""

from __future__ import annotations

import sys
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import (
    IGNORE,
    NORMAL,
    SHUTDOWN,
    Child,
    ChildSpec,
    Exit,
    ExitReason,
    Report,
    Supervisor,
    SupervisorRef,
    error,
    kill,
    shutdown_with,
)

# `support/` is for these tests alone, and nothing under tests/ is a package
sys.path.insert(0, str(Path(__file__).parent / "support"))

ENDINGS = {
    "normal": NORMAL,
    "shutdown": SHUTDOWN,
    "shutdown_info": shutdown_with("info"),
    "crash": error("crash"),
}


def on_a_mocked_clock(fn: Callable[[], Any], **options: Any) -> Any:
    return trio.run(fn, **options | {"clock": MockClock(autojump_threshold=0)})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder run in mocked time, which jumps when nothing else is to do."""
    for item in items:
        here = item.path.parent == Path(__file__).parent
        if here and iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=on_a_mocked_clock))


class Troupe:
    """Makes child specs by name, ends children on command, and remembers what happened."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.reports: list[Report] = []
        self.children: dict[Any, Child] = {}
        self.starts: dict[Any, deque[str]] = defaultdict(deque)  # how the next starts go
        self.stopping: dict[Any, Callable[[Child], Awaitable[object]]] = {}
        self.gate = trio.Event()  # a start that is "held" waits for it
        self._commands: dict[Any, trio.Event] = {}
        self._reasons: dict[Any, ExitReason] = {}
        self.running: set[str] = set()

    def spec(self, id: Any, **fields: Any) -> ChildSpec:
        return ChildSpec(id, self.play, **fields)

    async def play(self, child: Child, *args: Any) -> object:
        name = args[0] if args else child.id
        how = self.starts[name].popleft() if self.starts[name] else "ok"
        if how.startswith("held"):
            self.log.append(f"held {name}")
            await self.gate.wait()
            how = how.removeprefix("held ") if " " in how else "ok"
        if how != "ok":
            self.log.append(f"{how} {name}")
        if how == "ignore":
            return IGNORE
        if how == "fail":
            raise RuntimeError("no luck")
        assert name not in self.running, f"two incarnations of {name} at once"
        self.running.add(name)
        self.children[name] = child
        command = self._commands[name] = trio.Event()
        self.log.append(f"start {name}")
        child.started()
        ending = "killed"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._relay_stop, child, command)
                await command.wait()
                nursery.cancel_scope.cancel()
            if child.stop_requested:
                await self.stopping.get(name, _at_once)(child)
            reason = self._reasons.pop(name, None)
            ending = str(reason or "shutdown")
        finally:
            self.running.discard(name)
            self.log.append(f"stop {name}: {ending}")
        if reason is not None:
            raise Exit(reason)
        return None

    async def _relay_stop(self, child: Child, command: trio.Event) -> None:
        await child.wait_stop()
        command.set()

    async def end(self, name: Any, how: str) -> None:
        """End a running child that way, and wait until its supervisor has dealt with it."""
        if how == "kill":
            kill(self.children[name])
        else:
            self._reasons[name] = ENDINGS[how]
            self._commands[name].set()
        await wait_all_tasks_blocked()

    def taken(self) -> list[str]:
        """The log since this was last called."""
        taken, self.log = self.log, []
        return taken

    def supervisor(self, *children: Any, **flags: Any) -> Supervisor:
        specs = [self.spec(one) if isinstance(one, str) else one for one in children]
        return Supervisor(specs, on_report=self.reports.append, **flags)

    def told(self, kind: type[Report]) -> list[Any]:
        return [report for report in self.reports if isinstance(report, kind)]


async def _at_once(child: Child) -> None:
    pass


@pytest.fixture
def troupe() -> Troupe:
    return Troupe()


@pytest.fixture
def run(nursery: trio.Nursery) -> Callable[[Supervisor], Awaitable[SupervisorRef]]:
    """Start a supervisor in the test's nursery, within a limit of (mocked) time."""

    async def start(supervisor: Supervisor) -> SupervisorRef:
        with trio.fail_after(1000):
            ref = await nursery.start(supervisor.run)
        assert isinstance(ref, SupervisorRef)
        return ref

    return start
