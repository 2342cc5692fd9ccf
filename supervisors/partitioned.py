"""Several supervisors alike in place of one, for very many children; a key says which has which.

A supervisor handles one thing at a time: while it starts a child that is slow to start, or stops
one that is slow to stop, its calls wait. Partitioned, only the calls of that partition do. After
Elixir's PartitionSupervisor; beyond OTP.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import trio

from .child import Child
from .errors import InvalidSpec, NoProc, SpecFault
from .exits import ExitReason
from .reports import Reporter
from .spec import ChildSpec
from .supervisor import Supervisor
from .tree import ChildCounts, SupervisorRef

__all__ = ["PartitionedSupervisor"]


class PartitionedSupervisor:
    """Partitions ``0`` to ``partitions - 1``, each a supervisor of its own, under one supervisor.

    ::

        shops = PartitionedSupervisor(lambda: Supervisor([shop], strategy="simple_one_for_one"))
        ref = await nursery.start(shops.run)
        await shops.partition("Oslo").start_child("Oslo")

    The same key leads to the same partition, in every process and after every restart, as long as
    their number stays. A partition that gives up is restarted, by the `intensity` and `period` of
    the supervisor above them; the children it had been given are then those of `make` alone.
    """

    def __init__(
        self,
        make: Callable[[], Supervisor],
        partitions: int = 8,
        *,
        intensity: int = 1,
        period: float = 5.0,
        name: str = "",
        on_report: Reporter | None = None,
    ) -> None:
        """
        Args:
            make: makes the supervisor of one partition, anew at each of its starts.
            partitions: how many.
            intensity: how many restarts of partitions are allowed within `period`.
            period: seconds.
            name: what it is called in reports; ``root/0`` is the path of its first partition.
            on_report: takes every report.

        Raises:
            InvalidSpec: with everything that is wrong.
        """
        faults = [*_faults(make, partitions)]
        self._make = make
        self._children: dict[int, Child] = {}
        """The incarnation of each partition that was started last."""
        try:
            self._supervisor = Supervisor(
                [] if faults else [*map(self._spec, range(partitions))],
                intensity=intensity,
                period=period,
                name=name,
                on_report=on_report,
            )
        except InvalidSpec as invalid:
            faults += invalid.faults
        if faults:
            raise InvalidSpec(faults)
        self.partitions = partitions

    async def run(
        self, *, task_status: trio.TaskStatus[SupervisorRef] = trio.TASK_STATUS_IGNORED
    ) -> ExitReason:
        """Run it as the root of a tree; see :meth:`.Supervisor.run`. The handle that is given is
        that of the supervisor above the partitions."""
        return await self._supervisor.run(task_status=task_status)  # type: ignore[arg-type]

    def as_child(self, id: Any, **fields: Any) -> ChildSpec:
        """A child spec that runs it inside another supervisor; see :meth:`.Supervisor.as_child`."""
        return self._supervisor.as_child(id, **fields)

    def index(self, key: object) -> int:
        """The number of the partition that has what `key` names: an integer by its remainder, any
        other by its text."""
        number = key if isinstance(key, int) else zlib.crc32(repr(key).encode())
        return number % self.partitions

    def partition(self, key: object) -> SupervisorRef:
        """The handle of the partition that has what `key` names.

        It is good until that partition ends: ask again rather than keep it.

        Raises:
            NoProc: that partition does not run now.
        """
        index = self.index(key)
        child = self._children.get(index)
        ref = None if child is None else child.supervisor
        if ref is None or not ref.is_alive:
            raise NoProc(f"{self._supervisor.name or 'root'}/{index}")
        return ref

    def running(self) -> list[SupervisorRef]:
        """The handles of the partitions that run now, in their order."""
        found = (self._children[index].supervisor for index in sorted(self._children))
        return [ref for ref in found if ref is not None and ref.is_alive]

    async def count_children(self) -> ChildCounts:
        """The counts of all partitions that run, together."""
        total = [0, 0, 0, 0]
        for ref in self.running():
            try:
                counts = await ref.count_children()
            except NoProc:  # it has ended meanwhile
                continue
            for place, count in enumerate(
                (counts.specs, counts.active, counts.supervisors, counts.workers)
            ):
                total[place] += count
        return ChildCounts(*total)

    def _spec(self, index: int) -> ChildSpec:
        async def start(child: Child) -> object:
            self._children[index] = child
            return await self._make().run_under(child)

        return ChildSpec(index, start, type="supervisor")


def _faults(make: object, partitions: object) -> Iterator[SpecFault]:
    if not callable(make):
        words = f"'make' must be a function that gives a Supervisor, not {make!r}"
        yield SpecFault("partitioned supervisor", ("invalid_make", make), words)
    if not isinstance(partitions, int) or isinstance(partitions, bool) or partitions < 1:
        words = f"'partitions' must be an integer of at least 1, not {partitions!r}"
        yield SpecFault("partitioned supervisor", ("invalid_partitions", partitions), words)
