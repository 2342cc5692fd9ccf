"""Names with values as HTTP has them: headers, and the fields of queries and forms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import overload

__all__ = ["Headers", "MultiDict", "Pairs"]

Pairs = Mapping[str, str] | Iterable[tuple[str, str]]
"""What headers and fields may be given as: a mapping, or pairs where a name comes twice."""

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")  # RFC 9110 5.6.2, token
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Headers(MutableMapping[str, str]):
    """The headers of a request or a response, in order, names without regard to case.

    ``headers["Accept"]`` is the first value of that name, :meth:`getlist` are all of them.
    Assigning replaces every value of the name, :meth:`add` keeps those that are there.

    Raises:
        ValueError: for a name that is no token, or a value with a line break or control character
            in it (it could smuggle a second header, or a second response, to the client).
        KeyError: from ``headers[name]`` where there is no such header.
    """

    __slots__ = ("_head", "_list")

    def __init__(self, items: Pairs = ()) -> None:
        # (name in lower case, name as given, value)
        self._list: list[tuple[str, str, str]] = []
        self._head: bytes | None = None
        """The head of a request whose headers are not in the list yet: most are never looked at."""
        for name, value in _pairs(items):
            self.add(name, value)

    @property
    def _items(self) -> list[tuple[str, str, str]]:
        if self._head is not None:
            head, self._head = self._head, None
            for line in head.decode("latin-1").split("\r\n")[1:-2]:
                name, _, value = line.partition(":")
                lower = name.lower()
                self._list.append((lower, lower, value.strip(" \t")))
        return self._list

    @_items.setter
    def _items(self, items: list[tuple[str, str, str]]) -> None:
        self._head = None
        self._list = items

    @classmethod
    def from_head(cls, head: bytes) -> Headers:
        """The headers of a request's head, which a parser has checked; read when looked at."""
        headers: Headers = cls.__new__(cls)
        headers._list = []
        headers._head = head
        return headers

    @classmethod
    def of_type(cls, media_type: str) -> Headers:
        """Headers with a Content-Type alone."""
        item = _types.get(media_type)
        if item is None:
            item = ("content-type", "Content-Type", _checked("Content-Type", media_type))
            if len(_types) < _TYPES_MAX:
                _types[media_type] = item
        headers: Headers = cls.__new__(cls)
        headers._list = [item]
        headers._head = None
        return headers

    def only(self, name: str) -> str | None:
        """The value of the header called ``name`` (in lower case), if there is no other at all."""
        items = self._items
        return items[0][2] if len(items) == 1 and items[0][0] == name else None

    @classmethod
    def from_wire(cls, raw: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Headers that a parser has already checked, as bytes."""
        headers = cls()
        for name, value in raw:
            text = name.decode("latin-1")
            headers._items.append((text.lower(), text, value.decode("latin-1")))
        return headers

    def to_wire(self) -> list[tuple[bytes, bytes]]:
        """The pairs as bytes, in order, for the parser that writes them."""
        return [
            (lower.encode("latin-1"), _encode_value(value)) for lower, _name, value in self._items
        ]

    def add(self, name: str, value: str) -> None:
        """Add one more header of that name, after those that are there."""
        value = _checked(name, value)
        self._items.append((name.lower(), name, value))

    def getlist(self, name: str) -> list[str]:
        """Every value of that name, in order; empty where there is none."""
        lower = name.lower()
        return [value for key, _name, value in self._items if key == lower]

    def multi_items(self) -> list[tuple[str, str]]:
        """Every name (as written) with its value, in order, repeated names repeated."""
        return [(name, value) for _lower, name, value in self._items]

    def copy(self) -> Headers:
        """Headers of their own with the same content."""
        other = Headers()
        other._items = list(self._items)
        return other

    def __getitem__(self, name: str) -> str:
        lower = name.lower()
        for key, _name, value in self._items:
            if key == lower:
                return value
        raise KeyError(name)

    def __setitem__(self, name: str, value: str) -> None:
        value = _checked(name, value)
        lower = name.lower()
        for index, (key, _name, _value) in enumerate(self._items):
            if key == lower:
                rest = [item for item in self._items[index + 1 :] if item[0] != lower]
                self._items[index:] = [(lower, name, value), *rest]
                return
        self._items.append((lower, name, value))

    def __delitem__(self, name: str) -> None:
        lower = name.lower()
        kept = [item for item in self._items if item[0] != lower]
        if len(kept) == len(self._items):
            raise KeyError(name)
        self._items = kept

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(key == name.lower() for key, _n, _v in self._items)

    def __iter__(self) -> Iterator[str]:
        seen = set()
        for lower, name, _value in self._items:
            if lower not in seen:
                seen.add(lower)
                yield name

    def __len__(self) -> int:
        return len({lower for lower, _name, _value in self._items})

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Headers):
            return [(k, v) for k, _n, v in self._items] == [(k, v) for k, _n, v in other._items]
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Headers({self.multi_items()!r})"


_types: dict[str, tuple[str, str, str]] = {}
"""Content-Types that were checked already."""
_TYPES_MAX = 256


class MultiDict(Mapping[str, str]):
    """Fields of a query or a form: ``fields["a"]`` is the first value, ``getlist("a")`` are all.

    Raises:
        KeyError: from ``fields[name]`` where there is no such field.
    """

    __slots__ = ("_values",)

    def __init__(self, items: Pairs = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in _pairs(items):
            self._values.setdefault(name, []).append(value)

    def getlist(self, name: str) -> list[str]:
        """Every value of that name, in order; empty where there is none."""
        return list(self._values.get(name, ()))

    def multi_items(self) -> list[tuple[str, str]]:
        """Every name with its value, repeated names repeated."""
        return [(name, value) for name, values in self._values.items() for value in values]

    def __getitem__(self, name: str) -> str:
        return self._values[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"MultiDict({self.multi_items()!r})"


@overload
def _pairs(items: Headers) -> Iterable[tuple[str, str]]: ...
@overload
def _pairs(items: Pairs) -> Iterable[tuple[str, str]]: ...
def _pairs(items: Pairs) -> Iterable[tuple[str, str]]:
    if isinstance(items, (Headers, MultiDict)):
        return items.multi_items()
    if isinstance(items, Mapping):
        return items.items()
    return items


def _checked(name: str, value: str) -> str:
    if not isinstance(name, str) or not _NAME.match(name):
        raise ValueError(f"{name!r} cannot be the name of a header: write letters, digits and -")
    text = value if isinstance(value, str) else str(value)
    if _FORBIDDEN.search(text):
        raise ValueError(
            f"the header {name} cannot hold {text!r}: take out line breaks and control characters"
        )
    return text.strip(" \t")


def _encode_value(value: str) -> bytes:
    # latin-1 is what the wire allows; anything else goes out as UTF-8, which clients read best
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8")
