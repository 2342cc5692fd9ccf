"""The children of one owner: spawned one by one, supervised together, each with its own mailbox."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import attrs
import trio

from nexus_actors.actors.actor import Limits
from nexus_actors.actors.address import Address
from nexus_actors.actors.cell import ActorCell
from nexus_actors.actors.faults import has_cancelled
from nexus_actors.actors.handling import Handlers
from nexus_actors.actors.knots import refuse_to_spawn
from nexus_actors.actors.mailbox import Overflow
from nexus_actors.actors.message import in_hand
from nexus_actors.actors.routing import Pool, Route, check_route
from nexus_actors.actors.run_queue import RunQueue
from nexus_actors.actors.starting import start_in_hand
from nexus_actors.actors.waiting import held_up, needing
from nexus_actors.errors import ActorStopped, NexusError
from supervisors import (
    AlreadyPresent,
    Child,
    ChildSpec,
    ChildTerminated,
    GaveUp,
    NoProc,
    NotFound,
    Report,
    Reporter,
    Restarting,
    Running,
    Supervisor,
    SupervisorDied,
    SupervisorRef,
    log_report,
)

if TYPE_CHECKING:
    from nexus_actors.actors.belongings import Belongings
    from nexus_actors.actors.kernel import Kernel

__all__ = ["Children", "ChildrenGaveUp", "Options", "Plan", "check_own"]


@attrs.frozen
class Options:
    """How one actor is supervised, and how it takes its messages."""

    restart: Literal["permanent", "transient", "temporary"] = "permanent"
    shutdown: float | Literal["infinity", "brutal_kill"] = 5.0
    capacity: int = 1000
    overflow: Overflow = "refuse"
    max_size: int | None = None
    concurrency: int = 1
    trap_exits: bool = False


@attrs.frozen
class Plan:
    """An actor that is to be spawned: a fresh object for each incarnation comes from ``make``."""

    kind: str
    handlers: Handlers
    options: Options
    make: Callable[[Belongings], Any]


def check_own(owner: str, cell: ActorCell) -> None:
    """Raise ValueError where ``cell`` is, and was, no child of the actor called ``owner``."""
    if cell.name.rpartition("/")[0] != owner:
        whose = f"{owner} has" if owner else "the system has"
        raise ValueError(
            f"{whose} no child {cell.name}, and stops none but its own: ask the one that has "
            "spawned it to stop it"
        )


class ChildrenGaveUp(NexusError):
    """An actor's children were restarted too often; this is its own crash."""


