"""What crosses from one plugin to another: passed, copied or refused, by type."""

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import gc
import ipaddress
import pathlib
import socket
import threading
import uuid
import weakref
import zoneinfo
from typing import Any, NamedTuple

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_actors.actors.crossing import MAX_DEPTH, check, cross
from nexus_actors.errors import CannotCross


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntFlag):
    ONE = 1


class Point(NamedTuple):
    x: Any
    y: Any


@attrs.frozen
class Order:
    id: int
    lines: Any = ()


@attrs.frozen(slots=False)
class DictOrder:
    id: int
    lines: Any = ()


@dataclasses.dataclass(frozen=True)
class Invoice:
    id: int
    lines: Any = ()


@dataclasses.dataclass(frozen=True, slots=True)
class SlotInvoice:
    id: int
    lines: Any = ()


class Parcel(msgspec.Struct, frozen=True):
    id: int
    lines: Any = ()


@attrs.define
class OpenOrder:
    id: int


@dataclasses.dataclass
class OpenInvoice:
    id: int


class OpenParcel(msgspec.Struct):
    id: int


class Text(str):
    pass


class OwnUUID(uuid.UUID):
    """As asyncpg's, which is what a row gives for a uuid column."""


FROZEN = [Order, DictOrder, Invoice, SlotInvoice, Parcel]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        7,
        1.5,
        1j,
        "words",
        b"bytes",
        range(3),
        ...,
        datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC),
        datetime.date(2024, 5, 1),
        datetime.time(12),
        datetime.timedelta(1),
        datetime.UTC,
        zoneinfo.ZoneInfo("UTC"),
        decimal.Decimal("1.10"),
        fractions.Fraction(1, 3),
        uuid.UUID(int=1),
        OwnUUID(int=1),
        ipaddress.ip_address("127.0.0.1"),
        ipaddress.ip_network("::/8"),
        pathlib.Path("/tmp/x"),
        pathlib.PureWindowsPath("c:/x"),
        Colour.RED,
        Level.ONE,
        (),
        (1, ("a", b"b")),
        frozenset({1, ("a", 2)}),
        Point(1, 2),
        *[kind(1, ("a", "b")) for kind in FROZEN],
        *[kind(1, kind(2)) for kind in FROZEN],
    ],
    ids=lambda value: f"{type(value).__name__}-{value!r}"[:40],
)
def test_what_cannot_change_passes_as_it_is(value):
    assert cross(value) is value
    held = cross({"held": [value]})
    assert held["held"][0] is value


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": 1},
        {"a": {"b": [1, {"c": {2, 3}}]}},
        {1: "int key", ("a", 1): "tuple key", None: "none", Order(1): "frozen"},
        [],
        [1, [2, [3]]],
        set(),
        {1, ("a", 2)},
        ([1], [2]),
        Point([1], {"y": {2}}),
        frozenset({(1, (2,))}),
        *[kind(1, [1, {"a": {2}}]) for kind in FROZEN],
        *[kind(1, (kind(2, [3]),)) for kind in FROZEN],
    ],
    ids=lambda value: f"{type(value).__name__}-{value!r}"[:40],
)
def test_what_can_change_is_copied_to_its_last_level(value):
    copied = cross(value)
    assert copied == value
    assert type(copied) is type(value)
    mine, theirs = _changeable(value), _changeable(copied)
    assert len(mine) == len(theirs)
    assert not mine.keys() & theirs.keys()


def _changeable(value: Any) -> dict[int, Any]:
    """Every dict, list and set in a value, by identity."""
    found: dict[int, Any] = {}
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict | list | set):
            found[id(item)] = item
        if isinstance(item, dict):
            todo += [*item.keys(), *item.values()]
        elif isinstance(item, list | set | tuple | frozenset):
            todo += item
        elif hasattr(item, "lines"):
            todo.append(item.lines)
    return found


