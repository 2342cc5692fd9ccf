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


# -- across chains ---------------------------------------------------------------------------------

MEET = """
import {library}

began = []
gate = []
said = []


class P(Plugin):
    @post("/{name}/go")
    async def go(self):
        await self.wait()
        return {{"said": await self.ask()}}

    @event_handler("go.{name}")
    async def on_go(self, event):
        await self.wait()
        try:
            said.append(await self.ask())
        except Exception as error:
            said.append(str(error))

    @post("/{name}/tell")
    async def tell(self):
        await self.emit_event("go.{other}", {{}})

    async def wait(self):
        began.append(self.name)
        while not gate:
            await {library}.sleep(0.005)

    async def ask(self):
        {form}

    async def one(self):
        return await self.get_plugin("{other}").step()

    async def step(self):
        return "stepped"
"""

FORMS = {
    "trio": "return await self.one()",
    "trio nursery": "async with trio.open_nursery() as n: n.start_soon(self.one)",
    "asyncio": "return await self.one()",
    "asyncio gather": "return await asyncio.gather(self.one())",
    "asyncio wait_for": "return await asyncio.wait_for(self.one(), 9)",
    "asyncio TaskGroup": "async with asyncio.TaskGroup() as g: g.create_task(self.one())",
    "asyncio shield": "return await asyncio.shield(self.one())",
    "asyncio wait": "await asyncio.wait([t := asyncio.create_task(self.one())]); return t.result()",
    "asyncio task": "return await asyncio.create_task(self.one())",
}


def write_meeting(folder: Path, forms: dict[str, str], **manifest: object) -> None:
    for (name, form), other in zip(forms.items(), [*forms][::-1], strict=True):
        library = form.split()[0]
        write_plugin(
            folder,
            name,
            MEET.format(name=name, other=other, library=library, form=FORMS[form]),
            permissions=["plugins:call", "events:emit", "events:subscribe"],
            async_library=library,
            **manifest,
        )


PAIRS = [("trio", form) for form in FORMS] + [(form, "asyncio") for form in FORMS]


@pytest.mark.parametrize(("first", "second"), PAIRS)
async def test_two_requests_that_ask_each_others_plugin_are_no_deadlock(
    tmp_path: Path, first: str, second: str
) -> None:
    write_meeting(tmp_path / "plugins", {"a": first, "b": second})
    answers: dict[str, int] = {}
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:

        async def post(name: str) -> None:
            answer = await client.post(f"/{name}/go")
            answers[name] = answer.status_code
            texts.append(answer.text)

        texts: list[str] = []
        async with trio.open_nursery() as nursery:
            for name in "ab":
                nursery.start_soon(post, name)
                await until(lambda name=name: module_of(name).began)
            module_of("a").gate.append("open")
            await until(lambda: node.registry.cell("b").mailbox.waiting == 1)
            module_of("b").gate.append("open")
            await until(lambda: len(answers) == 2, 1.5)
        assert answers["a"] == 200, texts
        assert answers["b"] == 508, texts
        assert "b (handling POST /b/go) asks a, which handles POST /a/go and asks b" in texts[0]
        for cell in node.cells():
            assert (cell.state, cell.crashes, cell.faults) == ("running", 0, 0)


async def test_a_request_and_an_event_that_meet_are_no_deadlock(tmp_path: Path) -> None:
    write_meeting(tmp_path / "plugins", {"orders": "trio", "billing": "asyncio"})
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        assert (await client.post("/orders/tell")).status_code < 300
        await until(lambda: module_of("billing").began)
        answers: list[str] = []

        async def post() -> None:
            answers.append((await client.post("/orders/go")).text)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(post)
            await until(lambda: module_of("orders").began)
            module_of("billing").gate.append("open")
            await until(lambda: node.registry.cell("orders").mailbox.waiting == 1)
            module_of("orders").gate.append("open")
            await until(lambda: answers, 1.5)
        assert (
            "orders (handling POST /orders/go) asks billing, which handles on_go and asks orders"
        ) in answers[0]
        await until(lambda: module_of("billing").said)
        assert module_of("billing").said == ["stepped"]


