"""What a crash and a fault do, and to whom: seen through HTTP, events and calls between plugins."""

import gc
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import trio
from node_world import client_of, module_of, node_here, until, write_plugin

from nexus_actors.events.event import make_event

SHOP = """
import weakref

log = []
objects = []
gate = trio.Event()


class P(Plugin):
    def __init__(self, config):
        super().__init__(config)
        objects.append(weakref.ref(self))
        self.number = len(objects)
        log.append(f"init {self.number}")

    async def cleanup(self):
        await trio.sleep(0)
        log.append(f"cleanup {self.number}")

    @get("/who")
    async def who(self):
        return {"number": self.number}

    @post("/who")
    async def who_writing(self):
        return {"number": self.number}

    @post("/kill")
    async def kill(self):
        await self.emit_event("kill", {"by": "http"})
        return {}

    @get("/fault")
    async def fault(self):
        raise RuntimeError("the secret of the shop")

    @event_handler("kill")
    async def on_kill(self, event):
        await gate.wait()
        raise RuntimeError(f"killed by {event.data['by']}")

    @event_handler("note")
    async def on_note(self, event):
        log.append(f"{self.number} noted {event.data}")

    async def crash(self):
        raise RuntimeError("in the background")

    async def total(self, how):
        if how == "raise":
            raise ValueError("no total")
        if how == "die":
            raise SystemExit("gone")
        if how == "crash meanwhile":
            self.nursery.start_soon(self.crash)
            await trio.sleep_forever()
        return self.number
"""
BESIDE = """
released = trio.Event()


class P(Plugin):
    @get("/beside")
    async def beside(self):
        await released.wait()
        return {"number": 1}
"""
EVENTS = ["events:emit", "events:subscribe"]


