"""plugin.json: every field by every wrong type, every rule, and all faults at once."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest
from jsonschema import Draft202012Validator

import nexus_actors
from nexus_actors.errors import Fault, Invalid
from nexus_actors.permissions import GRANTS, Permissions
from nexus_actors.plugin.manifest import (
    Deadlines,
    EntryPoint,
    MailboxOptions,
    Manifest,
    Supervision,
    default_manifest,
    parse_manifest,
    read_manifest,
)
from nexus_actors.plugin.requirements import requirement_faults
from nexus_actors.plugin.schema import manifest_schema, suggested_name
from nexus_actors.plugin.values import MISSING, Option
from supervisors.backoff import Backoff

SMALLEST = {"name": "shop", "version": "1.0.0", "entry_point": "plugin:Shop"}
DOCS = Path(__file__).parents[2] / "docs" / "manifest.md"


def parse(**fields: object) -> Manifest:
    return parse_manifest(json.dumps({**SMALLEST, **fields}))


def faults_of(call: Callable[[], object]) -> tuple[Fault, ...]:
    with pytest.raises(Invalid) as caught:
        call()
    return caught.value.faults


def fault_of(call: Callable[[], object]) -> Fault:
    faults = faults_of(call)
    assert len(faults) == 1, "\n".join(map(str, faults))
    return faults[0]


# What a good one says -------------------------------------------------------------------------


def test_the_smallest_manifest_has_three_fields_and_every_default() -> None:
    assert parse() == Manifest(
        name="shop", version="1.0.0", entry_point=EntryPoint("plugin", "Shop")
    )


def test_every_field_reaches_the_manifest() -> None:
    manifest = parse_manifest(
        json.dumps(
            {
                "$schema": "plugin.schema.json",
                "name": "my-shop",
                "version": "2.1.0rc1",
                "description": "Sells",
                "author": "Ann",
                "email": "ann@example.com",
                "license": "MIT",
                "nexus_version": ">=1.0.0,<2",
                "dependencies": {"python": ">=3.8", "packages": {"attrs": ">=20"}},
                "permissions": ["database:write", "events:emit:order.*"],
                "configuration": {
                    "limit": {
                        "type": "integer",
                        "default": 3,
                        "description": "At most",
                        "minimum": 1,
                        "maximum": 9,
                    },
                    "key": {"type": "string", "required": True, "secret": True},
                    "mode": {"type": "string", "enum": ["a", "b"], "default": None},
                    "hosts": {"type": "array", "items": {"type": "string"}},
                    "email": {"type": "object", "properties": {"port": {"type": "integer"}}},
                },
                "entry_point": "deep.plugin:MyShop",
                "category": "trade",
                "tags": ["a", "b"],
                "supervision": {
                    "restart": "transient",
                    "strategy": "one_for_all",
                    "intensity": 2,
                    "period": 9,
                    "shutdown": "infinity",
                    "backoff": {
                        "first": 1,
                        "factor": 3,
                        "maximum": 9,
                        "jitter": 0,
                        "reset_after": 5,
                    },
                },
                "mailbox": {"capacity": 5, "overflow": "refuse", "max_size": 10_000},
                "concurrency": 4,
                "readers": 8,
                "max_sessions": 9,
                "deadlines": {"initialize": 1, "handler": 2.5},
                "on_error": "restart",
                "fault_limit": 3,
                "fault_period": 10,
                "requires": ["billing"],
                "async_library": "asyncio",
                "isolation": "task",
            }
        )
    )
    assert manifest == Manifest(
        name="my-shop",
        version="2.1.0rc1",
        description="Sells",
        author="Ann",
        email="ann@example.com",
        license="MIT",
        nexus_version=">=1.0.0,<2",
        python=">=3.8",
        packages={"attrs": ">=20"},
        permissions=Permissions.of("database:write", "events:emit:order.*"),
        configuration={
            "limit": Option("integer", 3, "At most", minimum=1, maximum=9),
            "key": Option("string", required=True, secret=True),
            "mode": Option("string", None, enum=("a", "b")),
            "hosts": Option("array", items=Option("string")),
            "email": Option("object", properties={"port": Option("integer")}),
        },
        entry_point=EntryPoint("deep.plugin", "MyShop"),
        category="trade",
        tags=("a", "b"),
        supervision=Supervision(
            "transient",
            "one_for_all",
            2,
            9.0,
            "infinity",
            Backoff(first=1, factor=3, maximum=9, jitter=0, reset_after=5),
        ),
        mailbox=MailboxOptions(5, "refuse", 10_000),
        concurrency=4,
        readers=8,
        max_sessions=9,
        deadlines=Deadlines(1.0, 2.5),
        on_error="restart",
        fault_limit=3,
        fault_period=10.0,
        requires=("billing",),
        async_library="asyncio",
        isolation="task",
    )
    # a field that is not in the document above would be at its default here
    for field in attrs.fields(Manifest):
        value = getattr(manifest, field.name)
        assert value != field.default or field.name == "isolation", field.name


@pytest.mark.parametrize("shutdown", [0, 5, 2.5, "infinity", "brutal_kill"])
def test_a_shutdown_is_seconds_or_one_of_two_words(shutdown: object) -> None:
    got = parse(supervision={"shutdown": shutdown}).supervision.shutdown
    assert got == shutdown
    assert isinstance(got, str | float)


def test_an_option_without_a_default_is_not_one_whose_default_is_null() -> None:
    manifest = parse(
        configuration={"a": {"type": "string"}, "b": {"type": "string", "default": None}}
    )
    assert manifest.configuration["a"].default is MISSING
    assert manifest.configuration["b"].default is None


# The schema and the classes say the same --------------------------------------------------------


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(manifest_schema())


def schema_defaults(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in schema["properties"].items():
        place = f"{path}.{name}".lstrip(".")
        if "default" in field:
            yield place, field["default"]
        if "properties" in field:
            yield from schema_defaults(field, place)


@pytest.mark.parametrize(("path", "default"), [*schema_defaults(manifest_schema())])
def test_the_defaults_that_editors_show_are_those_of_the_classes(path: str, default: Any) -> None:
    manifest: Any = parse(supervision={"backoff": {}})
    value = manifest
    for part in path.removeprefix("dependencies.").split("."):
        value = getattr(value, part)
    assert value == default


def test_the_schema_knows_every_permission() -> None:
    known = manifest_schema()["properties"]["permissions"]["items"]["anyOf"][0]["enum"]
    assert known == [*GRANTS]


def test_every_field_of_the_schema_has_a_description() -> None:
    def undescribed(schema: Mapping[str, Any], path: str) -> Iterator[str]:
        for name, field in schema.get("properties", {}).items():
            if "description" not in field:
                yield f"{path}.{name}"
            yield from undescribed(field, f"{path}.{name}")

    schema = manifest_schema()
    assert not [*undescribed(schema, ""), *undescribed(schema["$defs"]["option"], "option")]


# Wrong types: every field by every type it is not -------------------------------------------------

VALUES: dict[str, Any] = {
    "null": None,
    "boolean": True,
    "integer": 7,
    "number": 7.5,
    "string": "\t?",
    "array": [],
    "object": {},
}
WORDS = {
    "null": "null",
    "boolean": "a boolean, true",
    "integer": "an integer, 7",
    "number": "a number, 7.5",
    "string": 'a string, "\\t?"',
    "array": "an array, []",
    "object": "an object, {}",
}


def fields_of(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[Any]:
    """Path and the JSON types that each field of a manifest may have."""
    for name, field in schema["properties"].items():
        here = (*path, name)
        if "type" in field:
            yield here, (field["type"],)
        elif "enum" in field:
            yield here, ("string",)
        elif "anyOf" in field:
            yield here, ("number", "string")
        elif "$ref" in field:
            yield here, ("object",)
        if "properties" in field:
            yield from fields_of(field, here)
        if "items" in field and "type" in field["items"]:
            yield (*here, 0), (field["items"]["type"],)


def option_fields() -> Iterator[Any]:
    for path, types in fields_of(manifest_schema()["$defs"]["option"]):
        yield ("configuration", "opt", *path), types


def wrong_types() -> Iterator[Any]:
    for path, types in [*fields_of(manifest_schema()), *option_fields()]:
        for name, value in VALUES.items():
            if name in types or (name == "integer" and "number" in types):
                continue
            yield pytest.param(path, name, value, id=f"{'.'.join(map(str, path))}-{name}")


def put(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The smallest manifest with ``value`` at ``path``."""
    document: dict[str, Any] = {**SMALLEST}
    here: Any = document
    for part, following in pairwise(path):
        made: Any = [None] if following == 0 else {}
        if part == "opt":
            made = {"type": "array" if "items" in path else "object"}
            if path[-1] in ("minimum", "maximum"):
                made = {"type": "number"}
        here = here.setdefault(part, made)
    here[path[-1]] = value
    return document


