"""How many bytes of memory a message holds, counted up to a bound: a huge one costs no more to
count than one that is just too large.

Counted is what carries data: text, bytes, numbers, containers, the fields of attrs classes,
dataclasses and msgspec structs, and the attributes of the message itself. Anything else is passed
by reference and counts as one object. What is held twice counts once.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import msgspec

__all__ = ["carried_by", "largest_part", "size_of"]

_NUMBERS = frozenset({int, float, bool, type(None)})
_SMALL = 512
"""Bytes up to which a leaf is counted each time it is met: to remember it would cost more."""

_Parts = Callable[[Any], Iterable[Any]]
"""What one object holds."""


def carried_by(payload: Any) -> Any:
    """What of a payload is its message's own; a payload may say so by ``__nexus_carried__()``."""
    own = getattr(type(payload), "__nexus_carried__", None)
    return payload if own is None else own(payload)


def size_of(value: Any, limit: float = math.inf) -> int:
    """The bytes that ``value`` and all it holds take, as :func:`sys.getsizeof` counts them.

    Once more than ``limit`` are found it stops: what it returns then is more than ``limit``, and
    may be less than the whole.
    """
    total, stack = 0, [value]
    if _parts_of(type(value)) is None and hasattr(value, "__dict__") and not _is_name(value):
        # the message itself, whatever its class
        total, stack = sys.getsizeof(value), [*vars(value).values()]
    seen: set[int] = set()
    while stack and total <= limit:
        item = stack.pop()
        parts = _parts_of(type(item))
        size = sys.getsizeof(item)
        if parts is not None or size > _SMALL:
            if id(item) in seen:
                continue
            seen.add(id(item))
        total += size
        if parts is None or total > limit:
            continue
        held = parts(item)
        if isinstance(held, list | tuple) and _NUMBERS.issuperset(map(type, held)):
            total += sum(map(sys.getsizeof, held))
        else:
            stack.extend(held)
    return total


def largest_part(value: Any, limit: int) -> tuple[str, int]:
    """Where the bulk of something over ``limit`` bytes is, as a path (``["image"]``), and how many
    bytes that has (at least); an empty path where no one part has most of it."""
    path, found = "", 0
    for _ in range(8):
        step, part, size = "", None, 0
        left = float(limit)
        for name, item in _named_parts(value):
            part_size = size_of(item, limit)
            if part_size > size:
                step, part, size = name, item, part_size
            left -= part_size
            if left < 0:
                break
        if size <= limit / 2:
            break
        path, found, value = path + step, size, part
    return path, found


def _named_parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, str) and len(key) <= 40:
                yield f'["{key}"]', item
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from ((f".{name}", item) for name, item in zip(value._fields, value, strict=False))
    elif isinstance(value, list | tuple):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    else:
        names = _field_names(type(value)) or tuple(getattr(value, "__dict__", ()))
        yield from ((f".{name.lstrip('_')}", getattr(value, name, None)) for name in names)


# Weak, lest the classes of a plugin that was unloaded live on here.
_KNOWN: WeakKeyDictionary[type, tuple[_Parts | None]] = WeakKeyDictionary()


def _parts_of(kind: type) -> _Parts | None:
    """How to get at what an object of that class holds; None where it holds nothing that counts."""
    known = _KNOWN.get(kind)
    if known is None:
        known = _KNOWN[kind] = (_learn(kind),)
    return known[0]


def _learn(kind: type) -> _Parts | None:
    if issubclass(kind, enum.Enum | type):
        return None
    names = _field_names(kind)
    if names:
        return lambda value: [getattr(value, name, None) for name in names]
    if issubclass(kind, dict):
        return lambda value: chain(value, value.values())
    if issubclass(kind, list | tuple | set | frozenset | collections.deque):
        return lambda value: value
    return None


def _field_names(kind: type) -> tuple[str, ...]:
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    if attrs.has(kind):
        return tuple(field.name for field in attrs.fields(kind))
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    return ()


def _is_name(value: Any) -> bool:
    """Whether it only names what all share: what it holds is not the message's."""
    return isinstance(value, enum.Enum | type)
