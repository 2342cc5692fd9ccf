"""Loading: from the folders and settings of a node to the plugins it will run or refuses.

Nothing here starts anything. Every plugin gets as far as it can, so that all faults of all plugins
are known at once; a plugin with a fault is refused, the others go on without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from nexus_actors.config import Settings
from nexus_actors.database.statements import schema_name
from nexus_actors.errors import Fault, Invalid
from nexus_actors.http.router import Endpoint, Route, Router
from nexus_actors.plugin.base import Plugin
from nexus_actors.plugin.catalogue import Catalogue, RouteEntry, catalogue_of, place_of
from nexus_actors.plugin.checking import followers_faults, missing_permissions, requires_faults
from nexus_actors.plugin.discovery import Found, discover, plugin_dirs
from nexus_actors.plugin.importing import load_class
from nexus_actors.plugin.library import library_of
from nexus_actors.plugin.manifest import Manifest
from nexus_actors.plugin.options import plugin_config
from nexus_actors.plugin.waves import waves

__all__ = ["LoadedPlugin", "Plan", "Refused", "load_plugins", "plan_from", "routes_of"]


@attrs.frozen
class LoadedPlugin:
    """A plugin that is fit to run."""

    found: Found
    manifest: Manifest
    kind: type[Plugin]
    catalogue: Catalogue
    config: Any
    library: Literal["trio", "asyncio"]
    concurrency: int

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.manifest.name

    @property
    def wants_database(self) -> bool:
        """Whether its manifest asks for the database."""
        return self.manifest.permissions.allows("database:read")


@attrs.frozen
class Refused:
    """A plugin that cannot run as it is, and everything that is wrong with it."""

    name: str
    where: str
    faults: tuple[Fault, ...]


@attrs.frozen
class Plan:
    """What a node will run."""

    plugins: tuple[LoadedPlugin, ...]
    refused: tuple[Refused, ...]
    waves: tuple[tuple[str, ...], ...]
    """Names, in the order of starting: a wave requires nothing but earlier ones."""
    disabled: tuple[str, ...] = ()

    def faults(self) -> list[Fault]:
        """All faults of all refused plugins."""
        return [fault for refused in self.refused for fault in refused.faults]

    def refusing(self, faults: Mapping[str, Sequence[Fault]]) -> Plan:
        """The same plan with the plugins in ``faults``, and those that require them, refused."""
        if not faults:
            return self
        where = {plugin.name: plugin.found.where for plugin in self.plugins}
        requires = {plugin.name: plugin.manifest.requires for plugin in self.plugins}
        wrong = {**faults, **followers_faults(requires, faults, where)}
        return attrs.evolve(
            self,
            plugins=tuple(plugin for plugin in self.plugins if plugin.name not in wrong),
            refused=(
                *self.refused,
                *(Refused(name, where[name], tuple(each)) for name, each in wrong.items()),
            ),
            waves=tuple(
                wave for names in self.waves if (wave := tuple(n for n in names if n not in wrong))
            ),
        )


class _NoEndpoint:
    """Stands for a plugin's endpoint while only the paths are looked at."""

    async def request(self, request: Any, deadline: float) -> Any:
        raise NotImplementedError

    async def websocket(self, ws: Any) -> None:
        raise NotImplementedError


def load_plugins(settings: Settings, cwd: Path | None = None) -> Plan:
    """Find and load the plugins that ``settings`` speak of.

    Raises:
        Invalid: a folder that was named for plugins cannot be read.
    """
    found = discover(plugin_dirs(settings, cwd), entry_points=settings.node.installed_plugins)
    return plan_from(found, settings)