@pytest.mark.parametrize(("path", "name", "value"), [*wrong_types()])
def test_every_field_refuses_every_type_it_is_not(
    path: tuple[Any, ...], name: str, value: Any
) -> None:
    faults = faults_of(lambda: parse_manifest(json.dumps(put(path, value))))
    words = "".join(f"[{p}]" if p == 0 else f".{p}" for p in path).lstrip(".")
    here = [fault for fault in faults if fault.where == f"plugin.json: {words}"]
    assert [fault.what for fault in here] == [WORDS[name]]
    assert here[0].fix.startswith("write ")
    assert faults == tuple(here)


def test_the_table_of_wrong_types_is_of_every_field() -> None:
    assert len([*wrong_types()]) > 250


@pytest.mark.parametrize("document", [None, True, 7, "x", []])
def test_a_manifest_is_an_object(document: object) -> None:
    fault = fault_of(lambda: parse_manifest(json.dumps(document)))
    assert fault.where == "plugin.json"
    assert fault.fix == "write an object, {...}"


@pytest.mark.parametrize("name", SMALLEST)
def test_what_must_be_there_is_missed_by_name(name: str) -> None:
    document = {key: value for key, value in SMALLEST.items() if key != name}
    fault = fault_of(lambda: parse_manifest(json.dumps(document)))
    assert fault.where == f"plugin.json: {name}"
    assert fault.what == "is missing"
    assert f'"{name}": ' in fault.fix


