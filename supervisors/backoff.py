"""Pauses between restarts that grow while a child keeps failing. Beyond OTP, and opt-in."""

from __future__ import annotations

import math
import random

import attrs

__all__ = ["Backoff", "pause"]


def _positive(allow_zero: bool, what: str) -> object:
    def check(_self: object, attribute: attrs.Attribute[float], value: object) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0 or (value == 0 and not allow_zero):  # type: ignore[arg-type,operator]
            raise ValueError(f"Backoff.{attribute.name} wants {what}, not {value!r}")

    return check


@attrs.frozen(kw_only=True)
class Backoff:
    """How long to wait before a restart: nothing at first, then growing pauses.

    The first restart after a calm time is made at once, as without a backoff. The ones after it
    wait `first`, `first * factor`, ... seconds, never more than `maximum`, each spread by `jitter`
    so that many children do not come back in step. A child that stayed up for `reset_after`
    seconds is calm again.

    Every try still counts towards the supervisor's intensity: to try for ever, give the
    supervisor an intensity that the pauses cannot reach.

    Raises:
        ValueError: a number is out of range; the message names it.
    """

    first: float = attrs.field(default=0.1, validator=_positive(False, "seconds above 0"))  # type: ignore[arg-type]
    """Seconds before the second restart in a row."""
    factor: float = attrs.field(default=2.0, validator=_positive(False, "a factor of 1 or more"))  # type: ignore[arg-type]
    """What each further pause is multiplied with, 1 or more."""
    maximum: float = attrs.field(default=60.0, validator=_positive(False, "seconds above 0"))  # type: ignore[arg-type]
    """The longest pause before jitter, in seconds."""
    jitter: float = attrs.field(default=0.1, validator=_positive(True, "a part from 0 to 1"))  # type: ignore[arg-type]
    """The part of a pause by which it may be longer or shorter, 0 to 1."""
    reset_after: float = attrs.field(default=60.0, validator=_positive(True, "seconds, 0 or more"))  # type: ignore[arg-type]
    """Seconds of running after which the count begins anew."""

    def __attrs_post_init__(self) -> None:
        if self.factor < 1:
            raise ValueError(f"Backoff.factor wants a factor of 1 or more, not {self.factor!r}")
        if self.jitter > 1:
            raise ValueError(f"Backoff.jitter wants a part from 0 to 1, not {self.jitter!r}")


def pause(backoff: Backoff | None, tries: int, rng: random.Random) -> float:
    """Seconds to wait before the next restart, after `tries` restarts in a row. Pure but for `rng`."""
    if backoff is None or tries <= 0:
        return 0.0
    try:
        grown = backoff.first * backoff.factor ** (tries - 1)
    except OverflowError:
        grown = backoff.maximum
    return min(backoff.maximum, grown) * (1 + backoff.jitter * rng.uniform(-1, 1))
