"""Reads JSON that a person wrote: a fault says line and column, and a key given twice is one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn

from nexus_actors.errors import Fault, Invalid
from nexus_actors.words import shown

__all__ = ["read_json"]


class _Object(dict[str, Any]):
    """A JSON object that remembers the keys it was given twice; JSON itself keeps the last."""

    twice: tuple[str, ...] = ()


class _NotJson(ValueError):
    """A word that Python's reader takes for a number, and JSON does not know."""


def read_json(text: str, where: str) -> Any:
    """The JSON document ``text``; ``where`` names it in faults.

    Raises:
        Invalid: it is not JSON, with line and column, or keys appear twice, each with its path.
    """
    try:
        document = json.loads(text, object_pairs_hook=_build, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise Invalid(
            [
                Fault(
                    f"{where}: line {error.lineno}, column {error.colno}",
                    f"not JSON: {error.msg[0].lower()}{error.msg[1:]}",
                    _advice(text, error),
                )
            ]
        ) from None
    except RecursionError:
        raise Invalid([Fault(where, "nested too deeply", "make it flatter")]) from None
    except ValueError as error:  # a number of more than 4,300 digits, NaN, Infinity
        raise Invalid([Fault(where, f"not JSON: {error}", "write an ordinary number")]) from None
    faults = [
        Fault(f"{where}: {path}", "appears twice in this object", "keep one of the two")
        for path in _twice(document, "")
    ]
    if faults:
        raise Invalid(faults)
    return document


def _build(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        made.twice = tuple(name for name in made if names.count(name) > 1)
    return made


def _refuse_constant(word: str) -> NoReturn:
    raise _NotJson(f"{word} is not a JSON value")


def _twice(value: object, path: str) -> Iterator[str]:
    if isinstance(value, _Object):
        for name in value.twice:
            yield f"{path}.{name}" if path else name
        for name, inner in value.items():
            yield from _twice(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _twice(inner, f"{path}[{index}]")


def _advice(text: str, error: json.JSONDecodeError) -> str:
    before = text[: error.pos].rstrip()
    rest = text[error.pos :].lstrip()
    if not text.strip():
        return "the file is empty: write an object, { ... }"
    if before.endswith(",") and rest[:1] in ("}", "]"):
        return "take away the comma before it"
    if error.msg.startswith("Illegal trailing comma"):  # Python 3.13
        return "take away the comma"
    if rest.startswith(("//", "/*", "#")):
        return "take away the comment: JSON has none"
    if rest.startswith("'"):
        return 'write texts in double quotes, "..."'
    if error.msg.startswith("Expecting ',' delimiter"):
        return "write a comma, or close the text, list or object before it"
    if rest:
        return f"look at {shown(rest.splitlines()[0][:20])}"
    return "something is not closed: the text ends here"
