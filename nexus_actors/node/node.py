"""A node: its parts put together in one place, started as a tree and stopped in reverse.

::

    node (one_for_one, ordered)
    ├─ control     the Unix socket that the commands speak to
    ├─ database    embedded PostgreSQL or a pool to one; only where a plugin asks for it
    ├─ plugins     a keeper for each plugin, and below it the plugin's own supervisor
    └─ front end   Quart-Trio on Hypercorn

The kernel (registry, event bus, dead letters, router) is plain objects: it has nothing to crash.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import attrs
import trio

from nexus_actors import log
from nexus_actors.actors import ActorCell, Address, DeadLetters, Kernel, Proxy, Registry
from nexus_actors.actors.proxy import ANY_METHOD
from nexus_actors.config import Settings
from nexus_actors.database import Database, DatabaseAdapter
from nexus_actors.database import Settings as DatabaseOptions
from nexus_actors.errors import Fault, Invalid, NexusError
from nexus_actors.events.bus import EventBus, Undelivered
from nexus_actors.http.frontend import FrontEnd
from nexus_actors.http.router import Route, Router
from nexus_actors.http.server import Server, check_bind, serve
from nexus_actors.middleware.base import MiddlewareLike
from nexus_actors.node.control import add_control_pages, control_bind
from nexus_actors.node.health import Phase
from nexus_actors.node.level import PluginsLevel
from nexus_actors.node.pages import add_pages
from nexus_actors.node.watchdog import guarding
from nexus_actors.plugin.building import Builder
from nexus_actors.plugin.granted import PluginContext
from nexus_actors.plugin.host import handlers_of_plugin
from nexus_actors.plugin.keeper import Keeper, WaitForNeeds
from nexus_actors.plugin.loader import LoadedPlugin, Plan, routes_of
from nexus_actors.plugin.outermost import node_middleware_of, within_its_time
from nexus_actors.plugin.ports import PluginEndpoint, PluginSubscriber
from nexus_actors.services.container import Container
from supervisors import Child, ChildSpec, Report, StartFailed, Supervisor, SupervisorRef, kill

__all__ = ["CannotStart", "Node"]

_logger = log.get_logger("nexus.node")
_access = log.get_logger("nexus.access")


class CannotStart(NexusError):
    """The node could not come up; the message says why and what to do."""


@attrs.frozen
class _Parts:
    """What a node makes for one plugin before it takes it in."""

    plugin: LoadedPlugin
    cell: ActorCell
    routes: list[Route]
    middleware: MiddlewareLike | None
    adapter: DatabaseAdapter | None


class Node:
    """One node: what it was told (``settings``), what it will run (``plan``), and its parts.

    A plugin whose parts cannot be made (its ``node_middleware`` raises) is refused in :attr:`plan`.

    ::

        node = Node(settings, load_plugins(settings))
        exit_code = await node.run()

    ``control=False`` leaves out the Unix socket, ``database`` takes the place of the settings'
    (both are for nodes inside tests).
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        *,
        control: bool = True,
        database: DatabaseOptions | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self.plan = plan
        self.phase: Phase = "starting"
        self.registry = Registry()
        self.dead_letters = DeadLetters(settings.node.dead_letters, settings.node.dead_letters_size)
        self.bus = EventBus(self._bury_event)
        self.router = Router()
        self.frontend = FrontEnd(self.router, settings.http, on_request=_log_request)
        self.database = self._make_database(database)
        self.server: Server | None = None
        """The front end's server while it runs."""
        self.exit_code = 0
        self._control = control
        self._rng = rng or random.Random()
        self._stop_asked = trio.Event()
        self._hurry = trio.Event()
        parts = self._prepare_all()
        self._keepers = {name: self._add_plugin(each) for name, each in parts.items()}
        self._level = PluginsLevel(self._keepers, lambda: self.plan.waves, self._on_report)
        for refused in self.plan.refused:
            self._add_refused(refused.name, "; ".join(map(str, refused.faults)))
        for plugin in self.plan.plugins:
            self._set_awaits(plugin)  # one may ask another before that one's keeper has begun
        add_pages(self.frontend, self)

    # -- what it is asked ------------------------------------------------------------------------

    def cells(self) -> list[ActorCell]:
        """The cells of all plugins, refused ones among them."""
        return self.registry.cells()

    def emit(self, event: Any) -> int:
        """Publish ``event`` (made by :func:`nexus_actors.events.event.make_event`)."""
        return self.bus.emit(event)

    def stop(self) -> None:
        """Ask it to stop in good order; asked a second time, it stops at once."""
        if self._stop_asked.is_set():
            self._hurry.set()
        self._stop_asked.set()
        self.phase = "stopping"

    def not_stopped(self) -> list[str]:
        """The names of the plugins that have not ended: what holds up a stop."""
        return [cell.name for cell in self.cells() if cell.state not in ("stopped", "failed")]

    async def wait_settled(self) -> None:
        """Wait until no plugin is starting any more."""
        for cell in self.cells():
            while cell.state == "starting":
                await cell.wait_changed()

    async def add_plugin(self, plugin: LoadedPlugin) -> ActorCell:
        """Run one more plugin; what it requires must be there already.

        Raises:
            Invalid: one of its paths is taken or reserved, its ``node_middleware`` makes none, or
                it needs a database and the node has none. Then nothing of it is there.
        """
        keeper = self._add_plugin(self._prepare(plugin))
        self.plan = attrs.evolve(
            self.plan,
            plugins=(*self.plan.plugins, plugin),
            waves=(*self.plan.waves, (plugin.name,)),
        )
        await self._level.add(plugin.name, keeper)
        return self.registry.cell(plugin.name)

    # -- running ---------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[Node] = trio.TASK_STATUS_IGNORED) -> int:
        """Run it until it is stopped; return the exit code for the process.

        0 after a stop in good order, 1 if something had to be killed, 70 if a part of the node
        itself gave up.

        Raises:
            CannotStart: an address is taken, the data folder is in use, ...
        """
        await self._check_places()
        with guarding(self.settings.node) as watchdog:
            with nullcontext() if watchdog is None else watchdog.watching_loop():
                return await self._run(task_status)

    async def _run(self, task_status: trio.TaskStatus[Node]) -> int:
        supervisor = Supervisor(self._children(), name="node", on_report=self._on_report)
        async with trio.open_nursery() as nursery:
            try:
                ref = await nursery.start(supervisor.run)
            except StartFailed as failed:
                why = _why(failed)
            else:
                why = ""
                assert ref is not None
                if not self._stop_asked.is_set():  # it may have been, while it started
                    self.phase = "running"
                task_status.started(self)
                nursery.start_soon(self._stop_when_asked, ref)
                reason = await ref.wait()
                if not self._stop_asked.is_set():
                    _logger.critical(f"the node gave up: {reason}")
                    self.exit_code = 70
                nursery.cancel_scope.cancel()
        if why:  # here, for the nursery would wrap it in a group
            raise CannotStart(why)
        return self.exit_code

    async def _stop_when_asked(self, ref: SupervisorRef) -> None:
        await self._stop_asked.wait()
        limit = self.settings.node.stop_timeout
        with trio.move_on_after(limit) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cancel_when_hurried, nursery.cancel_scope)
                await ref.stop()
                nursery.cancel_scope.cancel()
        if not ref.is_alive:
            return
        left = self.not_stopped()
        when = f"within {limit:g} s" if scope.cancelled_caught else "before it was hurried"
        _logger.error(f"not stopped {when}, killed: {', '.join(left) or 'the front end'}")
        self.exit_code = 1
        kill(ref)

    async def _cancel_when_hurried(self, scope: trio.CancelScope) -> None:
        await self._hurry.wait()
        scope.cancel()

    async def _check_places(self) -> None:
        """Look before anything starts whether the node has its address and its data folder.

        Raises:
            CannotStart: one of them cannot be had; with the reasons for both.
        """
        faults: list[Fault] = []
        try:
            await check_bind(self.settings.http.bind)
        except Invalid as invalid:
            faults += invalid.faults
        if self._control:
            data = self.settings.data_dir
            try:
                control_bind(data)
            except Invalid as invalid:
                faults += invalid.faults
            else:
                if not os.access(data, os.W_OK | os.X_OK):
                    faults.append(Fault("node.data", f"{data} may not be written to", "use --data"))
        if faults:
            raise CannotStart("\n".join(map(str, faults)))

    # -- its tree --------------------------------------------------------------------------------

    def _children(self) -> list[ChildSpec]:
        children = [
            ChildSpec(id="plugins", start=self._level.run, shutdown="infinity", type="supervisor"),
            ChildSpec(id="front end", start=self._run_frontend, shutdown="infinity"),
        ]
        if self.database is not None:
            children.insert(
                0, ChildSpec(id="database", start=self.database.run, shutdown="infinity")
            )
        if self._control:
            # the first to come and the last to go: a start and a stop can be asked about
            children.insert(0, ChildSpec(id="control", start=self._run_control, shutdown=2.0))
        return children

    async def _run_frontend(self, child: Child) -> None:
        async with trio.open_nursery() as nursery:
            self.server = await nursery.start(serve, self.frontend, self.settings.http)
            child.started()
            await child.wait_stop()
            await self.server.stop()

    async def _run_control(self, child: Child) -> None:
        pages = FrontEnd(Router(), self.settings.http)
        add_control_pages(pages, self)
        async with trio.open_nursery() as nursery:
            server = await nursery.start(
                _serve_at(pages, self.settings, control_bind(self.settings.data_dir))
            )
            child.started()
            await child.wait_stop()
            await server.stop(1.0)

    def _on_report(self, report: Report) -> None:
        # what goes as it should is told by the table of plugins, not line by line
        _logger.log(logging.DEBUG if report.level <= logging.INFO else report.level, str(report))

    # -- its parts -------------------------------------------------------------------------------

    def _make_database(self, options: DatabaseOptions | None) -> Database | None:
        if options is None and not any(plugin.wants_database for plugin in self.plan.plugins):
            return None
        return Database(
            options
            or DatabaseOptions(
                dsn=self.settings.database.url,
                data_dir=self.settings.data_dir,
                pool_max=self.settings.database.pool_size,
                connect_timeout=self.settings.database.connect_timeout,
            )
        )

    def _prepare_all(self) -> dict[str, _Parts]:
        """The parts of all plugins that can have them; the others are refused in the plan."""
        faults: dict[str, tuple[Fault, ...]] = {}
        parts: dict[str, _Parts] = {}
        for plugin in self.plan.plugins:
            try:
                parts[plugin.name] = self._prepare(plugin)
            except Invalid as invalid:
                faults[plugin.name] = invalid.faults
        self.plan = self.plan.refusing(faults)
        return {plugin.name: parts[plugin.name] for plugin in self.plan.plugins}

    def _prepare(self, plugin: LoadedPlugin) -> _Parts:
        """Make all of ``plugin`` that can fail, and change nothing of the node yet.

        Raises:
            Invalid: with everything that is wrong.
        """
        name, manifest, where = plugin.name, plugin.manifest, plugin.found.where
        cell = ActorCell(
            name,
            self.dead_letters,
            capacity=manifest.mailbox.capacity,
            overflow=manifest.mailbox.overflow,
            max_size=manifest.mailbox.max_size,
        )
        cell.methods = plugin.catalogue.methods
        # what else is told or asked is refused to its sender: it would be a fault, or even a crash
        cell.handlers = handlers_of_plugin(name, plugin.catalogue)
        address = Address(cell)
        routes = routes_of(plugin, lambda entry: PluginEndpoint(address, entry, manifest.on_error))
        faults = self.router.check(routes)
        if name in self.registry:
            faults.append(Fault(where, f"the node has a plugin {name} already"))
        middleware = adapter = None
        if plugin.catalogue.wraps_node:
            try:
                middleware = node_middleware_of(plugin.kind, Proxy(address, caller="front end"))
            except Invalid as invalid:
                faults += invalid.faults
        if plugin.wants_database:
            if self.database is None:
                faults.append(
                    Fault(
                        f"{where}: permissions",
                        "it needs the database, and this node was started without one",
                        "start the node with this plugin, or with another that uses the database",
                    )
                )
            else:
                try:
                    adapter = self.database.adapter_for(
                        name, can_write=manifest.permissions.allows("database:write")
                    )
                except ValueError as error:
                    faults.append(Fault(f"{where}: name", str(error), "give it another name"))
        if faults:
            raise Invalid(faults)
        return _Parts(plugin, cell, routes, middleware, adapter)

    def _add_plugin(self, parts: _Parts) -> Keeper:
        plugin, cell, manifest = parts.plugin, parts.cell, parts.plugin.manifest
        self.router.add(parts.routes)
        self.registry.register(cell)
        subscriber = PluginSubscriber(
            cell,
            manifest.on_error,
            manifest.deadlines.handler or self.settings.node.handler_timeout,
        )
        for entry in plugin.catalogue.events:
            self.bus.subscribe(entry.mark.pattern, subscriber, entry)
        keeper = Keeper(
            plugin,
            cell,
            self._builder_for(plugin, parts.adapter),
            self._needs_of(plugin),
            # groups of its own: what is told to one is not copied, and so stays among its actors
            Kernel(self.registry, self.dead_letters),
            self._rng,
            self.settings.node.initialize_timeout,
            self.settings.node.handler_timeout,
        )
        if parts.middleware is not None:
            self.frontend.middleware.append(
                within_its_time(parts.middleware, plugin.name, keeper.crash)
            )
        return keeper

    def _builder_for(
        self, plugin: LoadedPlugin, adapter: DatabaseAdapter | None
    ) -> Callable[[], Builder]:
        def make_context() -> PluginContext:
            return PluginContext(
                plugin.manifest,
                self.registry,
                self.bus,
                adapter,
                self.settings.node.ask_timeout,
            )

        def build() -> Builder:
            context = make_context()
            container = Container(plugin.name, plugin.config, {DatabaseAdapter: context.db})
            return Builder(plugin.kind, plugin.manifest, plugin.config, make_context, container)

        return build

    def _needs_of(self, plugin: LoadedPlugin) -> WaitForNeeds:
        async def wait(waits: Callable[[str], None]) -> None:
            self._set_awaits(plugin)
            for name in plugin.manifest.requires:
                other = self.registry.cell(name)
                said = False
                while other.state != "running":
                    if not said or other.state != "restarting":  # each of its tries is no news
                        waits(f"plugin {name}, which is {other.state}")
                        said = True
                    await other.wait_changed()
            database = self.database
            if database is not None and plugin.wants_database:
                while database.state != "ready":
                    waits(f"database: {database.reason}")
                    await database.wait_changed()
            self.registry.cell(plugin.name).awaits = ()

        return wait

    def _set_awaits(self, plugin: LoadedPlugin) -> None:
        cells = [self.registry.cell(name) for name in plugin.manifest.requires]
        self.registry.cell(plugin.name).awaits = tuple(cells)

    def _add_refused(self, name: str, why: str) -> None:
        cell = ActorCell(name, self.dead_letters)
        cell.methods = ANY_METHOD
        cell.state, cell.reason = "failed", why  # there is no clock yet, and nobody to be told
        self.registry.register(cell)

    def _bury_event(self, lost: Undelivered) -> None:
        subscriber = lost.subscriber
        assert isinstance(subscriber, PluginSubscriber)
        self.dead_letters.add(
            subscriber.name, subscriber.message(lost.event, lost.handler), lost.reason
        )


def _log_request(
    method: str, path: str, status: int, seconds: float, request_id: str, plugin: str
) -> None:
    if not _access.isEnabledFor(logging.DEBUG):
        return
    _access.debug(
        f"{method} {path} {status}", seconds=round(seconds, 6), request_id=request_id, plugin=plugin
    )


def _serve_at(app: Any, settings: Settings, bind: str) -> Any:
    async def run(*, task_status: trio.TaskStatus[Server]) -> None:
        await serve(app, settings.http, bind=bind, task_status=task_status)

    return run


def _why(failed: StartFailed) -> str:
    failure = getattr(failed.reason, "failure", None)
    info = getattr(failed.reason, "info", None)
    inner = getattr(getattr(info, "reason", None), "failure", None)
    for each in (failure, inner):
        if each is not None:
            return str(each.message)
    return str(failed)
