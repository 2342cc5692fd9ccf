"""Text of a path or query as the simple type that a handler's annotation asks for."""

from __future__ import annotations

import enum
import math
import re
import types
import typing
import uuid
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, Union

import attrs

__all__ = ["Scalar", "scalar_for", "without_none"]


@attrs.frozen
class Scalar:
    """How a text becomes a value of one type."""

    words: str
    """What the text must be, ``a whole number``: a refusal says so."""
    parse: Callable[[str], Any]
    """Text to value; raises ValueError (or another error) for a text that will not do."""

    def read(self, text: str) -> Any:
        """The value of ``text``.

        Raises:
            ValueError: quotes the text and says what it must be.
        """
        try:
            return self.parse(text)
        except (ValueError, ArithmeticError, LookupError):
            shown = text if len(text) <= 60 else text[:57] + "..."
            raise ValueError(f"{shown!r} is not {self.words}") from None


_WHOLE = re.compile(r"[+-]?[0-9]+\Z")
_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}


def _int(text: str) -> int:
    if not _WHOLE.match(text):  # int() itself also takes blanks, _ and other scripts' digits
        raise ValueError(text)
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or "_" in text or text != text.strip():
        raise ValueError(text)
    return value


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    if not value.is_finite() or "_" in text:
        raise ValueError(text)
    return value


def _bool(text: str) -> bool:
    lower = text.lower()
    if lower not in _TRUE | _FALSE:
        raise ValueError(text)
    return lower in _TRUE


_SIMPLE: dict[Any, Scalar] = {
    str: Scalar("text", str),
    Any: Scalar("text", str),
    object: Scalar("text", str),
    int: Scalar("a whole number", _int),
    float: Scalar("a number", _float),
    bool: Scalar("true or false", _bool),
    Decimal: Scalar("a decimal number", _decimal),
    uuid.UUID: Scalar("a UUID", uuid.UUID),
    datetime: Scalar("a date and time (ISO 8601)", datetime.fromisoformat),
    date: Scalar("a date (ISO 8601)", date.fromisoformat),
    time: Scalar("a time (ISO 8601)", time.fromisoformat),
}


def scalar_for(annotation: Any) -> Scalar | None:
    """How text becomes a value of ``annotation``; None where it is no simple type.

    Simple are text, numbers, bool, ``Decimal``, ``UUID``, dates and times, enums (by value),
    ``Literal``, ``NewType`` of these, and unions of them, of which the first that fits is taken.
    """
    annotation = _plain(annotation)
    try:
        if annotation in _SIMPLE:
            return _SIMPLE[annotation]
    except TypeError:  # an annotation that cannot be hashed is no simple type
        return None
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _one_of({str(member.value): member for member in annotation})
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return _one_of({str(value): value for value in typing.get_args(annotation)})
    if origin in {Union, types.UnionType}:
        return _union([scalar_for(part) for part in without_none(annotation)])
    return None


def without_none(annotation: Any) -> tuple[Any, ...]:
    """The members of a union but None; of anything else, it alone."""
    annotation = _plain(annotation)
    if typing.get_origin(annotation) in {Union, types.UnionType}:
        return tuple(part for part in typing.get_args(annotation) if part is not type(None))
    return (annotation,)


def _plain(annotation: Any) -> Any:
    """Without ``Annotated`` and ``NewType`` around it."""
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        else:
            return annotation


def _one_of(values: dict[str, Any]) -> Scalar:
    return Scalar("one of " + ", ".join(map(repr, values)), values.__getitem__)


def _union(parts: list[Scalar | None]) -> Scalar | None:
    scalars = [part for part in parts if part is not None]
    if not scalars or len(scalars) != len(parts):
        return None

    def parse(text: str) -> Any:
        for scalar in scalars:
            try:
                return scalar.read(text)
            except ValueError:
                continue
        raise ValueError(text)

    return Scalar(" or ".join(scalar.words for scalar in scalars), parse)
