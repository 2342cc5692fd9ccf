"""Why a plugin is as it is: what a node answers to ``nexus why``, and what it waits for, all the
way down."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import trio

from nexus_actors.actors import ActorCell, Registry
from nexus_actors.actors.history import Told
from nexus_actors.actors.statistics import statistics_of
from nexus_actors.database import Database
from nexus_actors.node.health import describe_plugin
from nexus_actors.plugin.loader import LoadedPlugin, Plan
from nexus_actors.plugin.reports import trimmed
from supervisors import Failure

__all__ = ["explain"]


def explain(name: str, plan: Plan, registry: Registry, database: Database | None) -> dict[str, Any]:
    """All that is known of the plugin ``name``, for JSON; times are seconds ago or ahead.

    Raises:
        NoSuchActor: there is none of that name.
    """
    if name in plan.disabled:
        return {
            "name": name,
            "state": "disabled",
            "reason": f"the settings say [plugins.{name}] enabled = false",
        }
    cell = registry.cell(name)
    plugins = {plugin.name: plugin for plugin in plan.plugins}
    plugin = plugins.get(name)
    about = describe_plugin(cell, reasons=True)
    about |= {
        "for": None if cell.since is None else round(trio.current_time() - cell.since, 1),
        "tells_callers": cell.tells_callers,
        "incarnation": cell.incarnation,
        "crashes": cell.crashes,
        "faults": cell.faults,
        "statistics": attrs.asdict(statistics_of(cell)),
        "waiting": cell.mailbox.waiting,
        "in_hand": cell.mailbox.statistics().in_hand,
        "letters": [letter.number for letter in cell.dead_letters.list(name)],
        "needs": [*_needs(cell, plugins, registry, database, {name})],
        "refused": [
            str(fault)
            for refused in plan.refused
            if refused.name == name
            for fault in refused.faults
        ],
        "supervision": None if plugin is None else _supervision(plugin),
        "history": [
            _told(report, None if plugin is None else plugin.found.folder)
            for report in cell.history
        ],
    }
    return about


def _needs(
    cell: ActorCell,
    plugins: dict[str, LoadedPlugin],
    registry: Registry,
    database: Database | None,
    seen: set[str],
) -> Iterator[dict[str, Any]]:
    """What a plugin that waits does not have yet, and what that waits for in turn."""
    plugin = plugins.get(cell.name)
    if cell.state != "waiting" or plugin is None:
        return
    for name in plugin.manifest.requires:
        other = registry.cell(name)
        if other.state != "running" and name not in seen:
            about = describe_plugin(other, reasons=True)
            about["needs"] = [*_needs(other, plugins, registry, database, seen | {name})]
            yield about
    if database is not None and plugin.wants_database and not database.is_ready:
        yield {"name": "database", "state": database.state, "reason": database.reason, "needs": []}


def _supervision(plugin: LoadedPlugin) -> dict[str, Any]:
    rules = plugin.manifest.supervision
    return {
        "restart": rules.restart,
        "strategy": rules.strategy,
        "intensity": rules.intensity,
        "period": rules.period,
        "shutdown": rules.shutdown,
    }


def _told(report: Told, folder: Path | None) -> dict[str, Any]:
    """One line of the history, and the places in the plugin behind it."""
    failure: Failure | None = getattr(report, "failure", None)
    return {
        "ago": round(trio.current_time() - report.time, 3),
        "what": type(report).__name__,
        "level": logging.getLevelName(report.level).lower(),
        "words": str(report),
        "failure": "" if failure is None else trimmed(folder, failure).words(),
    }