async def test_after_a_crash_in_an_event_handler_a_fresh_object_answers_what_waited(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_plugin(tmp_path / "plugins", "shop", SHOP, permissions=EVENTS)
    write_plugin(tmp_path / "plugins", "beside", BESIDE)
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        cell, shop = node.registry.cell("shop"), module_of("shop")
        address = node.registry.address("shop")
        assert (await client.get("/who")).json() == {"number": 1}
        answers: list[Any] = []

        async def ask(method: str, path: str) -> None:
            response = await client.request(method, path)
            answers.append((path, response.status_code, response.json()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "GET", "/beside")
            node.emit(make_event("kill", {"by": "the test"}, source="test"))
            await until(lambda: cell.mailbox.statistics().in_hand == 1)
            for _ in range(5):
                nursery.start_soon(ask, "GET", "/who")
                nursery.start_soon(ask, "POST", "/who")
            await until(lambda: cell.mailbox.waiting == 10)
            node.emit(make_event("note", "hello", source="test"))
            shop.gate.set()
            await until(lambda: len(answers) == 10)
            assert answers == [("/who", 200, {"number": 2})] * 10
            module_of("beside").released.set()
        assert answers[-1] == ("/beside", 200, {"number": 1}), "the other one noticed nothing"

        assert await address.request("call", total_of()) == 2, "same address"
        assert (cell.incarnation, cell.crashes, cell.state) == (2, 1, "running")
        await until(lambda: "2 noted hello" in shop.log)
        assert shop.log == ["init 1", "cleanup 1", "init 2", "2 noted hello"]
        other = node.registry.cell("beside")
        assert (other.incarnation, other.crashes) == (1, 0)

        (letter,) = node.dead_letters.list()
        assert (letter.actor, letter.kind, letter.handler) == ("shop", "event", "on_kill")
        assert letter.reason == "crash"
        assert letter.payload.event.data == {"by": "the test"}
        assert letter.report is not None
        assert (letter.report.type, letter.report.message) == (
            "RuntimeError",
            "killed by the test",
        )
        file, _line, function = letter.report.triples[-1]
        assert (Path(file).name, function) == ("plugin.py", "P.on_kill")
        assert 'in on_kill\n    raise RuntimeError(f"killed by' in caplog.text, "with its traceback"
        account = cell.mailbox.statistics()
        assert account.dead_lettered == 1
        assert account.accepted == account.handled + account.dead_lettered


async def test_nothing_keeps_the_object_of_a_dead_incarnation(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plugins", "shop", SHOP, permissions=EVENTS)
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        shop = module_of("shop")
        shop.gate.set()
        logging.disable()  # pytest keeps log records, with tracebacks and so with the object
        try:
            node.emit(make_event("kill", {"by": "the test"}, source="test"))
            await until(lambda: node.registry.cell("shop").incarnation == 2)
        finally:
            logging.disable(logging.NOTSET)
        assert (await client.get("/who")).json() == {"number": 2}
        gc.collect()
        assert shop.objects[0]() is None


def total_of(how: str = "") -> Any:
    from nexus_actors.actors import Call

    return Call("total", (how,), {})


async def test_a_fault_in_a_request_goes_to_its_caller_and_the_plugin_lives_on(
    tmp_path: Path,
) -> None:
    write_plugin(tmp_path / "plugins", "shop", SHOP, permissions=EVENTS)
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        response = await client.get("/fault", headers={"X-Request-ID": "abc-123"})
        assert response.status_code == 500
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["x-request-id"] == "abc-123"
        assert response.json()["request_id"] == "abc-123"
        for secret in ("secret", "Traceback", "RuntimeError", "plugin.py"):
            assert secret not in response.text
        assert (await client.get("/who")).json() == {"number": 1}
        cell = node.registry.cell("shop")
        assert (cell.incarnation, cell.crashes, cell.faults) == (1, 0, 1)
        assert len(node.dead_letters) == 0


ASKER = """
class P(Plugin):
    @get("/total/{how}")
    async def total(self, how: str):
        return {"total": await self.get_plugin("shop").total(how)}

    @event_handler("ask")
    async def on_ask(self, event):
        await self.get_plugin("shop").total(event.data)
"""


@pytest.mark.parametrize(
    ("how", "status"),
    [("well", 200), ("raise", 502), ("die", 502), ("crash meanwhile", 503)],
)
async def test_one_that_asks_a_plugin_in_trouble_is_not_hurt(
    tmp_path: Path, how: str, status: int
) -> None:
    write_plugin(tmp_path / "plugins", "shop", SHOP, permissions=EVENTS)
    write_plugin(
        tmp_path / "plugins", "asker", ASKER, permissions=["plugins:call", "events:subscribe"]
    )
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        asker = node.registry.cell("asker")
        response = await client.get(f"/total/{how}")
        assert response.status_code == status, response.text
        node.emit(make_event("ask", how, source="test"))
        await until(lambda: asker.mailbox.statistics().in_hand + asker.mailbox.waiting == 0)
        assert (asker.incarnation, asker.crashes, asker.faults) == (1, 0, 0)
        letters = [letter for letter in node.dead_letters.list() if letter.actor == "asker"]
        assert [letter.retryable for letter in letters] == ([] if status == 200 else [True])
        assert (await client.get("/total/well")).status_code == 200


async def test_one_that_asks_a_plugin_that_is_down_learns_it_at_once(tmp_path: Path) -> None:
    write_plugin(
        tmp_path / "plugins",
        "shop",
        """
        class P(Plugin):
            async def initialize(self):
                raise RuntimeError("closed")

            async def total(self, how):
                return 0
        """,
        supervision={"backoff": {"first": 60}},
    )
    write_plugin(
        tmp_path / "plugins", "asker", ASKER, permissions=["plugins:call", "events:subscribe"]
    )
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        with trio.fail_after(2):
            response = await client.get("/total/well")
        assert response.status_code == 503
        assert 1 <= int(response.headers["retry-after"]) <= 72
        assert "shop is failed" in response.json()["detail"]
        asker = node.registry.cell("asker")
        assert (asker.incarnation, asker.crashes, asker.faults) == (1, 0, 0)


LOOPING = """
mended = False
started = 0


class P(Plugin):
    async def initialize(self):
        global started
        started += 1
        if not mended:
            self.nursery.start_soon(self.die)

    async def die(self):
        raise RuntimeError("as always")

    @get("/ask")
    async def ask(self):
        return {"started": started}
"""


async def test_a_crash_loop_is_suspended_with_doubling_pauses_and_comes_back_by_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_plugin(
        tmp_path / "plugins",
        "looping",
        LOOPING,
        supervision={"intensity": 3, "period": 30, "backoff": {"first": 0.25, "jitter": 0}},
    )
    write_plugin(tmp_path / "plugins", "beside", BESIDE)

    def pauses() -> list[float]:
        return [float(found) for found in re.findall(r"next try in ([\d.]+) s", caplog.text)]

    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        cell, looping = node.registry.cell("looping"), module_of("looping")
        await until(lambda: len(pauses()) == 3)
        assert looping.started == 12, "intensity 3: three times the first start and three more"
        assert cell.state == "suspended"
        assert "more than 3 restarts in 30 s" in cell.reason
        assert "RuntimeError: as always" in cell.reason
        with trio.fail_after(0.5):
            response = await client.get("/ask")
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert "looping is suspended; next try in" in response.json()["detail"]
        readyz = await client.get("/readyz")
        assert readyz.status_code == 200, "the others serve"
        (about,) = (each for each in readyz.json()["plugins"] if each["name"] == "looping")
        assert about["state"] == "suspended"

        looping.mended = True
        await until(lambda: cell.state == "running")
        assert pauses()[:3] == [0.2, 0.5, 1.0], "a quarter of a second, doubled, in one digit"
        assert (await client.get("/ask")).json() == {"started": looping.started}
        assert cell.reason == ""
        assert node.registry.cell("beside").incarnation == 1


async def test_those_who_wait_when_a_plugin_is_suspended_are_told_at_once(tmp_path: Path) -> None:
    write_plugin(
        tmp_path / "plugins",
        "shop",
        SHOP,
        permissions=EVENTS,
        supervision={"intensity": 0, "backoff": {"first": 60}},
    )
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        cell = node.registry.cell("shop")
        responses = []

        async def ask(method: str) -> None:
            responses.append(await client.request(method, "/who"))

        node.emit(make_event("kill", {"by": "the test"}, source="test"))
        await until(lambda: cell.mailbox.statistics().in_hand == 1)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, "GET")
                nursery.start_soon(ask, "POST")
                await until(lambda: cell.mailbox.waiting == 2)
                node.emit(make_event("note", "kept", source="test"))
                module_of("shop").gate.set()
        assert cell.state == "suspended"
        for response in responses:
            assert response.status_code == 503
            assert 1 <= int(response.headers["retry-after"]) <= 72
        assert cell.mailbox.waiting == 1, "an event waits for the next incarnation"
