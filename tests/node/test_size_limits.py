"""The size limit of a plugin's mailbox, and the bytes of a node's dead letters."""

from pathlib import Path

import pytest
from node_world import client_of, module_of, node_here, until, write_plugin

from nexus_actors.actors import NotHandled
from nexus_actors.errors import MessageTooLarge, RemoteError
from nexus_actors.events.event import make_event
from nexus_actors.node.letters import describe, letters_of, retry

SHELF = """
seen = []


class P(Plugin):
    @event_handler("book.added")
    async def on_book(self, event):
        seen.append(len(event.data["text"]))

    @post("/books")
    async def add(self, request: Request):
        return {"length": len(await request.body())}

    @post("/stream", stream=True)
    async def stream(self, request: Request):
        length = 0
        async for chunk in request.stream():
            length += len(chunk)
        return {"length": length}

    async def store(self, book):
        seen.append(len(book["text"]))
        return "x" * 100_000
"""
READER = """
seen = []


class P(Plugin):
    @event_handler("book.added")
    async def on_book(self, event):
        seen.append(len(event.data["text"]))

    @get("/send/{size}")
    async def send(self, size: int):
        shelf = self.get_plugin("shelf")
        return {"answer": len(await shelf.store({"id": 1, "text": "x" * size}))}

    @get("/emit/{size}")
    async def emit(self, size: int):
        return {"taken": await self.emit_event("book.added", {"text": "x" * size})}
"""
ALL = ["events:subscribe", "events:emit", "plugins:call"]


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    write_plugin(folder, "shelf", SHELF, permissions=ALL, mailbox={"max_size": 10_000})
    write_plugin(folder, "reader", READER, permissions=ALL)
    return folder


async def test_a_call_that_is_too_large_fails_in_the_caller_with_its_place(plugins: Path) -> None:
    async with node_here(plugins) as node, client_of(node) as client:
        assert (await client.get("/send/9000")).json() == {"answer": 100_000}, "answers have none"
        assert (await client.get("/send/10000")).status_code == 500
        (fault,) = [each for each in node.registry.cell("reader").history if "failed" in str(each)]
        assert str(fault).startswith(
            "failed on GET /send/{size} in send(): MessageTooLarge: the call store() for shelf is "
            'over 10,000 bytes, the max_size of its mailbox: args[0]["text"] alone has 9.81 KiB'
        )
        assert module_of("shelf").seen == [9000]
        assert node.registry.cell("shelf").faults == 0


async def test_a_request_that_is_too_large_is_answered_413(plugins: Path) -> None:
    async with node_here(plugins) as node, client_of(node) as client:
        assert (await client.post("/books", content=b"x" * 5_000)).json() == {"length": 5_000}
        answer = await client.post("/books", content=b"x" * 10_000)
        assert answer.status_code == 413
        assert "the request is longer than the 10,000 bytes taken here" in answer.text
        long = {"X-Long": "x" * 10_000}
        assert (await client.post("/books", headers=long)).status_code == 413


async def test_a_body_that_is_streamed_does_not_count(plugins: Path) -> None:
    async with node_here(plugins) as node, client_of(node) as client:
        answer = await client.post("/stream", content=b"x" * 50_000)
        assert answer.json() == {"length": 50_000}


async def test_an_event_too_large_for_one_plugin_reaches_the_others_and_fails_nobody(
    plugins: Path,
) -> None:
    async with node_here(plugins) as node, client_of(node) as client:
        assert (await client.get("/emit/9000")).json() == {"taken": 2}
        assert (await client.get("/emit/10000")).json() == {"taken": 1}
        await until(lambda: module_of("reader").seen == [9000, 10_000])
        assert module_of("shelf").seen == [9000]
        (line,) = letters_of(node)["letters"]
        assert (line["plugin"], line["reason"], line["sender"]) == ("shelf", "too large", "reader")
        assert 10_000 < line["size"] < 20_000
        answer = retry(node, {"all": True})
        assert (answer["done"], answer["left"]) == ([], 1)
        assert "over 10,000 bytes" in answer["refused"][0]["why"]


async def test_letters_are_bounded_by_the_settings(plugins: Path) -> None:
    few = {"dead_letters": 4, "dead_letters_size": 1024**2}
    async with node_here(plugins, node=few) as node:
        for size in (10_000, 20_000, 30_000, 40_000, 50_000, 500_000):
            node.emit(make_event("book.added", {"text": "x" * size}, source="shop"))
        answer = letters_of(node)
        assert [line["number"] for line in answer["letters"]] == [3, 4, 5, 6]
        assert (answer["capacity"], answer["max_size"]) == (4, 1024**2)
        assert answer["size"] == sum(line["size"] for line in answer["letters"])
        assert [line["kept"] for line in answer["letters"]] == [True, True, True, False]
        assert [line["retryable"] for line in answer["letters"]] == [True, True, True, False]
        told = describe(node, node.dead_letters.get(6))
        assert told["about"] == "book.added"
        assert told["content"] == "<book.added, not kept: it was over 256 KiB>"
        for number in (1, 2, 3):
            node.emit(make_event("book.added", {"text": "x" * 200_000, "n": number}, source="s"))
        assert node.dead_letters.size <= 1024**2


async def test_a_plugin_that_is_sent_something_else_says_what_it_handles(plugins: Path) -> None:
    write_plugin(plugins, "bare", "class P(Plugin): pass")
    async with node_here(plugins) as node:
        with pytest.raises(NotHandled) as caught:
            await node.registry.address("shelf").tell("hello")
        assert str(caught.value) == (
            "shelf does not handle str; it is a plugin and handles calls of store(); the events "
            "book.added; requests for POST /books, POST /stream (call it by "
            'get_plugin("shelf").store(...), or emit an event it subscribes to)'
        )
        with pytest.raises(NotHandled, match="bare does not .* it is a plugin and handles nothing"):
            await node.registry.address("bare").ask("hello")


async def test_a_plugin_may_catch_it(tmp_path: Path, plugins: Path) -> None:
    async with node_here(plugins) as node:
        shelf = node.registry.address("shelf")
        with pytest.raises(MessageTooLarge):
            await shelf.request("call", "x" * 10_000)
        with pytest.raises(RemoteError):  # a payload that it takes, and cannot do anything with
            await shelf.request("call", "x")
