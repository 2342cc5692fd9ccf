"""Virtual time: the order in which things come, and what real input and output it waits for."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import trio
from shop_plugins import write_plugin

from nexus_actors.actors import Actor, handles, open_system
from nexus_actors.errors import NexusError
from nexus_actors.testing import (
    NoMockClock,
    TestApplication,
    TestClient,
    advance,
    autojump,
    settle,
)

NOTES = """
{imports}

from nexus_actors.events import event_handler
from nexus_actors.http import get, post
from nexus_actors.plugin import Plugin


class Notes(Plugin):
    async def initialize(self):
        await self.db.execute("CREATE TABLE IF NOT EXISTS notes (number serial, text text)")
        self.every(10, self.note, "tick")
        self.every(25, self.note, "tock")

    async def note(self, text):
        await self.db.execute("SELECT pg_sleep(0.01)")
        await self.db.execute("INSERT INTO notes (text) VALUES ($1)", text)

    @event_handler("note.later")
    async def later(self, event):
        await self.note("in 3")
        await {library}.sleep(3)
        await self.note("out")

    @post("/notes/never")
    async def never(self):
        await {library}.sleep(1000)

    @post("/notes/thread")
    async def thread(self):
        {thread}
        await self.note("thread")

    @get("/notes")
    async def show(self):
        rows = await self.db.fetch_all("SELECT text FROM notes ORDER BY number")
        return {{"notes": [row["text"] for row in rows]}}

    async def cleanup(self):
        await {library}.sleep(1)
"""

SOURCES = {
    "trio": NOTES.format(
        library="trio",
        imports="import time\n\nimport trio",
        thread="await trio.to_thread.run_sync(time.sleep, 0.05)",
    ),
    "asyncio": NOTES.format(
        library="asyncio",
        imports="import asyncio\nimport time",
        thread="await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.05)",
    ),
}


@pytest.fixture
async def app(tmp_path, library, mock_clock):
    write_plugin(
        tmp_path,
        "notes",
        SOURCES[library],
        permissions=["database:write", "events:subscribe"],
        concurrency=5,
    )
    async with TestApplication(plugins=[tmp_path]) as app:
        yield app


@pytest.fixture
async def client(app):
    await app.register_plugin("notes")
    return TestClient(app)


async def notes(client):
    return (await client.get("/notes")).json()["notes"]


async def test_timers_come_in_their_order_with_what_they_do_in_the_database(
    app, client, mock_clock
):
    began = trio.current_time()
    await app.advance(49)
    assert trio.current_time() - began == pytest.approx(49)
    assert await notes(client) == ["tick", "tick", "tock", "tick", "tick"]


async def test_time_stands_still_until_it_is_advanced(app, client, mock_clock):
    await app.advance(9.9)
    assert await notes(client) == []
    await app.advance(0.2)
    assert await notes(client) == ["tick"]


async def test_a_handler_that_sleeps_goes_on_when_its_time_has_come(app, client, mock_clock):
    await app.emit_event("note.later", {})
    await app.advance(0)
    assert await notes(client) == ["in 3"]
    with pytest.raises(TimeoutError, match=r"the clock stands still: notes: later for 0 s"):
        await app.settle()
    await app.advance(2.9)
    assert await notes(client) == ["in 3"]
    await app.advance(0.1)
    assert await notes(client) == ["in 3", "out"]
    await app.settle()


async def test_the_deadline_of_a_request_comes_when_it_should(app, client, mock_clock):
    answers = []

    async def ask():
        answers.append((await client.post("/notes/never")).status_code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await app.advance(29.9)
        assert answers == []
        await app.advance(0.2)
        assert answers == [504]


async def test_autojump_lets_time_pass_while_something_is_awaited(app, client, mock_clock):
    await app.advance(5)
    began, real = trio.current_time(), time.monotonic()
    async with app.autojump():
        assert (await client.post("/notes/never")).status_code == 504
    assert trio.current_time() - began == pytest.approx(30)
    assert time.monotonic() - real < 10
    assert (await notes(client)).count("tick") == 3


async def test_a_thread_is_waited_for(app, client, mock_clock):
    began = trio.current_time()
    async with app.autojump():
        assert (await client.post("/notes/thread")).status_code == 204
    assert trio.current_time() == began
    assert await notes(client) == ["thread"]


async def test_what_the_block_of_autojump_raises_comes_out_as_it_is(app, mock_clock):
    await app.start()
    with pytest.raises(KeyError):
        async with app.autojump():
            raise KeyError("x")


async def test_autojump_gives_up_after_its_limit(app, client, mock_clock):
    with pytest.raises(TimeoutError, match="100 s have passed"):
        async with app.autojump(limit=100):
            await trio.Event().wait()


async def test_a_suspended_plugin_is_tried_again_after_its_pauses(app, client, mock_clock):
    cell = app.node.registry.cell("notes")
    with app.faults("notes").fail(OSError("no"), "initialize") as fail:
        app.faults("notes").crash_now()
        await app.advance(1)  # its cleanup takes that
        before = fail.hits
        await app.advance(40)
        assert fail.hits > before
        assert cell.state != "running"
    await app.advance(300)
    assert cell.state == "running"


async def test_a_request_without_an_answer_ends_in_real_time_and_says_why(app, client, mock_clock):
    import httpx

    impatient = TestClient(app, timeout=0.05)
    with pytest.raises(httpx.ReadTimeout, match=r"the clock stands still: await app.advance"):
        await impatient.post("/notes/never")


async def test_an_outside_server_is_given_the_real_time_it_takes(mock_clock):
    """A socket whose other end is not in this process's Trio."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listener.accept()
        with connection:
            for _ in range(3):
                time.sleep(0.01)
                connection.sendall(b"x")

    class Reader(Actor):
        got = b""

        @handles
        async def read(self, port: int) -> None:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                while data := await stream.receive_some():
                    self.got += data
                await trio.sleep(5)
                self.got += b"!"

    thread = threading.Thread(target=serve)
    thread.start()
    async with open_system() as system:
        reader = await system.spawn(Reader)
        await reader.tell(listener.getsockname()[1])
        await advance(4)
        assert reader.look().attributes["got"] == "b'xxx'"
        await advance(1)
        assert reader.look().attributes["got"] == "b'xxx!'"
    thread.join()
    listener.close()


