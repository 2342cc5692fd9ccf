"""Who asks is answered in time: one deadline from the HTTP client to PostgreSQL, a cancel that goes
all the way down, and callees that go away before they have answered."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import trio
from node_world import client_of, module_of, node_here, until, write_plugin

from nexus_actors.actors import Proxy
from nexus_actors.actors.handling import NotHandled
from nexus_actors.errors import ActorRestarted, ActorStopped, AskTimeout, NoSuchActor
from nexus_actors.node import Node
from nexus_actors.testing import postgres

DATABASE = ["database:read", "database:write", "plugins:call"]
GONE = 0.1
"""Seconds after which PostgreSQL no longer works on a query that nobody waits for."""
ROUNDS = 3
"""Of so many the quickest counts: the others may have met a busy machine."""


class Sleepers:
    """Watches from outside, over a connection of its own, how many ``pg_sleep`` are running."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._stop = threading.Event()
        self.count = -1
        """How many the last look has seen."""
        self.gone_at = 0.0
        """``time.monotonic()`` when there was none for the first time after there was one."""

    def run(self) -> None:
        asyncio.run(self._watch())

    async def _watch(self) -> None:
        connection = await asyncpg.connect(self._dsn)
        try:
            while not self._stop.is_set():
                count = await connection.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
                    " AND datname = current_database() AND query LIKE 'SELECT pg_sleep%'"
                )
                if count == 0 and self.count > 0:
                    self.gone_at = time.monotonic()
                self.count = count
                await asyncio.sleep(0.002)
        finally:
            await connection.close()

    def stop(self) -> None:
        self._stop.set()


@contextmanager
def watching(dsn: str) -> Iterator[Sleepers]:
    sleepers = Sleepers(dsn)
    thread = threading.Thread(target=sleepers.run)
    thread.start()
    try:
        yield sleepers
    finally:
        sleepers.stop()
        thread.join()


@asynccontextmanager
async def node_on(plugins: Path, **settings: Any) -> AsyncIterator[tuple[Node, Sleepers]]:
    """A node with a database of its own, all of whose plugins run, and somebody who watches it."""
    dsn = await postgres.new_database()
    try:
        with watching(dsn) as sleepers:
            async with node_here(
                plugins, database=postgres.options(dsn), settled=False, **settings
            ) as node:
                await until(lambda: all(cell.state == "running" for cell in node.cells()))
                yield node, sleepers
    finally:
        with trio.CancelScope(shield=True):
            await postgres.drop_database(dsn)


def check_account(node: Node, name: str) -> Any:
    """Every message the plugin accepted has ended, in exactly one way."""
    s = node.registry.cell(name).mailbox.statistics()
    assert (s.in_hand, s.waiting) == (0, 0), s
    assert s.accepted == s.handled + s.faulted + s.dead_lettered + s.abandoned, s
    return s


def proxy_of(node: Node, name: str, timeout: float) -> Proxy:
    return Proxy(node.registry.address(name), caller="test", timeout=timeout)


# -- down to the query -----------------------------------------------------------------------------

SLEEPER = """
ended = []


class P(Plugin):
    async def sleep(self):
        try:
            await self.db.execute("SELECT pg_sleep(30)")
        finally:
            ended.append(self)

    async def awake(self):
        return await self.db.fetch_value("SELECT 1")
"""


@pytest.mark.parametrize("library", ["trio", "asyncio"])
@pytest.mark.parametrize("way", ["cancel", "timeout"])
async def test_when_the_caller_gives_up_the_callees_query_is_gone_at_once(
    tmp_path: Path, library: str, way: str
) -> None:
    write_plugin(
        tmp_path / "plugins", "sleeper", SLEEPER, permissions=DATABASE, async_library=library
    )
    took = []
    async with node_on(tmp_path / "plugins") as (node, sleepers):
        for _ in range(ROUNDS):
            given_up = 0.0

            async def ask() -> None:
                nonlocal given_up
                with pytest.raises(AskTimeout):
                    await proxy_of(node, "sleeper", 0.5).sleep()
                given_up = time.monotonic()

            async with trio.open_nursery() as nursery:
                if way == "timeout":
                    nursery.start_soon(ask)
                else:
                    nursery.start_soon(proxy_of(node, "sleeper", 20).sleep)
                await until(lambda: sleepers.count == 1)
                if way == "cancel":
                    nursery.cancel_scope.cancel()
                    given_up = time.monotonic()
            await until(lambda: sleepers.count == 0, 5)
            took.append(sleepers.gone_at - given_up)
        assert min(took) < GONE, took
        cell = node.registry.cell("sleeper")
        await until(lambda: len(module_of("sleeper").ended) == ROUNDS)
        await until(lambda: not cell.in_hand)
        assert check_account(node, "sleeper").abandoned == ROUNDS
        assert await proxy_of(node, "sleeper", 5).awake() == 1
        assert (cell.incarnation, cell.crashes) == (1, 0)


LINK = """
from nexus_actors.actors import in_hand

ended = []
deadlines = []


class P(Plugin):
    async def pass_on(self):
        deadlines.append(in_hand().deadline)
        try:
            return await self.step()
        finally:
            ended.append(self)

    async def awake(self):
        return "awake"
"""


def link_to(name: str) -> str:
    return (
        LINK
        + f"""
    async def step(self):
        return await self.get_plugin("{name}").pass_on()
"""
    )


ROUTE = """
    @get("/chain")
    async def chain(self):
        return await self.pass_on()
"""
QUERY = """
    async def step(self):
        await self.db.execute("SELECT pg_sleep(30)")
"""