class Children:
    """What one owner has spawned, under a supervisor of its own (one_for_one)."""

    def __init__(
        self,
        owner: str,
        kernel: Kernel,
        *,
        intensity: int = 5,
        period: float = 30.0,
        on_report: Reporter = log_report,
    ) -> None:
        """``owner`` is the name before theirs: ``shop/counter``; empty for the outermost."""
        self._owner = owner
        self._kernel = kernel
        self._on_report = on_report
        self._supervisor = Supervisor(
            intensity=intensity, period=period, name=owner or "system", on_report=self._told
        )
        self._ref: SupervisorRef | None = None
        self._nursery: trio.Nursery
        self._queue: RunQueue
        """Where their handlers run."""
        self._cells: dict[str, ActorCell] = {}
        self._numbers = itertools.count(1)
        self._in_turn: list[ActorCell] = []
        """Those that are to be started, the one that is starting first."""
        self._closing = False
        self._is_over = False
        """Whether their supervisor has ended, and all of them with it; a handler of their owner's
        may outlast that."""
        self._last_words = ""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Supervise them until :meth:`close`.

        Raises:
            ChildrenGaveUp: they were restarted too often.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                self._queue = RunQueue(self._nursery)
                try:
                    self._ref = await self._nursery.start(self._supervisor.run)
                    assert self._ref is not None
                    task_status.started()
                    await self._ref.wait()
                finally:
                    self._is_over = True
                self._nursery.cancel_scope.cancel()  # what runs for nobody any more
        finally:
            for short in [*self._cells]:
                self._forget(short)
        if not self._closing:
            raise ChildrenGaveUp(
                f"the children of {self._owner or 'the system'} were restarted too often"
                f"{self._last_words}"
            )

    async def close(self) -> None:
        """Stop them, the last one first, each within its deadline."""
        self._closing = True
        for cell in self._cells.values():
            cell.ending = True
        if self._ref is not None:
            await self._ref.stop()

    async def spawn(self, plan: Plan, name: str = "") -> Address:
        """Start one and return its address once it is up.

        Raises:
            ValueError: another has the name, or it is none.
            StartFailed: its ``__init__`` or ``initialize`` raised.
        """
        assert self._ref is not None, "it is run before it spawns"
        options = plan.options
        cell = self._cell_for(plan, name)
        limits = Limits(concurrency=options.concurrency)

        async def start(child: Child) -> None:
            await self._kernel.live(child, cell, plan, limits, self._queue)

        address = self._kernel.registry.register(cell)
        short = self._short(cell)
        self._cells[short] = cell
        spec = ChildSpec(short, start, restart=options.restart, shutdown=options.shutdown)
        try:
            await self._start_in_turn(spec, cell)
        except trio.Cancelled:
            # its supervisor goes on with the start, and nobody would know of the child
            self._end_soon(cell)
            raise
        except (NoProc, SupervisorDied):
            self._forget(short)
            raise ActorStopped(self._owner or "the system", "stopping") from None
        except BaseException:
            self._forget(short)
            raise
        return address

    async def _start_in_turn(self, spec: ChildSpec, cell: ActorCell) -> None:
        """Start it; one is started after the other."""
        message, start = in_hand(), start_in_hand()
        cell.awaits = tuple(self._in_turn)
        if message is not None and held_up(message):
            refuse_to_spawn(cell, message.receiver, message)
        elif start is not None:
            refuse_to_spawn(cell, start.cell.name, None)
        self._in_turn.append(cell)
        try:
            with needing(cell, "up"):
                await self._start(spec)
        finally:
            self._in_turn.remove(cell)
            cell.awaits = ()

    async def _start(self, spec: ChildSpec) -> None:
        assert self._ref is not None
        try:
            await self._ref.start_child(spec)
        except AlreadyPresent:  # that of one of the same name, which has ended
            with suppress(NotFound):
                await self._ref.delete_child(spec.id)
            await self._ref.start_child(spec)

    async def spawn_pool(self, plan: Plan, *, size: int, route: Route, name: str) -> Pool:
        """Start ``size`` alike, ``name-1`` to ``name-size``, and return their pool; where one of
        them does not start, none of them stays.

        Raises as :meth:`spawn` does, and ValueError for a size or a route that is none.
        """
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"a pool wants a size of at least 1, not {size!r}")
        check_route(route)
        members: list[Address] = []
        try:
            for number in range(1, size + 1):
                # without a name they get free ones, as any other child
                members.append(await self.spawn(plan, f"{name}-{number}" if name else ""))
        except BaseException as error:
            # nobody would have the addresses of those that are up
            cells = [member._cell for member in members if self._has(member._cell)]
            for cell in reversed(cells):
                self._end_soon(cell)
            if not has_cancelled(error):
                for cell in cells:
                    await cell.wait_stopped()
            raise
        return Pool(members, route)

    async def stop(self, cell: ActorCell) -> None:
        """Stop one for good; at once where it has ended already.

        Raises:
            ValueError: it is, and was, none of these.
        """
        check_own(self._owner, cell)
        if self._has(cell):
            cell.ending = True
            await self._end(self._short(cell), cell)

    def _has(self, cell: ActorCell) -> bool:
        return self._cells.get(self._short(cell)) is cell

    def _short(self, cell: ActorCell) -> str:
        return cell.name.removeprefix(f"{self._owner}/")

    def _end_soon(self, cell: ActorCell) -> None:
        cell.ending = True
        if not self._is_over:
            self._nursery.start_soon(self._end, self._short(cell), cell)

    async def _end(self, short: str, cell: ActorCell) -> None:
        assert self._ref is not None
        try:
            await self._ref.terminate_child(short)
            await self._ref.delete_child(short)
        except (NotFound, NoProc, SupervisorDied):
            pass  # temporary: its spec went with it; or its supervisor ends, and all with it
        if self._cells.get(short) is cell:  # meanwhile another may have got the name
            self._forget(short)

    async def _drop_spec(self, short: str) -> None:
        """Have its supervisor forget one that is not started again, lest they become many."""
        assert self._ref is not None
        if short in self._cells:
            return  # another has got the name, and its start sees to that
        with suppress(NotFound, Running, Restarting, NoProc, SupervisorDied):
            await self._ref.delete_child(short)

    def addresses(self) -> list[Address]:
        """All that are there, in the order of spawning."""
        return [Address(cell) for cell in self._cells.values()]

    def _cell_for(self, plan: Plan, name: str) -> ActorCell:
        if not isinstance(name, str):
            raise TypeError(f"the name of a child is a string, not {name!r}")
        if "/" in name or name != name.strip():
            raise ValueError(f"{name!r} is no name of a child: it has a slash or blanks around it")
        while not name:
            candidate = f"{plan.kind.lower()}-{next(self._numbers)}"
            name = candidate if candidate not in self._cells else ""
        if name in self._cells:
            raise ValueError(f"{self._owner or 'the system'} has a child called {name!r} already")
        full = f"{self._owner}/{name}" if self._owner else name
        options = plan.options
        cell = ActorCell(
            full,
            self._kernel.dead_letters,
            capacity=options.capacity,
            overflow=options.overflow,
            max_size=options.max_size,
        )
        cell.handlers = plan.handlers
        cell.traps_exits = options.trap_exits
        cell.restart = options.restart
        cell.is_child = bool(self._owner)
        return cell

    def _forget(self, short: str) -> None:
        cell = self._cells.pop(short, None)
        if cell is not None:
            cell.enter("stopped")
            self._kernel.registry.unregister(cell.name)

    def _told(self, report: Report) -> None:
        if isinstance(report, ChildTerminated) and report.action in ("leave", "forget"):
            # nobody starts it again, and its callers learn it at once
            self._forget(str(report.id))
            if report.action == "leave":
                self._nursery.start_soon(self._drop_spec, str(report.id))
        if isinstance(report, GaveUp):
            self._last_words = f": {report}"
        self._on_report(report)