def test_each_missing_field_is_named_once() -> None:
    faults = faults_of(lambda: parse_manifest("{}"))
    assert sorted(fault.where for fault in faults) == [
        f"plugin.json: {name}" for name in ("entry_point", "name", "version")
    ]


def test_an_option_must_have_a_type() -> None:
    fault = fault_of(lambda: parse(configuration={"limit": {}}))
    assert fault.where == "plugin.json: configuration.limit.type"


# Unknown fields -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "where", "words"),
    [
        ({"permission": []}, "permission", "no such field; did you mean 'permissions'?"),
        ({"permision": []}, "permision", "did you mean 'permissions' or 'supervision'?"),
        ({"entryPoint": "x"}, "entryPoint", "did you mean 'entry_point'?"),
        ({"entry-point": "x"}, "entry-point", "did you mean 'entry_point'?"),
        ({"zzz": 1}, "zzz", "no such field (take it away)"),
        ({"strategy": "x"}, "strategy", 'move it to "supervision"'),
        ({"packages": {}}, "packages", 'move it to "dependencies"'),
        ({"capacity": 3}, "capacity", 'move it to "mailbox"'),
        ({"mailbox": {"concurrency": 3}}, "mailbox.concurrency", "move it to the top"),
        ({"mailbox": {"size": 3}}, "mailbox.size", "did you mean 'max_size'?"),
        ({"mailbox": {"room": 3}}, "mailbox.room", "use one of capacity, overflow, max_size"),
        (
            {"supervision": {"intensty": 3}},
            "supervision.intensty",
            "did you mean 'intensity'?",
        ),
        ({"supervision": {"backoff": {"zzz": 3}}}, "supervision.backoff.zzz", "use one of first"),
        (
            {"configuration": {"a": {"type": "string", "defualt": "x"}}},
            "configuration.a.defualt",
            "did you mean 'default'?",
        ),
        (
            {"configuration": {"a": {"type": "string", "name": "x"}}},
            "configuration.a.name",
            "no such field (use one of type",
        ),
    ],
)
def test_an_unknown_field_is_named_with_what_was_meant(
    fields: dict[str, Any], where: str, words: str
) -> None:
    fault = fault_of(lambda: parse(**fields))
    assert fault.where == f"plugin.json: {where}"
    assert words in str(fault)


# One field at a time ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "shop", "my-first-plugin", "s3", "a-1", "x" * 48])
def test_a_name_is_words_joined_by_hyphens(name: str) -> None:
    assert parse(name=name).name == name


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("", "plugin"),
        ("Shop", "shop"),
        ("my_shop", "my-shop"),
        ("my shop", "my-shop"),
        ("-shop", "shop"),
        ("shop-", "shop"),
        ("my--shop", "my-shop"),
        ("1shop", "plugin-1shop"),
        ("shöp", "sh-p"),
        ("../shop", "shop"),
        ("shop\n", "shop"),
    ],
)
def test_a_name_that_is_none_is_refused_with_one_that_is(name: str, suggestion: str) -> None:
    fault = fault_of(lambda: parse(name=name))
    assert fault.where == "plugin.json: name"
    assert fault.fix.endswith(f'"{suggestion}"')
    assert suggested_name(name) == suggestion
    assert parse(name=suggestion).name == suggestion


def test_a_name_is_bounded_as_the_schema_of_its_tables_is() -> None:
    assert "longer than 48" in fault_of(lambda: parse(name="x" * 49)).what


@pytest.mark.parametrize("name", ["class", "import", "async"])
def test_a_name_python_cannot_import_is_refused(name: str) -> None:
    fault = fault_of(lambda: parse(name=name))
    assert fault.fix == f'write "{name}-plugin"'


@pytest.mark.parametrize("version", ["1", "1.0.0", "2.1rc1", "1.0.dev3", "2024.1", "1!2.0"])
def test_a_version_is_any_of_pythons(version: str) -> None:
    assert parse(version=version).version == version