@pytest.mark.parametrize("libraries", ["trio trio trio", "asyncio trio asyncio"])
async def test_the_chain_from_a_client_through_three_plugins_to_postgresql_has_one_deadline(
    tmp_path: Path, libraries: str
) -> None:
    names = ("one", "two", "three")
    sources = (link_to("two") + ROUTE, link_to("three"), LINK + QUERY)
    for name, source, library in zip(names, sources, libraries.split(), strict=True):
        write_plugin(
            tmp_path / "plugins", name, source, permissions=DATABASE, async_library=library
        )
    async with (
        node_on(
            tmp_path / "plugins",
            http={"reply_timeout": 1.0},
            node={"ask_timeout": 20.0},
        ) as (node, sleepers),
        client_of(node) as client,
    ):
        began = time.monotonic()
        async with trio.open_nursery() as nursery:
            answers = []

            async def ask() -> None:
                answers.append(await client.get("/chain"))

            nursery.start_soon(ask)
            await until(lambda: sleepers.count == 1)
        (answer,) = answers
        took = time.monotonic() - began
        assert answer.status_code == 504, answer.text
        assert 0.9 < took < 1.9
        await until(lambda: sleepers.count == 0, 5)
        assert sleepers.gone_at - began < 1.0 + GONE + 0.5
        for name in names:
            cell = node.registry.cell(name)
            await until(lambda cell=cell: not cell.in_hand)
            assert len(module_of(name).ended) == 1, "its handler was ended"
            statistics = check_account(node, name)
            assert (statistics.accepted, statistics.handled) == (1, 0)
            assert (cell.state, cell.incarnation, cell.crashes) == ("running", 1, 0)
            assert await proxy_of(node, name, 5).awake() == "awake"
        (deadline,) = {limit for name in names for limit in module_of(name).deadlines}
        assert deadline < float("inf")


# -- callees that go away --------------------------------------------------------------------------

CALLEE = """
began = []
fall = {"plugin": trio.Event(), "service": trio.Event()}


async def wait_and_fall(who):
    if not fall[who].is_set():
        await fall[who].wait()
        raise RuntimeError(f"the {who} fell")


class Side(Service):
    async def initialize(self):
        self.nursery.start_soon(wait_and_fall, "service")


class P(Plugin):
    def __init__(self, config):
        super().__init__(config)
        self.side = inject(Side)

    async def initialize(self):
        self.nursery.start_soon(wait_and_fall, "plugin")

    async def hold(self):
        began.append(self)
        await trio.sleep_forever()

    async def quick(self):
        return "answered"
"""

ANSWERED = "answered"
WAYS: dict[str, tuple[str, dict[str, Any], Any, Any]] = {
    # how it goes: supervision; what becomes of the message in hand, and of the one that waits
    "crash": ("plugin", {}, ActorRestarted, ANSWERED),
    "restart with its service": ("service", {"shutdown": 0.2}, ActorRestarted, ANSWERED),
    "crash, then suspension": ("plugin", {"intensity": 0}, ActorRestarted, ActorStopped),
    "crash for good": ("plugin", {"restart": "temporary"}, ActorStopped, ActorStopped),
    "stop": ("stop", {"shutdown": 1.0}, ActorStopped, ActorStopped),
    "kill": ("stop", {"shutdown": "brutal_kill"}, ActorStopped, ActorStopped),
}


@pytest.mark.parametrize("way", WAYS)
async def test_whoever_asked_a_plugin_that_goes_away_learns_it_at_once(
    tmp_path: Path, way: str
) -> None:
    how, supervision, in_hand, waiting = WAYS[way]
    write_plugin(tmp_path / "plugins", "callee", CALLEE, supervision=supervision)
    told: dict[str, Any] = {}
    when: dict[str, float] = {}
    async with node_here(tmp_path / "plugins") as node:

        async def ask(method: str) -> None:
            try:
                told[method] = await getattr(proxy_of(node, "callee", 20), method)()
            except (ActorRestarted, ActorStopped) as error:
                told[method] = type(error)
            when[method] = trio.current_time()

        cell = node.registry.cell("callee")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "hold")
            await until(lambda: module_of("callee").began)
            nursery.start_soon(ask, "quick")
            await until(lambda: cell.mailbox.waiting == 1)
            went = trio.current_time()
            if how == "stop":
                nursery.start_soon(node._keepers["callee"].stop)
            else:
                module_of("callee").fall[how].set()
        assert told == {"hold": in_hand, "quick": waiting}
        # a stop lets what is in hand go on for half of its time
        grace = supervision["shutdown"] / 2 if how == "stop" and way != "kill" else 0.0
        assert when["hold"] - went < grace + 0.45
        if waiting is ActorStopped:
            assert when["quick"] - went < 0.45
        await until(lambda: not cell.in_hand)
        check_account(node, "callee")


# -- bad input -------------------------------------------------------------------------------------

CALM = """
class P(Plugin):
    async def other(self, name):
        return self.get_plugin(name)
"""


async def test_what_a_plugin_does_not_handle_is_refused_to_its_sender(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plugins", "calm", CALM)
    async with node_here(tmp_path / "plugins") as node:
        address = node.registry.address("calm")
        for send in (address.tell, address.ask):
            with pytest.raises(NotHandled, match="calm does not handle list; it is a plugin"):
                await send([1])
        cell = node.registry.cell("calm")
        assert (cell.crashes, cell.faults) == (0, 0)
        assert (check_account(node, "calm").accepted, check_account(node, "calm").refused) == (0, 2)


async def test_a_wrong_name_is_told_the_nearest_and_get_plugin_is_none(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plugins", "calm", CALM, permissions=["plugins:call"])
    async with node_here(tmp_path / "plugins") as node:
        with pytest.raises(NoSuchActor, match="no actor is called 'clam'; did you mean 'calm'?"):
            node.registry.address("clam")
        assert await proxy_of(node, "calm", 5).other("clam") is None
