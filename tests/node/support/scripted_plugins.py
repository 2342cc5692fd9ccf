"""Plugins that do what their messages say: their classes, made as a program of random_plugins wants
them, and what a world keeps of each. What a handler does is said by the world.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
import trio
from actor_world import Life
from random_plugins import On, Spec

from nexus_actors.actors import ActorCell
from nexus_actors.events import event_handler
from nexus_actors.http import get, post, websocket
from nexus_actors.http.websockets import WebSocket
from nexus_actors.plugin import Plugin
from nexus_actors.plugin.loader import LoadedPlugin
from nexus_actors.services import Service, inject


class Oops(Exception):
    """What a plugin raises because it was told to; no two have the same words."""


class Fatal(BaseException):
    """The same, and no ``except Exception`` holds it."""


@attrs.define(eq=False)
class PluginLife(Life):
    """One incarnation of a plugin."""

    modes: Counter[str] = attrs.field(factory=Counter, repr=False)
    causes: list[str] = attrs.field(factory=list, repr=False)
    """Why it must end."""
    allowed: set[str] = attrs.field(factory=set, repr=False)
    """By which of its own faults it may end."""
    faults: list[float] = attrs.field(factory=list, repr=False)
    """When it failed to answer."""
    plugin: Any = attrs.field(default=None, repr=False)
    cleaned: int = 0


@attrs.define(eq=False)
class Run:
    """A plugin of the present node."""

    spec: Spec
    loaded: LoadedPlugin
    cell: ActorCell = attrs.field(default=None, repr=False)
    builds: int = 0
    stop_asked: bool = False
    service_failed: bool = False
    """Whether one of its services ever has: that may be too much for its supervisor."""
    services: dict[int, Any] = attrs.field(factory=dict, repr=False)
    """Those that are up."""
    begun: dict[int, int] = attrs.field(factory=dict, repr=False)
    """How often each service began."""
    tasks: dict[object, tuple[str, PluginLife | None]] = attrs.field(factory=dict, repr=False)
    """What runs in the background, and for whom."""
    sessions: dict[object, PluginLife] = attrs.field(factory=dict, repr=False)

    @property
    def said(self) -> Any:
        """Its manifest."""
        return self.loaded.manifest


class TrioWays:
    """How code for Trio does what the programs ask for."""

    @staticmethod
    async def sleep(seconds: float) -> None:
        await trio.sleep(seconds)

    @staticmethod
    async def deaf(seconds: float) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)

    @staticmethod
    def begin(plugin: Plugin, function: Callable[[], Any]) -> None:
        plugin.nursery.start_soon(function)


class AsyncioWays:
    """The same for asyncio."""

    @staticmethod
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds if seconds < math.inf else 1e9)

    @staticmethod
    async def deaf(seconds: float) -> None:
        ends = trio.current_time() + seconds
        while (left := ends - trio.current_time()) > 0:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(left)

    @staticmethod
    def begin(plugin: Any, function: Callable[[], Any]) -> None:
        plugin._kept.append(asyncio.create_task(function()))


WAYS: dict[str, Any] = {"trio": TrioWays, "asyncio": AsyncioWays}


class Scripted(Plugin):
    """Does what the message says; see :func:`plugin_class`."""

    _world: Any
    _spec: Spec
    _kinds: tuple[type[Service], ...]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._run = run = self._world.runs[self._spec.name]
        self._life: Any = None
        self._kept: list[Any] = []
        self._ways = WAYS[run.loaded.library]
        run.builds += 1
        for other in run.said.requires:
            if not self._world.runs[other].cell.incarnation:
                self._world.wrong(f"{self.name} is built before {other}, which it requires")
        if self._spec.start == "builds badly" and run.builds % 4 == 3:
            raise Oops("it is not to be built")
        kinds = self._kinds
        if self._spec.start == "one more service" and run.builds < 3:
            kinds = kinds[1:]
        self._services = [inject(kind) for kind in kinds]

    @property
    def life(self) -> Any:
        return self._life

    async def initialize(self) -> None:
        self._life = await self._world.initialize(self)

    async def cleanup(self) -> None:
        await self._world.cleanup(self)

    async def _tick(self, number: int) -> None:
        await self._world.serve(self, number)

    async def do(self, number: int) -> Any:
        return await self._world.serve(self, number)


def plugin_class(world: Any, spec: Spec) -> type[Plugin]:
    """The class of a plugin: its routes have paths, and its event handlers patterns, of its own."""
    there = f"/{spec.name}"
    made: dict[str, Any] = {"_world": world, "_spec": spec}

    def route(name: str, mark: Any) -> None:
        async def handler(self: Any, number: int) -> Any:
            return await world.serve(self, number)

        handler.__name__ = name
        made[name] = mark(handler)

    route("read", get(f"{there}/read/{{number}}"))
    route("write", post(f"{there}/do/{{number}}"))
    route("alone", post(f"{there}/alone/{{number}}", alone=True))
    route("beside", post(f"{there}/beside/{{number}}", together=True))
    route("fatal", post(f"{there}/fatal/{{number}}", on_error="restart"))
    route("brief", post(f"{there}/brief/{{number}}", timeout=0.5))

    @get(f"{there}/stream/{{number}}")
    async def stream(self: Any, number: int) -> Any:
        with world.serving(self, number) as message:
            if pause := world.deeds[number][2]:
                world.deaf.add(message)  # it comes also where its caller has given up
                await self._ways.deaf(pause)
            return world.items(self, number)

    @websocket(f"{there}/talk/{{number}}")
    async def talk(self: Any, ws: WebSocket, number: int) -> None:
        await world.converse(self, ws, number)

    made |= {"stream": stream, "talk": talk}
    for place, on in enumerate(spec.events):
        made[f"on_{place}"] = subscriber(world, place, on)
    made["_kinds"] = tuple(
        service_class(world, spec, place, how) for place, how in enumerate(("ok", *spec.services))
    )
    if spec.start != "one more service":
        made["_kinds"] = made["_kinds"][1:]
    return type("P", (Scripted,), made)


def subscriber(world: Any, place: int, on: On) -> Any:
    options: dict[str, Any] = {"on_error": on.on_error, "timeout": on.timeout}
    options |= {"alone": on.mode == "alone", "together": on.mode == "reader"}

    async def handler(self: Any, event: Any) -> None:
        if event.data["bag"] != [event.data["number"]]:
            world.wrong(f"{self.name} sees what another did to its event: {event.data}")
        event.data["bag"].append(self.name)
        await world.serve(self, event.data["number"])

    handler.__name__ = handler.__qualname__ = f"on_{place}"
    return event_handler(on.pattern, **options)(handler)


def service_class(world: Any, spec: Spec, place: int, how: str) -> type[Service]:
    """A service that the plugin of ``spec`` has."""

    class Part(Service):
        async def initialize(self) -> None:
            run = world.runs[spec.name]
            if f"service {place}" in {what for what, _ in run.tasks.values()}:
                world.wrong(f"two of service {place} of {spec.name} at once")
            run.begun[place] = number = run.begun.get(place, 0) + 1
            self.nursery.start_soon(world.stay, run, f"service {place}", None)
            self._up = run.services[place] = self
            self._doomed = False
            sleep = WAYS[run.loaded.library].sleep
            if how == "slow":
                await sleep(0.4)
            if how == "fails" and number % 3 == 2:
                await sleep(0.1)
                raise Oops("the service does not start")

        async def cleanup(self) -> None:
            run = world.runs[spec.name]
            life = world.lives.get(run.cell)
            alone = run.said.supervision.strategy == "one_for_one" or self._doomed or world.killed
            if life is not None and not alone:
                world.wrong(f"service {place} of {spec.name} is cleaned before its plugin")
            try:
                if how == "slow to clean":
                    await WAYS[run.loaded.library].sleep(0.3)
                if how == "unclean":
                    raise Oops("the service does not clean up")
            finally:
                if run.services.get(place) is self:
                    del run.services[place]

    Part.__name__ = Part.__qualname__ = f"Part{place}"
    return Part
