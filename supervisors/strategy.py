"""What a supervisor does when a child has ended: pure functions over specs and reasons.

Nothing here knows a clock or a task, so every rule can be read, and tested, as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from itertools import dropwhile
from typing import Literal, TypeVar

from .exits import ExitReason

__all__ = [
    "AutoShutdown",
    "Restart",
    "Strategy",
    "affected",
    "ends_supervisor",
    "expected_ending",
    "must_restart",
    "vanishes",
]

Id = TypeVar("Id", bound=Hashable)

Restart = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]


def must_restart(restart: Restart, reason: ExitReason) -> bool:
    """Whether a child of that restart type is started again after ending with `reason`."""
    if restart == "permanent":
        return True
    return restart == "transient" and reason.abnormal


def vanishes(restart: Restart) -> bool:
    """Whether the spec goes with the process once it has ended for good: only a temporary one."""
    return restart == "temporary"


def affected(strategy: Strategy, order: Iterable[Id], failed: Id) -> list[Id]:
    """Which children take part in the restart of `failed`, in start order.

    In:  rest_for_one, [a, b, c, d], b
    Ret: [b, c, d]

    They are stopped in the reverse of this order and started in this order. `order` is read only
    where the strategy asks for it, so one_for_one costs the same with ten thousand siblings.
    """
    if strategy in ("one_for_one", "simple_one_for_one"):
        return [failed]
    if strategy == "one_for_all":
        return list(order)
    rest = dropwhile(lambda one: one != failed, order)
    return list(rest)


def ends_supervisor(
    auto_shutdown: AutoShutdown, significant: bool, another_significant_runs: Callable[[], bool]
) -> bool:
    """Whether a supervisor ends because a child has ended on its own and is not restarted."""
    if auto_shutdown == "never" or not significant:
        return False
    return auto_shutdown == "any_significant" or not another_significant_runs()


def expected_ending(restart: Restart, brutal: bool, reason: ExitReason) -> bool:
    """Whether a child that was stopped ended as it should; else a ShutdownError is reported."""
    if reason.kind == "killed":
        return brutal
    if reason.kind == "shutdown" and reason.info is None and not brutal:
        return True
    return restart != "permanent" and not reason.abnormal
