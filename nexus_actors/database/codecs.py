"""How JSON and JSONB columns become Python values and back: through msgspec, in one step.

What goes in comes back: a dict is a dict again, a list a list, a str the *string* (it is not taken
for JSON text; ``msgspec.Raw(text)`` is). Dates, UUIDs, decimals, enums and the classes of attrs,
dataclasses and msgspec go in as msgspec writes them and come back as what JSON has for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg
import msgspec

__all__ = ["decode_json", "decode_jsonb", "encode_json", "encode_jsonb"]

_VERSION = b"\x01"  # the one byte PostgreSQL puts before JSONB's text in its binary format


def _plain(value: Any) -> Any:
    """Plain forms of what msgspec does not know; raises TypeError for the rest."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, asyncpg.Record):
        return dict(value.items())
    raise TypeError(f"a value of the type {type(value).__name__} cannot be written as JSON")


_encoder = msgspec.json.Encoder(enc_hook=_plain)
_decoder = msgspec.json.Decoder()


def encode_jsonb(value: Any) -> bytes:
    """The value as PostgreSQL's binary JSONB."""
    return _VERSION + _encoder.encode(value)


def decode_jsonb(data: bytes) -> Any:
    """The value in PostgreSQL's binary JSONB."""
    return _decoder.decode(memoryview(data)[1:])


def encode_json(value: Any) -> bytes:
    """The value as PostgreSQL's binary JSON, which is its text."""
    return _encoder.encode(value)


def decode_json(data: bytes) -> Any:
    """The value in PostgreSQL's binary JSON."""
    return _decoder.decode(data)
