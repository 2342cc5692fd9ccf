"""What a plugin object can reach: the node's gifts to it, or stand-ins where there is no node."""

from __future__ import annotations

import contextvars
import inspect
import json
from pathlib import Path
from typing import Any, Protocol

from nexus_actors import log
from nexus_actors.actors import ActorStatistics
from nexus_actors.actors.belongings import Belongings
from nexus_actors.errors import NotInNode
from nexus_actors.services.injecting import StandIn

__all__ = ["Context", "Detached", "building"]

_ALONE = (
    "the plugin is in no node; in a unit test use nexus_actors.testing.alone(plugin), which gives "
    "it a nursery and keeps what it emits"
)


class Context(Protocol):
    """What :class:`.Plugin` asks of whoever runs it. :class:`.host.PluginContext` is the node's."""

    name: str
    version: str
    description: str
    db: Any
    logger: Any

    @property
    def nursery(self) -> Any:
        """The incarnation's nursery."""

    @property
    def belongings(self) -> Belongings:
        """What the incarnation owns: children, timers."""

    async def emit(self, event: Any, data: Any) -> int | None:
        """Publish an event."""

    def get_plugin(self, name: str) -> Any:
        """A proxy for another plugin, or None."""

    def statistics(self, name: str) -> ActorStatistics:
        """The numbers of the plugin of that name; its own where that is empty."""


building: contextvars.ContextVar[Context | None] = contextvars.ContextVar(
    "nexus_building_plugin", default=None
)
"""The context for the plugin that is being built; None outside a node."""


class Detached:
    """The context of a plugin object that is in no node: an ordinary object, as in a unit test."""

    def __init__(self, kind: type) -> None:
        manifest = _manifest_beside(kind)
        self.name: str = manifest.get("name", "")
        self.version: str = manifest.get("version", "")
        self.description: str = manifest.get("description", "")
        self.db: Any = StandIn("db")
        self.logger: Any = log.plugin_logger(self.name or kind.__name__)

    @property
    def nursery(self) -> Any:
        """Raises :class:`NotInNode`, with advice."""
        raise NotInNode(f"nursery: {_ALONE}")

    @property
    def belongings(self) -> Belongings:
        """Raises :class:`NotInNode`, with advice."""
        raise NotInNode(
            "children and timers: the plugin is in no node; nexus_actors.testing.TestApplication "
            "runs one"
        )

    async def emit(self, event: Any, data: Any) -> int | None:
        """Raises :class:`NotInNode`, with advice."""
        raise NotInNode(f"emit_event: {_ALONE}")

    def get_plugin(self, name: str) -> Any:
        """Outside a node there is no other plugin."""
        return None

    def statistics(self, name: str) -> ActorStatistics:
        """Raises :class:`NotInNode`, with advice."""
        raise NotInNode(
            "statistics: the plugin is in no node; nexus_actors.testing.TestApplication runs one"
        )


def _manifest_beside(kind: type) -> dict[str, Any]:
    """The plugin.json in the folder of the module that defines ``kind``; {} where there is none."""
    try:
        path = Path(inspect.getfile(kind)).with_name("plugin.json")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
