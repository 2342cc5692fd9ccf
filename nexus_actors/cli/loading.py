"""What ``nexus run`` and ``nexus check`` load: the same plugins, looked at in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from nexus_actors.config import Settings
from nexus_actors.errors import Fault
from nexus_actors.plugin.discovery import Found, discover, plugin_dirs
from nexus_actors.plugin.loader import Plan, plan_from
from nexus_actors.plugin.options import strange_options

__all__ = ["Loaded", "load"]


@attrs.frozen
class Loaded:
    """Plugins that were looked for, and what came of it."""

    dirs: tuple[Path, ...]
    """Where."""
    found: tuple[Found, ...]
    plan: Plan
    strange: tuple[Fault, ...]
    """Settings for plugins or options that are not there."""


def load(settings: Settings) -> Loaded:
    """Find and load the plugins that ``settings`` speak of. Imports them, starts nothing.

    Raises:
        Invalid: a folder that was named for plugins cannot be read.
    """
    dirs = plugin_dirs(settings)
    found = discover(dirs, entry_points=settings.node.installed_plugins)
    manifests = [each.manifest for each in found if each.manifest is not None]
    strange = strange_options(
        manifests, settings, broken=[each.name for each in found if each.manifest is None]
    )
    return Loaded(dirs, tuple(found), plan_from(found, settings), tuple(strange))


def load_dirs(dirs: Sequence[Path], settings: Settings) -> Loaded:
    """The same for the plugins in ``dirs`` alone.

    What they require may also stand beside them, where ``nexus run`` looks, or be installed.

    Raises:
        Invalid: one of ``dirs`` is no folder, or may not be read.
    """
    found = discover(dirs, entry_points=False)
    names = {each.name for each in found}
    beside = [folder.resolve().parent for folder in dirs if (folder / "plugin.json").is_file()]
    others = discover(
        [*beside, *plugin_dirs(settings)], entry_points=settings.node.installed_plugins
    )
    plan = plan_from(
        found, settings, running=[each.name for each in others if each.name not in names]
    )
    return Loaded(tuple(dirs), tuple(found), plan, ())
