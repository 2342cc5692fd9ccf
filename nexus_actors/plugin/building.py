"""Building a plugin object: its class called with its configuration, in the node's context."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import trio

from nexus_actors.errors import Fault, Invalid
from nexus_actors.plugin import context as contexts
from nexus_actors.plugin.base import Plugin
from nexus_actors.plugin.compartment import Compartment
from nexus_actors.plugin.granted import PluginContext
from nexus_actors.plugin.manifest import Manifest
from nexus_actors.plugin.stalls import Owner, StallInterrupt
from nexus_actors.services import injecting
from nexus_actors.services.container import Container

__all__ = ["Builder", "Built"]


@attrs.frozen
class Built:
    """A plugin object and what belongs to its incarnation."""

    plugin: Plugin
    owner: Owner
    """Whose asyncio tasks are the ones that it starts."""
    use_nursery: Callable[[trio.Nursery], None]
    context: PluginContext


class Builder:
    """Builds one incarnation after another of a plugin, with the same services."""

    def __init__(
        self,
        kind: type[Plugin],
        manifest: Manifest,
        config: Any,
        make_context: Callable[[], PluginContext],
        container: Container,
    ) -> None:
        self._kind = kind
        self._manifest = manifest
        self._config = config
        self._make_context = make_context
        self.container = container

    async def build(self, compartment: Compartment) -> Built:
        """Call the class. Raises what its ``__init__`` does, and :class:`Invalid` for an object
        that is not what its manifest says."""
        context = self._make_context()
        nurseries: list[trio.Nursery] = []

        def use_nursery(nursery: trio.Nursery) -> None:
            nurseries.append(nursery)
            context.use_nursery(nursery)

        def crash(error: BaseException) -> None:
            # before there is a nursery, initialize has not begun, and its end will show the fault
            if nurseries and not (
                # it is asked for whoever swallowed it: an incarnation that ends has not
                isinstance(error, StallInterrupt) and nurseries[0].cancel_scope.cancel_called
            ):
                nurseries[0].start_soon(_raise, error)

        owner = Owner(self._manifest.name, crash)
        built = contexts.building.set(context)
        injected = injecting.building.set(self.container)
        try:
            with compartment.as_owner(owner):
                plugin = await compartment.call(self._kind, self._config)
        finally:
            injecting.building.reset(injected)
            contexts.building.reset(built)
        self._check(plugin)
        return Built(plugin, owner, use_nursery, context)

    def _check(self, plugin: Plugin) -> None:
        name = self._kind.__name__
        where = f"{self._manifest.name}: {name}.__init__"
        if not hasattr(plugin, "_context"):
            raise Invalid(
                [
                    Fault(
                        where,
                        "it did not call the __init__ of Plugin",
                        "begin it with super().__init__(config)",
                    )
                ]
            )
        if plugin.name != self._manifest.name:
            raise Invalid(
                [
                    Fault(
                        where,
                        f"it sets name to {plugin.name!r}, but plugin.json says "
                        f"{self._manifest.name!r}",
                        "let both say the same, or leave the line out",
                    )
                ]
            )


async def _raise(error: BaseException) -> None:
    raise error
