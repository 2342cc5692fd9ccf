"""What a plugin may do: the manifest's ``permissions``, parsed, and asked before each act.

A permission is ``"events:emit"`` or, narrowed, ``"events:emit:order.*"``. Patterns are words
joined by dots: ``*`` stands for one word, ``#`` for any number of words, none among them.
A subscription is itself a pattern, and needs a grant that covers all that it could match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

import attrs

from nexus_actors.errors import Fault, Invalid, PermissionDenied
from nexus_actors.words import nearest, shown

__all__ = [
    "GRANTS",
    "Permission",
    "Permissions",
    "covers",
    "matches",
    "parse_permission",
    "pattern_fault",
]

Narrowing = Literal["", "topics", "plugin"]

GRANTS: dict[str, Narrowing] = {
    "database:read": "",
    "database:write": "",
    "events:emit": "topics",
    "events:subscribe": "topics",
    "plugins:call": "plugin",
    "http:middleware": "",
    "node:observe": "",
    "node:control": "",
}
"""Every permission there is, and what it may be narrowed to."""

IMPLIED = {"database:write": "database:read", "node:control": "node:observe"}
"""Who may change a thing may also look at it."""

MOST_WORDS = 12
"""Longest pattern of a grant, in words: deciding what it covers costs up to 2 ** that."""

_WORD = re.compile(r"[A-Za-z0-9_-]+")
_PLUGIN = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@attrs.frozen
class Permission:
    """One line of a manifest's ``permissions``; made by :func:`parse_permission`."""

    name: str
    """One of :data:`GRANTS`."""
    subject: str | None = None
    """The pattern of topics, or the plugin, it is narrowed to; None is all of them."""

    def __str__(self) -> str:
        return self.name if self.subject is None else f"{self.name}:{self.subject}"


def parse_permission(text: str, where: str = "") -> Permission:
    """The permission ``text`` stands for.

    Raises:
        Invalid: there is no such permission, or it is narrowed to what it cannot be.
    """

    def refuse(what: str, fix: str) -> Invalid:
        return Invalid([Fault(where, what, fix)])

    name, subject = _split(text)
    if name not in GRANTS:
        hint = nearest(name, GRANTS)
        raise refuse(
            f"there is no permission {shown(text)}{hint}", f"use one of {', '.join(GRANTS)}"
        )
    if subject is None:
        return Permission(name)
    match GRANTS[name]:
        case "":
            raise refuse(f"{name} cannot be narrowed, as in {shown(text)}", f'write "{name}"')
        case "plugin" if not _PLUGIN.fullmatch(subject):
            raise refuse(
                f"{shown(subject)} is not the name of a plugin",
                f'write "{name}" for all plugins or "{name}:<plugin>" for one',
            )
        case "topics":
            wrong = pattern_fault(subject)
            if wrong:
                raise refuse(
                    f"{shown(subject)} is not a pattern of topics: {wrong}",
                    f'write "{name}:order.*" (one word) or "{name}:order.#" (any number)',
                )
    return Permission(name, subject)


def _split(text: str) -> tuple[str, str | None]:
    """``"events:emit:order.*"`` as name and subject."""
    head, colon, tail = text.partition(":")
    what, second, subject = tail.partition(":")
    return head + colon + what, subject if second else None


def pattern_fault(pattern: str) -> str:
    """What is wrong with a pattern of topics, in words; nothing where it is one."""
    words = pattern.split(".")
    if len(words) > MOST_WORDS:
        return f"it has {len(words)} words, more than {MOST_WORDS}"
    for word in words:
        if not word:
            return "it has an empty word"
        if word not in ("*", "#") and not _WORD.fullmatch(word):
            return (
                f"{shown(word)} is not a word: letters, digits, _ and -, or else * or # by itself"
            )
    return ""


def matches(pattern: str, topic: str) -> bool:
    """Whether ``topic`` (``"order.paid"``) is one that ``pattern`` (``"order.*"``) stands for."""
    words = pattern.split(".")
    states = _closure(words, {0})
    for word in topic.split("."):
        states = _step(words, states, word)
    return len(words) in states


