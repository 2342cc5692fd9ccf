"""One plugin in trouble costs the others nothing, and its own callers learn what they need."""

from pathlib import Path

import trio
from node_world import client_of, module_of, node_here, until, write_plugin

from nexus_actors.events.event import make_event

WELL = """
class P(Plugin):
    @get("/well")
    async def well(self):
        return {"well": True}
"""
HANGING = """
class P(Plugin):
    @post("/hang", timeout=1.6)
    async def hang(self):
        await trio.sleep_forever()

    @get("/look")
    async def look(self):
        return {}

    @event_handler("noise")
    async def on_noise(self, event):
        await trio.sleep_forever()
"""
FLOODING = """
stop = False
refused = 0


class P(Plugin):
    async def initialize(self):
        self.nursery.start_soon(self.flood)

    async def flood(self):
        global refused
        while not stop:
            await self.emit_event("noise", {"n": 1})
            refused += 1

    @event_handler("noise")
    async def on_noise(self, event):
        await trio.sleep(0)

    @get("/flooded")
    async def flooded(self):
        return {}
"""
EVENTS = ["events:emit", "events:subscribe"]


async def worst_of(client: object, path: str, requests: int = 100) -> float:
    """The longest that one of ``requests`` GETs after one another took, in seconds."""
    worst = 0.0
    for _ in range(requests):
        began = trio.current_time()
        response = await client.get(path)  # type: ignore[attr-defined]
        assert response.status_code == 200
        worst = max(worst, trio.current_time() - began)
    return worst


async def test_a_plugin_that_floods_its_own_mailbox_costs_the_others_nothing(
    tmp_path: Path,
) -> None:
    write_plugin(tmp_path / "plugins", "well", WELL)
    write_plugin(
        tmp_path / "plugins", "flooding", FLOODING, permissions=EVENTS, mailbox={"capacity": 50}
    )
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        mailbox = node.registry.cell("flooding").mailbox
        await until(lambda: mailbox.statistics().refused > 100)
        before = mailbox.statistics()
        assert await worst_of(client, "/well") < 0.5
        after = mailbox.statistics()
        assert after.refused > before.refused, "it went on flooding meanwhile"
        assert after.handled > before.handled, "and worked"
        assert node.registry.cell("flooding").crashes == 0, "being refused is no crash"

        # its own callers: taken in their turn, or told at once to come back
        statuses = set()
        for _ in range(100):
            response = await client.get("/flooded")
            statuses.add(response.status_code)
            if response.status_code == 503:
                assert response.headers["retry-after"] == "1"
                assert response.headers["content-type"] == "application/problem+json"
        assert 503 in statuses
        assert statuses <= {200, 503}
        module_of("flooding").stop = True
        await until(lambda: mailbox.waiting == 0)
        assert (await client.get("/flooded")).status_code == 200
        last = mailbox.statistics()
        assert last.accepted == last.handled, "all that was accepted was handled"


async def test_a_handler_that_awaits_for_ever_costs_the_others_nothing(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plugins", "well", WELL)
    write_plugin(
        tmp_path / "plugins",
        "hanging",
        HANGING,
        permissions=["events:subscribe"],
        mailbox={"capacity": 3},
    )
    async with (
        node_here(tmp_path / "plugins", http={"reply_timeout": 0.8}) as node,
        client_of(node) as client,
    ):
        mailbox = node.registry.cell("hanging").mailbox
        late = []

        async def wait_for(method: str, path: str, seconds: float) -> None:
            began = trio.current_time()
            response = await client.request(method, path)
            late.append((response.status_code, trio.current_time() - began >= seconds - 0.01))
            assert response.headers["content-type"] == "application/problem+json"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for, "POST", "/hang", 1.6)
            await until(lambda: mailbox.statistics().in_hand == 1)
            for _ in range(3):
                nursery.start_soon(wait_for, "GET", "/look", 0.8)
            await until(lambda: mailbox.waiting == 3)
            began = trio.current_time()
            full = await client.get("/look")
            assert trio.current_time() - began < 0.5, "at once, not at the deadline"
            assert full.status_code == 503
            assert full.headers["retry-after"] == "1"
            assert "full (it holds 3)" in full.json()["detail"]
            assert await worst_of(client, "/well") < 0.5
        assert late == [(504, True)] * 4, "each at its own deadline"
        assert (await client.get("/look")).status_code == 200, "the hung one was cancelled"


async def test_an_event_handler_that_hangs_is_cut_at_its_deadline_and_the_plugin_comes_back(
    tmp_path: Path,
) -> None:
    write_plugin(
        tmp_path / "plugins",
        "hanging",
        HANGING,
        permissions=["events:subscribe"],
        deadlines={"handler": 0.2},
    )
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        cell = node.registry.cell("hanging")
        assert node.emit(make_event("noise", {}, source="test")) == 1
        assert (await client.get("/look")).status_code == 200, "answered by the next incarnation"
        assert (cell.incarnation, cell.crashes) == (2, 1)
        (letter,) = node.dead_letters.list()
        assert letter.report is not None
        assert "did not end within 0.2 s" in letter.report.message
