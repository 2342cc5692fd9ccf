"""What one setting may hold: its kind, its range, and how a text or TOML value becomes it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import attrs

from nexus_actors.words import mask_url, nearest, plain, read_boolean, read_number, shown, type_name

__all__ = ["BadValue", "Kind", "Rule", "convert", "setting", "split_bind"]

T = TypeVar("T")

Kind = Literal[
    "seconds", "bytes", "count", "boolean", "address", "url", "path", "paths", "names", "word"
]

_UNITS = {"": 1, "b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}


class BadValue(ValueError):
    """A value a setting cannot hold: what is wrong with it, and what to write instead."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what} ({fix})")
        self.what = what
        self.fix = fix


@attrs.frozen
class Rule:
    """All that is known of a setting besides its name and default; kept in the field's metadata."""

    kind: Kind
    meaning: str
    """One sentence for the person who runs the node."""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    """The words allowed, for kind ``word``."""
    variable: str = ""
    """The environment variable, where it is not ``NEXUS_<SECTION>_<KEY>``."""
    flag: str = ""
    """The option of ``nexus run`` that sets it, if there is one."""
    optional: bool = False
    """Whether it may be left without any value (None)."""

    @property
    def unit(self) -> str:
        """``"seconds"``, ``"bytes"`` or nothing."""
        return self.kind if self.kind in ("seconds", "bytes") else ""

    @property
    def expected(self) -> str:
        """What to write, in words: ``"a number of seconds from 0.1 to 3600"``."""
        words = {
            "seconds": "a number of seconds",
            "bytes": 'a number of bytes, or a text such as "16 MiB",',
            "count": "a whole number",
            "boolean": "true or false",
            "address": 'a host and a port, such as "127.0.0.1:8000"',
            "url": 'an address such as "postgresql://user:password@host:5432/name"',
            "path": "the path of a folder",
            "paths": "a list of folders",
            "names": "a list of names",
            "word": "one of " + ", ".join(self.choices),
        }[self.kind]
        if self.minimum is not None and self.maximum is not None:
            words += f" from {plain(self.minimum)} to {plain(self.maximum)}"
        elif self.minimum is not None:
            words += f" of at least {plain(self.minimum)}"
        return words


def setting(
    default: T,
    meaning: str,
    *,
    kind: Kind,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    variable: str = "",
    flag: str = "",
    optional: bool = False,
) -> T:
    """A field of a settings class, with its :class:`Rule` in the metadata and checked by it.

    Typed as its default's type, because that is what the field holds to a type checker.
    """
    rule = Rule(kind, meaning, minimum, maximum, choices, variable, flag, optional)

    def check(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is None and optional:
            return
        try:
            convert(rule, value, base=Path())
        except BadValue as bad:
            raise ValueError(f"{attribute.name}: {bad}") from None

    field: T = attrs.field(
        default=default,
        validator=check,
        repr=mask_or_none if kind == "url" else True,
        metadata={"rule": rule},
    )
    return field


def mask_or_none(value: object) -> str:
    """The repr of an address that may hold a password."""
    return "None" if value is None else repr(mask_url(value))


def convert(rule: Rule, value: object, *, base: Path, text: bool = False) -> Any:
    """``value`` as the setting's own type.

    ``text`` says that it comes from a source that has only texts (a flag, the environment), so that
    ``"10"`` is a number. Relative paths are taken from ``base``.

    Raises:
        BadValue: it cannot be that; the message never shows a password.
    """
    match rule.kind:
        case "seconds" | "count" | "bytes":
            return _number(rule, value, text)
        case "boolean":
            return _boolean(rule, value, text)
        case "paths" | "names":
            return _several(rule, value, base)
    if isinstance(value, Path) and rule.kind == "path":
        return base / value
    if not isinstance(value, str):
        raise BadValue(f"{type_name(value)}, {shown(value)}", f"write {rule.expected}")
    match rule.kind:
        case "address":
            split_bind(value)
        case "url":
            _check_url(rule, value)
        case "path":
            return base / _filled(rule, value)
        case "word":
            return _word(rule, value)
    return value


def _filled(rule: Rule, value: str) -> str:
    if not value.strip() or "\0" in value:
        raise BadValue(f"not a usable path: {shown(value)}", f"write {rule.expected}")
    return value


def _word(rule: Rule, value: str) -> str:
    word = value.strip().lower()
    choices = {choice.lower(): choice for choice in rule.choices}
    if word not in choices:
        raise BadValue(
            f"{shown(value)} is not a choice{nearest(word, rule.choices)}", f"write {rule.expected}"
        )
    return choices[word]


def _number(rule: Rule, value: object, text: bool) -> int | float:
    number = value
    if isinstance(value, str) and rule.kind == "bytes":
        number = _size(value)
    elif isinstance(value, str) and text:
        number = read_number(value)
    whole = rule.kind != "seconds"
    fits = isinstance(number, int) or (isinstance(number, float) and not whole)
    if isinstance(number, bool) or not fits:
        raise BadValue(f"{type_name(value)}, {shown(value)}", f"write {rule.expected}")
    assert isinstance(number, int | float)
    low, high = rule.minimum, rule.maximum
    if (
        not math.isfinite(number)
        or (low is not None and number < low)
        or (high is not None and number > high)
    ):
        raise BadValue(f"{shown(value)} is out of range", f"write {rule.expected}")
    return number if whole else float(number)


def _size(text: str) -> int | str:
    found = re.fullmatch(r"\s*(\d{1,15})\s*([A-Za-z]*)\s*", text)
    if found is None or found[2].lower() not in _UNITS:
        return text
    return int(found[1]) * _UNITS[found[2].lower()]


def _boolean(rule: Rule, value: object, text: bool) -> bool:
    if isinstance(value, bool):
        return value
    if text and isinstance(value, str):
        read = read_boolean(value)
        if read is not None:
            return read
    raise BadValue(f"{type_name(value)}, {shown(value)}", f"write {rule.expected}")


def _several(rule: Rule, value: object, base: Path) -> tuple[Any, ...]:
    # A string is not a list: in nexus.toml it would be one letter after another.
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise BadValue(f"{type_name(value)}, {shown(value)}", f"write {rule.expected}")
    for item in value:
        if not isinstance(item, str | Path):
            raise BadValue(
                f"{type_name(item)}, {shown(item)}, in the list", f"write {rule.expected}"
            )
    if rule.kind == "names":
        return tuple(str(item).strip() for item in value)
    return tuple(base / _filled(rule, str(item)) for item in value)


def _check_url(rule: Rule, value: str) -> None:
    try:
        parts = urlsplit(value)
        known = parts.scheme in ("postgresql", "postgres")
        _ = parts.port  # raises ValueError where it is no port
    except ValueError:
        known = False
    if not known:
        raise BadValue(
            f"not a PostgreSQL address: {shown(mask_url(value))}", f"write {rule.expected}"
        )


def split_bind(bind: str) -> tuple[str, int]:
    """``"127.0.0.1:8000"`` or ``"[::1]:8000"`` as host and port; port 0 asks for any free one.

    Raises:
        BadValue: it is not a host and a port.
    """
    host, colon, port = bind.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    number = int(port) if re.fullmatch(r"[0-9]{1,5}", port) else -1
    good = bool(colon) and 0 <= number <= 65535
    if bracketed:
        host = host[1:-1]
        good = good and _is_ipv6(host)
    else:
        good = good and re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?", host) is not None
    if not good:
        raise BadValue(
            f"not a host and a port: {shown(bind)}",
            'write a host and a port from 0 to 65535, such as "127.0.0.1:8000" or "[::1]:8000"',
        )
    return host, number


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
