"""Whether a node is ready: pure questions about the states of its plugins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import attrs
import trio

from nexus_actors.actors import ActorCell

__all__ = ["Phase", "Readiness", "describe_plugin", "readiness"]

Phase = Literal["starting", "running", "stopping"]


@attrs.frozen
class Readiness:
    """What ``/readyz`` says."""

    ready: bool
    why: str
    """Why it is not ready; empty where it is."""


def readiness(cells: Sequence[ActorCell], required: Iterable[str], phase: Phase) -> Readiness:
    """Ready is a node whose plugins have settled, each running or known not to, and whose required
    ones run."""
    if phase != "running":
        return Readiness(False, f"the node is {phase}")
    starting = [cell.name for cell in cells if cell.state == "starting"]
    if starting:
        return Readiness(False, f"still starting: {', '.join(starting)}")
    running = {cell.name for cell in cells if cell.state == "running"}
    missing = [name for name in required if name not in running]
    if missing:
        return Readiness(False, f"required and not running: {', '.join(missing)}")
    return Readiness(True, "")


def describe_plugin(cell: ActorCell, *, reasons: bool) -> dict[str, Any]:
    """One plugin for a page: its state, and with ``reasons`` why and when it is tried again."""
    about: dict[str, Any] = {"name": cell.name, "state": cell.state}
    if reasons and cell.reason:
        about["reason"] = cell.reason
        about["next_try_in"] = (
            None
            if cell.next_try is None
            else round(max(0.0, cell.next_try - trio.current_time()), 1)
        )
    return about
