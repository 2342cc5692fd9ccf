"""``nexus new``: a plugin that runs and whose tests pass, made from the one in ``template/``."""

from __future__ import annotations

import keyword
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from nexus_actors.cli.output import FAILED, OK, errors, out
from nexus_actors.config import load_settings
from nexus_actors.errors import Fault, Invalid
from nexus_actors.http.router import RESERVED
from nexus_actors.plugin.discovery import plugin_dirs
from nexus_actors.plugin.manifest import module_name
from nexus_actors.plugin.schema import manifest_schema, suggested_name
from nexus_actors.words import shown, shown_path

__all__ = ["class_name", "make_plugin", "name_faults"]

TEMPLATE = Path(__file__).with_name("template") / "my-plugin"
"""A plugin like any other, called ``my-plugin``."""

_WHERE = "nexus new"


def make_plugin(name: str, directory: Path) -> int:
    """Make the plugin ``name`` in ``directory`` and say what to do next; return the exit code.

    Raises:
        Invalid: the name will not do, or there is such a folder already.
    """
    folder = directory / name
    faults = list(name_faults(name))
    if not faults and folder.exists():
        faults = [
            Fault(_WHERE, f"{shown_path(folder)} is there already", "choose another name or folder")
        ]
    if faults:
        raise Invalid(faults)
    try:
        _write(name, folder)
    except OSError as error:
        errors().print(f"cannot make {shown_path(folder)}: {error.strerror}", markup=False)
        return FAILED
    _say_next(name, folder)
    return OK


def name_faults(name: str) -> Iterator[Fault]:
    """Why a plugin cannot be called ``name``."""
    suggestion = suggested_name(name)
    longest = manifest_schema()["properties"]["name"]["maxLength"]
    module = module_name(name)
    if name != suggestion:
        yield Fault(_WHERE, f"{shown(name)} is not the name of a plugin", f"try {suggestion}")
    elif len(name) > longest:
        yield Fault(_WHERE, f"{shown(name)} is longer than {longest} characters", "shorten it")
    elif keyword.iskeyword(module):
        yield Fault(_WHERE, f"{shown(name)} is a word of Python", f"try {name}-plugin")
    elif f"/{name}" in RESERVED:
        yield Fault(_WHERE, f"/{name} belongs to the node itself", f"try {name}-plugin")
    elif find_spec(module) is not None:
        # the plugin's short name for imports would mean that module
        yield Fault(_WHERE, f"there is a Python module {module}", f"try {name}-plugin")


def class_name(name: str) -> str:
    """``my-first`` is ``MyFirstPlugin``, as ``my-first-plugin`` is."""
    words = "".join(word.capitalize() for word in name.split("-"))
    return words if words.endswith("Plugin") and words != "Plugin" else f"{words}Plugin"


def _write(name: str, folder: Path) -> None:
    for source in sorted(TEMPLATE.rglob("*")):
        if not source.is_file() or source.suffix == ".pyc":
            continue
        target = folder / source.relative_to(TEMPLATE)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text("utf-8")
        for old, new in (
            ("my-plugin", name),
            ("my_plugin", module_name(name)),
            ("MyPlugin", class_name(name)),
        ):
            text = text.replace(old, new)
        target.write_text(text, "utf-8")


def _say_next(name: str, folder: Path) -> None:
    where = shlex.quote(shown_path(folder))
    console = out()
    console.print(f"Made {where}: plugin.json, plugin.py, README.md, tests/.", markup=False)
    run = "nexus run"
    if folder.parent.resolve() not in _looked_in():
        run += f" --plugins {shlex.quote(shown_path(folder.parent))}"
    lines = (
        (run, "serves it"),
        (f"curl http://127.0.0.1:8000/{name}/items", "asks it"),
        (f"nexus check {where}", "looks for faults"),
        (f"python -m pytest {where}", "runs its tests (pip install 'nexus-actors[test]')"),
    )
    width = max(len(command) for command, _ in lines)
    console.print("Next:")
    for command, what in lines:
        console.print(f"  {command.ljust(width)}  # {what}", markup=False)


def _looked_in() -> set[Path]:
    """Where ``nexus run`` looks without being told."""
    try:
        return {folder.resolve() for folder in plugin_dirs(load_settings())}
    except Invalid:
        return set()
