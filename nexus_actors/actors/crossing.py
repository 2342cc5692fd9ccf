"""What may cross from one plugin to another, and the copy that the receiver gets.

Between plugins values cross *as if copied*, so that putting them into processes or machines of
their own will change nothing:

===========================================  ==================================================
None, bool, numbers, str, bytes, dates,      pass as they are
UUID, Decimal, paths, addresses, enums
tuple, frozenset, NamedTuple                 pass as they are when all they hold does, else copied
frozen attrs, dataclass, msgspec.Struct      likewise, field by field
dict, list, set                              copied
anything else                                refused with :class:`~nexus_actors.errors.CannotCross`
===========================================  ==================================================

Subclasses of the containers and of str, int and bytes are refused too: they may carry state that a
copy would lose in silence. Inside one plugin nothing of this applies.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import ipaddress
import pathlib
import reprlib
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import attrs
import msgspec

from nexus_actors.errors import CannotCross

__all__ = ["MAX_DEPTH", "check", "cross"]

T = TypeVar("T")

MAX_DEPTH = 100
"""Containers inside one another, at most. More is refused in words, not by RecursionError."""

_PLAIN: frozenset[type] = frozenset(
    {
        type(None),
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        range,
        type(...),
        datetime.datetime,
        datetime.date,
        datetime.time,
        datetime.timedelta,
        datetime.timezone,
        zoneinfo.ZoneInfo,
        decimal.Decimal,
        fractions.Fraction,
        uuid.UUID,
        ipaddress.IPv4Address,
        ipaddress.IPv6Address,
        ipaddress.IPv4Network,
        ipaddress.IPv6Network,
        ipaddress.IPv4Interface,
        ipaddress.IPv6Interface,
    }
)
"""Types whose objects never change and hold nothing that does."""

_PLAIN_FAMILIES = (enum.Enum, pathlib.PurePath, uuid.UUID)
"""The same by family: every enum is a type of its own, and asyncpg's UUID is a subclass."""

_FIXES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (BaseException, "send its words: str(error)"),
    ((bytearray, memoryview), "send bytes(...)"),
    (dict, "send dict(...)"),
    (list, "send list(...)"),
    ((set, frozenset), "send set(...)"),
    (tuple, "send dict(...) or tuple(...)"),
    (str, "send str(...)"),
    (bytes, "send bytes(...)"),
    ((int, float), "send a plain number"),
    (type, "send its name"),
)
_FIX = "send plain values, or a frozen attrs class, dataclass or msgspec.Struct"


def cross(value: T, where: str = "") -> T:
    """The receiver's copy of ``value``: equal to it, and sharing nothing with it that can change.

    ``where`` names the value in an error: ``"data"`` gives ``data["user"].socket is a ...``.
    What is held twice in ``value`` is held twice in the copy, not copied twice.

    Raises:
        CannotCross: for a type that may not cross, something that contains itself, or more than
            :data:`MAX_DEPTH` levels. Names the type and the path to it.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict and _flat(value):  # by far the most common payload
        return value.copy()  # type: ignore[attr-defined,no-any-return]
    try:
        return _copy(value, {}, 0)  # type: ignore[no-any-return]
    except _Refused as refused:
        # `from None`: the path is in the words, the chain of frames would add nothing
        raise CannotCross(refused.words(where)) from None


def check(value: Any, where: str = "") -> None:
    """Raise :class:`CannotCross` where :func:`cross` would; keep no copy."""
    cross(value, where)


class _Refused(Exception):
    """On its way up through the containers, each of which adds its step of the path."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.path: list[str] = []

    def words(self, where: str) -> str:
        path = self.path[::-1]
        if len(path) > 12:
            path = [*path[:6], "...", *path[-3:]]
        return f"{where or 'the value'}{''.join(path)} {self.what} ({self.fix})"


_Memo = dict[int, Any]
_IN_HAND: Any = object()  # the memo's entry for a container whose copy has begun and not ended


