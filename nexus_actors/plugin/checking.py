"""Faults between plugins, and between a plugin and its manifest: requirements, permissions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from nexus_actors.errors import Fault
from nexus_actors.plugin.manifest import Manifest
from nexus_actors.plugin.waves import circle
from nexus_actors.words import nearest, shown

__all__ = ["followers_faults", "missing_permissions", "requires_faults"]


def requires_faults(
    requires: Mapping[str, Sequence[str]],
    *,
    known: Iterable[str] = (),
    disabled: Iterable[str] = (),
    broken: Iterable[str] = (),
    where: Mapping[str, str] | None = None,
) -> dict[str, list[Fault]]:
    """By plugin, why it cannot start for what it requires.

    A name in ``requires`` may be missing, switched off, the way into a circle, or a plugin that
    cannot start itself. ``requires`` has the plugins that are good so far; ``known`` are the names
    of all that were found: those of them that are neither good nor ``disabled`` are broken, as
    those in ``broken`` are. ``where`` has each plugin's manifest in words.
    """
    where = where or {}
    off = set(disabled)
    good = {name: needs for name, needs in requires.items() if name not in off}
    bad = {*known, *broken} - off
    bad -= set(good) - set(broken)
    result: dict[str, list[Fault]] = {}
    for name, needs in good.items():
        way = circle(name, good)
        for index, other in enumerate(needs):
            place = f"{where.get(name, name)}: requires[{index}]"
            for fault in _one(place, other, {*good, *bad}, off, way):
                result.setdefault(name, []).append(fault)
    _add_followers(result, good, bad, where)
    return result


def followers_faults(
    requires: Mapping[str, Sequence[str]], bad: Collection[str], where: Mapping[str, str]
) -> dict[str, list[Fault]]:
    """By plugin, why it cannot start now that those in ``bad`` cannot. As in
    :func:`requires_faults`, ``requires`` has the plugins that were good so far."""
    result: dict[str, list[Fault]] = {}
    _add_followers(result, requires, {*bad}, where)
    return result


def _one(
    place: str, other: str, there: Collection[str], off: Collection[str], way: list[str]
) -> Iterator[Fault]:
    if other in off:
        yield Fault(place, f"{other} is switched off", "switch it on, or this plugin off as well")
    elif other not in there:
        hint = nearest(other, there)
        yield Fault(place, f"there is no plugin {shown(other)}{hint}", "add it or take this away")
    elif way and way[1] == other:
        yield Fault(place, f"goes in a circle: {' > '.join(way)}", "take one of these away")


def _add_followers(
    result: dict[str, list[Fault]],
    good: Mapping[str, Sequence[str]],
    bad: set[str],
    where: Mapping[str, str],
) -> None:
    """Add those that require a plugin that cannot start, and those that require these."""
    stuck = {*bad, *result}
    while True:
        followers = {
            name: [index for index, need in enumerate(needs) if need in stuck]
            for name, needs in good.items()
            if name not in stuck
        }
        followers = {name: places for name, places in followers.items() if places}
        if not followers:
            return
        for name, places in followers.items():
            for index in places:
                other = good[name][index]
                place = f"{where.get(name, name)}: requires[{index}]"
                fault = Fault(place, f"{other} cannot start", f"mend {other} first")
                result.setdefault(name, []).append(fault)
        stuck |= set(followers)


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
