"""Asks that would wait for themselves are refused at once, with the path: of plugins that run, and
of plugins that start."""

from pathlib import Path

import pytest
import trio
from node_world import client_of, module_of, node_here, until, write_plugin

from nexus_actors.node import Node

CALLS = ["plugins:call"]


def source(initialize: str = "", step: str = "") -> str:
    return f"""
said = []


class P(Plugin):
    async def initialize(self):
        {initialize or "pass"}

    async def step(self):
        {step or "return 'stepped'"}

    async def safely(self, name):
        try:
            said.append(await self.get_plugin(name).step())
        except Exception as error:
            said.append(str(error))
"""


def ask(name: str) -> str:
    return f'return await self.get_plugin("{name}").step()'


async def reason_of(node: Node, name: str) -> str:
    """Why it failed the first time; fails where that took a second."""
    cell = node.registry.cell(name)
    await until(lambda: cell.state == "failed", 1.5)
    return cell.reason


@pytest.mark.parametrize("library", ["trio", "asyncio"])
async def test_one_that_asks_who_requires_it_while_it_starts_is_refused(
    tmp_path: Path, library: str
) -> None:
    folder = tmp_path / "plugins"
    write_plugin(folder, "a", source(), requires=["b"])
    write_plugin(folder, "b", source(ask("a")), permissions=CALLS, async_library=library)
    async with node_here(folder, settled=False) as node:
        assert (
            "AskCycle: this ask would wait for itself: b > a > b "
            "(initialize of b asks a, which requires b)"
        ) in await reason_of(node, "b")
        assert node.registry.cell("a").state == "waiting"


