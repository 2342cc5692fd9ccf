"""Values and places in words, for messages about bad input: what it was, where, and no secrets."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path

from nexus_actors.errors import did_you_mean

__all__ = [
    "MASK",
    "counted",
    "in_bytes",
    "mask_url",
    "nearest",
    "plain",
    "read_boolean",
    "read_number",
    "shown",
    "shown_path",
    "type_name",
    "with_article",
]

MASK = "***"
"""What stands in messages in place of a secret."""

_LONGEST = 60


def type_name(value: object) -> str:
    """The kind of a JSON or TOML value, with its article: ``"a string"``, ``"an integer"``."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a number"
        case str():
            return "a string"
        case datetime.date() | datetime.time():
            return "a date or time"
        case Mapping():
            return "an object"
        case list() | tuple():
            return "an array"
    return with_article(type(value).__name__)


def with_article(noun: str) -> str:
    """``"a dict"``, ``"an int"``, ``"a UUID"``: by the first letter alone."""
    return f"{'an' if noun[:1] in 'aeioAEIO' else 'a'} {noun}"


def shown(value: object, *, secret: bool = False) -> str:
    """``value`` as its author wrote it, cut to 60 characters; only ``***`` for a secret."""
    if secret:
        return MASK
    try:
        words = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        words = str(value)
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"


def shown_path(path: Path) -> str:
    """``path`` as a person would write it here: relative where it is in the working folder."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):  # outside, or the working folder is gone
        return str(path)


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """``"; did you mean 'a'?"`` with the known words most like ``word``, or nothing."""
    names = list(known)
    plain = {re.sub(r"[\W_]", "", name).lower(): name for name in names}
    same = plain.get(re.sub(r"[\W_]", "", word).lower())  # batchSize, batch-size: surely batch_size
    if same is not None:
        return did_you_mean([same])
    close = get_close_matches(word, names, n=2, cutoff=cutoff)
    if len(close) == 2 and _likeness(word, close[0]) - _likeness(word, close[1]) > 0.1:
        del close[1]  # the first is clearly what was meant
    return did_you_mean(close)


def _likeness(left: str, right: str) -> float:
    return SequenceMatcher(None, left, right).ratio()


def plain(number: float) -> str:
    """``number`` without an exponent: ``1000000``, not ``1e+06``."""
    return f"{number:.15g}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """``"1 fault"``, ``"3,000 faults"``; ``plural`` for words that want more than an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def in_bytes(number: int) -> str:
    """``"512 bytes"``, ``"64 KiB"``, ``"1.5 MiB"``: a size for people."""
    if number < 1024:
        return counted(number, "byte")
    value, unit = number / 1024, "KiB"
    for larger in ("MiB", "GiB"):
        if value >= 1000:
            value, unit = value / 1024, larger
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def read_boolean(text: str) -> bool | None:
    """``true``, ``yes``, ``on``, ``1`` or their opposites, in any case; None for any other word."""
    word = text.strip().lower()
    if word in ("true", "yes", "on", "1"):
        return True
    return False if word in ("false", "no", "off", "0") else None


def read_number(text: str) -> int | float | None:
    """An integer where it is one, else a number, else None."""
    readers: tuple[type[int], type[float]] = (int, float)
    for read in readers:
        try:
            return read(text.strip())
        except ValueError:
            continue
    return None


def mask_url(url: object) -> str:
    """``url`` without its password, whether that stands before the host or in the query."""
    text = re.sub(r"(?<=://)([^:/@]*):.*@", rf"\1:{MASK}@", str(url))
    return re.sub(r"(?i)((?:ssl)?password=)[^&\s]+", rf"\1{MASK}", text)
