"""A pool: a simple_one_for_one supervisor, whose children are all started from one template.

They have no ids; they are named by their handles. They are restarted one by one, and stopped
together, with one shared timeout.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import trio

from .child import Child
from .errors import NotForPools, NotFound, StartFailed
from .exits import ExitReason, FailedToStart
from .loop import Loop, Slot
from .spec import ChildSpec
from .tree import ChildCounts, ChildInfo

__all__ = ["PoolLoop"]


@attrs.define(eq=False)
class Member(Slot):
    """A child of a pool."""

    key: Child | None = None
    """The handle it is found by: its incarnation, or, while it is being restarted, its last one."""


class PoolLoop(Loop):
    """The life of a pool. Its only spec is the template; its children are members."""

    def __init__(self, specs: Iterable[ChildSpec], *args: Any) -> None:
        super().__init__(*args)
        (self._template,) = specs
        self._members: dict[object, Member] = {}
        self._pending_restarts = 0

    async def _start_first_children(self) -> FailedToStart | None:
        return None

    async def _start(self, slot: Slot) -> Any:
        assert isinstance(slot, Member)
        failure = await super()._start(slot)
        if failure is None:
            self._remove(slot)
            if slot.child is not None:
                slot.key = slot.child
                self._members[slot.child] = slot
        return failure

    async def _try(self, slot: Slot) -> ExitReason | None:
        if slot.restarting:
            self._pending_restarts -= 1
        return await super()._try(slot)

    def _mark_restarting(self, slot: Slot) -> None:
        super()._mark_restarting(slot)
        self._pending_restarts += 1

    def _slot_of(self, child: Child) -> Slot | None:
        return self._members.get(child)

    def _team(self, slot: Slot) -> list[Slot]:
        return [slot]

    def _remove(self, slot: Slot) -> None:
        assert isinstance(slot, Member)
        self._members.pop(slot.key, None)

    def _clear(self, slot: Slot) -> None:
        self._remove(slot)

    def _significant_left(self) -> bool:
        return bool(self._members)

    def _retry_key(self, slot: Slot) -> object:
        assert isinstance(slot, Member)
        return slot.key

    def _slot_to_retry(self, key: object) -> Slot | None:
        return self._members.get(key)

    async def _stop_all(self) -> None:
        """Ask all at once, kill at one deadline for all, wait until the last task has ended."""
        children = [member.child for member in self._members.values() if member.child is not None]
        shutdown = self._template.shutdown
        assert shutdown is not None
        if shutdown == "brutal_kill":
            deadline = trio.current_time()
        else:
            deadline = trio.current_time() + float(shutdown)  # float("infinity") is inf
            for child in children:
                child._request_stop(deadline)
            with trio.CancelScope(deadline=deadline):
                while self._tasks:
                    await self._inbox.wait()
        if self._tasks:
            for child in children:
                child._kill()
        while self._tasks:
            await self._inbox.wait()
        for child in children:
            self._report_stopped(child)

    # Calls

    async def _call_start_child(self, *args: object) -> Child | None:
        member = Member(self._template, self._template.args + args)
        failure = await self._start(member)
        if failure is not None:
            raise StartFailed(self._path(member), failure)
        return member.child

    async def _call_terminate_child(self, child: object) -> None:
        if not isinstance(child, Child):
            raise NotForPools(child)
        member = self._members.get(child)
        if member is not None:
            await self._stop([member])
            self._remove(member)
        elif child.is_alive:
            raise NotFound(child)

    async def _call_restart_child(self, id: object) -> Child | None:
        raise NotForPools(id)

    async def _call_delete_child(self, id: object) -> None:
        raise NotForPools(id)

    async def _call_get_childspec(self, child: object) -> ChildSpec:
        if isinstance(child, Child):
            if child not in self._members and child.is_alive:
                raise NotFound(child)
        elif child != self._template.id:
            raise NotFound(child)
        return self._template

    async def _call_which_children(self) -> list[ChildInfo]:
        return [
            ChildInfo(None, "restarting" if one.restarting else one.child, one.spec.type)
            for one in reversed(self._members.values())
        ]

    async def _call_count_children(self) -> ChildCounts:
        size = len(self._members)
        # OTP does not count back when a pending restart is cancelled by terminate_child(), so from
        # then on `active` is one too low for each; kept, since we promise its answers
        active = size - self._pending_restarts
        supervisors = size if self._template.type == "supervisor" else 0
        return ChildCounts(1, active, supervisors, size - supervisors)
