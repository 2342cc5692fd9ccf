"""A supervisor whose children have ids: one_for_one, one_for_all, rest_for_one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from .child import Child
from .errors import (
    AlreadyPresent,
    AlreadyStarted,
    InvalidSpec,
    NotFound,
    Restarting,
    Running,
    SpecFault,
    StartFailed,
    SupervisorError,
)
from .exits import FailedToStart, error
from .loop import Loop, Slot
from .spec import ChildSpec, check_childspec
from .strategy import affected, vanishes
from .tree import ChildCounts, ChildInfo

__all__ = ["StaticLoop"]


class StaticLoop(Loop):
    """The life of a supervisor whose children are kept by id, in start order."""

    def __init__(self, specs: Iterable[ChildSpec], *args: Any) -> None:
        super().__init__(*args)
        self._slots: dict[object, Slot] = {spec.id: Slot(spec, spec.args) for spec in specs}

    async def _start_first_children(self) -> FailedToStart | None:
        for slot in list(self._slots.values()):
            failure = await self._start(slot)
            if failure is not None:
                return FailedToStart(slot.spec.id, failure)
            if slot.child is None and vanishes(slot.spec.restart):
                self._remove(slot)
        return None

    async def _stop_all(self) -> None:
        await self._stop(list(self._slots.values())[::-1])

    def _slot_of(self, child: Child) -> Slot | None:
        slot = self._slots.get(child.id)
        return slot if slot is not None and slot.child is child else None

    def _team(self, slot: Slot) -> list[Slot]:
        strategy = self.flags.strategy
        return [self._slots[id] for id in affected(strategy, self._slots, slot.spec.id)]

    def _remove(self, slot: Slot) -> None:
        del self._slots[slot.spec.id]

    def _clear(self, slot: Slot) -> None:
        slot.child, slot.restarting, slot.due = None, False, None
        if vanishes(slot.spec.restart):
            self._remove(slot)

    def _significant_left(self) -> bool:
        slots = self._slots.values()
        return any(s.spec.significant and (s.child is not None or s.restarting) for s in slots)

    def _retry_key(self, slot: Slot) -> object:
        return slot.spec.id

    def _slot_to_retry(self, key: object) -> Slot | None:
        return self._slots.get(key)

    # Calls

    def _find(self, id: object) -> Slot:
        try:
            slot = self._slots.get(id)
        except Exception:  # noqa: BLE001 - a boundary: what cannot be hashed or compared is no id
            slot = None
        if slot is None:
            raise NotFound(id)
        return slot

    def _find_stopped(self, id: object) -> Slot:
        slot = self._find(id)
        if slot.restarting:
            raise Restarting(id)
        if slot.child is not None:
            raise Running(id)
        return slot

    def _checked(self, given: object) -> ChildSpec:
        faults = check_childspec(given, self.flags.auto_shutdown)
        if faults:
            raise InvalidSpec(faults)
        return given if isinstance(given, ChildSpec) else ChildSpec(**cast("dict[str, Any]", given))

    async def _call_start_child(self, *args: object) -> Child | None:
        given = args[0] if len(args) == 1 else args
        try:
            spec = self._checked(given)
            present = self._slots.get(spec.id)
        except SupervisorError:
            raise
        except Exception as exc:  # noqa: BLE001 - a boundary: what is given may raise when looked at
            words = f"it cannot be checked: {error(exc)}"
            fault = SpecFault("child spec", ("invalid_child_spec", given), words)
            raise InvalidSpec([fault]) from None
        if present is not None:
            if present.child is not None:
                raise AlreadyStarted(present.child)
            raise AlreadyPresent(spec.id)
        slot = Slot(spec, spec.args)
        failure = await self._start(slot)
        if failure is not None:
            raise StartFailed(self._path(slot), failure)
        if slot.child is not None or not vanishes(spec.restart):
            self._slots[spec.id] = slot
        return slot.child

    async def _call_terminate_child(self, id: object) -> None:
        await self._stop([self._find(id)])

    async def _call_restart_child(self, id: object) -> Child | None:
        slot = self._find_stopped(id)
        failure = await self._start(slot)
        if failure is not None:
            raise StartFailed(self._path(slot), failure)
        return slot.child

    async def _call_delete_child(self, id: object) -> None:
        self._remove(self._find_stopped(id))

    async def _call_get_childspec(self, id: object) -> ChildSpec:
        return self._find(id).spec

    async def _call_which_children(self) -> list[ChildInfo]:
        return [
            ChildInfo(slot.spec.id, "restarting" if slot.restarting else slot.child, slot.spec.type)
            for slot in reversed(self._slots.values())
        ]

    async def _call_count_children(self) -> ChildCounts:
        slots = self._slots.values()
        supervisors = sum(slot.spec.type == "supervisor" for slot in slots)
        active = sum(slot.child is not None and slot.child.is_alive for slot in slots)
        return ChildCounts(len(slots), active, supervisors, len(slots) - supervisors)