def _flat(value: Any) -> bool:
    """Whether a dict has str keys and plain values only, so that ``.copy()`` is a deep copy."""
    for key, item in value.items():
        if type(key) is not str or type(item) not in _PLAIN:
            return False
    return True


def _copy(value: Any, memo: _Memo, depth: int) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    copier = _COPIERS.get(kind) or _copier(kind)
    if copier is _as_it_is:
        return value
    key = id(value)
    known = memo.get(key)
    if known is _IN_HAND:
        raise _Refused("contains itself", "send a structure without loops")
    if known is not None:
        return known
    if depth >= MAX_DEPTH:
        raise _Refused(f"is nested more than {MAX_DEPTH} levels deep", "send it flatter")
    memo[key] = _IN_HAND
    result = memo[key] = copier(value, memo, depth + 1)
    return result


_Copier = Callable[[Any, _Memo, int], Any]


def _as_it_is(value: Any, memo: _Memo, depth: int) -> Any:
    return value


def _step(value: Any, memo: _Memo, depth: int, step: str = "") -> Any:
    """Copy one item of a container; a refusal learns on its way up where the item was: at ``step``,
    or, in a set or as a key, by what it looks like."""
    try:
        return _copy(value, memo, depth)
    except _Refused as refused:
        refused.path.append(step or f"{{{_short(value)}}}")
        raise


def _step_key(key: Any, memo: _Memo, depth: int) -> Any:
    try:
        return _copy(key, memo, depth)
    except _Refused as refused:
        refused.path.append(f"{{key {_short(key)}}}")
        raise


def _copy_dict(value: dict[Any, Any], memo: _Memo, depth: int) -> dict[Any, Any]:
    copied: dict[Any, Any] = {}
    for key, item in value.items():
        if type(key) is not str:
            key = _step_key(key, memo, depth)
        if type(item) not in _PLAIN:
            try:
                item = _copy(item, memo, depth)
            except _Refused as refused:
                refused.path.append(f"[{_short(key)}]")
                raise
        copied[key] = item
    return copied


def _copy_items(value: Any, memo: _Memo, depth: int) -> list[Any]:
    copied = []
    for index, item in enumerate(value):
        if type(item) not in _PLAIN:
            try:
                item = _copy(item, memo, depth)
            except _Refused as refused:
                refused.path.append(f"[{index}]")
                raise
        copied.append(item)
    return copied


def _copy_set(value: set[Any], memo: _Memo, depth: int) -> set[Any]:
    return {_step(item, memo, depth) for item in value}


def _copy_frozenset(value: frozenset[Any], memo: _Memo, depth: int) -> frozenset[Any]:
    copied = [_step(item, memo, depth) for item in value]
    return value if _same(value, copied) else frozenset(copied)


def _copy_tuple(value: tuple[Any, ...], memo: _Memo, depth: int) -> tuple[Any, ...]:
    copied = _copy_items(value, memo, depth)
    if _same(value, copied):
        return value
    return tuple.__new__(type(value), copied)  # keeps a NamedTuple what it is


def _copy_fields(names: tuple[str, ...], rebuild: Callable[[Any, dict[str, Any]], Any]) -> _Copier:
    """A copier for one frozen class: the object itself unless a field holds something to copy."""
    fields = frozenset(names)

    def copier(value: Any, memo: _Memo, depth: int) -> Any:
        changed: dict[str, Any] = {}
        for name in names:
            item = getattr(value, name, None)
            if type(item) in _PLAIN:
                continue
            copied = _step(item, memo, depth, f".{name}")
            if copied is not item:
                changed[name] = copied
        own = getattr(value, "__dict__", _NOTHING)
        if changed or not own.keys() <= fields:  # what it has cached is not for the receiver
            return rebuild(value, changed)
        return value

    return copier


