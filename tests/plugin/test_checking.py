"""Faults that show only with all plugins together, and the order of starting."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_actors.plugin.checking import missing_permissions, requires_faults
from nexus_actors.plugin.manifest import parse_manifest
from nexus_actors.plugin.waves import circle, waves

Requires = dict[str, list[str]]


@pytest.mark.parametrize(
    ("requires", "expected"),
    [
        ({}, []),
        ({"a": []}, [["a"]]),
        ({"b": [], "a": []}, [["a", "b"]]),
        ({"a": ["b"], "b": []}, [["b"], ["a"]]),
        ({"a": ["b", "c"], "b": ["c"], "c": [], "d": []}, [["c", "d"], ["b"], ["a"]]),
        ({"a": ["gone"], "b": []}, [["b"]]),
        ({"a": ["b"], "b": ["a"], "c": []}, [["c"]]),
        ({"a": ["a"]}, []),
        ({"a": ["b"], "b": ["gone"]}, []),
    ],
)
def test_plugins_start_in_waves(requires: Requires, expected: list[list[str]]) -> None:
    assert waves(requires) == expected


NAMES = "abcde"
GRAPHS = st.fixed_dictionaries(
    {name: st.lists(st.sampled_from(NAMES), max_size=3, unique=True) for name in NAMES}
)


@given(GRAPHS)
def test_whatever_one_requires_is_in_a_wave_before_it(requires: Requires) -> None:
    place = {name: index for index, wave in enumerate(waves(requires)) for name in wave}
    assert sum(map(len, waves(requires))) == len(place)
    for name in NAMES:
        if name in place:
            assert all(place[need] < place[name] for need in requires[name])
        else:
            assert any(need not in place for need in requires[name])


@given(GRAPHS)
def test_the_faults_are_of_those_that_are_in_no_wave(requires: Requires) -> None:
    """No plugin is left out without a reason, and none is refused that could start."""
    placed = {name for wave in waves(requires) for name in wave}
    assert set(requires_faults(requires)) == set(NAMES) - placed


@given(GRAPHS)
def test_a_circle_is_a_way_from_a_plugin_to_itself(requires: Requires) -> None:
    for name in NAMES:
        way = circle(name, requires)
        if way:
            assert way[0] == way[-1] == name
            assert all(following in requires[one] for one, following in pairwise(way))


def words(requires: Requires, **kw: object) -> dict[str, list[str]]:
    found = requires_faults(requires, **kw)  # type: ignore[arg-type]
    return {name: [f"{f.where}: {f.what}" for f in faults] for name, faults in found.items()}


def test_a_plugin_that_is_not_there_is_named_with_the_nearest() -> None:
    assert words({"shop": ["biling"], "billing": []}) == {
        "shop": ["shop: requires[0]: there is no plugin \"biling\"; did you mean 'billing'?"]
    }


def test_a_circle_is_printed_from_each_of_its_members() -> None:
    assert words({"a": ["b"], "b": ["c"], "c": ["a"], "d": []}) == {
        "a": ["a: requires[0]: goes in a circle: a > b > c > a"],
        "b": ["b: requires[0]: goes in a circle: b > c > a > b"],
        "c": ["c: requires[0]: goes in a circle: c > a > b > c"],
    }


def test_who_requires_one_that_cannot_start_cannot_either() -> None:
    assert words({"a": ["b"], "b": ["c"], "c": ["gone"], "d": ["e"], "e": ["e"]}) == {
        "c": ['c: requires[0]: there is no plugin "gone"'],
        "b": ["b: requires[0]: c cannot start"],
        "a": ["a: requires[0]: b cannot start"],
        "e": ["e: requires[0]: goes in a circle: e > e"],
        "d": ["d: requires[0]: e cannot start"],
    }


def test_one_that_was_found_and_is_not_good_is_broken() -> None:
    assert words({"a": ["b"]}, known=["a", "b"]) == {"a": ["a: requires[0]: b cannot start"]}
    assert words({"a": ["b"], "b": []}, known=["a", "b"], broken=["b"]) == {
        "a": ["a: requires[0]: b cannot start"]
    }


def test_one_that_is_switched_off_is_said_to_be() -> None:
    for given_ in ({"a": ["b"], "b": []}, {"a": ["b"]}):
        assert words(given_, known=["a", "b"], disabled=["b"]) == {
            "a": ["a: requires[0]: b is switched off"]
        }


def test_one_that_is_switched_off_has_no_faults_of_its_own() -> None:
    assert words({"a": ["gone"]}, disabled=["a"]) == {}


def test_the_place_is_the_manifest() -> None:
    assert words({"a": ["b", "gone"], "b": []}, where={"a": "plugins/a/plugin.json"}) == {
        "a": ['plugins/a/plugin.json: requires[1]: there is no plugin "gone"']
    }


# Permissions by the marks of the class ------------------------------------------------------------


@pytest.mark.parametrize(
    ("granted", "needed", "line"),
    [
        ([], ("events:subscribe", "order.*", "on_order"), "events:subscribe"),
        (
            ["events:subscribe:user.*"],
            ("events:subscribe", "order.*", "on_order"),
            "events:subscribe:order.*",
        ),
        (
            ["events:subscribe:order.*"],
            ("events:subscribe", "order.#", "on_order"),
            "events:subscribe:order.#",
        ),
        (["events:subscribe:order.#"], ("events:subscribe", "order.*", "on_order"), None),
        (["events:subscribe"], ("events:subscribe", "order.*", "on_order"), None),
        ([], ("http:middleware", None, "Wrap"), "http:middleware"),
        (["database:write"], ("database:read", None, "x"), None),
    ],
)
def test_a_permission_that_is_used_and_not_asked_for_is_named_with_its_line(
    granted: list[str], needed: tuple[str, str | None, str], line: str | None
) -> None:
    manifest = parse_manifest(
        json.dumps({"name": "a", "version": "1", "entry_point": "plugin:A", "permissions": granted})
    )
    faults = missing_permissions(manifest, [needed], "plugins/a/plugin.json")
    assert [fault.fix for fault in faults] == ([] if line is None else [f'add "{line}"'])
    for fault in faults:
        assert fault.where == "plugins/a/plugin.json: permissions"
        assert fault.what.startswith(f"{needed[2]} needs {needed[0]}")
