"""Which subscribers want an event: words, patterns, and a trie that finds them.

An event's type is words of letters, digits, ``_`` and ``-``, joined by dots: ``user.created``.
A pattern is the same, and may have

* ``*`` for exactly one word: ``user.*`` wants ``user.created``, but neither ``user`` nor
  ``user.name.changed``;
* ``#`` for any number of words, also none: ``user.#`` wants all three, ``#`` wants everything.

The words are those of AMQP's topic exchange.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator
from typing import Generic, TypeVar

__all__ = ["MAX_LENGTH", "Topics", "check_pattern", "check_type"]

S = TypeVar("S", bound=Hashable)

MAX_LENGTH = 255
"""Characters in a type or pattern, at most; AMQP's limit."""

_WORD = re.compile(r"[A-Za-z0-9_-]+")  # the words a permission may be narrowed to


def check_type(type: object) -> str:
    """What is wrong with an event's type, in words that name the fix; empty where nothing is."""
    return _check(type, "an event's type", wildcards=False)


def check_pattern(pattern: object) -> str:
    """What is wrong with a subscription's pattern, in words; empty where nothing is."""
    return _check(pattern, "a pattern", wildcards=True)


def _check(text: object, name: str, *, wildcards: bool) -> str:
    if not isinstance(text, str):
        return f'{name} is a str like "user.created", not {_kind(text)}'
    if not text:
        return f'{name} is empty: give it words like "user.created"'
    if len(text) > MAX_LENGTH:
        return f"{name} has at most {MAX_LENGTH} characters, not {len(text)}"
    for place, word in enumerate(text.split("."), 1):
        if not word:
            return f'{name} has a word between any two dots: word {place} of "{text}" is empty'
        if word in ("*", "#"):
            if not wildcards:
                return (
                    f'{name} is exact, and "{text}" has the wildcard "{word}": '
                    "only @event_handler takes patterns"
                )
        elif not _WORD.fullmatch(word):
            bad = next(char for char in word if not _WORD.fullmatch(char))
            if bad in "*#" and wildcards:
                return f'a wildcard is a word by itself: write ".{bad}", not "{word}", in "{text}"'
            return f"{name} has words of letters, digits, _ and -, and no {bad!r}: {text!r}"
    return ""


def _kind(value: object) -> str:
    return "None" if value is None else f"{type(value).__name__} {value!r}"[:80]


class _Node(Generic[S]):
    """One word of the patterns, below the words before it."""

    __slots__ = ("children", "is_hash", "subscribers")

    def __init__(self, is_hash: bool = False) -> None:
        self.children: dict[str, _Node[S]] = {}
        self.is_hash = is_hash
        self.subscribers: dict[S, int] = {}
        """Who wants what ends here, each with its place in the order of adding."""


class Topics(Generic[S]):
    """Subscribers by pattern. Holds no lock: it belongs to one thread.

    ::

        topics = Topics()
        topics.add("user.*", "mailer")
        topics.match("user.created")    # ("mailer",)

    A subscriber may be added under several patterns; it is matched once.
    """

    _CACHED = 1024  # types remembered; they may hold ids, so their number has no bound of its own

    def __init__(self) -> None:
        self._root: _Node[S] = _Node()
        self._added = 0
        self._cache: dict[str, tuple[S, ...]] = {}
        """Answers by type; emptied at each change, so it is never stale."""

    def add(self, pattern: str, subscriber: S) -> None:
        """Let ``subscriber`` be matched by ``pattern``. Adding the same again changes nothing.

        Raises:
            ValueError: for a bad pattern, naming it and the fix.
        """
        if wrong := check_pattern(pattern):
            raise ValueError(wrong)
        node = self._root
        for word in pattern.split("."):
            child = node.children.get(word)
            if child is None:
                child = node.children[word] = _Node(is_hash=word == "#")
            node = child
        if subscriber not in node.subscribers:
            self._added += 1
            node.subscribers[subscriber] = self._added
            self._cache.clear()

    def remove(self, pattern: str, subscriber: S) -> bool:
        """Take the subscription back; False where there was none."""
        path: list[tuple[_Node[S], str]] = []
        node = self._root
        for word in pattern.split("."):
            path.append((node, word))
            child = node.children.get(word)
            if child is None:
                return False
            node = child
        if node.subscribers.pop(subscriber, None) is None:
            return False
        self._cache.clear()
        for parent, word in reversed(path):  # words nobody wants any more go with it
            child = parent.children[word]
            if child.subscribers or child.children:
                break
            del parent.children[word]
        return True

    def match(self, type: str) -> tuple[S, ...]:
        """Who wants an event of this type, each once, in the order of adding."""
        found = self._cache.get(type)
        if found is None:
            found = self._match(type)
            if len(self._cache) >= self._CACHED:
                self._cache.clear()
            self._cache[type] = found
        return found

    def _match(self, type: str) -> tuple[S, ...]:
        # All nodes that the words so far can have reached: their number is bounded by the trie's,
        # so that patterns full of "#" cost no more than others.
        here = _with_hashes([self._root])
        for word in type.split("."):
            after: dict[int, _Node[S]] = {}
            for node in here:
                if node.is_hash:
                    after[id(node)] = node
                for next_word in (word, "*"):
                    if (child := node.children.get(next_word)) is not None:
                        after[id(child)] = child
            here = _with_hashes(after.values())
        order: dict[S, int] = {}
        for node in here:
            for subscriber, place in node.subscribers.items():
                order[subscriber] = min(place, order.get(subscriber, place))
        return tuple(sorted(order, key=order.__getitem__))

    def __iter__(self) -> Iterator[tuple[str, S]]:
        """Every (pattern, subscriber), in the order of adding."""
        found: list[tuple[int, str, S]] = []
        todo: list[tuple[str, _Node[S]]] = [("", self._root)]
        while todo:
            pattern, node = todo.pop()
            found += [(place, pattern, who) for who, place in node.subscribers.items()]
            todo += [
                (f"{pattern}.{word}" if pattern else word, child)
                for word, child in node.children.items()
            ]
        return iter([(pattern, who) for _, pattern, who in sorted(found, key=lambda row: row[0])])


def _with_hashes(nodes: Iterable[_Node[S]]) -> list[_Node[S]]:
    """The nodes and every "#" right below them, which may stand for no word at all."""
    reached = {id(node): node for node in nodes}
    todo = list(reached.values())
    while todo:
        child = todo.pop().children.get("#")
        if child is not None and id(child) not in reached:
            reached[id(child)] = child
            todo.append(child)
    return list(reached.values())