@pytest.mark.parametrize("version", ["", "one", "1.x", ">=1.0", "1.0.0 beta two", "latest"])
def test_a_version_that_is_none_is_refused(version: str) -> None:
    fault = fault_of(lambda: parse(version=version))
    assert fault.where == "plugin.json: version"
    assert f"{json.dumps(version)} is not a version" in fault.what


SPECIFIERS = [
    ("nexus_version", lambda text: {"nexus_version": text}),
    ("dependencies.python", lambda text: {"dependencies": {"python": text}}),
    ("dependencies.packages.attrs", lambda text: {"dependencies": {"packages": {"attrs": text}}}),
]


@pytest.mark.parametrize(("place", "fields"), SPECIFIERS)
@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("1.0", 'write ">=1.0" for that or newer, "==1.0" for just that'),
        ("^1.2", 'write ">=1.2,<2"'),
        ("~1.2", 'write ">=1.2,<2"'),
        ("*", 'write ">=0" for any version'),
        ("latest", 'write ">=0" for any version'),
        (">=", 'write for example ">=1.0,<2"'),
        (">=1.0 <2", 'write for example ">=1.0,<2"'),
        ("newer", 'write for example ">=1.0,<2"'),
    ],
)
def test_a_set_of_versions_that_is_none_is_refused_with_what_was_meant(
    place: str, fields: Callable[[str], dict[str, Any]], text: str, fix: str
) -> None:
    fault = fault_of(lambda: parse(**fields(text)))
    assert fault.where == f"plugin.json: {place}"
    assert fault.fix == fix


@pytest.mark.parametrize("text", ["plugin:Shop", "a.b.c:Shop", "_p:_S", "p1:S2"])
def test_an_entry_point_is_module_and_class(text: str) -> None:
    assert str(parse(entry_point=text).entry_point) == text


@pytest.mark.parametrize(
    "text", ["", "plugin", "plugin.Shop", ":Shop", "plugin:", "a:b:c", "a b:C", "../x:C", "p:C\n"]
)
def test_an_entry_point_that_is_none_is_refused(text: str) -> None:
    fault = fault_of(lambda: parse(entry_point=text))
    assert fault.where == "plugin.json: entry_point"
    assert fault.fix == "write module and class, such as plugin:MyPlugin"


@pytest.mark.parametrize("email", ["", "a@b", "ann@example.com"])
def test_an_email_is_an_address_or_nothing(email: str) -> None:
    assert parse(email=email).email == email


@pytest.mark.parametrize("email", ["ann", "@", "a b@c", "a@b@c"])
def test_an_email_that_is_none_is_refused(email: str) -> None:
    fault = fault_of(lambda: parse(email=email))
    assert fault.what == f"{json.dumps(email)} is not an address"


CHOICES = {
    ("supervision", "restart"): ["permanent", "transient", "temporary"],
    ("supervision", "strategy"): ["one_for_one", "one_for_all", "rest_for_one"],
    ("mailbox", "overflow"): ["refuse", "wait", "drop_oldest", "drop_newest"],
    ("on_error",): ["reply", "restart"],
    ("async_library",): ["trio", "asyncio"],
    ("isolation",): ["task"],
}


@pytest.mark.parametrize(
    ("path", "choice"), [(path, choice) for path in CHOICES for choice in CHOICES[path]]
)
def test_every_choice_is_taken(path: tuple[str, ...], choice: str) -> None:
    manifest: Any = parse_manifest(json.dumps(put(path, choice)))
    for part in path:
        manifest = getattr(manifest, part)
    assert manifest == choice


@pytest.mark.parametrize("path", CHOICES)
def test_what_is_no_choice_is_refused_with_the_choices(path: tuple[str, ...]) -> None:
    wrong = CHOICES[path][0][:-1]
    fault = fault_of(lambda: parse_manifest(json.dumps(put(path, wrong))))
    assert fault.where == f"plugin.json: {'.'.join(path)}"
    assert fault.what == f'"{wrong}" is not a choice; did you mean {CHOICES[path][0]!r}?'
    assert all(choice in fault.fix for choice in CHOICES[path])


@pytest.mark.parametrize(
    ("path", "word"),
    [
        (("isolation",), "process"),
        (("isolation",), "thread"),
        (("isolation",), "container"),
    ],
)
def test_what_is_designed_but_not_built_is_refused_as_that(
    path: tuple[str, ...], word: str
) -> None:
    fault = fault_of(lambda: parse_manifest(json.dumps(put(path, word))))
    assert fault.what == f'"{word}" is not built yet'


