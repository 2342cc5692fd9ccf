"""A body decoded strictly into the class that a handler asks for, every fault named by its path."""

from __future__ import annotations

import enum
import re
import types
import typing
import uuid
from collections.abc import Callable, Mapping, MutableMapping
from datetime import date, datetime, time
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Literal, Union

import attrs
import cattrs
import msgspec
from cattrs.cols import is_any_set, is_mutable_sequence, is_sequence, list_structure_factory
from cattrs.errors import (
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)

from nexus_actors.errors import Fault, Invalid, did_you_mean
from nexus_actors.http.scalars import scalar_for

__all__ = ["decode_strictly", "decodes_into"]


def decodes_into(annotation: Any) -> bool:
    """Whether a body can be decoded into ``annotation``; reads its classes' hints on the way."""
    try:
        _converter.get_structure_hook(annotation)
    except Exception:  # noqa: BLE001 - whatever the author's class brings up, it cannot be decoded
        return False
    return True


def decode_strictly(value: Any, annotation: Any, place: str = "body") -> Any:
    """``value``, of JSON's own types, as the class ``annotation``, or the list or dict of them.

    Nothing is coerced: ``"7"`` is no number, 1 is not true. Keys that a class does not know are
    refused. What JSON has no type for is read from text: dates, UUIDs, Decimals, enums by value.

    Raises:
        Invalid: every fault, each with its path: ``body.items[2].price``.
    """
    try:
        return _converter.structure(value, annotation)
    except Exception as error:  # noqa: BLE001 - also what the author's own validators raise
        raise Invalid(_faults(error, place)) from None


def _faults(error: BaseException, place: str) -> list[Fault]:
    if isinstance(error, (ClassValidationError, IterableValidationError)):
        faults = []
        with_place, without = error.group_exceptions()
        for inner, note in with_place:
            step = (
                _step(note.index) if isinstance(note, IterableValidationNote) else f".{note.name}"
            )
            faults.extend(_faults(inner, place + step))
        for inner in without:
            faults.extend(_faults(inner, place + _blamed(inner, error.cl)))
        return faults
    if isinstance(error, ForbiddenExtraKeysError):
        known = [] if error.cl is None else _known_keys(error.cl)
        return [
            Fault(
                f"{place}{_step(key)}",
                "is not known here" + did_you_mean(get_close_matches(key, known, 1)),
            )
            for key in sorted(error.extra_fields)
        ]
    if isinstance(error, KeyError):
        return [Fault(place, "is missing")]
    if isinstance(error, _Wrong):
        return [Fault(place + error.place, str(error))]
    text = str(error.args[0]) if error.args else type(error).__name__
    return [Fault(place, text)]


_BLAME = re.compile(r"'(\w+)' must ")  # how attrs' own validators begin


def _blamed(error: BaseException, cls: Any) -> str:
    """The step to the field that one of attrs' validators refuses, which it tells in words only."""
    match = _BLAME.match(str(error.args[0])) if error.args else None
    return f".{match[1]}" if match and match[1] in _known_keys(cls) else ""


def _step(key: object) -> str:
    if isinstance(key, str):
        return f".{key}" if key.isidentifier() else f"[{key!r}]"
    return f"[{key}]"


def _known_keys(cls: type) -> list[str]:
    if attrs.has(cls):
        return [field.alias or field.name for field in attrs.fields(cls)]
    return list(getattr(cls, "__dataclass_fields__", None) or typing.get_type_hints(cls))


class _Wrong(ValueError):
    """A value of the wrong kind; ``place`` is the way to it from where it is raised."""

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(message)
        self.place = place


_KINDS = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}


def _expected(what: str, value: object) -> _Wrong:
    shown = repr(value)
    known = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    kind = f"{shown[:57]}..." if len(shown) > 60 else shown
    return _Wrong(f"must be {what}, not {kind if known else _KINDS.get(type(value), 'that')}")


def _build_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True, use_alias=True)

    def exactly(kind: type, what: str) -> None:
        def hook(value: Any, _type: Any) -> Any:
            if type(value) is not kind:
                raise _expected(what, value)
            return value

        converter.register_structure_hook(kind, hook)

    exactly(bool, "true or false")
    exactly(int, "a whole number")
    exactly(str, "text")

    @converter.register_structure_hook
    def _float(value: Any, _type: Any) -> float:
        if type(value) not in {int, float}:
            raise _expected("a number", value)
        return float(value)

    @converter.register_structure_hook
    def _decimal(value: Any, _type: Any) -> Decimal:
        if type(value) not in {int, float, str}:
            raise _expected("a decimal number", value)
        number: Decimal = _from_text(Decimal, str(value), value)
        return number

    kind: Any
    for kind in (datetime, date, time, uuid.UUID):
        converter.register_structure_hook(kind, _read_text)
    converter.register_structure_hook_func(_is_enum, _enum)
    converter.register_structure_hook_func(_is_literal, _literal)
    converter.register_structure_hook_func(_is_struct, _struct)
    converter.register_structure_hook_factory(_is_simple_union, _simple_union)
    converter.register_structure_hook_factory(
        lambda t: is_sequence(t) or is_mutable_sequence(t), _guarded(list, list_structure_factory)
    )
    converter.register_structure_hook_factory(is_any_set, _set_factory)
    converter.register_structure_hook_factory(_is_tuple, _tuple_factory)
    converter.register_structure_hook_factory(_is_mapping, _mapping_factory)
    converter.register_structure_hook_factory(
        typing.is_typeddict, _guarded(dict, lambda t, c: c.gen_structure_typeddict(t))
    )
    converter.register_structure_hook_factory(
        lambda t: isinstance(t, type) and (attrs.has(t) or hasattr(t, "__dataclass_fields__")),
        _guarded(dict, lambda t, c: c.gen_structure_attrs_fromdict(t)),
    )
    return converter


