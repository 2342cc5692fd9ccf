"""``alone``: a nursery and a place for events, for a plugin object that is in no node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from nexus_actors.events.event import Event, make_event
from nexus_actors.plugin import Plugin
from nexus_actors.testing.nurseries import any_nursery

__all__ = ["Alone", "alone"]


@attrs.define
class Alone:
    """What a plugin did while it was alone."""

    events: list[Event] = attrs.field(factory=list)
    """What it emitted, in order."""


class _AloneContext:
    """The plugin's context as it was, but with a nursery and events."""

    def __init__(self, before: Any, nursery: trio.Nursery, found: Alone) -> None:
        self._before = before
        self._found = found
        self.nursery = nursery

    def __getattr__(self, name: str) -> Any:
        return getattr(self._before, name)

    async def emit(self, event: Any, data: Any) -> int | None:
        await trio.lowlevel.checkpoint()
        self._found.events.append(make_event(event, data, source=self._before.name))
        return 0


@asynccontextmanager
async def alone(plugin: Plugin) -> AsyncIterator[Alone]:
    """Within the block ``plugin.nursery`` and ``plugin.emit_event`` work without a node.

    ::

        async with alone(plugin) as seen:
            await plugin.initialize()
            ...
        assert seen.events[0].type == "data.processed"

    At its end the plugin's tasks in the nursery are cancelled; what one of them raised is raised
    here. In a test written for asyncio it is the same; tasks of ``asyncio.create_task`` are not in
    the nursery: end them in the plugin's ``cleanup``.
    """
    before = plugin._context
    found = Alone()
    try:
        async with any_nursery() as nursery:
            plugin._context = _AloneContext(before, nursery, found)
            yield found
    finally:
        plugin._context = before
