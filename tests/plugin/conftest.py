"""Plugins run by a keeper on a mock clock, without server or database."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from nexus_actors.actors import ActorCell, DeadLetters, Kernel, Proxy, Registry
from nexus_actors.database import DatabaseAdapter
from nexus_actors.events.bus import EventBus
from nexus_actors.events.event import make_event
from nexus_actors.http import Request
from nexus_actors.permissions import Permissions
from nexus_actors.plugin.building import Builder
from nexus_actors.plugin.catalogue import catalogue_of
from nexus_actors.plugin.discovery import Found
from nexus_actors.plugin.granted import PluginContext
from nexus_actors.plugin.keeper import Keeper
from nexus_actors.plugin.loader import LoadedPlugin
from nexus_actors.plugin.manifest import EntryPoint, Manifest
from nexus_actors.plugin.ports import PluginEndpoint, PluginSubscriber
from nexus_actors.services.container import Container
from supervisors import ChildSpec, Supervisor

ALL = ("events:emit", "events:subscribe", "plugins:call", "database:write")


@attrs.define
class Nest:
    """Some plugins, running, and what they share."""

    registry: Registry = attrs.field(factory=Registry)
    dead_letters: DeadLetters = attrs.field(factory=DeadLetters)
    lost: list = attrs.field(factory=list)
    bus: EventBus = None
    endpoints: dict = attrs.field(factory=dict)
    objects: dict = attrs.field(factory=dict)
    """name -> every plugin object that was built, in order."""

    def __attrs_post_init__(self):
        self.bus = EventBus(self.lost.append)

    def cell(self, name) -> ActorCell:
        return self.registry.cell(name)

    def proxy(self, name) -> Proxy:
        return Proxy(self.registry.address(name), caller="test")

    def emit(self, type, data=None):
        return self.bus.emit(make_event(type, data or {}, source="test"))

    async def request(self, method, path, *, deadline=30.0, **fields):
        """Send a request to the route ``method path`` of whoever has it."""
        endpoint, _ = self.endpoints[method, path]
        request = Request(method, path, **fields)
        return await endpoint.request(request, trio.current_time() + deadline)

    async def until(self, condition):
        """Let the mock clock run on until ``condition`` holds, a day of it at most."""
        with trio.fail_after(86_400):
            while not condition():  # noqa: ASYNC110 - the condition is any, and the clock is a mock
                await trio.sleep(0.01)

    async def until_running(self, name, incarnation=1):
        await self.until(
            lambda: (
                self.cell(name).state == "running" and self.cell(name).incarnation >= incarnation
            )
        )


@pytest.fixture
def run_plugins():
    """``async with run_plugins(Shop, billing=Billing) as nest``: kept plugins.

    A class is run under its name in lower case; ``manifest=`` is changed by a class attribute
    ``says`` (fields of the Manifest), the library by ``library``.
    """

    @asynccontextmanager
    async def run(*kinds, wait=True, config=None, needs=_no_needs):
        nest = Nest()
        specs = []
        for kind in kinds:
            name = kind.__name__.lower()
            says = {"permissions": Permissions.of(*ALL), **getattr(kind, "says", {})}
            manifest = Manifest(
                name=name, version="1.0.0", entry_point=EntryPoint("plugin", kind.__name__), **says
            )
            loaded = LoadedPlugin(
                Found(name, "folder", "plugin.json", "plugin"),
                manifest,
                kind,
                catalogue_of(kind),
                config or {},
                getattr(kind, "library", "trio"),
                manifest.concurrency,
            )
            cell = ActorCell(
                name,
                nest.dead_letters,
                capacity=manifest.mailbox.capacity,
                overflow=manifest.mailbox.overflow,
            )
            cell.methods = loaded.catalogue.methods
            address = nest.registry.register(cell)
            for entry in loaded.catalogue.routes:
                nest.endpoints[entry.mark.method, entry.mark.path] = (
                    PluginEndpoint(address, entry, manifest.on_error),
                    entry,
                )
            for entry in loaded.catalogue.events:
                nest.bus.subscribe(entry.mark.pattern, PluginSubscriber(cell), entry)
            keeper = Keeper(
                loaded,
                cell,
                _builder(nest, loaded),
                needs,
                Kernel(nest.registry, nest.dead_letters),
                random.Random(7),
            )
            specs.append(
                ChildSpec(
                    id=name,
                    start=keeper.run,
                    restart="transient",
                    shutdown="infinity",
                    type="supervisor",
                )
            )
        supervisor = Supervisor(specs, on_report=lambda report: None)
        async with trio.open_nursery() as nursery:
            ref = await nursery.start(supervisor.run)
            if wait:
                for kind in kinds:
                    await nest.until_running(kind.__name__.lower())
            yield nest
            await ref.stop()

    return run


async def _no_needs(waits):
    await trio.lowlevel.checkpoint()


def _builder(nest, loaded):
    built = nest.objects.setdefault(loaded.name, [])

    class Remembering(loaded.kind):
        def __init__(self, config):
            built.append(self)
            super().__init__(config)

    Remembering.__name__ = loaded.kind.__name__

    def context():
        return PluginContext(loaded.manifest, nest.registry, nest.bus, None)

    def build():
        given = {DatabaseAdapter: context().db}
        container = Container(loaded.name, loaded.config, given)
        return Builder(Remembering, loaded.manifest, loaded.config, context, container)

    return build