def plan_from(found: Sequence[Found], settings: Settings, *, running: Iterable[str] = ()) -> Plan:
    """Load what was found. Imports the plugins' modules. ``running`` are names of plugins that
    run already, which the new ones may require."""
    loaded: dict[str, LoadedPlugin] = {}
    faults: dict[str, list[Fault]] = {}
    disabled: list[str] = []
    for each in found:
        try:
            if not settings.is_enabled(each.name):
                disabled.append(each.name)
                continue
            loaded[each.name] = _load(each, settings)
        except Invalid as invalid:
            faults.setdefault(each.name, []).extend(invalid.faults)
    places = {each.name: each for each in found}
    _check_paths(loaded, faults)
    _check_schemas(loaded, faults)
    requires: dict[str, Sequence[str]] = dict.fromkeys(running, ())
    requires |= {name: plugin.manifest.requires for name, plugin in loaded.items()}
    for name, wrong in requires_faults(
        requires,
        known=places,
        disabled=disabled,
        broken=faults,
        where={each.name: each.where for each in found},
    ).items():
        faults.setdefault(name, []).extend(wrong)
    fit = {name: plugin for name, plugin in loaded.items() if name not in faults}
    return Plan(
        tuple(fit.values()),
        tuple(Refused(name, places[name].where, tuple(wrong)) for name, wrong in faults.items()),
        tuple(
            tuple(wave)
            for wave in waves(
                # one that is refused now may be mended: whoever requires it waits for it
                {
                    name: [other for other in plugin.manifest.requires if other in fit]
                    for name, plugin in fit.items()
                }
            )
        ),
        tuple(disabled),
    )


def _load(found: Found, settings: Settings) -> LoadedPlugin:
    """One plugin; raises :class:`Invalid` with all that is wrong with it."""
    if found.manifest is None:
        raise Invalid(found.faults)
    manifest = found.manifest
    faults: list[Fault] = []
    config: Any = {}
    try:
        table = settings.table(found.name)
        config = plugin_config(manifest, table.options, settings.environ, where=table.where)
    except Invalid as invalid:
        faults += invalid.faults
    try:
        kind = load_class(found, Plugin)
        catalogue = catalogue_of(kind)
    except Invalid as invalid:
        raise Invalid([*faults, *invalid.faults]) from None
    needs = [
        (permission, subject, place_of(getattr(kind, handler)))
        for permission, subject, handler in catalogue.needs()
    ]
    faults += missing_permissions(manifest, needs, found.where)
    if faults:
        raise Invalid(faults)
    return LoadedPlugin(
        found,
        manifest,
        kind,
        catalogue,
        config,
        manifest.async_library or library_of(found.sources()),
        manifest.concurrency if manifest.concurrency > 1 else _concurrency_of(kind),
    )


def _concurrency_of(kind: type[Plugin]) -> int:
    said = getattr(kind, "concurrency", 1)
    return said if isinstance(said, int) and said >= 1 else 1


def routes_of(plugin: LoadedPlugin, endpoint_for: Callable[[RouteEntry], Endpoint]) -> list[Route]:
    """The routes of ``plugin``, each answered by ``endpoint_for(entry)``."""
    return [
        Route.from_mark(entry.mark, plugin.name, endpoint_for(entry))
        for entry in plugin.catalogue.routes
    ]


def _check_paths(loaded: dict[str, LoadedPlugin], faults: dict[str, list[Fault]]) -> None:
    """Of two plugins with one path the first by name is served and the other refused: refusing
    both would let any newcomer take a running plugin down."""
    router = Router()
    nobody: Endpoint = _NoEndpoint()
    for name, plugin in loaded.items():
        routes = routes_of(plugin, lambda entry: nobody)
        wrong = router.check(routes)
        if wrong:
            faults.setdefault(name, []).extend(wrong)
        else:
            router.add(routes)


def _check_schemas(loaded: dict[str, LoadedPlugin], faults: dict[str, list[Fault]]) -> None:
    """Two plugins never share a schema of the database; as with paths the first by name has it."""
    owners: dict[str, str] = {}
    for name, plugin in loaded.items():
        if not plugin.manifest.permissions.allows("database:read"):
            continue
        try:
            schema = schema_name(name)
        except ValueError as error:
            faults.setdefault(name, []).append(
                Fault(f"{plugin.found.where}: name", str(error), "give it another name")
            )
            continue
        owner = owners.setdefault(schema, name)
        if owner != name:
            faults.setdefault(name, []).append(
                Fault(
                    f"{plugin.found.where}: name",
                    f"{name!r} and {owner!r} would share the schema {schema} of the database",
                    "give one of the two another name",
                )
            )
