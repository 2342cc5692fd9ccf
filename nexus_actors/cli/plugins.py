"""``nexus plugins``: what the running node says about its plugins, over its control socket."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from nexus_actors.cli.asking import NoNode, ask_node
from nexus_actors.cli.output import FAILED, OK, errors, out, state_text, why
from nexus_actors.config import load_settings

__all__ = ["show_plugins"]


_NUMBERS = ("incarnation", "crashes", "waiting")


def show_plugins(flags: Mapping[str, object], *, as_json: bool = False) -> int:
    """Print the plugins of the node; return the exit code.

    Raises:
        Invalid: a setting is wrong.
    """
    settings = load_settings(flags)
    try:
        answer = ask_node(settings.data_dir, "/v1/plugins")
    except NoNode as error:
        errors().print(Text(str(error)))
        return FAILED
    if as_json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        _show(answer)
    return OK


def _show(answer: Any) -> None:
    """A line for each plugin, and below it why it does not run and what it serves."""
    console = out()
    rows = [
        (
            plugin["name"],
            plugin.get("version", ""),
            plugin["state"],
            *(str(plugin[number]) for number in _NUMBERS),
        )
        for plugin in answer["plugins"]
    ]
    header = ("plugin", "version", "state", *_NUMBERS)
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    console.print(_line(header, widths), style="bold")
    for row, plugin in zip(rows, answer["plugins"], strict=True):
        console.print(_line(row, widths))
        if why(plugin):
            console.print(Text(f"  {why(plugin)}", style="italic"))
        for route in plugin["routes"]:
            console.print(Text(f"  {route['method']} {route['path']}", style="dim"))
    if answer["disabled"]:
        console.print(f"Switched off: {', '.join(answer['disabled'])}")


def _line(row: Sequence[str], widths: Sequence[int]) -> Text:
    """Words to the left, numbers to the right, the state in its colour."""
    name, version, state, *numbers = (
        cell.ljust(width) if index < 3 else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    coloured = state_text(state.strip())
    coloured.pad_right(len(state) - len(coloured))
    return Text("  ").join([Text(name), Text(version), coloured, *map(Text, numbers)])
