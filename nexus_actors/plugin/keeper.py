"""The keeper of one plugin: its subtree, and what happens when that gives up.

A plugin's own supervisor restarts its services and its actor. When that has had too much of it, or
the plugin cannot even start, the failure stays here: the plugin is ``suspended`` (``failed``, if it
never came up), its callers are told at once, and after a pause, which doubles each time, it is
tried again from scratch. A keeper never fails upward.
"""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Literal

import trio

from nexus_actors.actors import ActorCell, Kernel, Limits, run_incarnation
from nexus_actors.actors.belongings import HANDLE_TIMEOUT, Belongings
from nexus_actors.actors.cell import PATIENCE
from nexus_actors.actors.faults import HandlerTimeout, collapse, has_cancelled
from nexus_actors.actors.history import StartedLate
from nexus_actors.plugin.building import Builder, Built
from nexus_actors.plugin.compartment import Compartment, open_compartment
from nexus_actors.plugin.host import PluginHost
from nexus_actors.plugin.loader import LoadedPlugin
from nexus_actors.plugin.stalls import Owner
from nexus_actors.plugin.telling import Teller
from nexus_actors.services import injecting
from nexus_actors.services.container import Container
from nexus_actors.services.service import Service
from supervisors import (
    SHUTDOWN,
    Backoff,
    Child,
    ChildSpec,
    Exit,
    Report,
    StartFailed,
    Supervisor,
    SupervisorRef,
    pause,
)

__all__ = ["Keeper", "WaitForNeeds"]

START = 30.0
"""Seconds ``initialize`` may take, of a plugin and of each service."""
_CALM = 60.0
"""Seconds a plugin must have run for its pauses to begin anew."""

PAUSES = Backoff(first=1.0, factor=2.0, maximum=300.0)
"""Between tries to bring back a plugin that gave up: 1 s, 2 s, 4 s, ... 5 min."""


WaitForNeeds = Callable[[Callable[[str], None]], Awaitable[None]]
"""Returns once what a plugin needs is there; calls its argument with what it waits for."""


class _NewService(Exception):
    """A later incarnation named a service that the subtree does not have: it is built anew."""


_NEW_SERVICE = f"{_NewService.__module__}.{_NewService.__qualname__}"