async def test_actors_without_a_node_have_it_too(mock_clock):
    class Clock(Actor):
        ticks = 0

        async def initialize(self) -> None:
            self.every(60, "tick")

        @handles
        async def tick(self, tick: str) -> None:
            await trio.sleep(1)
            self.ticks += 1

    async with open_system() as system:
        clock = await system.spawn(Clock, name="clock")
        await advance(180)
        assert clock.look().attributes == {"ticks": "2"}
        with pytest.raises(TimeoutError, match="clock: str for 0 s. Let time pass"):
            await settle(system)
        async with autojump():
            await trio.sleep(60)
        assert clock.look().attributes == {"ticks": "3"}
        await advance(1)  # the system waits for what is in hand before it ends


@pytest.mark.parametrize("what", ["advance", "autojump"])
async def test_without_a_mock_clock_it_says_what_to_write(what):
    with pytest.raises(NoMockClock, match="among the arguments of the test function itself"):
        await use(what)


@pytest.mark.parametrize("what", ["advance", "autojump"])
async def test_a_clock_that_moves_by_itself_is_refused(what, autojump_clock):
    with pytest.raises(NoMockClock, match="mock_clock in place of autojump_clock"):
        await use(what)


async def use(what):
    if what == "advance":
        await advance(1)
    else:
        async with autojump():
            pass


async def test_a_node_under_autojump_clock_is_refused(autojump_clock):
    with pytest.raises(NexusError, match=r"use mock_clock, and `async with app.autojump\(\)`"):
        await TestApplication().start()


async def test_time_does_not_go_back(mock_clock):
    with pytest.raises(ValueError, match="forward"):
        await advance(-1)


async def test_what_does_not_end_in_real_time_is_named(mock_clock, monkeypatch):
    from nexus_actors.testing import clock

    free = threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, free.wait)
        try:
            with pytest.raises(TimeoutError, match=r"0.05 s of real time .* \(a thread\)"):
                await clock.at_rest(patience=0.05)
        finally:
            free.set()
