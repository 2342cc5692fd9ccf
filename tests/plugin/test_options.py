"""A plugin's configuration: who wins, what is refused, what is filled in, and what stays secret."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from nexus_actors.config import PluginTable, Settings, load_settings
from nexus_actors.errors import Fault, Invalid
from nexus_actors.plugin.manifest import Manifest, parse_manifest
from nexus_actors.plugin.options import (
    PluginConfig,
    plugin_config,
    strange_options,
    variable_name,
    variables_of,
)

PREFIX = "NEXUS_PLUGINS_MY_SHOP"


def manifest(name: str = "my-shop", **configuration: object) -> Manifest:
    return parse_manifest(
        json.dumps(
            {
                "name": name,
                "version": "1",
                "entry_point": "plugin:P",
                "configuration": configuration,
            }
        )
    )


def config(
    options: Mapping[str, object],
    table: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> PluginConfig:
    return plugin_config(manifest(**options), table, environ, where="nexus.toml: plugins.my-shop")


def faults_of(call: Callable[[], object]) -> tuple[Fault, ...]:
    with pytest.raises(Invalid) as caught:
        call()
    return caught.value.faults


def fault_of(call: Callable[[], object]) -> Fault:
    faults = faults_of(call)
    assert len(faults) == 1, "\n".join(map(str, faults))
    return faults[0]


# Who wins -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ((), 1),
        (("table",), 2),
        (("variable",), 3),
        (("table", "variable"), 3),
    ],
)
def test_a_variable_beats_the_table_beats_the_default(said: tuple[str, ...], expected: int) -> None:
    got = config(
        {"limit": {"type": "integer", "default": 1}},
        {"limit": 2} if "table" in said else {},
        {f"{PREFIX}_LIMIT": "3"} if "variable" in said else {},
    )
    assert got == {"limit": expected}


def test_an_option_without_value_and_default_is_absent() -> None:
    got = config({"limit": {"type": "integer"}, "key": {"type": "string", "default": None}})
    assert got == {"key": None}
    assert got.get("limit", 100) == 100


def test_the_plugin_gets_an_ordinary_dict() -> None:
    got = config({"limit": {"type": "integer", "default": 1}})
    assert isinstance(got, dict)
    assert got["limit"] == 1
    assert copy.deepcopy(got) == got
    assert json.dumps(got) == '{"limit": 1}'
    got["limit"] = 5
    assert {**got} == {"limit": 5}


def test_no_two_incarnations_share_a_default_or_a_table() -> None:
    shop = manifest(hosts={"type": "array", "default": []}, mail={"type": "object"})
    table: dict[str, Any] = {"mail": {"to": []}}
    first = plugin_config(shop, table)
    first["hosts"].append("x")
    first["mail"]["to"].append("x")
    assert plugin_config(shop, table) == {"hosts": [], "mail": {"to": []}}


# What each type takes -----------------------------------------------------------------------------

TYPES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "string": (["", "x", "7"], {"x": "x", "": "", " 7 ": " 7 ", "true": "true"}),
    "integer": ([0, -3, 10**12], {"7": 7, " -7 ": -7, "1000000": 1000000}),
    "number": ([0, 1.5, -2], {"7": 7, "1.5": 1.5, "1e3": 1000.0}),
    "boolean": (
        [True, False],
        {"true": True, "Yes": True, "ON": True, "1": True}
        | {"false": False, "no": False, "off": False, "0": False},
    ),
    "array": ([[], [1, "a"]], {"[]": [], '["a", 1]': ["a", 1]}),
    "object": ([{}, {"a": {"b": 1}}], {"{}": {}, '{"a": {"b": 1}}': {"a": {"b": 1}}}),
}
"""For each type: values in a table, and texts in a variable with what they then are."""

REFUSED_TEXTS = {
    "integer": ["", "x", "1.5", "0x10", "true"],
    "number": ["", "x", "nan", "inf", "true"],
    "boolean": ["", "x", "2", "maybe"],
    "array": ["", "x", "a,b", "{}", "1", "[1"],
    "object": ["", "x", "[]", "1", "{'a': 1}"],
}


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("other", TYPES)
def test_a_table_gives_each_type_its_own_values_and_no_other(type_: str, other: str) -> None:
    for value in TYPES[other][0]:
        exact = type_ == other or (type_ == "number" and other == "integer")
        if exact or (type_ == "integer" and isinstance(value, int) and other == "number"):
            assert config({"opt": {"type": type_}}, {"opt": value}) == {"opt": value}
        else:
            fault = fault_of(lambda v=value: config({"opt": {"type": type_}}, {"opt": v}))  # type: ignore[misc]
            assert fault.where == "nexus.toml: plugins.my-shop.opt"
            assert json.dumps(value) in fault.what
            assert type_ in fault.fix or "true or false" in fault.fix


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [(type_, text, value) for type_ in TYPES for text, value in TYPES[type_][1].items()],
)
def test_a_variable_is_read_as_the_option_is(type_: str, text: str, value: Any) -> None:
    got = config({"opt": {"type": type_}}, {}, {f"{PREFIX}_OPT": text})["opt"]
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("type_", "text"), [(type_, text) for type_ in REFUSED_TEXTS for text in REFUSED_TEXTS[type_]]
)
def test_a_variable_that_cannot_be_read_is_named_itself(type_: str, text: str) -> None:
    fault = fault_of(lambda: config({"opt": {"type": type_}}, {}, {f"{PREFIX}_OPT": text}))
    assert fault.where == f"{PREFIX}_OPT"
    assert fault.fix.startswith("write ")
    if type_ in ("array", "object") and not text.startswith(("{}", "[]", "1")):
        assert f"an {type_} as JSON" in fault.fix


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        (
            {"type": "integer", "minimum": 1},
            0,
            "0 is out of range (write an integer of at least 1)",
        ),
        (
            {"type": "integer", "maximum": 9},
            10,
            "10 is out of range (write an integer of at most 9)",
        ),
        (
            {"type": "number", "minimum": 0, "maximum": 1},
            1.5,
            "1.5 is out of range (write a number from 0 to 1)",
        ),
        (
            {"type": "string", "enum": ["a", "b"]},
            "c",
            '"c" is not a choice (write one of "a", "b")',
        ),
        ({"type": "array", "items": {"type": "string"}}, [1], "opt[0]: an integer, 1"),
        (
            {"type": "array", "items": {"type": "integer", "maximum": 3}},
            [1, 9],
            "opt[1]: 9 is out of range",
        ),
        (
            {"type": "object", "properties": {"port": {"type": "integer"}}},
            {"port": "x"},
            'opt.port: a string, "x" (write an integer)',
        ),
        (
            {"type": "object", "properties": {"port": {"type": "integer"}}},
            {"prot": 1},
            "opt.prot: no such option; did you mean 'port'? (use one of port)",
        ),
        ({"type": "object", "properties": {}}, {"a": 1}, "(it has no options: take it away)"),
        (
            {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"host": {"type": "string", "required": True}},
                },
            },
            [{"host": "a"}, {}],
            "opt[1].host: is required",
        ),
    ],
)
def test_a_value_is_held_to_its_rules_wherever_it_stands(
    option: dict[str, Any], value: Any, words: str
) -> None:
    assert words in str(fault_of(lambda: config({"opt": option}, {"opt": value})))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 3}, 1),
        ({"type": "integer", "minimum": 1, "maximum": 3}, 3),
        ({"type": "string", "enum": ["a", "b"]}, "b"),
        ({"type": "array", "items": {"type": "string"}}, ["a"]),
        (
            {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "host": {"type": "string", "required": True},
                        "port": {"type": "integer"},
                    },
                },
            },
            [{"host": "a"}, {"host": "b", "port": 1}],
        ),
    ],
)
def test_a_value_that_keeps_to_its_rules_is_taken(option: dict[str, Any], value: Any) -> None:
    assert config({"opt": option}, {"opt": value}) == {"opt": value}


def test_an_object_without_properties_takes_anything() -> None:
    assert config({"mail": {"type": "object"}}, {"mail": {"x": [1]}}) == {"mail": {"x": [1]}}


# Unknown and missing ------------------------------------------------------------------------------


def test_an_unknown_option_is_named_with_the_nearest() -> None:
    options = {"batch_size": {"type": "integer"}, "limit": {"type": "integer"}}
    fault = fault_of(lambda: config(options, {"batchSize": 3}))
    assert fault.where == "nexus.toml: plugins.my-shop.batchSize"
    assert fault.what == "no such option; did you mean 'batch_size'?"
    assert fault.fix == "my-shop has batch_size, limit"
    assert "it has no options" in str(fault_of(lambda: config({}, {"x": 3})))


def test_a_required_option_is_missed_with_both_places_to_give_it() -> None:
    fault = fault_of(lambda: config({"key": {"type": "string", "required": True}}))
    assert fault.where == "nexus.toml: plugins.my-shop.key"
    assert fault.what == "is required"
    assert fault.fix == f"write a string there, or set {PREFIX}_KEY"


@pytest.mark.parametrize("by", ["table", "variable"])
def test_a_required_option_may_come_from_either(by: str) -> None:
    got = config(
        {"key": {"type": "string", "required": True}},
        {"key": "x"} if by == "table" else {},
        {f"{PREFIX}_KEY": "x"} if by == "variable" else {},
    )
    assert got == {"key": "x"}


def test_all_faults_come_at_once() -> None:
    faults = faults_of(
        lambda: config(
            {
                "a": {"type": "integer"},
                "b": {"type": "string", "required": True},
                "c": {"type": "boolean"},
            },
            {"a": "x", "zzz": 1},
            {f"{PREFIX}_C": "maybe"},
        )
    )
    assert [fault.where for fault in faults] == [
        "nexus.toml: plugins.my-shop.a",
        "nexus.toml: plugins.my-shop.zzz",
        f"{PREFIX}_C",
        "nexus.toml: plugins.my-shop.b",
    ]


# Options inside an object -------------------------------------------------------------------------

MAIL = {
    "mail": {
        "type": "object",
        "properties": {
            "host": {"type": "string", "required": True},
            "port": {"type": "integer", "default": 25},
            "password": {"type": "string", "secret": True},
        },
    }
}


@pytest.mark.parametrize(
    ("table", "environ", "expected"),
    [
        ({"mail": {"host": "a"}}, {}, {"host": "a", "port": 25}),
        ({"mail": {"host": "a", "port": 26}}, {}, {"host": "a", "port": 26}),
        (
            {"mail": {"host": "a"}},
            {"_MAIL_PASSWORD": "s"},
            {"host": "a", "port": 25, "password": "s"},
        ),
        ({"mail": {"port": 26}}, {"_MAIL_HOST": "b"}, {"host": "b", "port": 26}),
        ({}, {"_MAIL_HOST": "b"}, {"host": "b", "port": 25}),
        ({}, {"_MAIL": '{"host": "c"}'}, {"host": "c", "port": 25}),
        (
            {"mail": {"host": "a", "port": 26}},
            {"_MAIL": '{"host": "c"}'},
            {"host": "c", "port": 25},
        ),
        ({}, {"_MAIL": '{"host": "c"}', "_MAIL_PORT": "7"}, {"host": "c", "port": 7}),
        ({}, {}, {"port": 25}),
    ],
)
def test_the_options_of_an_object_have_defaults_and_variables_of_their_own(
    table: dict[str, Any], environ: dict[str, str], expected: dict[str, Any]
) -> None:
    given = {f"{PREFIX}{name}": text for name, text in environ.items()}
    assert config(MAIL, table, given) == {"mail": expected}


def test_what_an_object_requires_is_required_once_there_is_the_object() -> None:
    fault = fault_of(lambda: config(MAIL, {"mail": {"port": 1}}))
    assert fault.where == "nexus.toml: plugins.my-shop.mail.host"
    assert f"{PREFIX}_MAIL_HOST" in fault.fix
    fault = fault_of(lambda: config(MAIL, {}, {f"{PREFIX}_MAIL_PORT": "1"}))
    assert fault.where == "nexus.toml: plugins.my-shop.mail.host"


def test_an_object_whose_options_have_no_value_is_absent() -> None:
    bare = {"mail": {"type": "object", "properties": {"host": {"type": "string"}}}}
    assert config(bare).get("mail", {}) == {}
    assert config(bare) == {}


# Secrets ------------------------------------------------------------------------------------------

SECRETS = {
    "key": {"type": "string", "secret": True},
    "tokens": {"type": "array", "items": {"type": "string", "secret": True}},
    "mail": {
        "type": "object",
        "properties": {"password": {"type": "string", "secret": True}, "host": {"type": "string"}},
    },
    "all": {"type": "object", "secret": True},
}
SAID = {
    "key": "s3cret",
    "tokens": ["s3cret"],
    "mail": {"password": "s3cret", "host": "h"},
    "all": {"x": "s3cret"},
}


def test_the_plugin_gets_its_secrets_and_no_repr_shows_them() -> None:
    got = config(SECRETS, SAID)
    assert got == SAID
    assert "s3cret" not in repr(got)
    assert "s3cret" not in f"{got}"
    assert got.masked() == {
        "key": "***",
        "tokens": ["***"],
        "mail": {"password": "***", "host": "h"},
        "all": "***",
    }


def test_what_has_no_rules_is_shown_as_it_is() -> None:
    got = config(
        {"bag": {"type": "object"}, "all": {"type": "array"}}, {"bag": {"a": 1}, "all": [1]}
    )
    got["own"] = {"b": 2}
    assert repr(got) == "PluginConfig({'bag': {'a': 1}, 'all': [1], 'own': {'b': 2}})"


def test_a_config_can_be_made_by_hand() -> None:
    assert PluginConfig() == {}
    assert PluginConfig({"a": 1}) == {"a": 1}


def test_a_table_from_no_file_has_a_place_all_the_same() -> None:
    fault = fault_of(lambda: plugin_config(manifest(), {"x": 1}))
    assert fault.where == "[plugins.my-shop].x"
    settings = Settings(plugins={"gone": PluginTable({"x": 1})})
    assert strange_options([manifest()], settings)[0].where == "[plugins.gone]"


def test_a_secret_that_is_not_there_is_seen_not_to_be() -> None:
    got = config({"key": {"type": "string", "secret": True, "default": None}})
    assert got.masked() == {"key": None}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ({"type": "integer", "secret": True}, "s3cret"),
        ({"type": "integer", "secret": True, "maximum": 1}, 53),
        ({"type": "string", "secret": True, "enum": ["s3cret"]}, "s3cret2"),
        ({"type": "array", "secret": True, "items": {"type": "integer"}}, ["s3cret"]),
        (
            {"type": "object", "secret": True, "properties": {"a": {"type": "integer"}}},
            {"a": "s3cret"},
        ),
    ],
)
@pytest.mark.parametrize("by", ["table", "variable"])
def test_a_secret_that_does_not_fit_is_in_no_fault(
    option: dict[str, Any], value: Any, by: str
) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    with pytest.raises(Invalid) as caught:
        config(
            {"opt": option},
            {"opt": value} if by == "table" else {},
            {f"{PREFIX}_OPT": text} if by == "variable" else {},
        )
    assert "s3cret" not in str(caught.value)
    assert "53" not in str(caught.value)


def test_a_secret_in_json_that_cannot_be_read_is_in_no_fault() -> None:
    for name in ("mail", "all", "tokens"):
        with pytest.raises(Invalid) as caught:
            config(SECRETS, {}, {f"{PREFIX}_{name.upper()}": '{"password": s3cret}'})
        assert "s3cret" not in str(caught.value)


# All plugins together -----------------------------------------------------------------------------


def test_the_variable_of_an_option_is_the_two_names_in_capitals() -> None:
    assert variable_name("my-first-plugin", "max_entries") == (
        "NEXUS_PLUGINS_MY_FIRST_PLUGIN_MAX_ENTRIES"
    )
    assert variables_of(manifest(**MAIL)) == {
        f"{PREFIX}_MAIL": "mail",
        f"{PREFIX}_MAIL_HOST": "mail.host",
        f"{PREFIX}_MAIL_PORT": "mail.port",
        f"{PREFIX}_MAIL_PASSWORD": "mail.password",
    }


def strange(tmp_path: Path, toml: str, environ: dict[str, str], **kw: Any) -> list[str]:
    (tmp_path / "nexus.toml").write_text(toml)
    settings: Settings = load_settings({}, environ, tmp_path)
    shops = [
        manifest("shop", limit={"type": "integer"}, a_b={"type": "string"}),
        manifest("shop-a", b={"type": "string"}),
    ]
    return [str(fault).rpartition("/")[2] for fault in strange_options(shops, settings, **kw)]


def test_what_no_plugin_listens_to_is_named(tmp_path: Path) -> None:
    assert strange(tmp_path, "[plugins.shop]\nlimit = 3", {"NEXUS_PLUGINS_SHOP_LIMIT": "3"}) == []
    assert strange(tmp_path, "[plugins.shpo]\nlimit = 3", {}) == [
        "nexus.toml: plugins.shpo: there is no plugin \"shpo\"; did you mean 'shop'? "
        "(rename the table or take it away)"
    ]
    (fault,) = strange(tmp_path, "", {"NEXUS_PLUGINS_SHOP_LIMTI": "3"})
    assert fault == (
        "NEXUS_PLUGINS_SHOP_LIMTI: no plugin has such an option; did you mean "
        "'NEXUS_PLUGINS_SHOP_LIMIT'? (rename or unset it)"
    )


def test_the_switch_of_a_plugin_is_no_strange_variable(tmp_path: Path) -> None:
    assert strange(tmp_path, "", {"NEXUS_PLUGINS_SHOP_A_ENABLED": "no"}) == []
    assert len(strange(tmp_path, "", {"NEXUS_PLUGINS_NOPE_ENABLED": "no"})) == 1


def test_of_a_broken_plugin_nothing_is_said(tmp_path: Path) -> None:
    toml, environ = "[plugins.hurt]\nx = 1", {"NEXUS_PLUGINS_HURT_X": "1"}
    assert strange(tmp_path, toml, environ, broken=["hurt"]) == []
    assert len(strange(tmp_path, toml, environ)) == 2


def test_a_variable_that_could_be_two_options_is_named_when_it_is_used(tmp_path: Path) -> None:
    (fault,) = strange(tmp_path, "", {"NEXUS_PLUGINS_SHOP_A_B": "x"})
    assert "could be a_b of shop or b of shop-a" in fault
