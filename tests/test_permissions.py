"""Permissions: how they are written, what a narrowed one covers, and what a refusal says."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_actors.errors import Invalid, PermissionDenied
from nexus_actors.permissions import (
    GRANTS,
    IMPLIED,
    Permission,
    Permissions,
    covers,
    matches,
    parse_permission,
)


@pytest.mark.parametrize("name", GRANTS)
def test_every_permission_is_read_and_written_alike(name: str) -> None:
    assert parse_permission(name) == Permission(name)
    assert str(parse_permission(name)) == name


@pytest.mark.parametrize(
    ("text", "name", "subject"),
    [
        ("events:emit:order.*", "events:emit", "order.*"),
        ("events:emit:order.paid", "events:emit", "order.paid"),
        ("events:subscribe:#", "events:subscribe", "#"),
        ("events:subscribe:a.#.z", "events:subscribe", "a.#.z"),
        ("plugins:call:billing", "plugins:call", "billing"),
        ("plugins:call:my-first-plugin", "plugins:call", "my-first-plugin"),
    ],
)
def test_a_permission_may_be_narrowed(text: str, name: str, subject: str) -> None:
    assert parse_permission(text) == Permission(name, subject)
    assert str(parse_permission(text)) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("database:rad", "there is no permission \"database:rad\"; did you mean 'database:read'"),
        ("events:emits", "did you mean 'events:emit'?"),
        ("event:emit:order.*", "did you mean 'events:emit'?"),
        ("database", "there is no permission"),
        ("", 'there is no permission ""'),
        ("*", "there is no permission"),
        ("database:read:users", "database:read cannot be narrowed"),
        ("http:middleware:x", "http:middleware cannot be narrowed"),
        ("node:observe:x", "node:observe cannot be narrowed"),
        ("events:emit:", "it has an empty word"),
        ("events:emit:order..paid", "it has an empty word"),
        ("events:emit:ord*", '"ord*" is not a word'),
        ("events:emit:order paid", '"order paid" is not a word'),
        ("events:emit:a:b", '"a:b" is not a word'),
        ("events:emit:" + ".".join("a" * 13), "it has 13 words, more than 12"),
        ("plugins:call:", '"" is not the name of a plugin'),
        ("plugins:call:Billing", '"Billing" is not the name of a plugin'),
        ("plugins:call:*", '"*" is not the name of a plugin'),
    ],
)
def test_a_permission_that_is_none_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_permission(text, "plugin.json: permissions[0]")
    (fault,) = caught.value.faults
    assert words in fault.what
    assert fault.where == "plugin.json: permissions[0]"
    assert fault.fix


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("order.paid", "order.paid", True),
        ("order.paid", "order.open", False),
        ("order.paid", "order", False),
        ("order.*", "order.paid", True),
        ("order.*", "order", False),
        ("order.*", "order.paid.late", False),
        ("order.#", "order", True),
        ("order.#", "order.paid", True),
        ("order.#", "order.paid.late", True),
        ("order.#", "orders.paid", False),
        ("#", "a", True),
        ("#", "a.b.c", True),
        ("*", "a", True),
        ("*", "a.b", False),
        ("#.late", "late", True),
        ("#.late", "order.paid.late", True),
        ("#.late", "order.late.paid", False),
        ("a.#.z", "a.z", True),
        ("a.#.z", "a.b.c.z", True),
        ("a.#.z", "a.z.b", False),
        ("*.#", "a", True),
        ("#.*.#", "a", True),
        ("order.*", "ORDER.paid", False),
    ],
)
def test_a_pattern_matches_by_words(pattern: str, topic: str, expected: bool) -> None:
    assert matches(pattern, topic) is expected


@pytest.mark.parametrize(
    ("general", "special", "expected"),
    [
        ("order.*", "order.paid", True),
        ("order.*", "order.*", True),
        ("order.*", "order.#", False),
        ("order.#", "order.*", True),
        ("order.#", "order.#", True),
        ("order.#", "order.*.late", True),
        ("order.#", "#", False),
        ("#", "#", True),
        ("#", "*.*", True),
        ("*", "#", False),
        ("*.#", "#", True),  # no topic has no word
        ("#.*", "#", True),
        ("*.*.#", "#", False),
        ("#.*.#", "*", True),
        ("*", "order", True),
        ("order", "*", False),
        ("order.paid", "order.*", False),
        ("#.late", "order.#.late", True),
        ("#.late", "order.#", False),
        ("a.#.z", "a.*.z", True),
        ("a.#.z", "a.#.b.#.z", True),
        ("a.#.b.#.z", "a.#.z", False),
        ("#.a.#", "*.a", True),
        ("#.a.#", "*.*", False),
    ],
)
def test_a_grant_covers_a_subscription_whole_or_not(
    general: str, special: str, expected: bool
) -> None:
    assert covers(general, special) is expected


WORDS = st.lists(st.sampled_from(["a", "b", "*", "#"]), min_size=1, max_size=4).map(".".join)
TOPICS = [
    ".".join(words)
    for length in range(1, 7)
    for words in itertools.product(("a", "b", "z"), repeat=length)
]


@settings(max_examples=150, deadline=None)
@given(WORDS, WORDS)
def test_covering_is_what_trying_every_topic_says(general: str, special: str) -> None:
    by_hand = all(matches(general, topic) for topic in TOPICS if matches(special, topic))
    assert covers(general, special) is by_hand


@settings(max_examples=150, deadline=None)
@given(WORDS, WORDS, WORDS)
def test_covering_goes_on_from_one_to_the_next(first: str, second: str, third: str) -> None:
    assert covers(first, first)
    if covers(first, second) and covers(second, third):
        assert covers(first, third)


def test_the_worst_pattern_of_a_manifest_is_decided_in_time() -> None:
    """Without a bound on words this is the pattern that doubles the states with every word."""
    worst = ".".join(["#", "a", *"*" * 10])
    parse_permission(f"events:subscribe:{worst}")
    begun = time.perf_counter()
    assert covers(worst, worst)
    assert time.perf_counter() - begun < 5  # seconds; 0.1 when the machine is idle


@pytest.mark.parametrize(
    ("granted", "name", "subject", "expected"),
    [
        ([], "events:emit", "order.paid", False),
        (["events:emit"], "events:emit", "order.paid", True),
        (["events:emit"], "events:emit", None, True),
        (["events:emit"], "events:subscribe", "order.paid", False),
        (["events:emit:order.*"], "events:emit", "order.paid", True),
        (["events:emit:order.*"], "events:emit", "user.created", False),
        (["events:emit:order.*"], "events:emit", None, False),
        (["events:emit:order.*"], "events:subscribe", "order.paid", False),
        (["events:subscribe:order.*"], "events:subscribe", "order.#", False),
        (["events:subscribe:order.#"], "events:subscribe", "order.*", True),
        (["events:emit:a.*", "events:emit:b.*"], "events:emit", "b.x", True),
        (["plugins:call"], "plugins:call", "billing", True),
        (["plugins:call:billing"], "plugins:call", "billing", True),
        (["plugins:call:billing"], "plugins:call", "shop", False),
        (["database:read"], "database:write", None, False),
        (["database:read"], "database:read", None, True),
        (["database:write"], "database:read", None, True),
        (["node:control"], "node:observe", None, True),
        (["node:observe"], "node:control", None, False),
        (["http:middleware"], "http:middleware", None, True),
        (["http:middleware"], "no:such", None, False),
    ],
)
def test_what_is_allowed_is_what_was_asked_for(
    granted: list[str], name: str, subject: str | None, expected: bool
) -> None:
    assert Permissions.of(*granted).allows(name, subject) is expected


def test_writing_implies_reading_and_nothing_else_is_implied() -> None:
    for name in GRANTS:
        allowed = {other for other in GRANTS if Permissions.of(name).allows(other)}
        assert allowed == {name, IMPLIED.get(name, name)}


@pytest.mark.parametrize(
    ("granted", "line"),
    [
        ([], "events:emit"),
        (["events:emit:order.*"], "events:emit:user.created"),
    ],
)
def test_a_refusal_names_the_line_to_add(granted: list[str], line: str) -> None:
    with pytest.raises(PermissionDenied) as caught:
        Permissions.of(*granted).check(
            "shop", "events:emit", "user.created", action="emit 'user.created'"
        )
    assert str(caught.value) == (
        f'shop may not emit \'user.created\': add "{line}" to "permissions" in its plugin.json'
    )
    assert caught.value.permission == line


def test_the_line_for_all_of_it_is_the_bare_name() -> None:
    assert Permissions.of("events:emit:order.*").wanted("events:emit") == "events:emit"


def test_what_is_granted_passes_the_check_in_silence() -> None:
    Permissions.of("events:emit").check("shop", "events:emit", "a.b", action="emit 'a.b'")


def test_a_narrowed_grant_counts_as_having_it_at_all() -> None:
    permissions = Permissions.of("events:emit:order.*")
    assert permissions.has("events:emit")
    assert not permissions.has("events:subscribe")
    assert Permissions.of("database:write").has("database:read")


def test_permissions_can_be_listed_and_counted() -> None:
    permissions = Permissions.of("database:read", "events:emit:order.*")
    assert [str(one) for one in permissions] == ["database:read", "events:emit:order.*"]
    assert len(permissions) == 2
    assert str(permissions) == "database:read, events:emit:order.*"
    assert str(Permissions()) == "none"
    assert permissions == Permissions.of("database:read", "events:emit:order.*")
