"""TestApplication: a real node for a test, with real plugins, server and PostgreSQL."""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import trio
import trio_asyncio
from trio.testing import MockClock

from nexus_actors.actors import Actor, Address, DeadLetter, Kernel
from nexus_actors.actors.bridge import bridged
from nexus_actors.actors.children import Children
from nexus_actors.config import HttpSettings, NodeSettings, PluginTable, Settings
from nexus_actors.errors import Fault, Invalid, NexusError
from nexus_actors.events.event import MISSING, make_event
from nexus_actors.events.handler import EventMark
from nexus_actors.node import Node
from nexus_actors.plugin.catalogue import EventEntry
from nexus_actors.plugin.discovery import Found, discover
from nexus_actors.plugin.loader import LoadedPlugin, Plan, plan_from
from nexus_actors.plugin.ports import PluginSubscriber
from nexus_actors.testing import clock, postgres
from nexus_actors.testing.faults import Faults
from nexus_actors.testing.probes import Probe, be_plugin, start_probe
from nexus_actors.testing.settling import settle_all
from nexus_actors.words import nearest

__all__ = ["NodeFailed", "PluginFailed", "TestApplication", "node_nursery", "searched_from"]

node_nursery: contextvars.ContextVar[trio.Nursery | None] = contextvars.ContextVar(
    "nexus_test_nursery", default=None
)
"""Where a node runs whose test is written for asyncio; else the parent nursery of the fixture."""

searched_from: contextvars.ContextVar[Path | None] = contextvars.ContextVar(
    "nexus_test_folder", default=None
)
"""The folder of the test that runs: plugins are looked for from there upwards."""

_UP = 6
"""How many folders up a plugin is looked for."""

_PATIENCE = 60.0
"""Seconds of real time that PostgreSQL gets to start, where the test's clock stands still."""


class PluginFailed(NexusError):
    """The plugin that a test registered did not come up; the message says why."""


class NodeFailed(NexusError):
    """The node of a test did not end in good order; the message says how it ended."""


