"""Which arguments a handler gets from a request, and what is refused, at load and at a request."""

from __future__ import annotations

import dataclasses
import enum
import json
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, Optional, TypedDict

import attrs
import msgspec
import pytest

from nexus_actors.errors import HTTPError, Invalid
from nexus_actors.http import Request, WebSocket
from nexus_actors.http.binding import Binder
from nexus_actors.http.routes import RouteMark


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


UserId = NewType("UserId", int)


@attrs.frozen
class Item:
    name: str
    price: Decimal
    tags: list[str] = attrs.Factory(list)


@dataclasses.dataclass
class Address:
    street: str
    number: int | None = None


@attrs.define
class Order:
    customer: str
    items: list[Item]
    address: Address
    express: bool = False
    colour: Colour = Colour.RED
    due: date | None = None
    notes: dict[str, int] = attrs.Factory(dict)
    size: Literal["s", "m"] = "s"
    reference: int | str = 0
    weight: float = 1.0
    id: uuid.UUID | None = None
    pair: tuple[int, str] = (0, "")
    unique: set[int] = attrs.Factory(set)


class Point(TypedDict):
    x: int
    y: int


class Packed(msgspec.Struct):
    name: str
    counts: list[int] = []


@attrs.define
class Node:
    value: int
    children: list[Node] = attrs.Factory(list)


@attrs.define
class Checked:
    price: int = attrs.field(validator=attrs.validators.gt(0))
    _secret: int = 1


@dataclasses.dataclass
class Even:
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError(f"{self.number} is odd")


def binder(function, path="/x", method="POST", **options) -> Binder:
    return Binder(function, RouteMark(method, path, **options))


def bind(function, path="/x", method="POST", *, params=None, query="", body=None) -> dict[str, Any]:
    data = b"" if body is None else json.dumps(body).encode()
    request = Request(method, path, query=query, body=data, path_params=params or {})
    return binder(function, path, method).bind(request)


def faults(function, *args, **kwargs) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        bind(function, *args, **kwargs)
    return {fault.where: fault.what for fault in caught.value.faults}


# -- path ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (str, "7", "7"),
        (Any, "7", "7"),
        (int, "7", 7),
        (int, "-7", -7),
        (int, "007", 7),
        (float, "1.5", 1.5),
        (bool, "true", True),
        (bool, "0", False),
        (Decimal, "1.10", Decimal("1.10")),
        (
            uuid.UUID,
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            uuid.UUID(int=0x6BA7B8109DAD11D180B400C04FD430C8),
        ),
        (date, "2024-02-29", date(2024, 2, 29)),
        (
            datetime,
            "2024-02-29T01:02:03+00:00",
            datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC),
        ),
        (Colour, "red", Colour.RED),
        (Level, "2", Level.HIGH),
        (Literal["a", 5], "5", 5),
        (UserId, "9", 9),
        (Annotated[int, "words"], "9", 9),
        (int | str, "nine", "nine"),
        (int | str, "9", 9),
        (Optional[int], "9", 9),  # noqa: UP045 - what authors write
    ],
)
def test_a_path_parameter_is_read_as_its_annotation_says(annotation, text, value):
    async def handler(thing): ...

    handler.__annotations__ = {"thing": annotation}
    assert bind(handler, "/x/{thing}", params={"thing": text}) == {"thing": value}


@pytest.mark.parametrize(
    ("annotation", "text", "words"),
    [
        (int, "seven", "'seven' is not a whole number"),
        (int, "1_0", "'1_0' is not a whole number"),
        (int, "٣", "'٣' is not a whole number"),
        (int, "1.0", "'1.0' is not a whole number"),
        (int, "9" * 5000, "is not a whole number"),
        (float, "nan", "'nan' is not a number"),
        (float, "x", "'x' is not a number"),
        (bool, "maybe", "'maybe' is not true or false"),
        (Decimal, "NaN", "'NaN' is not a decimal number"),
        (uuid.UUID, "7", "'7' is not a UUID"),
        (date, "2024-02-30", "'2024-02-30' is not a date (ISO 8601)"),
        (datetime, "now", "'now' is not a date and time (ISO 8601)"),
        (Colour, "green", "'green' is not one of 'red', 'blue'"),
        (Literal["a", 5], "b", "'b' is not one of 'a', '5'"),
        (int | float, "x", "'x' is not a whole number or a number"),
    ],
)
def test_a_path_parameter_of_the_wrong_type_is_named(annotation, text, words):
    async def handler(thing): ...

    handler.__annotations__ = {"thing": annotation}
    told = faults(handler, "/x/{thing}", params={"thing": text})
    assert list(told) == ["path.thing"]
    assert words in told["path.thing"]


