"""What an author hands in, checked where it is handed in: a wrong value is refused to whoever gave
it, before it harms another actor or a later moment."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nexus_actors.actors.cell import ActorCell
    from nexus_actors.actors.children import Plan

__all__ = ["check_seconds", "given_cell", "given_plan"]


def check_seconds(
    what: str, value: object, *, least: float | None = None, above: float | None = None
) -> None:
    """See whether ``value`` is a number of seconds: of at least ``least``; or greater than
    ``above``, and then not endless. ``what`` names it.

    Raises:
        TypeError: it is no number.
        ValueError: it is NaN, or out of these bounds.
    """
    bounds = "" if least is None else f" of at least {least:g}"
    if above is not None:
        bounds = f" above {above:g}, and not endless"
    wanted = f"{what} must be a number of seconds{bounds}, not {value!r}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(wanted)
    good = not math.isnan(value) and (least is None or value >= least)
    if not good or (above is not None and not above < value < math.inf):
        raise ValueError(wanted)


def given_plan(what: str, kind: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Plan:
    """The plan for what was given to ``what``: ``spawn``, ``spawn_pool``.

    Raises:
        TypeError: ``kind`` is no class of actors.
        Invalid: wrong ``options``, all at once.
    """
    if not isinstance(kind, type) or not hasattr(kind, "_plan"):
        fix = "class Worker(Actor): ..."
        if hasattr(type(kind), "_plan"):
            fix = f"{type(kind).__name__}, and what its __init__ takes behind it"
        raise TypeError(f"{what}() wants a class of actors, not {kind!r}: give it {fix}")
    plan: Plan = kind._plan(args, options)
    return plan


def given_cell(what: str, address: Any) -> ActorCell:
    """The cell behind what was given to ``what``: ``stop_child``, ``monitor``, ``link``.

    Raises:
        TypeError: it is no address.
    """
    cell: ActorCell | None = getattr(address, "_cell", None)
    if cell is None:
        raise TypeError(
            f"{what}() wants an address, not {address!r}: spawn() returns one, self.address is "
            "one, and system.address(name) finds one"
        )
    return cell