class Keeper:
    """Keeps one plugin: starts it when what it needs is there, and brings it back."""

    def __init__(
        self,
        loaded: LoadedPlugin,
        cell: ActorCell,
        builder: Callable[[], Builder],
        wait_for_needs: WaitForNeeds,
        kernel: Kernel,
        rng: random.Random | None = None,
        start_timeout: float = START,
        handle_timeout: float = HANDLE_TIMEOUT,
    ) -> None:
        """``builder`` makes a :class:`Builder` for each life of the subtree. ``wait_for_needs``
        returns once the plugins it requires run and its database is there; it calls what it is
        given with what it waits for. ``start_timeout`` (seconds) bounds ``initialize``, the
        plugin's and each service's; ``handle_timeout`` the handlers of timers. The manifest goes
        before both."""
        self._start_timeout = loaded.manifest.deadlines.initialize or start_timeout
        self._handle_timeout = loaded.manifest.deadlines.handler or handle_timeout
        self._loaded = loaded
        self._cell = cell
        self._builder = builder
        self._wait_for_needs = wait_for_needs
        self._kernel = kernel
        self._rng = rng or random.Random()
        self._ref: SupervisorRef | None = None
        """The plugin's own supervisor while it runs."""
        self._life: trio.CancelScope | None = None
        """What is going on in place of a running supervisor: a start or a pause."""
        self._starts: dict[trio.CancelScope, Child] = {}
        """The incarnations there are, each in its scope; cancelled only while it starts."""
        self._is_alive = False
        """Whether there is a subtree: starting, running or stopping."""
        self._owner: Owner | None = None
        """Whose code the incarnation's is; None before the first one."""
        self._held_on = trio.Event()
        """Set when it must be suspended: it was interrupted again and again and went on."""
        self._stop_asked = trio.Event()
        self._running = False
        self._ended = trio.Event()
        self._teller = Teller(cell, loaded.found.folder, loaded.library)

    async def run(self, child: Child) -> None:
        """The function of the keeper's child spec; returns when it was asked to stop."""
        self._running = True
        child.started()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_for_stop, child)
                with trio.CancelScope() as self._life:
                    await self._keep()
                nursery.cancel_scope.cancel()
        finally:
            self._cell.enter("stopped")
            self._ended.set()

    def crash(self, error: BaseException) -> None:
        """Crash the incarnation there is, for what its code did outside of its tasks."""
        if self._owner is not None and not self._owner.ended:
            self._owner.crash(error)

    async def stop(self) -> None:
        """Ask the plugin to stop and wait until it has; at once where it does not run."""
        self._stop_asked.set()
        if self._running:
            await self._ended.wait()

    async def _watch_for_stop(self, child: Child) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask_stop_with, child)
            await self._stop_asked.wait()
            nursery.cancel_scope.cancel()
        self._cell.ending = True
        self._cancel_starts()
        if self._ref is not None:
            await self._ref.stop()
        elif not self._is_alive:  # it pauses, or waits for what it requires
            assert self._life is not None
            self._life.cancel()
        # else the start that is under way fails, and what had started is stopped in good order

    def _cancel_starts(self) -> None:
        """End starts that are under way: a supervisor would wait for them before it stops."""
        for scope, child in self._starts.items():
            if child.state == "starting":
                scope.cancel()

    async def _ask_stop_with(self, child: Child) -> None:
        await child.wait_stop()
        self._stop_asked.set()

    async def _keep(self) -> None:
        tries = 0
        backoff = self._loaded.manifest.supervision.backoff
        while True:
            await self._wait()
            # only the first try keeps the node from being ready
            again = tries or self._cell.incarnation
            self._cell.enter("restarting" if again else "starting")
            self._is_alive = True
            try:
                why = await self._one_life()
            finally:
                self._is_alive, self._ref = False, None
            if self._cell.ending:
                return
            if why is None:
                continue
            if self._loaded.manifest.supervision.restart == "temporary":
                # never again, says the word
                self._teller.ended(why)
                await trio.sleep_forever()
            if self._teller.longest_run >= (_CALM if backoff is None else backoff.reset_after):
                tries = 0
            tries += 1
            await self._pause(tries, "suspended" if self._cell.incarnation else "failed", why)

    async def _wait(self) -> None:
        """Wait for what it needs. When that takes long, its callers no longer wait with it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._lose_patience)
            await self._wait_for_needs(self._teller.waits)
            nursery.cancel_scope.cancel()

    async def _lose_patience(self) -> None:
        await trio.sleep(PATIENCE)
        self._cell.lose_patience()

    async def _pause(self, tries: int, state: Literal["suspended", "failed"], why: str) -> None:
        seconds = pause(self._backoff(), tries, self._rng)
        self._teller.down(state, why, tries, seconds)
        await trio.sleep(seconds)

    def _backoff(self) -> Backoff:
        return self._loaded.manifest.supervision.backoff or PAUSES

    async def _one_life(self) -> str | None:
        """Run the subtree until it ends; return why it gave up, None to build it anew at once."""
        builder = self._builder()
        manifest = self._loaded.manifest
        self._teller.begin()
        self._held_on = trio.Event()
        try:
            async with open_compartment(self._loaded.library, manifest.name) as compartment:
                return await self._run_subtree(builder, compartment)
        except BaseException as error:
            if has_cancelled(error):
                raise
            error = collapse(error)
            if isinstance(error, _NewService):
                return None
            # an asyncio loop that broke, or __init__ of the plugin that raised
            self._cell.crashes += 1
            self._teller.broke(error)
            return self._teller.last_crash

    async def _run_subtree(self, builder: Builder, compartment: Compartment) -> str | None:
        first: list[Built] = [await builder.build(compartment)]
        services = [*builder.container.services()]
        rebuild = False

        async def run_plugin(child: Child) -> None:
            with self._starting(child):
                await live(child)

        async def live(child: Child) -> None:
            nonlocal rebuild
            built = first.pop() if first else await builder.build(compartment)
            if [*builder.container.services()] != services:
                rebuild = True
                raise _NewService
            self._owner = built.owner
            async with self._resting(built.owner, child), compartment.belonging_to(built.owner):
                await run_incarnation(
                    child, self._cell, self._host(built, compartment), self._limits()
                )

        supervision = self._loaded.manifest.supervision
        supervisor = Supervisor(
            [
                *(
                    _service_spec(
                        kind,
                        builder.container,
                        compartment,
                        supervision.shutdown,
                        self._start_timeout,
                        self._starting,
                        self._resting,
                    )
                    for kind in services
                ),
                ChildSpec(
                    id="plugin",
                    start=run_plugin,
                    restart=supervision.restart,
                    shutdown=supervision.shutdown,
                ),
            ],
            strategy=supervision.strategy,
            intensity=supervision.intensity,
            period=supervision.period,
            backoff=supervision.backoff,
            rng=self._rng,
            name=self._loaded.manifest.name,
            on_report=self._on_report,
        )
        async with trio.open_nursery() as nursery:
            try:
                self._ref = await nursery.start(supervisor.run)
            except StartFailed as failed:
                return self._teller.last_crash or str(failed)
            assert self._ref is not None
            if self._cell.ending:  # the request came while it started
                await self._ref.stop()
            nursery.start_soon(self._suspend_when_held_on, self._ref)
            reason = await self._ref.wait()
            nursery.cancel_scope.cancel()
        if rebuild:
            return None
        if self._cell.ending:
            return None
        if self._held_on.is_set():
            return f"it holds the event loop and swallows interrupts: {self._teller.last_crash}"
        limit = f"more than {supervision.intensity} restarts in {supervision.period:g} s"
        last = self._teller.last_crash
        return f"{limit}; the last crash: {last}" if last else str(reason)

    @asynccontextmanager
    async def _resting(self, owner: Owner, child: Child) -> AsyncIterator[None]:
        """Around an incarnation of the plugin or a service: where it had to be interrupted so often
        that a restart is no help, the plugin is suspended instead."""
        try:
            yield
        except BaseException as error:
            if not owner.is_stubborn or self._ref is None or has_cancelled(error):
                raise  # without a supervisor yet it fails to start, which is the same
            self._teller.broke(collapse(error))
            self._held_on.set()
            with self._starting(child):
                await child.wait_stop()
            raise Exit(SHUTDOWN) from None

    async def _suspend_when_held_on(self, ref: SupervisorRef) -> None:
        await self._held_on.wait()
        self._cancel_starts()
        await ref.stop()

    @contextmanager
    def _starting(self, child: Child) -> Iterator[None]:
        """Around one incarnation: while it starts, a request to stop ends it at once."""
        with trio.CancelScope() as scope:
            self._starts[scope] = child
            try:
                if self._cell.ending:
                    scope.cancel()
                yield
            finally:
                del self._starts[scope]
        if scope.cancelled_caught:
            raise Exit(SHUTDOWN)

    def _host(self, built: Built, compartment: Compartment) -> PluginHost:
        belongings = Belongings(self._cell, self._kernel, self._handle_timeout)
        built.context.use_belongings(belongings)
        return PluginHost(
            built.plugin,
            self._cell,
            compartment,
            built.use_nursery,
            built.owner,
            self._loaded.manifest.max_sessions,
            belongings,
        )

    def _limits(self) -> Limits:
        manifest = self._loaded.manifest
        return Limits(
            concurrency=self._loaded.concurrency,
            readers=manifest.readers,
            start_timeout=self._start_timeout,
            on_error=manifest.on_error,
            fault_limit=manifest.fault_limit,
            fault_period=manifest.fault_period,
        )

    def _on_report(self, report: Report) -> None:
        reason = getattr(report, "reason", None)
        failure = getattr(reason, "failure", None)
        if failure is None or failure.type != _NEW_SERVICE:  # that one is no failure
            self._teller.on_report(report)


def _service_spec(
    kind: type[Service],
    container: Container,
    compartment: Compartment,
    shutdown: float | Literal["infinity", "brutal_kill"],
    start_timeout: float,
    starting: Callable[[Child], AbstractContextManager[None]],
    resting: Callable[[Owner, Child], AbstractAsyncContextManager[None]],
) -> ChildSpec:
    """The child spec of one service of a plugin; ``starting`` ends a start that is not wanted,
    ``resting`` a life that no restart would help."""
    limit = math.inf if isinstance(shutdown, str) else shutdown

    async def run_service(child: Child) -> None:
        crash: list[BaseException] = []
        nursery: trio.Nursery | None = None

        def fail(error: BaseException) -> None:
            crash.append(error)
            if nursery is not None:
                nursery.cancel_scope.cancel()

        owner = Owner(kind.__name__, fail, plugin=container.plugin)
        async with resting(owner, child), compartment.belonging_to(owner):
            token = injecting.building.set(container)
            try:
                service: Service = await compartment.call(container.build, kind)
            finally:
                injecting.building.reset(token)
            try:
                async with trio.open_nursery() as nursery:
                    service._nursery, service._fail = nursery, fail
                    service._owner = container.plugin
                    if crash:  # what __init__ began has died already
                        raise crash.pop()
                    began = trio.current_time()
                    with starting(child), trio.CancelScope(deadline=began + start_timeout) as scope:
                        await compartment.call(service.initialize)
                    if scope.cancelled_caught:
                        raise HandlerTimeout(
                            f"{kind.__name__}.initialize did not end within {start_timeout:g} s"
                        )
                    if scope.cancel_called:
                        now = trio.current_time()
                        late = StartedLate(time=now, took=now - began, allowed=start_timeout)
                        service.logger.warning(f"{kind.__name__}: {late}")
                    container.bind(kind, service)
                    child.started()
                    await child.wait_stop()
                    nursery.cancel_scope.cancel()
            finally:
                container.bind(kind, None)
                with trio.CancelScope(deadline=trio.current_time() + limit):
                    await compartment.call(service.cleanup)
        if crash:
            raise crash[0]

    return ChildSpec(id=f"service {kind.__name__}", start=run_service, shutdown=shutdown)