@pytest.mark.parametrize("library", ["trio", "asyncio"])
async def test_with_a_slot_free_two_requests_may_ask_each_others_plugin(
    tmp_path: Path, library: str
) -> None:
    write_meeting(tmp_path / "plugins", {"a": library, "b": library}, concurrency=2)
    answers: dict[str, int] = {}
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:

        async def post(name: str) -> None:
            answers[name] = (await client.post(f"/{name}/go")).status_code

        async with trio.open_nursery() as nursery:
            for name in "ab":
                nursery.start_soon(post, name)
                await until(lambda name=name: module_of(name).began)
            for name in "ab":
                module_of(name).gate.append("open")
            await until(lambda: len(answers) == 2, 1.5)
        assert answers == {"a": 200, "b": 200}


# -- what a handler began and does not wait for ----------------------------------------------------

SERVICE = """
import {library}
said = []
gate = []


class Worker(Service):
    async def initialize(self):
        pass

    def begin(self, function):
        self.nursery.start_soon(function)


class P(Plugin):
    def __init__(self, config):
        super().__init__(config)
        self.worker = inject(Worker)

    @post("/begin")
    async def begin(self):
        {begin}
        while not gate:
            await {library}.sleep(0.005)
        return {{}}

    async def later(self):
        try:
            said.append(await self.get_plugin("{asks}").step())
        except Exception as error:
            said.append(str(error))

    async def step(self):
        return "stepped"
"""


@pytest.mark.parametrize("asks", ["a", "b"])
@pytest.mark.parametrize(
    ("library", "begin"),
    [
        ("trio", "self.worker.begin(self.later)"),
        ("asyncio", "self.task = asyncio.create_task(self.later())"),
        ("asyncio", "self.task = asyncio.ensure_future(asyncio.gather(self.later()))"),
    ],
)
async def test_what_a_handler_began_and_does_not_await_may_ask_its_own_plugin(
    tmp_path: Path, library: str, begin: str, asks: str
) -> None:
    folder = tmp_path / "plugins"
    write_plugin(
        folder,
        "a",
        SERVICE.format(library=library, begin=begin, asks=asks),
        permissions=CALLS,
        async_library=library,
    )
    write_plugin(folder, "b", source(step=ask("a")), permissions=CALLS)
    async with node_here(folder) as node, client_of(node) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.post, "/begin")
            await until(lambda: node.registry.cell("a").mailbox.waiting == 1)
            assert module_of("a").said == []
            module_of("a").gate.append("open")
            await until(lambda: module_of("a").said)
        assert module_of("a").said == ["stepped"]


async def test_a_task_that_is_awaited_only_later_is_in_the_knot_then(tmp_path: Path) -> None:
    begin = "task = asyncio.create_task(self.later())"
    text = SERVICE.format(library="asyncio", begin=begin, asks="a")
    text = text.replace("        return {}", "        await task\n        return {}")
    folder = tmp_path / "plugins"
    write_plugin(folder, "a", text, permissions=CALLS, async_library="asyncio")
    async with node_here(folder) as node, client_of(node) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.post, "/begin")
            await until(lambda: node.registry.cell("a").mailbox.waiting == 1)
            module_of("a").gate.append("open")
            await until(lambda: module_of("a").said, 3)
        (said,) = module_of("a").said
        assert "a > a" in said, "refused, whichever of the two ways saw it first"


# -- starts that wait by way of asyncio ------------------------------------------------------------


@pytest.mark.parametrize("form", [form for form in FORMS if form.startswith("asyncio")])
async def test_however_a_start_waits_for_its_ask_it_is_refused(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "plugins"
    write_plugin(folder, "a", source(), requires=["b"])
    begin = "await self.begin()"
    more = f"""

    async def begin(self):
        {FORMS[form]}

    async def one(self):
        return await self.get_plugin("a").step()
"""
    write_plugin(
        folder,
        "b",
        "import asyncio\n" + source(begin) + more,
        permissions=CALLS,
        async_library="asyncio",
    )
    async with node_here(folder, settled=False) as node:
        reason = await reason_of(node, "b")
        assert "b > a > b (initialize of b asks a, which requires b)" in reason or (
            "ExceptionGroup" in reason and form == "asyncio TaskGroup"
        )


async def test_of_two_starts_that_gather_asks_of_each_other_the_second_is_refused(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "plugins"
    for name, other in ("ab", "ba"):
        begin = f"import asyncio; await asyncio.gather(self.get_plugin('{other}').step())"
        write_plugin(folder, name, source(begin), permissions=CALLS, async_library="asyncio")
    async with node_here(folder, settled=False) as node:
        cells = {name: node.registry.cell(name) for name in "ab"}
        await until(lambda: all(cell.state == "failed" for cell in cells.values()), 1.5)
        assert any("AskCycle" in cell.reason for cell in cells.values())
