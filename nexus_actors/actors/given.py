"""What an author hands in, checked where it is handed in: a wrong value is refused to whoever gave
it, before it harms another actor or a later moment."""

from __future__ import annotations

import math

__all__ = ["check_seconds"]


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
