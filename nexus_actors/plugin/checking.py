"""Every fault of every plugin at once: what ``nexus check`` prints and a start refuses for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from nexus_actors.errors import Fault, Invalid
from nexus_actors.plugin.discovery import Found, discover
from nexus_actors.plugin.importing import load_class
from nexus_actors.plugin.manifest import Manifest
from nexus_actors.plugin.waves import circle
from nexus_actors.words import nearest, shown

__all__ = ["check_folder", "missing_permissions", "requires_faults"]


def check_folder(
    dirs: Sequence[Path], *, base: type | None = None, entry_points: bool = False
) -> list[Fault]:
    """Everything that is wrong with the plugins in ``dirs``.

    With ``base`` (:class:`nexus_actors.plugin.Plugin`) their modules are imported as well, which
    runs what stands in them.
    """
    try:
        found = discover(dirs, entry_points=entry_points)
    except Invalid as invalid:
        return list(invalid.faults)
    faults = [fault for plugin in found for fault in plugin.faults]
    faults += (fault for several in requires_faults(found).values() for fault in several)
    if base is not None:
        for plugin in found:
            if plugin.manifest is not None:
                try:
                    load_class(plugin, base)
                except Invalid as invalid:
                    faults += invalid.faults
    return faults


def requires_faults(found: Iterable[Found], disabled: Iterable[str] = ()) -> dict[str, list[Fault]]:
    """By plugin, what is wrong with the ``requires`` of each: missing, switched off, or a circle.

    A plugin that requires one which is itself broken has no fault here: that one may be mended
    while the node runs.
    """
    plugins = {plugin.name: plugin for plugin in found}
    needs = {
        name: plugin.manifest.requires
        for name, plugin in plugins.items()
        if plugin.manifest is not None
    }
    off = set(disabled)
    circles = {name: circle(name, needs) for name in needs if name not in off}
    result: dict[str, list[Fault]] = {}
    for name, requires in needs.items():
        if name in off:
            continue
        for index, other in enumerate(requires):
            place = f"{plugins[name].where}: requires[{index}]"
            for fault in _one(place, other, plugins, off, circles.get(name, [])):
                result.setdefault(name, []).append(fault)
    return result


def _one(
    place: str, other: str, plugins: Mapping[str, Found], off: set[str], way: list[str]
) -> Iterator[Fault]:
    if other not in plugins:
        hint = nearest(other, plugins)
        yield Fault(place, f"there is no plugin {shown(other)}{hint}", "add it or take this away")
    elif other in off:
        yield Fault(place, f"{other} is switched off", "switch it on, or this plugin off as well")
    elif way and way[1] == other:
        yield Fault(place, f"goes in a circle: {' > '.join(way)}", "take one of these away")


def missing_permissions(
    manifest: Manifest, needed: Iterable[tuple[str, str | None, str]], where: str = ""
) -> list[Fault]:
    """What a plugin's class marks need and its manifest does not ask for.

    ``needed`` has, for each: the permission (``"events:subscribe"``), what it is needed on (the
    pattern ``"order.*"``; None for all), and who needs it (the handler's name, ``"on_order"``).
    ``where`` is the manifest in words.
    """
    faults = []
    for name, subject, handler in needed:
        if not manifest.permissions.allows(name, subject):
            line = manifest.permissions.wanted(name, subject)
            on = "" if subject is None else f" on {shown(subject)}"
            faults.append(
                Fault(
                    f"{where or manifest.name}: permissions",
                    f"{handler} needs {name}{on}, which is not asked for",
                    f'add "{line}"',
                )
            )
    return faults
