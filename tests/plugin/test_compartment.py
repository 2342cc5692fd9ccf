"""Plugins written for asyncio: unchanged, on a loop of their own, supervised like any other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading

import pytest
import sniffio
import trio

from nexus_actors.actors import in_hand
from nexus_actors.errors import ActorStopped, AskTimeout, HTTPError, RemoteError
from nexus_actors.events import event_handler
from nexus_actors.http import get, post
from nexus_actors.middleware import Middleware
from nexus_actors.plugin import Plugin
from nexus_actors.plugin.compartment import GRACE
from nexus_actors.services import Service, inject


def body(response):
    return json.loads(response.body)


class Aio(Plugin):
    library = "asyncio"

    def __init__(self, config):
        super().__init__(config)
        self.made_on = asyncio.get_running_loop()
        self.queue = asyncio.Queue()
        self.notes = []
        self.task = None

    async def initialize(self):
        assert sniffio.current_async_library() == "asyncio"
        assert asyncio.get_running_loop() is self.made_on
        self.task = asyncio.create_task(self.loop_for_ever())

    async def cleanup(self):
        self.task.cancel()
        try:
            await self.task
        except asyncio.CancelledError:
            self.notes.append("cancelled")

    async def loop_for_ever(self):
        while True:
            item = await self.queue.get()
            if item == "die":
                raise ValueError("the loop died")
            self.notes.append(item)

    @event_handler("put")
    async def on_put(self, event):
        await self.queue.put(event.data["item"])

    @event_handler("bad")
    async def on_bad(self, event):
        await asyncio.sleep(0.1)
        raise ValueError("bad event")

    @event_handler("callback")
    async def on_callback(self, event):
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)

    @get("/notes")
    async def get_notes(self):
        return {"notes": self.notes}

    @get("/fault")
    async def fault(self):
        raise KeyError("x")

    @get("/slow")
    async def slow(self):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            self.notes.append("slow was cancelled")
            raise

    @get("/stubborn")
    async def stubborn(self):
        for _ in range(4):
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                self.notes.append("no")
        return {}

    @get("/thread")
    async def thread(self):
        loop = asyncio.get_running_loop()
        name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
        return {"main": name == threading.main_thread().name}

    @get("/tools")
    async def tools(self):
        async def one():
            await asyncio.sleep(0.01)
            return 1

        async with asyncio.timeout(1), asyncio.TaskGroup() as group:
            task = group.create_task(one())
        try:
            await asyncio.wait_for(asyncio.sleep(5), timeout=0.1)
        except TimeoutError:
            timed_out = True
        results = await asyncio.gather(one(), one())
        with pytest.raises(ValueError, match="seen"):
            await asyncio.create_task(self.raises("seen"))
        return {"task": task.result(), "timed_out": timed_out, "gathered": results}

    async def raises(self, words):
        raise ValueError(words)

    @get("/numbers")
    async def numbers(self):
        async def count():
            try:
                for n in range(1000):
                    yield str(n)
                    await asyncio.sleep(1)
            finally:
                self.notes.append("stream closed")

        return count()

    @get("/ask")
    async def ask(self):
        other = self.get_plugin("helper")
        return {"answer": await other.double(21), "in_hand": in_hand() is not None}

    @post("/emit")
    async def emit(self):
        return {"taken": await self.emit_event("put", {"item": "emitted"})}

    @event_handler("orphans")
    async def on_orphans(self, event):
        self.orphans = [asyncio.create_task(asyncio.sleep(1e6)) for _ in range(5)]


class Helper(Plugin):
    async def double(self, number):
        assert sniffio.current_async_library() == "trio"
        await trio.sleep(0.01)
        return number * 2


async def test_asyncio_code_runs_unchanged(run_plugins, autojump_clock):
    async with run_plugins(Aio) as nest:
        nest.emit("put", {"item": "a"})
        await trio.sleep(1)
        assert body(await nest.request("GET", "/notes")) == {"notes": ["a"]}
        assert body(await nest.request("GET", "/tools")) == {
            "task": 1,
            "timed_out": True,
            "gathered": [1, 1],
        }


async def test_executors_are_threads(run_plugins):
    async with run_plugins(Aio) as nest:
        assert body(await nest.request("GET", "/thread")) == {"main": False}


async def test_calls_and_events_go_from_asyncio_to_trio_and_back(run_plugins, autojump_clock):
    async with run_plugins(Aio, Helper) as nest:
        assert body(await nest.request("GET", "/ask")) == {"answer": 42, "in_hand": True}
        assert body(await nest.request("POST", "/emit")) == {"taken": 1}


async def test_a_fault_is_answered_and_a_crash_brings_a_fresh_object(run_plugins, autojump_clock):
    async with run_plugins(Aio) as nest:
        with pytest.raises(HTTPError, match="500"):
            await nest.request("GET", "/fault")
        nest.emit("bad")
        await nest.until_running("aio", incarnation=2)
        first, second = nest.objects["aio"]
        assert first.notes == ["cancelled"], "cleanup ran, on the loop"
        assert second.task is not first.task
        assert body(await nest.request("GET", "/notes")) == {"notes": []}


async def test_a_task_that_died_unseen_is_the_plugins_crash(run_plugins, autojump_clock):
    async with run_plugins(Aio) as nest:
        nest.emit("put", {"item": "die"})
        began = trio.current_time()
        await nest.until_running("aio", incarnation=2)
        assert trio.current_time() - began == pytest.approx(GRACE, abs=0.1)


async def test_a_callback_that_raises_is_the_plugins_crash(run_plugins, autojump_clock):
    async with run_plugins(Aio) as nest:
        nest.emit("callback")
        await nest.until_running("aio", incarnation=2)


async def test_a_deadline_cancels_the_asyncio_handler(run_plugins, autojump_clock):
    async with run_plugins(Aio) as nest:
        with pytest.raises(AskTimeout):
            await nest.request("GET", "/slow", deadline=2)
        await nest.until(lambda: nest.objects["aio"][0].notes == ["slow was cancelled"])


async def test_a_handler_that_swallows_its_cancellation_is_cancelled_again(
    run_plugins, autojump_clock
):
    async with run_plugins(Aio) as nest:
        with pytest.raises(AskTimeout):
            await nest.request("GET", "/stubborn", deadline=2)
        await nest.until(lambda: nest.cell("aio").mailbox.statistics().in_hand == 0)
        assert nest.objects["aio"][0].notes == ["no"] * 4


async def test_streams_are_read_on_the_loop_and_closed_there(run_plugins, autojump_clock):
    async with run_plugins(Aio) as nest:
        stream = (await nest.request("GET", "/numbers")).stream
        items = aiter(stream)
        assert [await anext(items), await anext(items)] == ["0", "1"]
        await items.aclose()
        await nest.until(lambda: "stream closed" in nest.objects["aio"][0].notes)


async def test_what_an_incarnation_left_running_ends_with_it(run_plugins, autojump_clock):
    async with run_plugins(Aio) as nest:
        nest.emit("orphans")
        await trio.sleep(0.1)
        (first,) = nest.objects["aio"]
        nest.emit("bad")
        await nest.until_running("aio", incarnation=2)
        assert all(task.cancelled() for task in first.orphans)


async def test_stopping_a_plugin_leaves_no_task_behind(run_plugins, autojump_clock):
    async with run_plugins(Aio) as nest:
        nest.emit("orphans")
        await trio.sleep(0.1)
        (plugin,) = nest.objects["aio"]
    assert all(task.done() for task in [plugin.task, *plugin.orphans])
    assert plugin.made_on.is_closed()


class Session(Service):
    def __init__(self, config):
        super().__init__(config)
        self.steps = []

    async def initialize(self):
        self.loop = asyncio.get_running_loop()
        self.steps.append("initialize")
        self.task = asyncio.create_task(self.work())
        self.trigger = asyncio.Event()

    async def work(self):
        await self.trigger.wait()
        raise OSError("lost the connection")

    async def fetch(self):
        await asyncio.sleep(0.01)
        return len(self.steps)


class AioServed(Plugin):
    library = "asyncio"

    def __init__(self, config):
        super().__init__(config)
        self.session = inject(Session)

    async def initialize(self):
        assert self.session.loop is asyncio.get_running_loop()
        self.add_middleware(Header())

    @get("/fetch")
    async def fetch(self):
        return {"steps": await self.session.fetch()}

    @event_handler("service.break")
    async def on_break(self, event):
        self.session.trigger.set()


class Header(Middleware):
    async def __call__(self, request, call_next):
        await asyncio.sleep(0)
        response = await call_next(request)
        response.headers["X-Aio"] = "yes"
        return response


async def test_services_and_middleware_share_the_plugins_loop(run_plugins, autojump_clock):
    async with run_plugins(AioServed) as nest:
        response = await nest.request("GET", "/fetch")
        assert (body(response), response.headers["X-Aio"]) == ({"steps": 1}, "yes")


async def test_a_services_dead_task_is_the_services_crash(run_plugins, autojump_clock):
    async with run_plugins(AioServed) as nest:
        nest.emit("service.break")
        await nest.until_running("aioserved", incarnation=2)
        assert body(await nest.request("GET", "/fetch")) == {"steps": 1}


class AioDoomed(Plugin):
    library = "asyncio"

    async def initialize(self):
        await asyncio.sleep(0.01)
        raise RuntimeError("no licence")


async def test_an_asyncio_plugin_that_cannot_start_is_failed_and_hurts_nobody(
    run_plugins, autojump_clock
):
    async with run_plugins(AioDoomed, Helper, wait=False) as nest:
        await nest.until(lambda: nest.cell("aiodoomed").state == "failed")
        assert "no licence" in nest.cell("aiodoomed").reason
        with pytest.raises(ActorStopped):
            await nest.registry.address("aiodoomed").ask("anything")
        assert await nest.proxy("helper").double(2) == 4


async def test_a_failing_call_from_asyncio_raises_there(run_plugins, autojump_clock):
    class Caller(Plugin):
        library = "asyncio"

        async def call(self):
            try:
                await self.get_plugin("aio").raises("to the other")
            except RemoteError as error:
                return str(error)

    async with run_plugins(Aio, Caller) as nest:
        assert "to the other" in await nest.proxy("caller").call()


class Stubborn(Plugin):
    library = "asyncio"

    async def initialize(self):
        self.deaf = asyncio.create_task(self.swallow())

    async def swallow(self):
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1e6)

    @event_handler("bad")
    async def on_bad(self, event):
        raise ValueError

    @event_handler("die-later")
    async def on_die_later(self, event):
        self.dying = asyncio.create_task(self.die())

    async def die(self):
        raise ValueError("died unseen")

    @event_handler("die-then-crash")
    async def on_both(self, event):
        self.dying = asyncio.create_task(self.die())
        await asyncio.sleep(0.01)
        raise KeyError("unrelated")

    @get("/timed")
    async def timed(self):
        async def count():
            async with asyncio.timeout(5), asyncio.TaskGroup():
                while True:
                    yield "item"
                    await asyncio.sleep(2)

        return count()


async def test_a_task_that_swallows_every_cancellation_does_not_hold_up_restart_or_stop(
    run_plugins, autojump_clock, caplog
):
    async with run_plugins(Stubborn) as nest:
        began = trio.current_time()
        nest.emit("bad")
        await nest.until_running("stubborn", incarnation=2)
        assert trio.current_time() - began < 10
        assert "swallow swallows its cancellation" in caplog.text
        began = trio.current_time()
    assert trio.current_time() - began < 15


async def test_a_task_of_an_ended_incarnation_does_not_crash_the_next_one(
    run_plugins, autojump_clock, caplog
):
    async with run_plugins(Aio2) as nest:
        nest.emit("die-then-crash")
        await nest.until_running("aio2", incarnation=2)
        await trio.sleep(5 * GRACE)
        assert (nest.cell("aio2").state, nest.cell("aio2").incarnation) == ("running", 2)
        assert "belongs to nobody any more died" in caplog.text


class Aio2(Plugin):
    library = "asyncio"
    on_both = Stubborn.on_both
    die = Stubborn.die


async def test_a_timeout_around_a_yield_holds_because_one_task_runs_the_whole_stream(
    run_plugins, autojump_clock
):
    async with run_plugins(Stubborn) as nest:
        stream = (await nest.request("GET", "/timed")).stream
        began = trio.current_time()
        with pytest.raises(Exception, match="in the midst of its reply"):
            async for _ in stream:
                pass
        assert trio.current_time() - began == pytest.approx(5, abs=0.1)


class Exits(Plugin):
    library = "asyncio"
    error: BaseException = SystemExit(3)
    starts = 0

    async def initialize(self):
        Exits.starts += 1

    @get("/exit/{how}")
    async def exit_in_request(self, how):
        if how == "later":
            await asyncio.sleep(0.01)
        raise self.error

    @event_handler("exit")
    async def on_exit(self, event):
        raise self.error

    @event_handler("stop-loop")
    async def on_stop_loop(self, event):
        asyncio.get_running_loop().stop()

    @event_handler("stop-loop-later")
    async def on_stop_loop_later(self, event):
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.stop)

    @event_handler("exit-in-task")
    async def on_exit_in_task(self, event):
        self.task = asyncio.create_task(self.exit_in_request("later"))

    @event_handler("exit-in-callback")
    async def on_exit_in_callback(self, event):
        asyncio.get_running_loop().call_later(0.01, self.exit)

    def exit(self):
        raise self.error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=["exit", "interrupt"])
@pytest.mark.parametrize("where", ["now", "later", "exit", "exit-in-task", "exit-in-callback"])
async def test_an_asyncio_plugin_that_would_end_the_process_is_crashed_and_comes_back(
    run_plugins, autojump_clock, monkeypatch, error, where
):
    monkeypatch.setattr(Exits, "error", error)
    monkeypatch.setattr(Exits, "starts", 0)
    async with run_plugins(Exits, Helper) as nest:
        if where in ("now", "later"):
            with pytest.raises(HTTPError, match="500"):
                await nest.request("GET", "/exit/{how}", path_params={"how": where})
        else:
            nest.emit(where)
        await nest.until(lambda: Exits.starts == 2 and nest.cell("exits").state == "running")
        assert await nest.proxy("helper").double(2) == 4


@pytest.mark.parametrize("where", ["stop-loop", "stop-loop-later"])
async def test_an_asyncio_plugin_that_stops_its_loop_is_crashed_and_comes_back(
    run_plugins, autojump_clock, monkeypatch, where
):
    monkeypatch.setattr(Exits, "starts", 0)
    async with run_plugins(Exits, Helper) as nest:
        nest.emit(where)
        with trio.fail_after(30):
            await nest.until(lambda: Exits.starts == 2 and nest.cell("exits").state == "running")
        assert await nest.proxy("helper").double(2) == 4