RANGES: list[tuple[tuple[str, ...], float, float, bool]] = [
    (("concurrency",), 1, 1_000_000, True),
    (("readers",), 1, 1_000_000, True),
    (("max_sessions",), 0, 1_000_000, True),
    (("fault_limit",), 1, 1_000_000, True),
    (("fault_period",), 0, 86400, False),
    (("mailbox", "capacity"), 1, 1_000_000, True),
    (("mailbox", "max_size"), 1, 10**12, True),
    (("supervision", "intensity"), 0, 1_000_000, True),
    (("supervision", "period"), 0, 86400, False),
    (("supervision", "backoff", "first"), 0, 3600, False),
    (("supervision", "backoff", "factor"), 1, 100, True),
    (("supervision", "backoff", "maximum"), 0, 86400, False),
    (("supervision", "backoff", "jitter"), 0, 1, True),
    (("supervision", "backoff", "reset_after"), 0, 86400, True),
    (("deadlines", "initialize"), 0, 86400, False),
    (("deadlines", "handler"), 0, 86400, False),
]
"""Path, least, most, and whether the least itself is allowed."""


def numbers(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in schema["properties"].items():
        if field.get("type") in ("integer", "number"):
            yield (*path, name)
        if "properties" in field:
            yield from numbers(field, (*path, name))


def test_the_ranges_are_of_every_number() -> None:
    assert {path for path, *_ in RANGES} == set(numbers(manifest_schema()))


@pytest.mark.parametrize(("path", "low", "high", "inclusive"), RANGES)
def test_every_number_has_its_range(
    path: tuple[str, ...], low: float, high: float, inclusive: bool
) -> None:
    def read(value: float) -> Manifest:
        document = put(path, value)
        if path[-1] == "first":
            document["supervision"]["backoff"]["maximum"] = 3600
        if path[-1] == "maximum":
            document["supervision"]["backoff"]["first"] = value
        return parse_manifest(json.dumps(document))

    good = [high, low if inclusive else 0.001]
    bad = [high + 1, low - 1, *([] if inclusive else [low])]
    for value in good:
        if not (path[-1] == "maximum" and value > 3600):  # first has a lower bound than this
            read(value)
    for value in bad:
        places = [fault.where for fault in faults_of(lambda v=value: read(v))]  # type: ignore[misc]
        assert f"plugin.json: {'.'.join(path)}" in places


@pytest.mark.parametrize("shutdown", [-1, 3601, "never", True, None, [], {}])
def test_a_shutdown_that_is_none_is_refused(shutdown: object) -> None:
    fault = fault_of(lambda: parse(supervision={"shutdown": shutdown}))
    assert fault.where == "plugin.json: supervision.shutdown"
    assert fault.fix == "write a number of seconds, infinity or brutal_kill"


def test_pauses_that_begin_beyond_their_end_are_refused() -> None:
    fault = fault_of(lambda: parse(supervision={"backoff": {"first": 5, "maximum": 2}}))
    assert fault.what == "5 is more than maximum, 2"
    assert fault_of(lambda: parse(supervision={"backoff": {"first": 100}})).where.endswith("first")


@pytest.mark.parametrize("field", ["permissions", "tags", "requires"])
def test_what_is_listed_twice_is_named(field: str) -> None:
    item = "events:emit" if field == "permissions" else "a"
    fault = fault_of(lambda: parse(**{field: [item, item]}))
    assert fault.where == f"plugin.json: {field}[1]"
    assert fault.what == f'"{item}" appears twice'


def test_a_permission_is_refused_at_its_place() -> None:
    faults = faults_of(
        lambda: parse(permissions=["events:emit", "database:rad", "events:emit:ord*", "x"])
    )
    assert [fault.where for fault in faults] == [
        f"plugin.json: permissions[{i}]" for i in (1, 2, 3)
    ]
    assert "did you mean 'database:read'" in faults[0].what


@pytest.mark.parametrize("name", ["Billing", "my_shop", ""])
def test_only_plugins_can_be_required(name: str) -> None:
    fault = fault_of(lambda: parse(requires=[name]))
    assert fault.where == "plugin.json: requires[0]"
    assert "is not the name of a plugin" in fault.what


def test_a_plugin_cannot_require_itself() -> None:
    fault = fault_of(lambda: parse(requires=["billing", "shop"]))
    assert (fault.where, fault.what) == ("plugin.json: requires[1]", "is the plugin itself")


def test_an_empty_tag_is_refused() -> None:
    assert fault_of(lambda: parse(tags=[""])).what == "is empty"


# The options it declares ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a b", "1a", "a-b", "", "ä", "_a"])
def test_the_name_of_an_option_is_a_word(name: str) -> None:
    fault = fault_of(lambda: parse(configuration={name: {"type": "string"}}))
    assert fault.where == f"plugin.json: configuration.{name}"
    assert fault.what == "is not a name for an option"


def test_enabled_is_the_nodes_own_word() -> None:
    fault = fault_of(lambda: parse(configuration={"enabled": {"type": "boolean"}}))
    assert fault.where == "plugin.json: configuration.enabled"
    assert "this name is taken" in fault.what


OPTION_VALUES: dict[str, list[Any]] = {
    "string": ["", "x"],
    "integer": [0, -3, 10**20],
    "number": [0, 1.5],
    "boolean": [True, False],
    "array": [[], [1]],
    "object": [{}, {"a": 1}],
}


@pytest.mark.parametrize("type_", OPTION_VALUES)
@pytest.mark.parametrize("other", OPTION_VALUES)
def test_the_default_of_an_option_is_of_its_type(type_: str, other: str) -> None:
    for value in OPTION_VALUES[other]:
        option = {"type": type_, "default": value}
        if type_ == other or (type_ == "number" and other == "integer"):
            assert parse(configuration={"a": option}).configuration["a"].default == value
        elif not (type_ == "integer" and value == 0 and other == "number"):
            fault = fault_of(lambda o=option: parse(configuration={"a": o}))  # type: ignore[misc]
            assert fault.where == "plugin.json: configuration.a.default"


@pytest.mark.parametrize(
    ("option", "place", "words"),
    [
        ({"type": "integer", "minimum": 3, "maximum": 1}, "minimum", "3 is more than maximum, 1"),
        ({"type": "integer", "minimum": 3, "default": 1}, "default", "1 is out of range"),
        ({"type": "integer", "maximum": 3, "default": 4}, "default", "4 is out of range"),
        ({"type": "string", "minimum": 3}, "minimum", 'means nothing for type "string"'),
        ({"type": "boolean", "maximum": 3}, "maximum", 'means nothing for type "boolean"'),
        ({"type": "string", "items": {"type": "string"}}, "items", "means nothing"),
        ({"type": "string", "properties": {}}, "properties", "means nothing"),
        ({"type": "string", "enum": ["a", 1]}, "enum[1]", "an integer, 1"),
        ({"type": "string", "enum": []}, "enum", "is empty"),
        ({"type": "string", "enum": ["a"], "default": "b"}, "default", '"b" is not a choice'),
        ({"type": "boolean", "enum": [True], "default": False}, "default", "false is not"),
        ({"type": "string", "default": "a", "required": True}, "required", "there is a default"),
        (
            {"type": "array", "items": {"type": "string"}, "default": ["a", 1]},
            "default[1]",
            "an integer, 1",
        ),
        (
            {"type": "array", "items": {"type": "string", "minimum": 1}},
            "items.minimum",
            "means nothing",
        ),
        (
            {"type": "object", "properties": {"p": {"type": "integer", "default": "x"}}},
            "properties.p.default",
            'a string, "x"',
        ),
        (
            {"type": "object", "properties": {"port": {"type": "integer"}}, "default": {"prt": 1}},
            "default.prt",
            "no such option; did you mean 'port'?",
        ),
        ({"type": "strin"}, "type", "\"strin\" is not a choice; did you mean 'string'?"),
    ],
)
def test_an_option_that_contradicts_itself_is_named(
    option: dict[str, Any], place: str, words: str
) -> None:
    fault = fault_of(lambda: parse(configuration={"opt": option}))
    assert fault.where == f"plugin.json: configuration.opt.{place}"
    assert words in fault.what


# What is installed ------------------------------------------------------------------------------


def requirement(**given: Any) -> list[Fault]:
    asked: dict[str, Any] = {"nexus_version": "", "python": "", "packages": {}, "where": "m"}
    return [*requirement_faults(**asked | given)]


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ("", True),
        (">=1.0.0", True),
        (">=0.9,<2", True),
        ("==1.*", True),
        (">=1.1", False),
        ("<1", False),
        (">=2.0.0", False),
    ],
)
def test_the_nexus_version_is_that_of_the_interface(asked: str, fits: bool) -> None:
    """Of the interface for plugins, not of the distribution, which may stand at 0.1."""
    assert nexus_actors.PLUGIN_API == "1.0.0"
    faults = requirement(nexus_version=asked)
    assert (not faults) is fits
    for fault in faults:
        assert fault.where == "m: nexus_version"
        assert "the plugin interface here, 1.0.0" in fault.what


