"""``nexus check``: every fault of every plugin at once, and what is good about the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
from rich.console import Console
from rich.text import Text

from nexus_actors.actors import ActorCell, Address, DeadLetters, Proxy
from nexus_actors.cli.loading import Loaded, load, load_dirs
from nexus_actors.cli.output import FAILED, OK, counted, out
from nexus_actors.config import Settings, load_settings
from nexus_actors.errors import Fault, Invalid
from nexus_actors.plugin.loader import LoadedPlugin, Plan
from nexus_actors.plugin.outermost import node_middleware_of
from nexus_actors.words import shown_path

__all__ = ["check_plugins"]


def check_plugins(dirs: Sequence[Path], config: Path | None = None) -> int:
    """Print what is wrong with the plugins in ``dirs``, or with those that ``nexus run`` would
    load; return the exit code.

    Raises:
        Invalid: a folder cannot be read.
    """
    settings, faults = _settings(config)
    loaded = load_dirs(dirs, settings) if dirs else load(settings)
    loaded = attrs.evolve(loaded, plan=_with_middleware(loaded.plan))
    faults += loaded.strange
    console = out()
    if faults:
        number = counted(len(faults), "fault")
        console.print(Text.assemble(("settings", "bold"), ": ", (number, "bold red")))
        _print_faults(console, faults)
    for name in sorted(each.name for each in loaded.found):
        _print_plugin(console, name, loaded)
    console.print(_summary(loaded, faults))
    return FAILED if faults or loaded.plan.refused else OK


def _with_middleware(plan: Plan) -> Plan:
    """``plan``, with those refused whose middleware for the node cannot be made."""
    faults = {}
    for plugin in plan.plugins:
        if plugin.catalogue.wraps_node:
            cell = ActorCell(plugin.name, DeadLetters())
            cell.methods = plugin.catalogue.methods
            try:
                node_middleware_of(plugin.kind, Proxy(Address(cell)))
            except Invalid as invalid:
                faults[plugin.name] = invalid.faults
    return plan.refusing(faults)


def _settings(config: Path | None) -> tuple[Settings, list[Fault]]:
    """The settings and what is strange in them; for faulty ones their faults, and the defaults."""
    try:
        settings = load_settings({"config": config})
    except Invalid as invalid:
        return Settings(), list(invalid.faults)
    return settings, list(settings.warnings)


def _print_plugin(console: Console, name: str, loaded: Loaded) -> None:
    for plugin in loaded.plan.plugins:
        if plugin.name == name:
            head = Text.assemble((f"{name} {plugin.manifest.version}", "bold"), ": ")
            console.print(head + Text.assemble(("good", "green"), f" ({_about(plugin)})"))
    for refused in loaded.plan.refused:
        if refused.name == name:
            faults = counted(len(refused.faults), "fault")
            console.print(Text.assemble((name, "bold"), ": ", (faults, "bold red")))
            _print_faults(console, refused.faults)
    if name in loaded.plan.disabled:
        console.print(Text.assemble((name, "bold"), ": switched off"))


def _about(plugin: LoadedPlugin) -> str:
    catalogue = plugin.catalogue
    handlers = {entry.handler for entry in catalogue.events}
    parts = [
        counted(len(catalogue.routes), "route"),
        counted(len(handlers), "event handler"),
        plugin.library,
    ]
    return ", ".join(parts)


def _print_faults(console: Console, faults: Sequence[Fault]) -> None:
    for fault in faults:
        console.print(Text(f"  {fault}"))


def _summary(loaded: Loaded, faults: Sequence[Fault]) -> str:
    where = ", ".join(map(shown_path, loaded.dirs))
    wrong = loaded.plan.refused
    number = len(faults) + sum(len(refused.faults) for refused in wrong)
    if not loaded.found:
        said = f"no plugins in {where}"
        return f"{said}, {counted(number, 'fault')} in the settings" if number else said
    said = f"{counted(len(loaded.found), 'plugin')} in {where}: "
    return said + (counted(number, "fault") if number else "no faults")