async def test_the_way_may_lead_over_plugins_that_run_and_over_several_that_wait(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "plugins"
    write_plugin(folder, "running", source(step=ask("waits")), permissions=CALLS)
    write_plugin(folder, "waits", source(), requires=["between"])
    write_plugin(folder, "between", source(), requires=["asks"])
    write_plugin(folder, "asks", source(ask("running")), permissions=CALLS, requires=["running"])
    async with node_here(folder, settled=False) as node:
        assert (
            "asks > running > waits > between > asks (initialize of asks asks running, "
            "which asks waits, which requires between, which requires asks)"
        ) in await reason_of(node, "asks")
        running = node.registry.cell("running")
        assert (running.state, running.faults, running.crashes) == ("running", 0, 0)


@pytest.mark.parametrize("library", ["trio", "asyncio"])
async def test_of_two_that_ask_each_other_while_they_start_the_second_is_refused(
    tmp_path: Path, library: str
) -> None:
    folder = tmp_path / "plugins"
    both = {"permissions": CALLS, "async_library": library}
    write_plugin(folder, "a", source(ask("b")), **both)
    write_plugin(folder, "b", source(ask("a")), **both)
    async with node_here(folder, settled=False) as node:
        cells = {name: node.registry.cell(name) for name in "ab"}
        await until(lambda: all(cell.state == "failed" for cell in cells.values()), 1.5)
        reasons = {name: cell.reason for name, cell in cells.items()}
        second = next(name for name in "ab" if "AskCycle" in reasons[name])
        first = "ab".replace(second, "")
        assert (
            f"{second} > {first} > {second} "
            f"(initialize of {second} asks {first}, whose initialize asks {second})"
        ) in reasons[second]
        assert f"ActorStopped: {second} is failed" in reasons[first], "it learns that at once"


async def test_one_that_asks_itself_while_it_starts_is_refused(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plugins", "a", source(ask("a")), permissions=CALLS)
    async with node_here(tmp_path / "plugins", settled=False) as node:
        assert "AskCycle: this ask would wait for itself: a > a" in await reason_of(node, "a")


async def test_one_that_is_asked_by_the_plugin_that_its_start_asks_is_refused(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "plugins"
    write_plugin(folder, "helper", source(step=ask("a")), permissions=CALLS)
    write_plugin(folder, "a", source(ask("helper")), permissions=CALLS, requires=["helper"])
    async with node_here(folder, settled=False) as node:
        assert "this ask would wait for itself: a > helper > a" in await reason_of(node, "a")


async def test_a_task_that_a_start_waits_for_counts_as_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    write_plugin(folder, "a", source(), requires=["b"])
    begin = "async with trio.open_nursery() as n: n.start_soon(self.safely, 'a')"
    write_plugin(folder, "b", source(begin), permissions=CALLS)
    async with node_here(folder) as node:
        assert "b > a > b" in module_of("b").said[0]
        assert node.registry.cell("b").state == "running"


@pytest.mark.parametrize(
    ("library", "begin"),
    [
        ("trio", "self.nursery.start_soon(self.safely, 'a'); await trio.sleep(0.2)"),
        (
            "asyncio",
            "import asyncio; self.task = asyncio.create_task(self.safely('a'));"
            " await asyncio.sleep(0.2)",
        ),
    ],
)
async def test_a_background_task_may_ask_one_that_waits_for_its_plugin(
    tmp_path: Path, library: str, begin: str
) -> None:
    folder = tmp_path / "plugins"
    write_plugin(folder, "a", source(), requires=["b"])
    write_plugin(folder, "b", source(begin), permissions=CALLS, async_library=library)
    async with node_here(folder, settled=False):
        await until(lambda: "nexus_plugins.b.plugin" in __import__("sys").modules)
        await until(lambda: module_of("b").said)
        assert module_of("b").said == ["stepped"]


async def test_a_start_may_ask_whom_it_requires_and_whoever_else_comes_up(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    slow = source("await trio.sleep(0.2)")
    write_plugin(folder, "slow", slow)
    write_plugin(folder, "below", slow)
    write_plugin(folder, "one", source(ask("slow")), permissions=CALLS)
    write_plugin(folder, "two", source(ask("below")), permissions=CALLS, requires=["below"])
    async with node_here(folder) as node:
        await until(lambda: {cell.state for cell in node.cells()} == {"running"})
        assert {cell.crashes for cell in node.cells()} == {0}


async def test_nothing_of_a_start_that_is_over_refuses_anything(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    later = """self.nursery.start_soon(self.later)

    async def later(self):
        await go.wait()
        await self.safely("b")
"""
    write_plugin(folder, "a", "go = trio.Event()\n" + source(later), permissions=CALLS)
    write_plugin(folder, "b", source("await trio.sleep(0.3)"), requires=["a"])
    async with node_here(folder, settled=False) as node:
        await until(lambda: node.registry.cell("a").state == "running")
        assert node.registry.cell("b").state != "running"
        module_of("a").go.set()
        await until(lambda: module_of("a").said)
        assert module_of("a").said == ["stepped"]
        await trio.lowlevel.checkpoint()


# -- plugins that run ------------------------------------------------------------------------------

RING = """
said = []


class P(Plugin):
    @get("/{name}/around")
    async def around(self):
        return await self.pass_on(0)

    async def pass_on(self, count):
        if count > 9:
            return "around ten times"
        return await self.get_plugin("{next}").pass_on(count + 1)

    async def step(self):
        return "stepped"

    @post("/{name}/emit")
    async def emit(self):
        await self.emit_event("ring", {{"count": 0}})
        return {{}}

    @event_handler("ring")
    async def on_ring(self, event):
        if event.source != self.name:
            said.append(await self.get_plugin(event.source).step())

    @post("/{name}/background")
    async def background(self):
        self.nursery.start_soon(self.later)
        await trio.sleep(0.2)
        return {{}}

    async def later(self):
        said.append(await self.get_plugin("{name}").step())
"""


def write_ring(folder: Path, names: str, **manifest: object) -> None:
    for name, after in zip(names, names[1:] + names[0], strict=True):
        write_plugin(
            folder,
            name,
            RING.format(name=name, next=after),
            permissions=["plugins:call", "events:emit", "events:subscribe"],
            **manifest,
        )


@pytest.mark.parametrize("concurrency", [1, 50])
@pytest.mark.parametrize("names", ["a", "ab", "abc"])
async def test_an_ask_that_comes_back_into_its_own_chain_is_refused_with_the_path(
    tmp_path: Path, names: str, concurrency: int
) -> None:
    write_ring(tmp_path / "plugins", names, concurrency=concurrency)
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        with trio.fail_after(3):
            answer = await client.get("/a/around")
        assert answer.status_code == 508
        assert f"this ask would wait for itself: {' > '.join(names)} > a" in answer.text
        for cell in node.cells():
            assert (cell.state, cell.crashes, cell.faults) == ("running", 0, 0)


@pytest.mark.parametrize("concurrency", [1, 50])
async def test_an_event_ends_the_chain_for_nobody_waits_for_it(
    tmp_path: Path, concurrency: int
) -> None:
    write_ring(tmp_path / "plugins", "ab", concurrency=concurrency)
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        # b asks back the plugin that emitted while it had a request in hand
        assert (await client.post("/a/emit")).status_code == 200
        await until(lambda: module_of("b").said, 4)
        assert module_of("b").said == ["stepped"]
        assert len(node.dead_letters) == 0


@pytest.mark.parametrize("concurrency", [1, 50])
async def test_a_background_task_of_a_handler_may_ask_its_own_plugin(
    tmp_path: Path, concurrency: int
) -> None:
    write_ring(tmp_path / "plugins", "a", concurrency=concurrency)
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        assert (await client.post("/a/background")).status_code == 200
        await until(lambda: module_of("a").said, 4)
        assert module_of("a").said == ["stepped"]
        assert node.registry.cell("a").crashes == 0