class TestApplication:
    """A node for a test.

    ::

        @pytest.fixture
        async def app():
            app = TestApplication()
            await app.register_plugin("my-first-plugin", {"max_entries": 100})
            yield app
            await app.cleanup()

    It runs in the nursery around the fixture, serves on a free port of the loopback, and has a
    database of its own on the PostgreSQL that the test session started. ``plugins`` names folders
    of plugins (or plugin folders); without it plugins are found by name from the test's folder
    upwards, and among installed packages. ``async with TestApplication() as app`` also cleans up.
    """

    __test__ = False

    def __init__(self, plugins: Sequence[Path | str] = ()) -> None:
        self._folders = [Path(folder) for folder in plugins]
        self._start_at = searched_from.get() or Path.cwd()
        self.node: Node | None = None
        """The node, once the first plugin is registered or :meth:`start` was called."""
        self._gone = trio.Event()
        self._dsn: str | None = None
        self._nursery: trio.Nursery
        """Where the node runs; set by :meth:`start`."""
        self._starting = trio.Lock()
        """Held while something is started that there is once: fixtures run beside each other."""
        self._probes: Children | None = None

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:<port>``."""
        node = self._running()
        assert node.server is not None
        return node.server.url

    @bridged
    async def start(self) -> None:
        """Start the node without plugins; :meth:`register_plugin` does it where it must.

        Raises:
            NexusError: the test has an ``autojump_clock``.
        """
        _refuse_autojump()
        nursery = node_nursery.get() or trio.lowlevel.current_task().parent_nursery
        assert nursery is not None
        async with self._starting:
            if self.node is None:
                self._nursery = nursery
                async with clock.passing(patience=_PATIENCE):
                    await self._start()

    async def _start(self) -> None:
        self._dsn = await postgres.new_database()
        settings = Settings(
            node=NodeSettings(stop_timeout=15.0),
            http=HttpSettings(bind="127.0.0.1:0", drain=2.0),
        )
        self.node = Node(
            settings,
            Plan((), (), ()),
            control=False,
            database=postgres.options(self._dsn),
        )
        await self._nursery.start(self._run)

    @bridged
    async def register_plugin(self, name: str, config: Mapping[str, Any] | None = None) -> None:
        """Load the plugin ``name`` with ``config``, run it, and return once it is up.

        Raises:
            Invalid: it is not found, or something is wrong with its manifest, class or ``config``.
            PluginFailed: its ``__init__`` or ``initialize`` raised.
        """
        plugin = self._load(name, dict(config or {}))
        await self.start()
        node = self._running()
        async with clock.passing():
            cell = await node.add_plugin(plugin)
            while cell.state in ("starting", "waiting", "restarting"):
                await cell.wait_changed()
        if cell.state != "running":
            raise PluginFailed(f"{name} is {cell.state}: {cell.reason}")

    @bridged
    async def emit_event(self, event: str | Mapping[str, Any], data: Any = MISSING) -> int:
        """Publish an event as a plugin called ``test`` would; how many mailboxes took it."""
        await trio.lowlevel.checkpoint()
        return self._running().emit(make_event(event, data, source="test"))

    @bridged
    async def settle(self, timeout: float = 5.0) -> None:
        """Wait until no plugin has a message waiting or in hand, none is being started, restarted
        or stopped, and no task can run any more.

        What waits for a plugin that is suspended or failed does not count, nor do sleeping
        background tasks. Under ``mock_clock`` ``timeout`` is in seconds of real time.

        Raises:
            TimeoutError: somebody was still at work; it says who, in what handler, for how long.
        """
        await settle_all(self._running().registry, timeout)

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """What nobody will handle, oldest first: each has ``actor``, ``about``, ``reason``, ..."""
        return self._running().dead_letters.list()

    @bridged
    async def probe(
        self,
        name: str,
        *,
        methods: Mapping[str, Any] | Iterable[str] = (),
        events: Iterable[str] = (),
    ) -> Probe:
        """A probe in the node, in place of a plugin called ``name``: ``get_plugin(name)`` finds it,
        and ``"requires"`` is content with it.

        ::

            billing = await app.probe("billing", methods={"charge": {"paid": True}})
            audit = await app.probe("audit", events=["order.*"])

        ``methods`` are those that other plugins may call: names, or names with the answers (see
        :meth:`.Probe.answer`). ``events`` are patterns of the events that it gets. Register the
        plugins that look for it afterwards.

        Raises:
            ValueError: there is such a plugin already, or a pattern is bad.
        """
        await self.start()
        node = self._running()
        async with clock.passing():
            async with self._starting:
                if self._probes is None:
                    kernel = Kernel(node.registry, node.dead_letters)
                    probes = Children("", kernel, intensity=1_000_000)
                    await self._nursery.start(probes.run)
                    self._probes = probes
            probe = await start_probe(_spawning(self._probes), node.registry, name)
        be_plugin(probe, methods)
        subscriber = PluginSubscriber(node.registry.cell(name))
        for pattern in events:
            node.bus.subscribe(pattern, subscriber, EventEntry("event", EventMark(pattern)))
        return probe

    def faults(self, name: str) -> Faults:
        """The fault switches of the plugin, child actor or probe called ``name``.

        Raises:
            NoSuchActor: there is none; the message suggests the nearest.
        """
        return Faults(self._running().registry.cell(name))

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once: deadlines, timers, pauses, each in its order and with all
        that follows from it. The test names ``mock_clock`` among its arguments. See
        :func:`nexus_actors.testing.advance`."""
        self._running()
        await clock.advance(seconds)

    def autojump(self, limit: float = 3600.0) -> AbstractAsyncContextManager[None]:
        """Within the block time passes by itself whenever the node is at rest. See
        :func:`nexus_actors.testing.autojump`."""
        self._running()
        return clock.autojump(limit)

    @bridged
    async def cleanup(self) -> None:
        """Stop the node, and drop its database.

        Raises:
            NodeFailed: the node did not end in good order (its exit code is not 0).
        """
        if self.node is None:
            return
        async with clock.passing():
            self.node.stop()
            await self._gone.wait()
            if self._probes is not None:
                await self._probes.close()
                self._probes = None
        if self._dsn is not None:
            await postgres.drop_database(self._dsn)
            self._dsn = None
        code, self.node.exit_code = self.node.exit_code, 0  # told once
        if code:
            what = "a part of it gave up" if code == 70 else "something had to be killed"
            raise NodeFailed(
                f"the node ended with exit code {code}: {what}; the log of nexus.node says what"
            )

    async def __aenter__(self) -> TestApplication:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.cleanup()
        except NodeFailed as failed:
            if error is None:
                raise
            error.add_note(str(failed))

    async def _run(self, *, task_status: trio.TaskStatus[Node]) -> None:
        # a test written for asyncio runs on a loop; the node is not part of it
        trio_asyncio.current_loop.set(None)
        assert self.node is not None
        try:
            await self.node.run(task_status=task_status)
        finally:
            self._gone.set()

    def _running(self) -> Node:
        if self.node is None:
            raise NexusError(
                "the TestApplication has no node yet: await app.register_plugin(name) or "
                "await app.start() first"
            )
        return self.node

    def _load(self, name: str, config: dict[str, Any]) -> LoadedPlugin:
        found = self._find(name)
        running = [] if self.node is None else [cell.name for cell in self.node.cells()]
        plan = plan_from(
            [found],
            Settings(plugins={name: PluginTable(options=config, where=f"config of {name}")}),
            running=running,
        )
        if plan.refused:
            raise Invalid(plan.faults())
        return plan.plugins[0]

    def _find(self, name: str) -> Found:
        folders = self._folders or _folders_for(name, self._start_at)
        found = discover(folders, entry_points=True)
        for each in found:
            if each.name == name:
                return each
        known = sorted({each.name for each in found})
        where = ", ".join(map(str, folders)) or f"{self._start_at} and the folders above it"
        raise Invalid(
            [
                Fault(
                    f"register_plugin({name!r})",
                    f"no plugin of that name in {where}{nearest(name, known)}",
                    "name its folder: TestApplication(plugins=[...])",
                )
            ]
        )


def _spawning(children: Children) -> Callable[..., Awaitable[Address]]:
    async def spawn(kind: type[Actor], *args: Any, name: str) -> Address:
        return await children.spawn(kind._plan(args, {}), name)

    return spawn


def _refuse_autojump() -> None:
    clock = trio.lowlevel.current_clock()
    if isinstance(clock, MockClock) and clock.autojump_threshold != float("inf"):
        raise NexusError(
            "a node cannot run under autojump_clock, which would jump while PostgreSQL is at work: "
            "use mock_clock, and `async with app.autojump()` or `await app.advance(seconds)`"
        )


def _folders_for(name: str, start: Path) -> list[Path]:
    """The plugin folder called ``name`` nearest to ``start``, looking upwards."""
    start = start.resolve()
    for level in [start, *start.parents][:_UP]:
        for folder in (level, level / name, level / "plugins" / name):
            if folder.name.replace("_", "-") == name and (folder / "plugin.json").is_file():
                return [folder]
    return []