@pytest.mark.parametrize(
    ("asked", "python", "fits"),
    [
        ("", "3.11.0", True),
        (">=3.8", "3.11.7", True),
        (">=3.8", "3.14.0rc1", True),
        (">=3.12", "3.11.7", False),
        ("<3.12", "3.12.0", False),
    ],
)
def test_the_python_is_the_one_that_runs(asked: str, python: str, fits: bool) -> None:
    faults = requirement(python=asked, python_version=python)
    assert (not faults) is fits
    for fault in faults:
        assert fault.where == "m: dependencies.python"
        assert python in fault.what


HERE = {"requests": "2.34.2", "uvx": "1.0rc1"}


@pytest.mark.parametrize(
    ("package", "versions", "what", "fix"),
    [
        ("requests", ">=2.25.0", None, None),
        ("requests", "", None, None),
        ("requests", ">=2,<3", None, None),
        ("requests[socks]", ">=2", None, None),
        ("uvx", ">=0.9", None, None),
        ("requests", ">=3", "requests 2.34.2 is installed, >=3 is needed", "'requests>=3'"),
        ("nope", ">=1", "nope is not installed", "'nope>=1'"),
        ("nope", "", "nope is not installed", "'nope'"),
        ("nope[extra]", ">=1", "nope is not installed", "'nope[extra]>=1'"),
        ("no pe", ">=1", '"no pe" is not the name of a package', None),
        ("nope; rm -rf", "", '"nope; rm -rf" is not the name of a package', None),
    ],
)
def test_a_package_is_there_in_its_version_or_the_line_to_install_it_is_given(
    package: str, versions: str, what: str | None, fix: str | None
) -> None:
    faults = requirement(packages={package: versions}, installed=HERE.get)
    assert [fault.what for fault in faults] == ([] if what is None else [what])
    for fault in faults:
        assert fault.where == f"m: dependencies.packages.{package}"
        if fix is not None:
            assert fault.fix == f"pip install {fix}"