def test_a_path_parameter_without_annotation_is_text():
    async def handler(self, user_id): ...

    assert bind(handler, "/u/{user_id}", params={"user_id": "7"}) == {"user_id": "7"}


def test_kwargs_take_the_path_parameters_that_nobody_named():
    async def handler(self, a, **others): ...

    assert bind(handler, "/{a}/{b}", params={"a": "1", "b": "2"}) == {"a": "1", "b": "2"}


# -- request -------------------------------------------------------------------------------------


def test_the_request_is_given_only_to_a_handler_that_takes_it():
    async def without(self): ...
    async def by_name(self, request): ...
    async def by_type(self, r: Request): ...

    request = Request("POST", "/x")
    assert binder(without).bind(request) == {}
    assert binder(by_name).bind(request) == {"request": request}
    assert binder(by_type).bind(request) == {"r": request}


def test_a_handler_with_the_request_need_not_name_the_path_parameters():
    async def handler(self, request): ...

    assert list(bind(handler, "/x/{id}", params={"id": "1"})) == ["request"]


@pytest.mark.parametrize("name", ["ws", "websocket"])
def test_a_websocket_handler_gets_the_websocket_by_name(name):
    namespace: dict[str, Any] = {}
    exec(f"async def handler(self, {name}, room: int): ...", namespace)
    ws = WebSocket("/feed/1", path_params={"room": "1"})
    assert binder(namespace["handler"], "/feed/{room}", "WEBSOCKET").bind(ws) == {
        name: ws,
        "room": 1,
    }


def test_a_bound_method_is_read_like_its_function():
    class Plugin:
        async def handler(self, a: int): ...

    assert bind(Plugin().handler, "/{a}", params={"a": "1"}) == {"a": 1}


# -- query ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"limit": 10, "tags": [], "ids": {1}, "q": None, "raw": "x"}),
        ("limit=5&q=a&raw=z", {"limit": 5, "tags": [], "ids": {1}, "q": "a", "raw": "z"}),
        (
            "tags=a&tags=b&ids=2&ids=2",
            {"limit": 10, "tags": ["a", "b"], "ids": {2}, "q": None, "raw": "x"},
        ),
        ("unknown=1", {"limit": 10, "tags": [], "ids": {1}, "q": None, "raw": "x"}),
    ],
)
def test_other_simple_parameters_come_from_the_query(query, expected):
    async def handler(
        self,
        tags: list[str],
        limit: int = 10,
        ids: set[int] = frozenset({1}),
        q: str | None = None,
        raw="x",
    ): ...

    assert bind(handler, method="GET", query=query) == expected


def test_a_query_field_that_is_missing_or_wrong_is_named_with_all_others():
    async def handler(self, page: int, size: int, ids: list[int]): ...

    assert faults(handler, method="GET", query="size=big&ids=1&ids=x") == {
        "query.page": "is missing: it must be a whole number",
        "query.size": "'big' is not a whole number",
        "query.ids": "'x' is not a whole number",
    }


def test_an_optional_query_field_needs_no_default():
    async def handler(self, page: int | None): ...

    assert bind(handler, method="GET") == {"page": None}


# -- body ----------------------------------------------------------------------------------------

GOOD = {
    "customer": "ann",
    "items": [{"name": "pen", "price": "1.50", "tags": ["blue"]}, {"name": "ink", "price": 3}],
    "address": {"street": "Elm", "number": 4},
    "express": True,
    "colour": "blue",
    "due": "2024-02-29",
    "notes": {"a": 1},
    "size": "m",
    "reference": "r1",
    "weight": 2,
    "id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "pair": [1, "a"],
    "unique": [1, 2, 2],
}


def test_a_body_becomes_the_class_it_is_annotated_with():
    async def handler(self, order: Order): ...

    (order,) = bind(handler, body=GOOD).values()
    assert order == Order(
        customer="ann",
        items=[Item("pen", Decimal("1.50"), ["blue"]), Item("ink", Decimal(3))],
        address=Address("Elm", 4),
        express=True,
        colour=Colour.BLUE,
        due=date(2024, 2, 29),
        notes={"a": 1},
        size="m",
        reference="r1",
        weight=2.0,
        id=uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        pair=(1, "a"),
        unique={1, 2},
    )


