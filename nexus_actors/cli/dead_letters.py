"""``nexus dead-letters``: the messages nobody handled, of the running node: list, show, retry,
discard."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

from rich.text import Text

from nexus_actors.cli.asking import NoNode, NotThere, ask_node, tell_node
from nexus_actors.cli.output import FAILED, OK, USAGE, counted, errors, out
from nexus_actors.cli.why import lasting
from nexus_actors.config import load_settings
from nexus_actors.words import in_bytes

__all__ = ["change_letters", "list_letters", "show_letter"]

_PATH = "/v1/dead-letters"


def list_letters(flags: Mapping[str, object], plugin: str | None, *, as_json: bool = False) -> int:
    """Print a line for each letter (of one plugin), oldest first; return the exit code.

    Raises:
        Invalid: a setting is wrong.
    """
    settings = load_settings(flags)
    query = "" if plugin is None else f"?plugin={quote(plugin, safe='')}"
    try:
        answer = ask_node(settings.data_dir, _PATH + query)
    except (NoNode, NotThere) as error:
        return _say(error)
    if as_json:
        return _print_json(answer)
    console = out()
    for line in _table(answer, plugin):
        console.print(line)
    return OK


def show_letter(flags: Mapping[str, object], number: int, *, as_json: bool = False) -> int:
    """Print all that is known of one letter; return the exit code.

    Raises:
        Invalid: a setting is wrong.
    """
    settings = load_settings(flags)
    try:
        letter = ask_node(settings.data_dir, f"{_PATH}/{number}")
    except (NoNode, NotThere) as error:
        return _say(error)
    if as_json:
        return _print_json(letter)
    console = out()
    for line in _told(letter, datetime.now()):
        console.print(line)
    return OK


def change_letters(
    flags: Mapping[str, object],
    what: Literal["retry", "discard"],
    numbers: Sequence[int],
    plugin: str | None,
    every: bool,
    *,
    force: bool = False,
) -> int:
    """Retry or discard the letters that are named in one of the three ways; print what became of
    them. The exit code is 1 where one of them stays.

    Raises:
        Invalid: a setting is wrong.
    """
    if (bool(numbers), plugin is not None, every).count(True) != 1:
        errors().print(f"say which: nexus dead-letters {what} 3 7, or --plugin NAME, or --all")
        return USAGE
    asked: dict[str, Any] = {"all": True} if every else {"plugin": plugin}
    if numbers:
        asked = {"numbers": [*numbers]}
    settings = load_settings(flags)
    try:
        answer = tell_node(settings.data_dir, f"{_PATH}/{what}", asked | {"force": force})
    except (NoNode, NotThere) as error:
        return _say(error)
    done, refused = len(answer["done"]), answer["refused"]
    verb = "sent again" if what == "retry" else "discarded"
    out().print(f"{counted(done, 'dead letter')} {verb}; {answer['left']:,} left")
    for line in _stayed(refused):
        errors().print(Text(line))
    return FAILED if refused else OK


def _say(error: Exception) -> int:
    errors().print(Text(str(error)))
    return FAILED


def _print_json(answer: Any) -> int:
    print(json.dumps(answer, indent=2, ensure_ascii=False))
    return OK


_HEADER = ("number", "age", "plugin", "message", "from", "reason")


def _table(answer: Mapping[str, Any], plugin: str | None) -> Iterator[Text]:
    letters = answer["letters"]
    if letters:
        yield from _rows(letters)
    else:
        yield Text(f"no dead letters for {plugin}" if plugin else "no dead letters")
    if answer["fell_off"]:
        yield Text(
            f"{counted(answer['fell_off'], 'older one')} fell off: "
            f"the node keeps {answer['capacity']:,}, in {in_bytes(answer['max_size'])}",
            style="italic",
        )


def _rows(letters: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    rows = [
        (
            str(each["number"]),
            lasting(each["age"]),
            each["plugin"],
            f"{each['kind']} {each['about']}",
            each["sender"],
            _why(each),
        )
        for each in letters
    ]
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]
    yield Text(_line(_HEADER, widths), style="bold")
    for row, each in zip(rows, letters, strict=True):
        yield Text(_line(row, widths), style="red" if each["reason"] == "quarantined" else "")


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """Numbers to the right, words to the left, nothing after the last word."""
    cells = [
        cell.rjust(width) if index < 2 else cell.ljust(width)
        for index, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _why(letter: Mapping[str, Any]) -> str:
    """The reason, and of a crash what it was."""
    failure = letter["failure"]
    if failure is None or failure in letter["reason"]:
        words = letter["reason"]
    else:
        place = f" ({letter['place']})" if letter["place"] else ""
        words = f"{letter['reason']}: {failure}{place}"
    return str(words).splitlines()[0] if words else ""


def _told(letter: Mapping[str, Any], now: datetime) -> Iterator[Text]:
    what = f"{letter['kind']} {letter['about']}"
    yield Text(f"dead letter {letter['number']}", style="bold") + Text(
        f": {what} for {letter['plugin']}"
    )
    at = now - timedelta(seconds=letter["age"])
    yield Text(f"  since    {at:%Y-%m-%d %H:%M:%S}, {lasting(letter['age'])} ago")
    for name, value in (
        ("reason", letter["reason"]),
        ("handler", letter["handler"] and f"{letter['handler']}()"),
        ("from", letter["sender"]),
        ("request", letter["request_id"]),
        ("carries", letter["content"]),
    ):
        if value:
            yield Text(f"  {name:<9}{value}")
    yield from _failed(letter["report"])
    if letter["past"]:
        yield Text("\nIt was retried before:", style="bold")
    for past in letter["past"]:
        yield Text(f"  letter {past['number']}, {lasting(past['age'])} ago: {past['reason']}")
        yield from _failed(past["report"])
    if not letter["kept"]:
        yield Text("\nIt cannot be retried: what it carried was too large to be kept")
    elif not letter["retryable"]:
        yield Text(
            f"\nIt is not retried but by: nexus dead-letters retry {letter['number']} --force"
        )


def _failed(report: str) -> Iterator[Text]:
    for line in report.splitlines():
        yield Text(f"    {line}", style="dim")


def _stayed(refused: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Why some stay: once for each reason, with all the letters it is the reason for."""
    reasons: dict[str, list[int]] = {}
    for each in refused:
        reasons.setdefault(each["why"], []).append(each["number"])
    for why, numbers in reasons.items():
        if why.startswith(("letter ", "there is no dead letter ")):  # it names its number
            yield why
        else:
            named = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
            verb = "stays" if len(numbers) == 1 else "stay"
            yield f"{counted(len(numbers), 'letter')} {verb} ({named}): {why}"
