"""What one option of a plugin may hold, and what is wrong with a value that does not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Literal

import attrs

from nexus_actors.errors import Fault
from nexus_actors.words import nearest, plain, shown, type_name

__all__ = [
    "MISSING",
    "Missing",
    "Option",
    "OptionType",
    "expected",
    "option_faults",
    "value_faults",
]

OptionType = Literal["string", "integer", "number", "boolean", "array", "object"]


class Missing(Enum):
    """The type of :data:`MISSING`."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING
"""Stands where there is no default; None is a default that a manifest can write (``null``)."""


@attrs.frozen
class Option:
    """One entry of a manifest's ``configuration``."""

    type: OptionType
    default: Any = MISSING
    """The value where none is given; MISSING: the option is then absent from the configuration."""
    description: str = ""
    required: bool = False
    """Whether the plugin cannot start without a value."""
    secret: bool = False
    """Whether its value is kept out of messages, reprs and pages."""
    minimum: float | None = None
    maximum: float | None = None
    enum: tuple[Any, ...] | None = None
    items: Option | None = None
    """What each item of an array holds; None is anything."""
    properties: Mapping[str, Option] | None = None
    """The options inside an object; None is any."""


_PYTHON: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (Mapping,),
}


def expected(option: Option) -> str:
    """What to write for it, in words: ``"an integer from 1 to 100"``."""
    if option.enum is not None:
        return "one of " + ", ".join(shown(item) for item in option.enum)
    article = "an" if option.type[0] in "aio" else "a"
    words = "true or false" if option.type == "boolean" else f"{article} {option.type}"
    if option.minimum is not None and option.maximum is not None:
        words += f" from {plain(option.minimum)} to {plain(option.maximum)}"
    elif option.minimum is not None:
        words += f" of at least {plain(option.minimum)}"
    elif option.maximum is not None:
        words += f" of at most {plain(option.maximum)}"
    return words


def value_faults(
    option: Option, value: object, where: str, *, secret: bool = False, partial: bool = False
) -> Iterator[Fault]:
    """Everything wrong with ``value``, each with its path below ``where``; a secret is masked.

    ``partial`` says that required options inside an object may come from elsewhere.
    """
    secret = secret or option.secret
    fits = isinstance(value, _PYTHON[option.type])
    if isinstance(value, bool) and option.type != "boolean":
        fits = False  # to Python true is an integer, to a reader of the file it is not
    if isinstance(value, float) and not math.isfinite(value):
        fits = False
    if not fits:
        what = type_name(value) + ("" if secret or value is None else f", {shown(value)}")
        yield Fault(where, what, f"write {expected(option)}")
        return
    if option.enum is not None and value not in option.enum:
        # the choices of a secret would be as good as the secret
        fix = "write one of its choices" if secret else f"write {expected(option)}"
        yield Fault(where, f"{shown(value, secret=secret)} is not a choice", fix)
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = option.minimum, option.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            words = f"{shown(value, secret=secret)} is out of range"
            yield Fault(where, words, f"write {expected(option)}")
    if isinstance(value, Sequence) and not isinstance(value, str) and option.items is not None:
        for index, item in enumerate(value):
            yield from value_faults(option.items, item, f"{where}[{index}]", secret=secret)
    if isinstance(value, Mapping) and option.properties is not None:
        yield from _object_faults(option.properties, value, where, secret, partial)


def _object_faults(
    options: Mapping[str, Option],
    value: Mapping[str, object],
    where: str,
    secret: bool,
    partial: bool,
) -> Iterator[Fault]:
    for name, inner in value.items():
        if name not in options:
            yield Fault(
                f"{where}.{name}", f"no such option{nearest(name, options)}", _known(options)
            )
        else:
            place = f"{where}.{name}"
            yield from value_faults(options[name], inner, place, secret=secret, partial=partial)
    for name, option in options.items():
        if option.required and name not in value and not partial:
            yield Fault(f"{where}.{name}", "is required", f"write {expected(option)}")


def _known(options: Mapping[str, Option]) -> str:
    return f"use one of {', '.join(options)}" if options else "it has no options: take it away"


def option_faults(option: Option, where: str) -> Iterator[Fault]:
    """What an option says against itself: what a JSON schema cannot see."""
    numeric = option.type in ("integer", "number")
    for name in ("minimum", "maximum"):
        if getattr(option, name) is not None and not numeric:
            yield Fault(
                f"{where}.{name}", f"means nothing for type {shown(option.type)}", "take it away"
            )
    low, high = option.minimum, option.maximum
    if low is not None and high is not None and low > high:
        yield Fault(
            f"{where}.minimum", f"{plain(low)} is more than maximum, {plain(high)}", "swap the two"
        )
    if option.items is not None and option.type != "array":
        yield Fault(
            f"{where}.items", f"means nothing for type {shown(option.type)}", "take it away"
        )
    if option.properties is not None and option.type != "object":
        yield Fault(
            f"{where}.properties", f"means nothing for type {shown(option.type)}", "take it away"
        )
    bare = attrs.evolve(option, enum=None)
    for index, item in enumerate(option.enum or ()):
        yield from value_faults(bare, item, f"{where}.enum[{index}]")
    if option.default is not MISSING:
        if option.required:
            yield Fault(
                f"{where}.required", "is true although there is a default", "keep one of the two"
            )
        if option.default is not None:
            yield from value_faults(option, option.default, f"{where}.default", partial=True)
    if option.items is not None:
        yield from option_faults(option.items, f"{where}.items")
    for name, inner in (option.properties or {}).items():
        yield from option_faults(inner, f"{where}.properties.{name}")