@pytest.mark.parametrize(
    ("annotation", "body", "value"),
    [
        (Address, {"street": "Elm"}, Address("Elm")),
        (list[Address], [{"street": "Elm"}], [Address("Elm")]),
        (Point, {"x": 1, "y": 2}, {"x": 1, "y": 2}),
        (Packed, {"name": "a", "counts": [1]}, Packed("a", [1])),
        (list[Packed], [{"name": "a"}], [Packed("a")]),
        (dict, {"any": [1, None]}, {"any": [1, None]}),
        (dict[str, Any], {"any": 1}, {"any": 1}),
        (dict[int, str], {"1": "a"}, {1: "a"}),
        (list[dict[str, int]], [{"a": 1}], [{"a": 1}]),
        (Node, {"value": 1, "children": [{"value": 2}]}, Node(1, [Node(2)])),
        (Checked, {"price": 1, "secret": 5}, Checked(1, 5)),
        (Address | None, {"street": "Elm"}, Address("Elm")),
        (Address | None, None, None),
    ],
)
def test_many_kinds_of_class_can_be_a_body(annotation, body, value):
    async def handler(self, thing): ...

    handler.__annotations__ = {"thing": annotation}
    assert bind(handler, body=body) == {"thing": value}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"customer": 7}, {"body.customer": "must be text, not 7"}),
        ({"customer": None}, {"body.customer": "must be text, not null"}),
        ({"express": 1}, {"body.express": "must be true or false, not 1"}),
        ({"express": "true"}, {"body.express": "must be true or false, not 'true'"}),
        (
            {"address": {"street": "a", "number": "4"}},
            {"body.address.number": "must be a whole number, not '4'"},
        ),
        (
            {"address": {"street": "a", "number": True}},
            {"body.address.number": "must be a whole number, not true or false"},
        ),
        (
            {"address": {"street": "a", "number": 4.0}},
            {"body.address.number": "must be a whole number, not 4.0"},
        ),
        ({"address": {}}, {"body.address.street": "is missing"}),
        ({"address": "Elm"}, {"body.address": "must be an object, not 'Elm'"}),
        ({"address": ["Elm"]}, {"body.address": "must be an object, not a list"}),
        ({"address": {"street": "a", "zip": 1}}, {"body.address.zip": "is not known here"}),
        (
            {"address": {"street": "a", "numbr": 1}},
            {"body.address.numbr": "is not known here; did you mean 'number'?"},
        ),
        ({"items": "pens"}, {"body.items": "must be a list, not 'pens'"}),
        ({"items": {"a": 1}}, {"body.items": "must be a list, not an object"}),
        (
            {"items": [{"name": "a", "price": "dear"}]},
            {"body.items[0].price": "must be a decimal number, not 'dear'"},
        ),
        (
            {"items": [{"name": "a", "price": True}]},
            {"body.items[0].price": "must be a decimal number, not true or false"},
        ),
        (
            {"items": [{"name": "a", "price": 1, "tags": [1]}]},
            {"body.items[0].tags[0]": "must be text, not 1"},
        ),
        ({"colour": "green"}, {"body.colour": "must be one of 'red', 'blue', not 'green'"}),
        ({"due": "soon"}, {"body.due": "must be a date (ISO 8601), not 'soon'"}),
        ({"due": 5}, {"body.due": "must be a date (ISO 8601), not 5"}),
        ({"notes": {"a": "1"}}, {"body.notes.a": "must be a whole number, not '1'"}),
        ({"notes": {"a b": "1"}}, {"body.notes['a b']": "must be a whole number, not '1'"}),
        ({"notes": []}, {"body.notes": "must be an object, not a list"}),
        ({"size": "xl"}, {"body.size": "must be one of 's', 'm', not 'xl'"}),
        ({"reference": []}, {"body.reference": "must be a number or text, not a list"}),
        ({"weight": "2"}, {"body.weight": "must be a number, not '2'"}),
        ({"weight": True}, {"body.weight": "must be a number, not true or false"}),
        ({"id": "x"}, {"body.id": "must be a UUID, not 'x'"}),
        ({"pair": [1, 2]}, {"body.pair[1]": "must be text, not 2"}),
        ({"unique": ["1"]}, {"body.unique[0]": "must be a whole number, not '1'"}),
        ({"surprise": 1}, {"body.surprise": "is not known here"}),
    ],
)
def test_a_body_is_decoded_strictly_and_a_fault_is_named_by_its_path(change, told):
    async def handler(self, order: Order): ...

    assert faults(handler, body=GOOD | change) == told


def test_all_faults_of_a_request_are_told_at_once():
    async def handler(self, id: int, order: Order, limit: int = 1): ...

    bad = {
        "customer": 1,
        "items": [{"name": "a", "price": 1}, {"name": 2}, {"name": "c", "price": "x", "odd": 1}],
        "address": {"street": "a"},
        "surprise": 1,
    }
    assert faults(handler, "/x/{id}", params={"id": "x"}, query="limit=y", body=bad) == {
        "path.id": "'x' is not a whole number",
        "query.limit": "'y' is not a whole number",
        "body.customer": "must be text, not 1",
        "body.items[1].name": "must be text, not 2",
        "body.items[1].price": "is missing",
        "body.items[2].price": "must be a decimal number, not 'x'",
        "body.items[2].odd": "is not known here",
        "body.surprise": "is not known here",
    }


