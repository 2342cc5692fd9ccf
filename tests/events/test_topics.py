"""Patterns and the trie: what they match, by table and against a matcher that tries everything."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nexus_actors.events.topics import MAX_LENGTH, Topics, check_pattern, check_type


def matches(pattern: list[str], words: list[str]) -> bool:
    """The definition of a match, one word at a time."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return matches(pattern[1:], words) or (bool(words) and matches(pattern, words[1:]))
    return bool(words) and pattern[0] in ("*", words[0]) and matches(pattern[1:], words[1:])


@pytest.mark.parametrize(
    ("pattern", "wanted", "unwanted"),
    [
        ("user.created", ["user.created"], ["user", "user.deleted", "user.created.x", "x"]),
        ("user.*", ["user.created", "user.x"], ["user", "user.name.changed", "order.created"]),
        ("user.#", ["user", "user.created", "user.name.changed"], ["users", "order.user"]),
        ("*", ["user"], ["user.created"]),
        ("#", ["user", "user.created", "a.b.c.d"], []),
        ("*.created", ["user.created"], ["created", "a.user.created"]),
        ("#.created", ["created", "user.created", "a.b.created"], ["created.x"]),
        ("a.#.z", ["a.z", "a.b.z", "a.b.c.z", "a.z.z"], ["a", "z", "a.z.b"]),
        ("a.#.*", ["a.b", "a.b.c"], ["a"]),
        ("#.#", ["a", "a.b"], []),
        ("#.*.#", ["a", "a.b.c"], []),
        ("User.created", ["User.created"], ["user.created"]),
    ],
)
def test_a_pattern_matches_these_types_and_no_others(pattern, wanted, unwanted):
    topics: Topics[str] = Topics()
    topics.add(pattern, "who")
    assert [t for t in wanted + unwanted if topics.match(t)] == wanted
    assert [t for t in wanted + unwanted if matches(pattern.split("."), t.split("."))] == wanted


words = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(".".join)
patterns = st.lists(st.sampled_from(["a", "b", "*", "#"]), min_size=1, max_size=4).map(".".join)


class TrieAgainstBruteForce(RuleBasedStateMachine):
    """However subscriptions come and go, the trie and its cache answer as the definition does."""

    def __init__(self) -> None:
        super().__init__()
        self.topics: Topics[int] = Topics()
        self.model: list[tuple[str, int]] = []

    @rule(pattern=patterns, who=st.integers(0, 3))
    def add(self, pattern: str, who: int) -> None:
        self.topics.add(pattern, who)
        if (pattern, who) not in self.model:
            self.model.append((pattern, who))

    @rule(pattern=patterns, who=st.integers(0, 3))
    def remove_perhaps_what_is_not_there(self, pattern: str, who: int) -> None:
        was_there = (pattern, who) in self.model
        assert self.topics.remove(pattern, who) is was_there
        if was_there:
            self.model.remove((pattern, who))

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.model:
            pair = data.draw(st.sampled_from(self.model))
            assert self.topics.remove(*pair)
            self.model.remove(pair)

    @rule(type=words)
    def match(self, type: str) -> None:
        found = [w for p, w in self.model if matches(p.split("."), type.split("."))]
        assert self.topics.match(type) == tuple(dict.fromkeys(found))

    @invariant()
    def lists_what_there_is(self) -> None:
        assert list(self.topics) == self.model


test_the_trie_answers_as_trying_every_pattern_would = TrieAgainstBruteForce.TestCase


@given(st.lists(patterns, max_size=8), words)
def test_each_subscriber_is_matched_once_in_the_order_of_adding(several, type):
    topics: Topics[int] = Topics()
    for who in (2, 1, 0):
        for pattern in several:
            topics.add(pattern, who)
    hit = any(matches(p.split("."), type.split(".")) for p in several)
    assert topics.match(type) == ((2, 1, 0) if hit else ())


def test_what_was_matched_before_is_matched_anew_after_each_change():
    topics: Topics[str] = Topics()
    assert topics.match("a.b") == ()
    topics.add("a.*", "one")
    assert topics.match("a.b") == ("one",)
    topics.add("#", "two")
    assert topics.match("a.b") == ("one", "two")
    topics.remove("a.*", "one")
    assert topics.match("a.b") == ("two",)


def test_the_order_is_that_of_a_subscribers_first_matching_pattern():
    topics: Topics[str] = Topics()
    for pattern, who in (("a", "one"), ("a", "two"), ("#", "one"), ("*", "three"), ("*", "two")):
        topics.add(pattern, who)
    assert topics.match("a") == ("one", "two", "three")
    assert topics.match("b") == ("one", "three", "two")


def test_an_emptied_trie_holds_no_words():
    topics: Topics[str] = Topics()
    for pattern in ("a.b.c", "a.b", "a.*.#", "#"):
        topics.add(pattern, "who")
    for pattern in ("a.b", "a.*.#", "a.b.c", "#"):
        assert topics.remove(pattern, "who")
    assert topics._root.children == {}


def test_a_match_does_not_blow_up_with_the_number_of_hashes():
    topics: Topics[str] = Topics()
    topics.add(".".join(["#", "a"] * 60 + ["z"]), "who")
    began = time.perf_counter()
    assert topics.match(".".join(["a"] * 127)) == ()
    assert time.perf_counter() - began < 1  # trying all ways would take longer than the universe


def test_the_cache_does_not_grow_with_the_number_of_types():
    topics: Topics[str] = Topics()
    topics.add("user.*", "who")
    for number in range(5000):
        assert topics.match(f"user.{number}") == ("who",)
    assert len(topics._cache) <= topics._CACHED


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, 'is a str like "user.created", not None'),
        (7, "not int 7"),
        (b"user", "not bytes b'user'"),
        ("", "is empty"),
        (".", "word 1"),
        ("a..b", 'word 2 of "a..b" is empty'),
        (".a", "word 1"),
        ("a.", "word 2"),
        ("a b", "letters, digits, _ and -, and no ' '"),
        ("a\n", "no '\\n'"),
        ("user:created", "no ':'"),
        ("gr\u00f6sse", "no 'ö'"),
        ("a.\x00", "no '\\x00'"),
        ("a" * (MAX_LENGTH + 1), f"at most {MAX_LENGTH} characters, not {MAX_LENGTH + 1}"),
    ],
)
def test_what_is_neither_a_type_nor_a_pattern_is_named(text, words):
    assert words in check_type(text)
    assert words in check_pattern(text)
    if isinstance(text, str):
        with pytest.raises(ValueError, match="a pattern"):
            Topics[str]().add(text, "who")


@pytest.mark.parametrize("text", ["*", "user.*", "#", "user.#.x"])
def test_a_wildcard_is_for_patterns_only(text):
    assert check_pattern(text) == ""
    assert "only @event_handler takes patterns" in check_type(text)


@pytest.mark.parametrize(
    ("text", "fix"),
    [("user*", 'write ".*", not "user*"'), ("user.c#", 'write ".#", not "c#"'), ("**", 'not "**"')],
)
def test_a_wildcard_stands_for_whole_words(text, fix):
    assert fix in check_pattern(text)
    assert "letters, digits" in check_type(text)


@pytest.mark.parametrize("text", ["a", "user.created", "user.name.Changed-2", "a_b.1"])
def test_letters_digits_underscores_and_hyphens_make_words(text):
    assert check_type(text) == ""
    assert check_pattern(text) == ""
