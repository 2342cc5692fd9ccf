"""What a plugin owns beside its messages: child actors and timers, in both async libraries."""

import asyncio
import json

import pytest
import trio

from nexus_actors.actors import Actor, handles
from nexus_actors.errors import NotInNode
from nexus_actors.events import event_handler
from nexus_actors.plugin import Plugin
from nexus_actors.testing import TestApplication, TestClient


class Worker(Actor):
    def __init__(self, base):
        self.base = base
        self.seen = []

    @handles(dict)
    def double(self, message):
        self.seen.append(message)
        return message["n"] * 2 + self.base

    @handles(str)
    def do(self, what):
        if what == "boom":
            raise ValueError(what)
        return len(self.seen)


class Shop(Plugin):
    async def initialize(self):
        self.ticks = []
        self.worker = await self.spawn(Worker, 1, name="worker")
        self.pool = await self.spawn_pool(Worker, 100, size=2, name="pool")

    async def double(self, n):
        return await self.worker.ask({"n": n})

    async def pooled(self, n):
        return await self.pool.ask({"n": n})

    async def tick(self, what):
        self.ticks.append(what)
        return object()  # nobody waits for it, so it need not cross

    async def seen(self):
        return self.ticks

    async def plan(self, how, seconds, what):
        self.timer = getattr(self, how)(seconds, self.tick, what)

    async def cancel(self):
        self.timer.cancel()

    async def wrong(self):
        self.every(1, print)

    async def fall_later(self):
        self.send_after(5, self.fall)

    async def fall(self):
        raise KeyError("late")

    @event_handler("boom")
    async def on_boom(self, event):
        raise ValueError("boom")


class AioShop(Shop):
    library = "asyncio"

    async def tick(self, what):
        await asyncio.sleep(0)
        self.ticks.append(what)


both = pytest.mark.parametrize("kind", [Shop, AioShop])


@both
async def test_a_plugins_children_answer_it_and_end_with_its_incarnation(
    run_plugins, autojump_clock, kind
):
    async with run_plugins(kind) as nest:
        name = kind.__name__.lower()
        shop = nest.proxy(name)
        assert await shop.double(3) == 7
        assert [await shop.pooled(n) for n in (1, 2)] == [102, 104]
        child = nest.registry.address(f"{name}/worker")
        await child.tell("boom")
        assert await shop.double(3) == 7, "its supervisor has brought it back"
        assert nest.cell(name).incarnation == 1
        nest.emit("boom")
        await nest.until_running(name, 2)
        assert await shop.double(3) == 7
        assert not child.is_running
        assert [cell.name for cell in nest.registry.cells()] == [name]
    assert [address.name for address in nest.registry.addresses()] == [name]


@both
async def test_timers_call_the_plugins_own_methods_as_messages(run_plugins, autojump_clock, kind):
    async with run_plugins(kind) as nest:
        name = kind.__name__.lower()
        shop = nest.proxy(name)
        await shop.plan("send_after", 5, "once")
        await trio.sleep(6)
        assert await shop.seen() == ["once"]
        await shop.plan("every", 2, "again")
        await trio.sleep(5)
        await shop.cancel()
        await trio.sleep(10)
        assert await shop.seen() == ["once", "again", "again"]
        await shop.plan("every", 2, "never")
        await shop.fall_later()
        await nest.until_running(name, 2)
        assert nest.cell(name).crashed_on == ""
        await trio.sleep(10)
        assert await shop.seen() == [], "timers die with their incarnation"


async def test_a_timer_for_what_is_not_its_own_method_is_refused(run_plugins, autojump_clock):
    async with run_plugins(Shop) as nest:
        with pytest.raises(Exception, match="a timer of shop calls one of its own methods"):
            await nest.proxy("shop").wrong()


async def test_others_cannot_reach_a_plugins_children(run_plugins, autojump_clock):
    class Spy(Plugin):
        async def spy(self):
            return self.get_plugin("shop/worker") is None

    async with run_plugins(Shop, Spy) as nest:
        assert await nest.proxy("spy").spy() is True


SHARING = """
from nexus_actors.actors import Actor, handles
from nexus_actors.http import get
from nexus_actors.plugin import Plugin

class Member(Actor):
    async def initialize(self):
        self.join("members")

    @handles(str)
    async def reach(self, message):
        group = self.join("members")
        return await group.tell({"mine": 1}), [each.name for each in group.members]

    @handles(dict)
    def touch(self, message):
        message["touched"] = True

class P(Plugin):
    async def initialize(self):
        self.members = [await self.spawn(Member, name=name) for name in ("m1", "m2")]

    @get("/NAME/reach")
    async def reach(self):
        return [*await self.members[0].ask("reach")]
"""


async def test_others_are_not_in_the_groups_of_a_plugins_children(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "plugin.py").write_text(SHARING.replace("NAME", name))
        manifest = {"name": name, "version": "1.0.0", "entry_point": "plugin:P"}
        (tmp_path / name / "plugin.json").write_text(json.dumps(manifest))
    async with TestApplication(plugins=[tmp_path]) as app:
        client = TestClient(app)
        for name in ("one", "two"):
            await app.register_plugin(name)
        for name in ("one", "two"):
            answer = await client.get(f"/{name}/reach")
            assert answer.json() == [2, [f"{name}/m1", f"{name}/m2"]]


def test_outside_a_node_there_are_neither():
    shop = Shop({})
    with pytest.raises(NotInNode, match="TestApplication"):
        shop.send_after(1, shop.fall)


LEAKY = """
from nexus_actors.actors import Actor, handles
from nexus_actors.http import get
from nexus_actors.plugin import Plugin


class Kid(Actor):
    @handles(str)
    def fall(self, what):
        raise RuntimeError(what)


class Leaky(Plugin):
    async def initialize(self):
        self.kid = await self.spawn(Kid, name="kid")

    @get("/ask")
    async def ask(self):
        return await self.kid.ask("token sk-123")
"""


async def test_what_a_child_raises_is_for_the_log_and_not_for_clients(tmp_path, caplog):
    folder = tmp_path / "leaky"
    folder.mkdir()
    (folder / "plugin.py").write_text(LEAKY)
    manifest = {"name": "leaky", "version": "1.0.0", "entry_point": "plugin:Leaky"}
    (folder / "plugin.json").write_text(json.dumps(manifest))
    async with TestApplication([folder]) as app:
        await app.register_plugin("leaky")
        response = await TestClient(app).get("/ask", headers={"X-Request-ID": "r-1"})
    assert response.status_code == 502
    said = "leaky failed while answering; the log has it under request id r-1"
    assert response.json()["detail"] == said
    assert "RuntimeError" not in response.text
    assert "sk-123" not in response.text
    assert "RuntimeError: token sk-123" in caplog.text