Hook = Callable[[Any, Any], Any]
Factory = Callable[[Any, cattrs.Converter], Hook]


def _guarded(kind: type, factory: Factory) -> Factory:
    """cattrs takes anything it can iterate or index; here it must be JSON's own kind."""

    def guarded(wanted: Any, converter: cattrs.Converter) -> Hook:
        inner = factory(wanted, converter)

        def hook(value: Any, _type: Any) -> Any:
            if type(value) is not kind:
                raise _expected(_KINDS[kind], value)
            return inner(value, wanted)

        return hook

    return guarded


def _from_text(wanted: Any, text: Any, shown: Any) -> Any:
    scalar = scalar_for(wanted)
    assert scalar is not None, f"{wanted} is read from text but is no simple type"
    if not isinstance(text, str):
        raise _expected(scalar.words, shown)
    try:
        return scalar.read(text)
    except ValueError:
        raise _expected(scalar.words, shown) from None


def _read_text(value: Any, wanted: Any) -> Any:
    return _from_text(wanted, value, value)


def _is_enum(wanted: Any) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, enum.Enum)


def _enum(value: Any, wanted: Any) -> Any:
    for member in wanted:
        if type(member.value) is type(value) and member.value == value:
            return member
    raise _expected(f"one of {', '.join(repr(member.value) for member in wanted)}", value)


def _is_literal(wanted: Any) -> bool:
    origin: Any = typing.get_origin(wanted)
    return origin is Literal


def _literal(value: Any, wanted: Any) -> Any:
    allowed = typing.get_args(wanted)
    for choice in allowed:
        if type(choice) is type(value) and choice == value:
            return choice
    raise _expected(f"one of {', '.join(map(repr, allowed))}", value)


def _is_struct(wanted: Any) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, msgspec.Struct)


_STRUCT_PLACE = re.compile(r"^(?P<why>.*?)(?: - at `\$(?P<place>.*)`)?$")


def _struct(value: Any, wanted: Any) -> Any:
    """A msgspec struct. It checks for itself, and tells its first fault only."""
    try:
        return msgspec.convert(value, wanted, strict=True)
    except msgspec.ValidationError as error:
        match = _STRUCT_PLACE.match(str(error))
        assert match is not None, "the pattern matches any text"
        raise _Wrong(match["why"], match["place"] or "") from None


_SIMPLE_KINDS = {str, int, float, bool, type(None)}


def _is_simple_union(wanted: Any) -> bool:
    if typing.get_origin(wanted) not in {Union, types.UnionType}:
        return False
    members = typing.get_args(wanted)
    return len(set(members) - {type(None)}) > 1 and any(
        member in _SIMPLE_KINDS - {type(None)} or not _is_class_of_fields(member)
        for member in members
        if member is not type(None)
    )


def _is_class_of_fields(member: Any) -> bool:
    return isinstance(member, type) and (
        attrs.has(member) or hasattr(member, "__dataclass_fields__")
    )


def _simple_union(wanted: Any, converter: cattrs.Converter) -> Hook:
    """A union with other members than classes: the first member that takes the value as it is."""
    members = typing.get_args(wanted)

    def hook(value: Any, _type: Any) -> Any:
        for member in members:
            if member is type(None):
                if value is None:
                    return None
                continue
            try:
                return converter.structure(value, member)
            except Exception:  # noqa: BLE001 - the next member may take it
                continue
        names = " or ".join(_KINDS.get(m, getattr(m, "__name__", str(m))) for m in members)
        raise _expected(names, value)

    return hook


def _set_factory(wanted: Any, converter: cattrs.Converter) -> Hook:
    (element,) = typing.get_args(wanted) or (Any,)
    make = frozenset if (typing.get_origin(wanted) or wanted) is frozenset else set
    return _list_then(make, element, converter)


def _is_tuple(wanted: Any) -> bool:
    return wanted is tuple or typing.get_origin(wanted) is tuple


def _tuple_factory(wanted: Any, converter: cattrs.Converter) -> Hook:
    args = typing.get_args(wanted)
    if not args or (len(args) == 2 and args[1] is Ellipsis):
        return _list_then(tuple, args[0] if args else Any, converter)
    return _guarded(list, lambda t, c: c.gen_structure_hetero_tuple(t))(wanted, converter)


def _list_then(make: Callable[[list[Any]], Any], element: Any, converter: cattrs.Converter) -> Hook:
    """A collection that JSON has no type for, from a list."""
    wanted = types.GenericAlias(list, (element,))
    inner = _guarded(list, list_structure_factory)(wanted, converter)
    return lambda value, _type: make(inner(value, wanted))


def _is_mapping(wanted: Any) -> bool:
    return (typing.get_origin(wanted) or wanted) in {dict, Mapping, MutableMapping}


def _mapping_factory(wanted: Any, converter: cattrs.Converter) -> Hook:
    key_type, value_type = typing.get_args(wanted) or (str, Any)
    key_scalar = scalar_for(key_type)

    def hook(value: Any, _type: Any) -> Any:
        if type(value) is not dict:
            raise _expected("an object", value)
        result: dict[Any, Any] = {}
        errors: list[Exception] = []
        for key, item in value.items():
            try:
                name = key if key_scalar is None else key_scalar.read(key)
                result[name] = converter.structure(item, value_type)
            except Exception as error:  # noqa: BLE001 - gathered, all are told at once
                error.add_note(IterableValidationNote(f"at {key!r}", key, value_type))
                errors.append(error)
        if errors:
            raise IterableValidationError("object", errors, dict)
        return result

    return hook


_converter = _build_converter()