def test_what_is_missing_here_refuses_the_manifest() -> None:
    needs = {"python": ">=9", "packages": {"attrs": ">=999", "no-such-package-here": ""}}
    document = json.dumps({**SMALLEST, "nexus_version": ">=9", "dependencies": needs})
    assert [
        fault.where.removeprefix("plugin.json: ")
        for fault in faults_of(lambda: parse_manifest(document))
    ] == [
        "nexus_version",
        "dependencies.python",
        "dependencies.packages.attrs",
        "dependencies.packages.no-such-package-here",
    ]
    assert parse_manifest(document, check_installed=False).python == ">=9"
    assert platform.python_version() in str(faults_of(lambda: parse_manifest(document))[1])


# JSON itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "advice"),
    [
        ("", "line 1, column 1", "the file is empty"),
        ("  \n", "line 2, column 1", "the file is empty"),
        ('{"a": 1,}', "line 1, column ", "take away the comma"),
        ('{\n  "a": [1, 2,]\n}', "line 2, column ", "take away the comma"),
        ("{'a': 1}", "line 1, column 2", "double quotes"),
        ('{"a": 1 // why\n}', "line 1, column 9", "take away the comment"),
        ('{"a": 1}\n# why', "line 2, column 1", "take away the comment"),
        ('{"a": 1 "b": 2}', "line 1, column 9", "write a comma, or close"),
        ('{"a": }', "line 1, column 7", 'look at "}"'),
        ('{"a": [1, x]}', "line 1, column 11", 'look at "x]}"'),
        ('{"a": tru}', "line 1, column 7", 'look at "tru}"'),
        ('{"a": [1, 2', "line 1, column 12", "write a comma, or close"),
        ('{"a": ', "line 1, column ", "something is not closed"),
        ('{"a": 1} {"b": 2}', "line 1, column 10", "look at"),
    ],
)
def test_a_fault_in_json_has_line_and_column(text: str, place: str, advice: str) -> None:
    fault = fault_of(lambda: parse_manifest(text))
    assert fault.where.startswith(f"plugin.json: {place}")
    assert fault.what.startswith("not JSON: ")
    assert advice in fault.fix


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": NaN}', "NaN is not a JSON value"),
        ('{"a": -Infinity}', "-Infinity is not a JSON value"),
        ("1" * 5000, "not JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_python_would_read_and_json_does_not_know_is_refused(text: str, words: str) -> None:
    assert words in fault_of(lambda: parse_manifest(text)).what


def test_a_key_given_twice_is_a_fault_at_its_path() -> None:
    text = '{"a": 1, "b": {"c": [{"d": 1, "d": 2}]}, "a": 2, "a": 3}'
    assert [(fault.where, fault.what) for fault in faults_of(lambda: parse_manifest(text))] == [
        ("plugin.json: a", "appears twice in this object"),
        ("plugin.json: b.c[0].d", "appears twice in this object"),
    ]


# The file ---------------------------------------------------------------------------------------


def test_a_file_is_read_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "plugins" / "shop" / "plugin.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(SMALLEST))
    assert read_manifest(path).name == "shop"
    path.write_text(json.dumps({**SMALLEST, "permissions": ["a", "b", "c"]}))
    faults = faults_of(lambda: read_manifest(path))
    assert faults[2].where == "plugins/shop/plugin.json: permissions[2]"


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "plugin.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(SMALLEST).encode())
    assert read_manifest(path).name == "shop"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file or directory"),
        ("folder", "cannot be read: Is a directory"),
        (b'{"name": "\xff"}', "not UTF-8 at byte 10"),
        (b" " * (1024**2 + 1), "longer than 1048576 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_fault(
    tmp_path: Path, content: bytes | str | None, words: str
) -> None:
    path = tmp_path / "plugin.json"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    fault = fault_of(lambda: read_manifest(path))
    assert fault.where == str(path)
    assert words in fault.what
    assert fault.fix


@pytest.mark.parametrize(
    ("folder", "fits"), [("shop", True), ("store", False), ("Shop", False), ("my-shop", False)]
)
def test_a_plugin_is_called_as_its_folder(tmp_path: Path, folder: str, fits: bool) -> None:
    home = tmp_path / folder
    home.mkdir()
    (home / "plugin.py").touch()
    (home / "plugin.json").write_text(json.dumps(SMALLEST))
    if fits:
        read_manifest(home / "plugin.json", folder=home)
    else:
        fault = fault_of(lambda: read_manifest(home / "plugin.json", folder=home))
        assert fault.what == f'"shop" is not the name of its folder, "{folder}"'
        assert fault.fix.startswith('rename the folder to "shop", or write "name": ')


def test_a_folder_may_have_underscores_for_hyphens(tmp_path: Path) -> None:
    home = tmp_path / "my_shop"
    home.mkdir()
    (home / "plugin.py").touch()
    (home / "plugin.json").write_text(json.dumps({**SMALLEST, "name": "my-shop"}))
    assert read_manifest(home / "plugin.json", folder=home).name == "my-shop"


def test_the_module_of_the_entry_point_must_be_in_the_folder(tmp_path: Path) -> None:
    home = tmp_path / "shop"
    (home / "deep").mkdir(parents=True)
    path = home / "plugin.json"
    path.write_text(json.dumps({**SMALLEST, "entry_point": "plugn:Shop"}))
    (home / "plugin.py").touch()
    fault = fault_of(lambda: read_manifest(path, folder=home))
    assert fault.where.endswith("plugin.json: entry_point")
    assert fault.what == "there is no plugn.py for \"plugn:Shop\"; did you mean 'plugin'?"
    (home / "deep" / "__init__.py").touch()
    (home / "deep" / "inner.py").touch()
    for good in ("deep:Shop", "deep.inner:Shop"):
        path.write_text(json.dumps({**SMALLEST, "entry_point": good}))
        read_manifest(path, folder=home)


# All at once ------------------------------------------------------------------------------------


def test_all_faults_come_at_once() -> None:
    faults = faults_of(
        lambda: parse(
            name="My Shop",
            version="one",
            nexus_version="^1",
            email=3,
            permissions=["x", 3],
            concurrency=0,
            mailbox={"size": 3, "overflow": "wait"},
            configuration={"a": {"type": "integer", "default": "x"}, "b": {}},
            dependencies={"packages": {"no-such-package-here": ""}},
            zzz=1,
        )
    )
    assert sorted(fault.where.removeprefix("plugin.json: ") for fault in faults) == [
        "concurrency",
        "configuration.a.default",
        "configuration.b.type",
        "dependencies.packages.no-such-package-here",
        "email",
        "mailbox.size",
        "name",
        "nexus_version",
        "permissions[0]",
        "permissions[1]",
        "version",
        "zzz",
    ]


def test_a_plugin_without_a_manifest_asks_for_nothing() -> None:
    manifest = default_manifest("shop", version="2.0", entry_point="shop.plugin:Shop")
    assert manifest.permissions == Permissions()
    assert manifest.entry_point == EntryPoint("shop.plugin", "Shop")
    assert manifest.version == "2.0"


# The documentation ------------------------------------------------------------------------------


def documented(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, field in schema["properties"].items():
        if name != "$schema":
            yield f"{path}{name}"
        if "properties" in field:
            yield from documented(field, f"{path}{name}.")


@pytest.mark.parametrize("field", [*documented(manifest_schema())])
def test_the_documentation_has_every_field(field: str) -> None:
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith(f"| `{field}` |")]
    lines = [line for line in lines if line.count(" | ") == 3]  # the rows of options have one less
    assert len(lines) == 1, f"docs/manifest.md has {len(lines)} rows about {field}"


@pytest.mark.parametrize("name", manifest_schema()["$defs"]["option"]["properties"])
def test_the_documentation_has_every_field_of_an_option(name: str) -> None:
    assert any(line.startswith(f"| `{name}` |") for line in DOCS.read_text().splitlines())


@pytest.mark.parametrize("name", GRANTS)
def test_the_documentation_has_every_permission(name: str) -> None:
    assert any(line.startswith(f"| `{name}` |") for line in DOCS.read_text().splitlines())


def test_every_example_in_the_documentation_is_a_manifest() -> None:
    blocks = DOCS.read_text().split("```json\n")[1:]
    assert blocks
    for block in blocks:
        parse_manifest(block.partition("```")[0], check_installed=False)