@pytest.mark.parametrize(
    ("value", "name", "fix"),
    [
        (object(), "object", "frozen attrs class"),
        (threading.Lock(), "lock", "send plain values"),
        (bytearray(b"x"), "bytearray", "bytes(...)"),
        (memoryview(b"x"), "memoryview", "bytes(...)"),
        (collections.OrderedDict(a=1), "collections.OrderedDict", "send dict(...)"),
        (collections.defaultdict(list), "collections.defaultdict", "send dict(...)"),
        (collections.deque(), "collections.deque", "send plain values"),
        (Text("x"), "Text", "send str(...)"),
        (ValueError("x"), "ValueError", "str(error)"),
        (OpenOrder(1), "OpenOrder", "@attrs.frozen"),
        (OpenInvoice(1), "OpenInvoice", "@dataclass(frozen=True)"),
        (OpenParcel(1), "OpenParcel", "frozen=True"),
        (len, "builtin_function_or_method", "send plain values"),
        (int, "type", "send its name"),
        ((n for n in ()), "generator", "send plain values"),
    ],
    ids=lambda value: f"{value}"[:30] if isinstance(value, str) else None,
)
def test_anything_else_is_refused_with_its_type_and_what_to_send_instead(value, name, fix):
    with pytest.raises(CannotCross) as caught:
        cross(value, "data")
    assert str(caught.value).startswith("data is of type ")
    assert name in str(caught.value)
    assert "cannot cross from one plugin to another" in str(caught.value)
    assert fix in str(caught.value)
    with pytest.raises(CannotCross):
        check(value)


@attrs.frozen
class FrozenDict(dict):
    id: int = 1


@dataclasses.dataclass(frozen=True)
class FrozenList(list):
    id: int = 1


class Undecorated(Order):
    pass


class UndecoratedInvoice(Invoice):
    pass


class OpenPoint(Point):
    pass


