"""A record on its way: as it came in, and as it is stored and announced."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs

TRANSFORMS: dict[str, Callable[[str], str]] = {
    "upper": str.upper,
    "lower": str.lower,
    "title": str.title,
    "strip": str.strip,
    "none": str,
}
"""What the option ``transform`` may name."""


def _storable(_instance: object, field: "attrs.Attribute[Any]", value: object) -> None:
    if isinstance(value, str) and "\0" in value:
        raise ValueError(f"'{field.name}' must be free of null characters: PostgreSQL has none")


@attrs.frozen
class RawRecord:
    """One record as ``POST /data-processor/records`` takes it."""

    id: str | int | None = attrs.field(default=None, validator=_storable)
    """The sender's own name for it; it comes back as ``original_id``."""
    value: str = attrs.field(default="", validator=_storable)


def record_of_event(data: object) -> RawRecord:
    """The record in the data of a ``data.raw.created`` event; what else is in there is left out.

    Raises:
        ValueError: it holds no record, with all that is wrong.
    """
    if not isinstance(data, dict):
        raise ValueError(f"the data must be an object with id and value, not {data!r}")
    wrong = []
    original, value = data.get("id"), data.get("value", "")
    if isinstance(original, bool) or not isinstance(original, str | int | None):
        wrong.append(f"'id' must be text or a whole number, not {original!r}")
    if not isinstance(value, str):
        wrong.append(f"'value' must be text, not {value!r}")
    if wrong:
        raise ValueError("; ".join(wrong))
    return RawRecord(original, value)


@attrs.frozen
class Waiting:
    """A record that waits to be processed."""

    key: str
    """Its event's id: stored once, however often it is tried."""
    record: RawRecord


def transform(record: RawRecord, how: str) -> dict[str, Any]:
    """The processed form of ``record``: what ``data.processed`` says and the table keeps."""
    return {
        "original_id": record.id,
        "processed_value": TRANSFORMS[how](record.value),
        "metadata": {
            "processed_at": datetime.now(UTC).isoformat(),
            "processor": "data-processor-plugin",
        },
    }
