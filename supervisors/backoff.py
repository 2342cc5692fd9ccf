"""Pauses between restarts that grow while a child keeps failing. Beyond OTP, and opt-in."""

from __future__ import annotations

import math
import random
import sys

import attrs

__all__ = ["Backoff", "pause"]


@attrs.frozen(kw_only=True)
class Backoff:
    """How long to wait before a restart: nothing at first, then growing pauses.

    The first restart after a calm time is made at once, as without a backoff. The ones after it
    wait `first`, `first * factor`, ... seconds, never more than `maximum`, each spread by `jitter`
    so that many children do not come back in step. A child that stayed up for `reset_after`
    seconds is calm again.

    Every try still counts towards the supervisor's intensity, at the time it is made; only then is
    it decided whether to give up. To try for ever, give the supervisor an intensity that the pauses
    cannot reach.

    Raises:
        ValueError: numbers are out of range; the message names each with what is allowed.
    """

    first: float = 0.1
    """Seconds before the second restart in a row; more than 0."""
    factor: float = 2.0
    """What each further pause is multiplied with; 1 or more."""
    maximum: float = 60.0
    """The longest pause before jitter, in seconds; more than 0."""
    jitter: float = 0.1
    """The part of a pause by which it may be longer or shorter; 0 to 1."""
    reset_after: float = 60.0
    """Seconds of running after which the count begins anew; 0 or more."""

    def __attrs_post_init__(self) -> None:
        allowed: dict[str, tuple[float, float, str]] = {
            "first": (_TINY, math.inf, "seconds, more than 0"),
            "factor": (1, math.inf, "1 or more"),
            "maximum": (_TINY, math.inf, "seconds, more than 0"),
            "jitter": (0, 1, "from 0 to 1"),
            "reset_after": (0, math.inf, "seconds, 0 or more"),
        }
        faults = [
            f"Backoff: {name!r} must be {words}, not {getattr(self, name)!r}"
            for name, (least, most, words) in allowed.items()
            if not (_is_number(getattr(self, name)) and least <= getattr(self, name) <= most)
        ]
        if faults:
            raise ValueError("\n".join(faults))


_TINY = math.ulp(0.0)  # the least number above 0


def _is_number(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def pause(backoff: Backoff | None, tries: int, rng: random.Random) -> float:
    """Seconds to wait before the next restart, after `tries` in a row. Pure but for `rng`."""
    if backoff is None or tries <= 0:
        return 0.0
    try:
        grown = backoff.first * float(backoff.factor) ** (tries - 1)
    except OverflowError:
        grown = backoff.maximum
    return min(backoff.maximum, grown) * (1 + backoff.jitter * rng.uniform(-1, 1))