@pytest.mark.parametrize(
    ("annotation", "body", "told"),
    [
        (Point, {"x": 1}, {"body.y": "is missing"}),
        (Point, {"x": 1, "y": 2, "z": 3}, {"body.z": "is not known here"}),
        (Point, [1], {"body": "must be an object, not a list"}),
        (
            Packed,
            {"name": "a", "counts": [1, "2"]},
            {"body.counts[1]": "Expected `int`, got `str`"},
        ),
        (list[Packed], [{"name": "a"}, {"name": 1}], {"body[1].name": "Expected `str`, got `int`"}),
        (list[Address], [{"street": 1}], {"body[0].street": "must be text, not 1"}),
        (
            Node,
            {"value": 1, "children": [{"value": "2"}]},
            {"body.children[0].value": "must be a whole number, not '2'"},
        ),
        (Checked, {"price": 0}, {"body.price": "'price' must be > 0: 0"}),
        (Even, {"number": 1}, {"body": "1 is odd"}),
        (dict, [1], {"body": "must be an object, not a list"}),
    ],
)
def test_faults_of_other_kinds_of_class_are_named_too(annotation, body, told):
    async def handler(self, thing): ...

    handler.__annotations__ = {"thing": annotation}
    assert faults(handler, body=body) == told


def test_an_empty_body_is_the_default_where_there_is_one_and_400_where_not():
    async def lenient(self, thing: Address | None = None): ...
    async def strict(self, thing: Address): ...

    assert bind(lenient) == {"thing": None}
    with pytest.raises(HTTPError, match="the body is empty"):
        bind(strict)


def test_a_body_that_was_not_read_yet_is_our_mistake_not_the_clients():
    class Source:
        async def next_chunk(self):
            return b""

    async def handler(self, thing: Address): ...

    with pytest.raises(RuntimeError, match="must be read before"):
        binder(handler).bind(Request("POST", "/x", body=Source()))


# -- refused at load -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signature", "path", "method", "why", "fix"),
    [
        ("self", "/x/{id}", "GET", "has 'id', which the function does not take", "add id"),
        ("self, a", "/x/{a}/{b}/{c}", "GET", "has 'b', 'c'", "add b, c"),
        (
            "self, req",
            "/x",
            "POST",
            "'req' is neither in the path '/x' nor annotated",
            "call it `request`",
        ),
        ("self, data", "/x", "POST", "'data' is neither in the path", "an attrs or data class"),
        ("self, id: Address", "/x/{id}", "GET", "cannot be an Address", "a number"),
        (
            "self, order: Address",
            "/x",
            "GET",
            "would be the body, which GET has not",
            "from the query",
        ),
        (
            "self, a: Address, b: Item",
            "/x",
            "POST",
            "'a', 'b' would each be the whole body",
            "one class",
        ),
        ("self, a: print", "/x", "POST", "which neither query nor body can give", "a simple type"),
        ("self, a, /", "/x/{a}", "POST", "only be given by position", "take out the /"),
        (
            "self, ws: WebSocket",
            "/x",
            "POST",
            "'ws' is a WebSocket, but POST gives a Request",
            "annotate it with Request",
        ),
        (
            "self, order: Unheard",
            "/x",
            "POST",
            "the annotation of 'order' cannot be read: name 'Unheard' is not defined",
            "import",
        ),
    ],
)
def test_a_signature_that_cannot_work_is_refused_at_load(signature, path, method, why, fix):
    source = f"from __future__ import annotations\nasync def make_order({signature}): ...\n"
    namespace = dict(globals())
    exec(compile(source, "shop/plugin.py", "exec"), namespace)
    with pytest.raises(ValueError, match="make_order") as caught:
        binder(namespace["make_order"], path, method)
    assert "make_order (shop/plugin.py:2)" in str(caught.value)
    assert why in str(caught.value)
    assert fix in str(caught.value)


def test_a_body_class_and_stream_do_not_go_together():
    async def handler(self, thing: Address): ...

    with pytest.raises(ValueError, match="stream=True does not wait for"):
        binder(handler, stream=True)


def test_an_annotation_that_cannot_be_resolved_spoils_no_other():
    namespace = dict(globals())
    source = (
        "from __future__ import annotations\n"
        "async def handler(self, id: Forgotten, n: int, address: Address, "
        "x: Missing = 'd') -> Dict[str, Any]: ...\n"
    )
    exec(source, namespace)
    arguments = bind(
        namespace["handler"], "/x/{id}", params={"id": "7"}, query="n=3", body={"street": "Elm"}
    )
    assert arguments == {"id": "7", "n": 3, "address": Address("Elm"), "x": "d"}