@pytest.mark.parametrize(
    ("value", "fix"),
    [
        (FrozenDict(1), "send dict(...)"),
        (FrozenList(1), "send list(...)"),
        (Undecorated(1), "decorate it too"),
        (UndecoratedInvoice(1), "send plain values"),
        (OpenPoint(1, 2), "send dict(...) or tuple(...)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_frozen_class_that_can_hold_more_than_its_fields_is_refused(value, fix):
    with pytest.raises(CannotCross, match="cannot cross") as caught:
        cross([value])
    assert fix in str(caught.value)


class Caching:
    @functools.cached_property
    def cached(self):
        return []


@attrs.frozen(slots=False)
class CachingOrder(Caching):
    id: int


@dataclasses.dataclass(frozen=True)
class CachingInvoice(Caching):
    id: int


@pytest.mark.parametrize("kind", [CachingOrder, CachingInvoice])
def test_what_a_frozen_object_has_cached_does_not_cross(kind):
    value = kind(1)
    assert cross(value) is value
    value.cached.append("mine")
    copied = cross(value)
    assert copied == value
    assert copied.cached == []
    assert value.cached == ["mine"]


class Rude:
    def __repr__(self):
        raise RuntimeError("no words for me")


@pytest.mark.parametrize("wrap", [lambda bad: {bad: 1}, lambda bad: {bad}, lambda bad: [bad]])
def test_one_that_cannot_even_be_shown_is_refused_in_words(wrap):
    with pytest.raises(CannotCross, match=r"data.* is of type .*Rude, which cannot cross"):
        cross(wrap(Rude()), "data")


def test_a_large_value_crosses_without_a_word_about_it():
    shown = []

    @attrs.frozen
    class Loud:
        n: int

        def __repr__(self):
            shown.append(self)
            return "loud"

    value = {Loud(n) for n in range(10_000)}
    assert cross(value) == value
    assert cross(dict.fromkeys(value, 1)).keys() == value
    assert shown == []


@pytest.mark.parametrize(
    ("wrap", "path"),
    [
        (lambda bad: {"user": bad}, "data['user'] "),
        (lambda bad: {"user": {"conns": [1, bad]}}, "data['user']['conns'][1] "),
        (lambda bad: ("a", ("b", bad)), "data[1][1] "),
        (lambda bad: Point(1, [bad]), "data[1][0] "),
        (lambda bad: [Order(1, bad)], "data[0].lines "),
        (lambda bad: [Invoice(1, {"x": bad})], "data[0].lines['x'] "),
        (lambda bad: [Parcel(1, (bad,))], "data[0].lines[0] "),
        (lambda bad: {bad: 1}, "data{key "),
        (lambda bad: [{bad}], "data[0]{"),
        (lambda bad: frozenset({(1, bad)}), "data{"),
    ],
)
def test_the_refusal_names_the_path_to_what_cannot_cross(wrap, path):
    with socket.socket() as bad, pytest.raises(CannotCross) as caught:
        cross(wrap(bad), "data")
    assert str(caught.value).startswith(path)
    assert "socket" in str(caught.value)


def _loops() -> list[Any]:
    looping_list: list[Any] = []
    looping_list.append(looping_list)
    looping_dict: dict[str, Any] = {}
    looping_dict["again"] = [looping_dict, looping_dict]
    lines: list[Any] = []
    order = Order(1, lines)
    lines.append(order)
    return [looping_list, looping_dict, order, (looping_list,)]


@pytest.mark.parametrize("value", _loops(), ids=["list", "dict", "frozen", "in a tuple"])
def test_what_contains_itself_is_refused_in_words(value):
    with pytest.raises(CannotCross, match="contains itself"):
        cross(value)


@pytest.mark.parametrize("kind", ["list", "dict", "tuple", "frozen"])
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100_000])
def test_what_is_nested_too_deep_is_refused_in_words_that_stay_short(kind, depth):
    value: Any = 1
    wrap = {"list": lambda v: [v], "dict": lambda v: {"k": v}, "tuple": lambda v: (v,)}
    for _ in range(depth):
        value = wrap.get(kind, lambda v: Order(1, v))(value)
    with pytest.raises(CannotCross, match=f"nested more than {MAX_DEPTH} levels") as caught:
        cross(value)
    assert len(str(caught.value)) < 300


def test_the_deepest_that_is_allowed_is_copied():
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    assert cross(value) == value


def test_what_is_held_twice_is_copied_once_so_that_sharing_cannot_blow_up():
    value: Any = ["leaf"]
    for _ in range(60):  # 2**60 lists, were each reference copied for itself
        value = [value, value]
    copied = cross(value)
    assert copied[0] is copied[1]
    assert copied[0] is not value[0]


def test_a_frozen_object_is_copied_without_running_its_init_or_validators():
    runs = []

    @attrs.frozen
    class Checked:
        lines: Any = attrs.field(validator=lambda *_: runs.append(1))

    value = Checked([1])
    copied = cross(value)
    assert runs == [1]
    assert copied == value
    assert copied.lines is not value.lines


def test_a_frozen_set_is_copied_when_one_of_its_objects_is():
    kind = attrs.make_class("ById", {"lines": attrs.field()}, frozen=True, eq=False)
    value = frozenset({kind([1])})
    (mine,), (theirs,) = value, cross(value)
    assert theirs.lines == [1]
    assert theirs.lines is not mine.lines


def test_a_class_is_not_kept_alive_by_having_crossed():
    def cross_one() -> weakref.ref[type]:
        kind = attrs.make_class("Passing", {"x": attrs.field(default=1)}, frozen=True)
        cross(kind())
        return weakref.ref(kind)

    kind = cross_one()
    gc.collect()
    assert kind() is None


plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(), st.binary(), st.floats(allow_nan=False)
)
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(), inner, max_size=4),
        st.builds(Order, st.integers(), inner),
        st.builds(Parcel, st.integers(), inner),
        st.tuples(inner, inner),
        st.sets(plain, max_size=3),
    ),
    max_leaves=25,
)


@given(values)
def test_any_plain_value_crosses_equal_and_shares_nothing_that_can_change(value):
    copied = cross(value)
    assert copied == value
    assert not _changeable(value).keys() & _changeable(copied).keys()