def covers(general: str, special: str) -> bool:
    """Whether every topic that ``special`` matches is matched by ``general`` as well.

    Both are patterns; a topic is a pattern without wildcards. Exact: all that ``special`` can
    produce is walked through the states ``general`` can be in, the subset construction of finite
    automata.
    """
    wide, narrow = general.split("."), special.split(".")
    # Words that neither pattern names are all alike, so one stands for all of them.
    alphabet = {*wide, *narrow} - {"*", "#"} | {""}
    # Where in `narrow`, where in `wide`, and whether there was a word yet: no topic has none.
    start = (0, frozenset(_closure(wide, {0})), False)
    seen, todo = {start}, [start]
    while todo:
        place, states, begun = todo.pop()
        if place == len(narrow):
            if begun and len(wide) not in states:
                return False
            continue
        word = narrow[place]
        onward = place if word == "#" else place + 1
        following = [
            (onward, frozenset(_step(wide, states, symbol)), True)
            for symbol in (alphabet if word in ("*", "#") else (word,))
        ]
        if word == "#":
            following.append((place + 1, states, begun))
        for item in following:
            if item not in seen:
                seen.add(item)
                todo.append(item)
    return True


def _closure(words: list[str], places: Iterable[int]) -> set[int]:
    """``places`` in a pattern, and those behind each ``#`` that may stand for no word."""
    reached = set(places)
    for place in range(len(words)):
        if place in reached and words[place] == "#":
            reached.add(place + 1)
    return reached


def _step(words: list[str], places: Iterable[int], word: str) -> set[int]:
    """Where in the pattern one may be after ``word``."""
    after: set[int] = set()
    for place in places:
        if place < len(words):
            here = words[place]
            if here == "#":
                after.add(place)
            elif here in ("*", word):
                after.add(place + 1)
    return _closure(words, after)


@attrs.frozen
class Permissions:
    """All that one plugin may do; asked with :meth:`allows`, or :meth:`check` to raise the refusal.

    >>> Permissions.of("events:emit:order.*").allows("events:emit", "order.paid")
    True
    """

    granted: tuple[Permission, ...] = ()

    _whole: frozenset[str] = attrs.field(init=False, eq=False, repr=False)
    """The names that are granted without narrowing, with what they imply: the quick answer."""

    def __attrs_post_init__(self) -> None:
        names = {grant.name for grant in self.granted if grant.subject is None}
        implied = {IMPLIED[name] for name in names if name in IMPLIED}
        object.__setattr__(self, "_whole", frozenset(names | implied))

    @classmethod
    def of(cls, *texts: str) -> Permissions:
        """From the words of a manifest.

        Raises:
            Invalid: one of them is no permission.
        """
        return cls(
            tuple(parse_permission(text, f"permissions[{i}]") for i, text in enumerate(texts))
        )

    def __iter__(self) -> Iterator[Permission]:
        return iter(self.granted)

    def __len__(self) -> int:
        return len(self.granted)

    def __str__(self) -> str:
        return ", ".join(map(str, self.granted)) or "none"

    def has(self, name: str) -> bool:
        """Whether ``name`` is granted at all, be it narrowed."""
        return name in self._whole or any(grant.name == name for grant in self.granted)

    def allows(self, name: str, subject: str | None = None) -> bool:
        """Whether the plugin may do ``name`` to ``subject``.

        ``subject`` is the topic emitted, the pattern subscribed to or the plugin called; without
        one the question is whether ``name`` is granted in full. One grant must cover the whole of
        a subscription: two that only do so together do not.
        """
        if name in self._whole:
            return True
        if subject is None:
            return False
        for grant in self.granted:
            if grant.name != name or grant.subject is None:
                continue
            if covers(grant.subject, subject):  # the name of a plugin is a pattern of one word
                return True
        return False

    def check(self, plugin: str, name: str, subject: str | None = None, *, action: str) -> None:
        """Let ``plugin`` pass or refuse it; ``action`` completes "may not ...".

        Raises:
            PermissionDenied: it may not; the message names the line to add to the manifest.
        """
        if not self.allows(name, subject):
            raise PermissionDenied(plugin, self.wanted(name, subject), action)

    def wanted(self, name: str, subject: str | None = None) -> str:
        """The line to add for ``name`` on ``subject``, narrowed where the plugin's own is."""
        narrows = subject is not None and self.has(name)
        return f"{name}:{subject}" if narrows else name
