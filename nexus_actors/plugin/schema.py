"""The JSON schema of ``plugin.json``: the file that editors use, and its refusals put in words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from nexus_actors.errors import Fault
from nexus_actors.words import nearest, plain, shown, type_name

__all__ = ["manifest_schema", "path_words", "schema_faults", "suggested_name"]

SCHEMA_FILE = Path(__file__).with_name("plugin.schema.json")

NOT_BUILT: dict[tuple[str, ...], tuple[str, ...]] = {
    ("isolation",): ("process", "thread", "interpreter", "container"),
}
"""Words that later versions will know: refused, but not as if they were misspelt."""

_ARTICLES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "an array, [...]",
    "object": "an object, {...}",
}

_PATTERNS = {
    "name": "write lower-case letters and digits, words joined by hyphens, such as {suggestion}",
    "email": "write an address such as you@example.com",
    "entry_point": "write module and class, such as plugin:MyPlugin",
    "requires": "write the name of a plugin: lower-case letters, digits and hyphens",
    "configuration": "write letters, digits and underscores, beginning with a letter",
}


@cache
def manifest_schema() -> Mapping[str, Any]:
    """The schema as it is shipped, ``nexus_actors/plugin/plugin.schema.json``."""
    schema: Mapping[str, Any] = json.loads(SCHEMA_FILE.read_text("utf-8"))
    return schema


def _pattern(
    _validator: object, pattern: str, instance: object, _schema: object
) -> Iterator[ValidationError]:
    """JSON Schema's ``$`` is the very end of the text; Python's lets a line end follow."""
    exact = re.sub(r"\$(?=\||$)", r"\\Z", pattern)
    if isinstance(instance, str) and not re.search(exact, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


@cache
def _validator() -> Any:
    return _Validator(manifest_schema())


def path_words(path: Iterable[str | int]) -> str:
    """``("permissions", 2)`` as ``"permissions[2]"``."""
    words = ""
    for part in path:
        words += f"[{part}]" if isinstance(part, int) else f".{part}" if words else str(part)
    return words


def schema_faults(document: object, where: str) -> list[Fault]:
    """Everything in which ``document`` is not what the schema asks for, in order of place."""
    errors = sorted(_validator().iter_errors(document), key=lambda error: path_words(error.path))
    # there is an error for each missing field, and each of them tells of all: a fault is said once
    return [*dict.fromkeys(fault for error in errors for fault in _in_words(error, where))]


def _in_words(error: ValidationError, where: str) -> Iterator[Fault]:
    path = tuple(error.absolute_path)
    place = f"{where}: {path_words(path)}" if path else where
    value: Any = error.instance
    limit: Any = error.validator_value
    match error.validator:
        case "additionalProperties":
            known = error.schema.get("properties", {})  # type: ignore[union-attr]  # an object schema
            for name in value:
                if name not in known:
                    yield _unknown_field(where, path, name, known)
        case "required":
            for name in limit:
                if name not in value:
                    yield _missing_field(where, path, name)
        case "type":
            yield Fault(place, _was(value), f"write {_ARTICLES[str(limit)]}")
        case "enum":
            yield _no_choice(place, path, value, limit)
        case "pattern":
            yield _no_pattern(place, path, value)
        case "uniqueItems":
            for index, item in enumerate(value):
                if item in value[:index]:
                    yield Fault(f"{place}[{index}]", f"{shown(item)} appears twice", "keep one")
        case "anyOf" if path[0] == "permissions":
            return  # the permissions' own parser says it better, and is asked for every text
        case "anyOf":
            yield Fault(place, _was(value), "write a number of seconds, infinity or brutal_kill")
        case "minLength" | "minItems":
            yield Fault(place, "is empty", "write something or take it away")
        case "maxLength":
            yield Fault(place, f"is longer than {limit} characters", "shorten it")
        case _:
            yield Fault(place, f"{shown(value)} is out of range", _range(error.schema))


def _was(value: object) -> str:
    return type_name(value) if value is None else f"{type_name(value)}, {shown(value)}"


def _range(schema: Any) -> str:
    low, above, high = (schema.get(k) for k in ("minimum", "exclusiveMinimum", "maximum"))
    start = f"from {plain(low)}" if above is None else f"above {plain(above)} and"
    end = f"to {plain(high)}" if above is None else f"at most {plain(high)}"
    return f"write {_ARTICLES[schema['type']]} {start} {end}"


def _unknown_field(
    where: str, path: tuple[str | int, ...], name: str, known: Mapping[str, Any]
) -> Fault:
    names = [field for field in known if field != "$schema"]
    place = f"{where}: {path_words((*path, name))}"
    home = _home_of(name) if path[:1] != ("configuration",) else ""
    if home:
        return Fault(place, "no such field here", f"move it to {home}")
    hint = nearest(name, names)
    if hint:
        return Fault(place, f"no such field{hint}", "rename it or take it away")
    short = len(names) < 12
    return Fault(
        place, "no such field", f"use one of {', '.join(names)}" if short else "take it away"
    )


def _home_of(name: str) -> str:
    """Where in the manifest a field of that name stands, for one in the wrong place."""
    top = manifest_schema()["properties"]
    for section in ("dependencies", "supervision", "mailbox", "deadlines"):
        if name in top[section]["properties"]:
            return f'"{section}"'
    return "the top of the manifest" if name in top else ""


def _missing_field(where: str, path: tuple[str | int, ...], name: str) -> Fault:
    examples = {
        "name": '"name": "my-plugin"',
        "version": '"version": "1.0.0"',
        "entry_point": '"entry_point": "plugin:MyPlugin"',
        "type": '"type": "string"',
    }
    place = f"{where}: {path_words((*path, name))}"
    return Fault(place, "is missing", f"add for example {examples[name]}")


def _no_choice(place: str, path: tuple[str | int, ...], value: object, choices: list[str]) -> Fault:
    listed = f"write {' or '.join(choices)}" if len(choices) < 3 else f"write {', '.join(choices)}"
    if not isinstance(value, str):
        return Fault(place, _was(value), listed)
    key = tuple(str(part) for part in path)
    if value in NOT_BUILT.get(key, ()):
        return Fault(place, f"{shown(value)} is not built yet", listed)
    return Fault(place, f"{shown(value)} is not a choice{nearest(value, choices)}", listed)


def _no_pattern(place: str, path: tuple[str | int, ...], value: str) -> Fault:
    subject = str(path[0]) if path else ""
    if subject == "configuration":
        # propertyNames: the path is that of the object, the value is the key
        return Fault(f"{place}.{value}", "is not a name for an option", _PATTERNS[subject])
    suggestion = suggested_name(value)
    fix = _PATTERNS[subject].format(suggestion=f'"{suggestion}"')
    what = {"email": "an address", "entry_point": "an entry point"}
    return Fault(place, f"{shown(value)} is not {what.get(subject, 'the name of a plugin')}", fix)


def suggested_name(text: str) -> str:
    """The plugin name most like ``text``: ``My_First Plugin`` becomes ``my-first-plugin``."""
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in text.lower()).split()
    name = "-".join(words)
    return name if name[:1].isalpha() else f"plugin-{name}".rstrip("-")
