"""How the commands speak: faults to standard error, tables to standard output, states in colour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nexus_actors.errors import Fault
from nexus_actors.words import counted

__all__ = [
    "FAILED",
    "INTERNAL",
    "OK",
    "USAGE",
    "counted",
    "errors",
    "out",
    "plain_table",
    "printable",
    "show_faults",
    "state_text",
    "why",
]

OK = 0
FAILED = 1
"""The command could not do its work, or found faults."""
USAGE = 2
"""A wrong option or setting."""
INTERNAL = 70
"""A fault of Nexus Actors itself (EX_SOFTWARE of sysexits.h)."""

_STYLES = {
    "running": "green",
    "failed": "bold red",
    "suspended": "bold red",
    "starting": "yellow",
    "restarting": "yellow",
    "waiting": "yellow",
}


def out() -> Console:
    """Standard output."""
    return Console(highlight=False, soft_wrap=True)


def errors() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def show_faults(faults: Iterable[Fault]) -> None:
    """One line a fault: where, what, and in brackets what to do."""
    console = errors()
    for fault in faults:
        words = Text(str(fault))
        words.stylize("bold red", 0, len(fault.where))
        console.print(words)


def state_text(state: str) -> Text:
    """The state of a plugin in its colour."""
    return Text(state, style=_STYLES.get(state, ""))


def printable(text: str) -> str:
    """``text`` in one line, without what could steer a terminal or not be written: it may come from
    a plugin, and that from anybody."""
    shown = "".join(
        each if each.isprintable() else "⏎ " if each == "\n" else f"\\x{ord(each):02x}"
        for each in text
    )
    return shown.encode("utf-8", "backslashreplace").decode()


def plain_table(*columns: str, numbers: Iterable[str] = ()) -> Table:
    """A table without lines; the columns in ``numbers`` are set to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    right = {*numbers}
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def why(plugin: Mapping[str, Any]) -> str:
    """Why a plugin is in its state and when it is tried again; empty where it simply runs."""
    reason = str(plugin.get("reason") or "")
    when = plugin.get("next_try_in")
    return reason if when is None else f"{reason}; next try in {when:g} s"
