"""Values to JSON, and JSON to values, with the place named when either does not work."""

from __future__ import annotations

import collections
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from nexus_actors.errors import HTTPError
from nexus_actors.words import with_article

__all__ = ["NotSerialisable", "decode_json", "encode_json"]


class NotSerialisable(TypeError):
    """A value that JSON has no form for. ``place`` is the path to it, ``type_name`` what it is."""

    def __init__(self, place: str, type_name: str, why: str = "") -> None:
        super().__init__(
            f"{place} is {with_article(type_name)}, which cannot be written as JSON"
            + (f" ({why})" if why else "")
            + "; return dicts, lists, text, numbers, attrs or data classes, dates or UUIDs"
        )
        self.place = place
        self.type_name = type_name


def encode_json(value: Any, *, place: str = "the reply") -> bytes:
    """``value`` as JSON in UTF-8.

    Beyond what JSON has: attrs and data classes, msgspec structs, dates and times (ISO 8601),
    ``UUID``, ``Decimal`` (a string), enums (their value), sets, bytes (base64), paths (a string),
    and mappings that are no dict, such as a row of the database.

    Raises:
        NotSerialisable: names the type of the first value that has no form, and its place.
    """
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, RecursionError, OverflowError, msgspec.MsgspecError) as error:
        found = _find_unserialisable(value, place, 0)
        if found is None:
            found = NotSerialisable(place, type(value).__name__, str(error))
        raise found from None


def decode_json(data: bytes, *, what: str = "the body") -> Any:
    """The value that ``data`` is JSON for. Of a key that comes twice, the last value counts.

    Raises:
        HTTPError: 400, with line and column, where it is not JSON.
    """
    if not data.strip():
        raise HTTPError(400, f"{what} is empty, JSON was expected")
    try:
        return _decoder.decode(data)
    except UnicodeDecodeError:
        raise HTTPError(400, f"{what} is not UTF-8: {_not_utf8(data)}") from None
    except RecursionError:
        raise HTTPError(400, f"{what} is nested too deeply") from None
    except msgspec.DecodeError as error:
        raise HTTPError(400, f"{what} is not JSON: {_with_position(data, str(error))}") from None


def _to_builtin(value: Any) -> Any:
    """What msgspec does not know, as something it knows. Used for each such value."""
    if isinstance(value, Mapping) or _is_row(value):
        return dict(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (AbstractSet, Sequence, collections.abc.ValuesView, collections.deque)):
        return list(value)
    raise NotImplementedError


def _is_row(value: Any) -> bool:
    """Whether it is mapping-like without saying so, as asyncpg's Record is."""
    return (
        callable(getattr(value, "keys", None))
        and hasattr(value, "__getitem__")
        and not isinstance(value, type)
    )


def _hook(value: Any) -> Any:
    try:
        return _to_builtin(value)
    except NotImplementedError:
        raise TypeError(type(value).__name__) from None


_encoder = msgspec.json.Encoder(enc_hook=_hook)
_decoder = msgspec.json.Decoder()

_DEEPEST = 200  # a structure deeper than this is most likely one that holds itself


def _find_unserialisable(value: Any, place: str, depth: int) -> NotSerialisable | None:
    """The first value that cannot be encoded by itself and has no part that is to blame."""
    if depth > _DEEPEST:
        return NotSerialisable(place, type(value).__name__, "it holds itself, or is too deep")
    try:
        _encoder.encode(value)
    except (TypeError, ValueError, RecursionError, OverflowError, msgspec.MsgspecError) as error:
        why = str(error)
    else:
        return None
    for part, name in _parts(value):
        found = _find_unserialisable(part, place + name, depth + 1)
        if found is not None:
            return found
    if isinstance(value, Mapping):
        keys = {type(key).__name__ for key in value if not isinstance(key, (str, int, float))}
        why = f"it has keys of type {', '.join(sorted(keys))}" if keys else why
    elif why == type(value).__name__:
        why = ""
    return NotSerialisable(place, type(value).__name__, why)


def _parts(value: Any) -> Iterable[tuple[Any, str]]:
    if isinstance(value, Mapping):
        return [(part, f".{key}") for key, part in value.items()]
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        return ()
    if isinstance(value, (Sequence, AbstractSet, collections.deque)):
        return [(part, f"[{index}]") for index, part in enumerate(value)]
    names = _field_names(type(value))
    return [(getattr(value, name), f".{name}") for name in names if hasattr(value, name)]


def _field_names(cls: type) -> Sequence[str]:
    if hasattr(cls, "__attrs_attrs__"):
        return [field.name for field in cls.__attrs_attrs__]
    if hasattr(cls, "__dataclass_fields__"):
        return list(cls.__dataclass_fields__)
    return getattr(cls, "__struct_fields__", ())


_BYTE = re.compile(r"^(?:JSON is malformed: )?(?P<why>.*?) ?\(byte (?P<byte>\d+)\)$")


def _with_position(data: bytes, message: str) -> str:
    """In: ``JSON is malformed: bad escape (byte 5)``. Ret: ``bad escape at line 1, column 6``."""
    match = _BYTE.match(message)
    half = _lone_surrogate(data) if match is None or "surrogate" in message else None
    if half is not None:
        escape = half[0].decode()
        why = f"{escape} is half of a character and the other half is missing,"
        offset = half.start()
    elif match is None:  # truncated: the fault is where the data ends
        why, offset = "it ends too early", len(data)
    else:
        why, offset = match["why"], min(int(match["byte"]), len(data))
        if why == "trailing characters":  # told one too far, unlike all others
            offset -= 1
    return f"{why} at {_place(data, offset)}"


def _place(data: bytes, offset: int) -> str:
    before = data[:offset].decode("utf-8", "replace")
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return f"line {line}, column {column}"


def _not_utf8(data: bytes) -> str:
    """In: ``"a<ff>"``. Ret: ``invalid start byte, byte 2 (0xff) at line 1, column 3``."""
    try:
        data.decode()
    except UnicodeDecodeError as error:  # msgspec's own counts within the string
        start = error.start
        return f"{error.reason}, byte {start} (0x{data[start]:02x}) at {_place(data, start)}"
    return "it has a string that is none"


_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair, which is fine
    rb"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
_CUT_OFF = re.compile(rb"(\\(u[0-9a-fA-F]{0,3})?)?\Z")


def _lone_surrogate(data: bytes) -> re.Match[bytes] | None:
    """The first escape that is half of a pair. msgspec takes it for the end of the data."""
    for match in _SURROGATE.finditer(data):
        if match["lone"]:
            return None if _CUT_OFF.match(data, match.end()) else match
    return None