def _rebuild(value: Any, changed: dict[str, Any]) -> Any:
    """A twin of a frozen object with other field values; neither __init__ nor validators run."""
    twin = copy.copy(value)
    for name, item in changed.items():
        object.__setattr__(twin, name, item)
    return twin


def _rebuild_bare(names: tuple[str, ...]) -> Callable[[Any, dict[str, Any]], Any]:
    """The same for a class whose objects have a ``__dict__``: fields, and nothing else of it."""

    def rebuild(value: Any, changed: dict[str, Any]) -> Any:
        twin = _rebuild(value, changed)
        for name in [*vars(twin)]:
            if name not in names:
                object.__delattr__(twin, name)
        return twin

    return rebuild


def _rebuild_struct(value: Any, changed: dict[str, Any]) -> Any:
    return msgspec.structs.replace(value, **changed)


def _same(items: Any, copied: list[Any]) -> bool:
    return all(map(_is, items, copied))


def _is(one: object, other: object) -> bool:
    return one is other


def _short(value: object) -> str:
    # reprlib: an object whose __repr__ raises is still refused in words
    words = reprlib.repr(value)
    return words if len(words) <= 40 else words[:37] + "..."


@attrs.frozen
class _Probe:
    """Tells how attrs marks a frozen class; there is no public question for it in every version."""


_FROZEN_SETATTR = _Probe.__setattr__

_COPIERS: dict[type, _Copier] = {
    dict: _copy_dict,
    list: _copy_items,
    set: _copy_set,
    frozenset: _copy_frozenset,
    tuple: _copy_tuple,
}
# Weak, lest the classes of a plugin that was unloaded live on here.
_LEARNED: WeakKeyDictionary[type, _Copier] = WeakKeyDictionary()


def _copier(kind: type) -> _Copier:
    """The copier for a class that is not a builtin, learned once; refuses what may not cross."""
    known = _LEARNED.get(kind)
    if known is None:
        known = _LEARNED[kind] = _learn(kind)
    return known


_NOTHING: dict[str, Any] = {}
_BUILTINS = (dict, list, set, frozenset, tuple, str, bytes, bytearray, int, float)


def _copy_class(kind: type, names: tuple[str, ...]) -> _Copier:
    if issubclass(kind, _BUILTINS):  # its items are in no field
        raise _refusal(kind)
    return _copy_fields(names, _rebuild_bare(names) if kind.__dictoffset__ else _rebuild)


def _learn(kind: type) -> _Copier:
    if issubclass(kind, _PLAIN_FAMILIES):
        return _as_it_is
    if issubclass(kind, msgspec.Struct):
        if kind.__struct_config__.frozen:
            return _copy_fields(kind.__struct_fields__, _rebuild_struct)
        raise _refusal(kind, "make it frozen: class ...(msgspec.Struct, frozen=True)")
    if issubclass(kind, BaseException):
        raise _refusal(kind)
    if attrs.has(kind):
        if kind.__setattr__ is _FROZEN_SETATTR:
            if "__attrs_attrs__" not in vars(kind):
                raise _refusal(kind, "it has only inherited @attrs.frozen: decorate it too")
            return _copy_class(kind, tuple(field.name for field in attrs.fields(kind)))
        raise _refusal(kind, "make it frozen: @attrs.frozen")
    if "__dataclass_params__" in vars(kind):
        if vars(kind)["__dataclass_params__"].frozen:
            return _copy_class(kind, tuple(f.name for f in dataclasses.fields(kind)))  # type: ignore[arg-type]
        raise _refusal(kind, "make it frozen: @dataclass(frozen=True)")
    if issubclass(kind, tuple) and hasattr(kind, "_fields") and not kind.__dictoffset__:
        return _copy_tuple
    raise _refusal(kind)


def _refusal(kind: type, fix: str = "") -> _Refused:
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    fix = fix or next((fix for family, fix in _FIXES if issubclass(kind, family)), _FIX)
    return _Refused(f"is of type {name}, which cannot cross from one plugin to another", fix)
