"""What a node gives one plugin: the context behind ``self.db``, ``emit_event`` and ``get_plugin``.

Every gift is checked against the manifest's permissions here, by the plugin's identity.
"""

from __future__ import annotations

from typing import Any

import trio

from nexus_actors import log
from nexus_actors.actors import ASK_TIMEOUT, ActorStatistics, Proxy, Registry
from nexus_actors.actors.belongings import Belongings
from nexus_actors.database import DatabaseAdapter, current_transaction
from nexus_actors.errors import NotInNode, PermissionDenied
from nexus_actors.events.bus import EventBus
from nexus_actors.events.event import Event, make_event
from nexus_actors.plugin.manifest import Manifest

__all__ = ["DeniedDatabase", "PluginContext"]


class DeniedDatabase:
    """Stands where ``self.db`` would be in a plugin whose manifest asks for no database."""

    def __init__(self, plugin: str) -> None:
        self.__plugin = plugin

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        raise PermissionDenied(self.__plugin, "database:write", f"use the database (db.{name})")

    def __repr__(self) -> str:
        return "<no database: the manifest does not ask for it>"


class PluginContext:
    """The node's gifts to one incarnation of one plugin."""

    def __init__(
        self,
        manifest: Manifest,
        registry: Registry,
        bus: EventBus,
        adapter: DatabaseAdapter | None,
        ask_timeout: float = ASK_TIMEOUT,
    ) -> None:
        """``ask_timeout``: seconds that a call of another plugin may take."""
        self._ask_timeout = ask_timeout
        self._manifest = manifest
        self._registry = registry
        self._bus = bus
        self._nursery: trio.Nursery | None = None
        self._belongings: Belongings | None = None
        self.name = manifest.name
        self.version = manifest.version
        self.description = manifest.description
        self.db: Any = DeniedDatabase(manifest.name) if adapter is None else adapter
        self.logger: Any = log.plugin_logger(manifest.name)

    @property
    def nursery(self) -> trio.Nursery:
        """The incarnation's nursery; there from just before ``initialize``."""
        if self._nursery is None:
            raise NotInNode(
                f"{self.name}: the nursery is there from initialize on; start tasks there, not in "
                "__init__"
            )
        return self._nursery

    @property
    def belongings(self) -> Belongings:
        """What the incarnation owns; there from just before ``initialize``."""
        if self._belongings is None:
            raise NotInNode(
                f"{self.name}: children and timers are there from initialize on, not in __init__"
            )
        return self._belongings

    def use_belongings(self, belongings: Belongings) -> None:
        """Say what is this incarnation's."""
        self._belongings = belongings

    def use_nursery(self, nursery: trio.Nursery) -> None:
        """Say which nursery is this incarnation's."""
        self._nursery = nursery

    async def emit(self, event: Any, data: Any) -> int | None:
        """See :meth:`.Plugin.emit_event`."""
        made = make_event(event, data, source=self.name)
        if not self._manifest.permissions.allows("events:emit", made.type):
            raise PermissionDenied(self.name, "events:emit", f"emit {made.type!r}")
        transaction = current_transaction()
        if transaction is not None:
            transaction.after_commit(lambda: _emit(self._bus, made))
            return None
        # before the emitting, so that a cancelled emitter has not emitted; a loop of emits must
        # not keep the others from running either
        await trio.lowlevel.checkpoint()
        return self._bus.emit(made)

    def statistics(self, name: str) -> ActorStatistics:
        """See :meth:`.Plugin.node_statistics`."""
        name = name or self.name
        if name != self.name and not self._manifest.permissions.allows("node:observe"):
            raise PermissionDenied(self.name, "node:observe", f"see the numbers of {name!r}")
        return self._registry.address(name).statistics()

    def get_plugin(self, name: str) -> Proxy | None:
        """See :meth:`.Plugin.get_plugin`."""
        if not self._manifest.permissions.allows("plugins:call", name):
            raise PermissionDenied(self.name, f"plugins:call:{name}", f"call the plugin {name!r}")
        if name not in self._registry or self._registry.cell(name).is_child:
            return None
        return Proxy(self._registry.address(name), caller=self.name, timeout=self._ask_timeout)


def _emit(bus: EventBus, event: Event) -> None:
    bus.emit(event)
