"""``nexus why``: what the running node tells about one plugin: state, rules, history."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from rich.text import Text

from nexus_actors.cli.asking import NoNode, NotThere, ask_node
from nexus_actors.cli.output import FAILED, OK, counted, errors, out, printable, state_text, why
from nexus_actors.config import load_settings

__all__ = ["explain_plugin", "lasting"]

_STYLES = {"error": "red", "warning": "yellow", "debug": "dim"}


def explain_plugin(name: str, flags: Mapping[str, object], *, as_json: bool = False) -> int:
    """Print what the node tells about the plugin ``name``; return the exit code.

    Raises:
        Invalid: a setting is wrong.
    """
    settings = load_settings(flags)
    try:
        about = ask_node(settings.data_dir, f"/v1/why?plugin={quote(name, safe='')}")
    except (NoNode, NotThere) as error:
        errors().print(Text(str(error)))
        return FAILED
    if as_json:
        print(json.dumps(about, indent=2))
        return OK
    console = out()
    for line in _told(about, datetime.now()):
        console.print(line)
    return OK


def _told(about: Mapping[str, Any], now: datetime) -> Iterator[Text]:
    yield _headline(about)
    for fault in about.get("refused", ()):
        yield Text(f"  {printable(fault)}")
    yield from _needs(about.get("needs", ()), "  ")
    if about["state"] == "disabled" or about["refused"]:
        return  # it never was there: there is nothing to count
    yield from map(Text, _numbers(about))
    if about["history"]:
        yield Text("\nWhat happened, the newest last:", style="bold")
    crashes = [each for each in about["history"] if each["failure"]]
    for each in about["history"]:
        yield _happening(each, now)
        if crashes and each is crashes[-1]:  # the places of the last one; --json has all
            for line in each["failure"].splitlines()[1:]:
                yield Text(f"            {printable(line)}", style="dim")


def _headline(about: Mapping[str, Any]) -> Text:
    state = about["state"]
    words = Text(about["name"], style="bold") + Text(" is ") + state_text(state)
    if about.get("for") is not None:
        words += Text(f" for {lasting(about['for'])}")
    if about.get("refused"):
        return words + Text(": it was refused when the node started")
    if state == "waiting":
        return words + Text(f" for {about['reason']}")
    return words + Text(f": {printable(about['reason'])}") if about.get("reason") else words


def _needs(needs: Any, indent: str) -> Iterator[Text]:
    """What it waits for, and below each what that waits for."""
    for need in needs:
        reason = f": {printable(why(need))}" if need.get("reason") else ""
        yield Text(f"{indent}it needs {need['name']}, which is {need['state']}{reason}")
        yield from _needs(need["needs"], indent + "  ")


def _numbers(about: Mapping[str, Any]) -> Iterator[str]:
    if about.get("next_try_in") is not None:
        yield f"  next try in {about['next_try_in']:g} s"
    if about["tells_callers"]:
        yield "  whoever calls it gets 503 at once"
    crashes = counted(about["crashes"], "crash", "crashes")
    yield (
        f"  came up {_times(about['incarnation'])}, {crashes}, "
        f"{counted(about['faults'], 'fault')} in answering; "
        f"{counted(about['in_hand'], 'message')} in hand, {about['waiting']} waiting"
    )
    yield from map("  {}".format, _account(about["statistics"]))
    if about["letters"]:
        yield f"  {_letters(about['letters'])}: nexus dead-letters --plugin {about['name']}"
    rules = about["supervision"]
    if rules is not None:
        when = {
            "permanent": "permanent: restarted however it ends",
            "transient": "transient: restarted after a crash",
            "temporary": "temporary: never restarted after a crash of its own",
        }[rules["restart"]]
        often = f"{counted(rules['intensity'], 'restart')} in {rules['period']:g} s"
        then = "then it is suspended and tried again with growing pauses"
        yield f"  {when}" + (
            "" if rules["restart"] == "temporary" else f", at most {often}; {then}"
        )


def _account(numbers: Mapping[str, Any]) -> Iterator[str]:
    """What became of its messages, and how long they took; nothing where it never had any."""
    box = numbers["mailbox"]
    ends = [
        (box["handled"], "handled", "handled"),
        (box["faulted"], "faulted", "faulted"),
        (box["dead_lettered"], "dead letter", "dead letters"),
        (box["abandoned"], "abandoned", "abandoned"),
    ]
    ended = ", ".join(counted(*each) for each in ends if each[0])
    if box["accepted"] or box["refused"]:
        expired = f" ({box['expired']:,} before they were begun)" if box["expired"] else ""
        refused = f"; {box['refused']:,} refused" if box["refused"] else ""
        became = f": {ended}{expired}" if ended else ""
        yield f"{counted(box['accepted'], 'message')} accepted{became}{refused}"
    if numbers["begun"]:
        yield (
            f"handlers took {_seconds(numbers['handling_time'] / numbers['begun'])} on average, "
            f"{_seconds(numbers['longest_handling'])} at most (in {numbers['longest_handler']})"
        )
    if box["most_waiting"]:
        oldest = f", the oldest now for {lasting(box['oldest_waiting'])}" if box["waiting"] else ""
        yield (
            f"at most {box['most_waiting']:,} of {box['capacity']:,} waited at once, "
            f"{_seconds(numbers['longest_wait'])} at the longest{oldest}"
        )


def _seconds(seconds: float) -> str:
    """A short time for people: ``0.2 ms``, ``35 ms``, ``1.5 s``."""
    if seconds < 1:
        return f"{seconds * 1000:.2g} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else lasting(seconds)


def _happening(each: Mapping[str, Any], now: datetime) -> Text:
    at = now - timedelta(seconds=each["ago"])
    day = "" if at.date() == now.date() else f"{at:%Y-%m-%d} "
    return Text(f"  {day}{at:%H:%M:%S}  ", style="dim") + Text(
        printable(each["words"]), style=_STYLES.get(each["level"], "")
    )


def _letters(numbers: Sequence[int]) -> str:
    listed = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
    return f"{counted(len(numbers), 'dead letter')} ({listed})"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def lasting(seconds: float) -> str:
    """``40 s``, ``3 min``, ``5 h``, ``2 days``: a length of time for people."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} days"
