"""Fault switches: each of them, on each kind of handler, of plugins written for either library."""

from __future__ import annotations

import pytest
import trio

from nexus_actors.actors import Actor, handles, open_system
from nexus_actors.errors import ActorRestarted, AskTimeout, MailboxFull, NexusError, RemoteError
from nexus_actors.testing import InjectedCrash, TestApplication, TestClient, faults, settle

HANDLERS = {"http": "by_http", "event": "by_event", "call": "by_call", "timer": "tick"}


class Shop:
    """A node with billing and the shop, and what comes of a message of each kind."""

    def __init__(self, app):
        self.app = app
        self.client = TestClient(app)

    @property
    def cell(self):
        return self.app.node.registry.cell("billing")

    async def trigger(self, kind):
        """Let a message of ``kind`` be handled; the status of the answer, None without one."""
        if kind == "http":
            return (await self.client.post("/billing")).status_code
        if kind == "call":
            return (await self.client.post("/shop/order")).status_code
        if kind == "event":
            await self.app.emit_event("bill.asked", {})
        else:
            await self.app.advance(10)
        return None

    async def done(self):
        return (await self.client.get("/billing/done")).json()["done"]


@pytest.fixture
async def shop(shop_folder, kind, mock_clock):
    async with TestApplication(plugins=[shop_folder]) as app:
        period = {"period": 10} if kind == "timer" else {}
        await app.register_plugin("billing", period)
        await app.register_plugin("shop")
        yield Shop(app)


every_kind = pytest.mark.parametrize("kind", HANDLERS)
by_http = pytest.mark.parametrize(("library", "kind"), [("trio", "http")], indirect=["library"])


@pytest.mark.parametrize(("kind", "named"), [*((kind, True) for kind in HANDLERS), ("http", False)])
async def test_a_crash_ends_the_incarnation_and_the_next_one_works(shop, kind, named, mock_clock):
    with shop.app.faults("billing").crash(HANDLERS[kind] if named else "") as crash:
        assert await shop.trigger(kind) == {"http": 503, "call": 503}.get(kind)
        await shop.app.settle()
        assert (crash.hits, shop.cell.crashes, shop.cell.incarnation) == (1, 1, 2)
        assert "InjectedCrash: a test lets billing crash" in str([*shop.cell.history])
        assert len(shop.app.dead_letters) == (kind in ("event", "timer"))
        await shop.trigger(kind)  # once is once
        await shop.app.settle()
        assert shop.cell.crashes == 1
        assert await shop.done() == [kind]


@every_kind
async def test_a_failure_is_the_handlers_own_by_the_fault_rule(shop, kind, mock_clock):
    with shop.app.faults("billing").fail(ValueError("no"), HANDLERS[kind]) as fail:
        assert await shop.trigger(kind) == {"http": 500, "call": 502}.get(kind)
        await shop.app.settle()
    assert fail.hits == 1
    is_crash = kind in ("event", "timer")
    assert (shop.cell.crashes, shop.cell.faults) == ((1, 0) if is_crash else (0, 1))
    await shop.trigger(kind)
    await shop.app.settle()
    assert await shop.done() == [kind]


@every_kind
async def test_who_hangs_goes_on_when_released(shop, kind, mock_clock):
    async with trio.open_nursery() as nursery:
        with shop.app.faults("billing").hang(HANDLERS[kind]) as hang:
            nursery.start_soon(shop.trigger, kind)
            await hang.wait_hit()
            with pytest.raises(TimeoutError, match=rf"billing: {HANDLERS[kind]}\S* for 0 s"):
                await shop.app.settle()
            assert shop.cell.mailbox.statistics().handled == 0
    await shop.app.settle()
    assert await shop.done() == [kind]
    assert shop.cell.crashes == 0


@every_kind
async def test_who_hangs_for_good_meets_the_deadline(shop, kind, mock_clock):
    with shop.app.faults("billing").hang(HANDLERS[kind]) as hang:
        if kind in ("http", "call"):
            began = trio.current_time()
            async with shop.app.autojump():
                assert await shop.trigger(kind) == 504
            assert trio.current_time() - began == pytest.approx({"http": 30, "call": 5}[kind])
        else:
            await shop.trigger(kind)
            await shop.app.advance(60)
            await shop.app.settle()
            assert shop.cell.crashes == 1
    assert hang.hits >= 1


@every_kind
async def test_slow_is_so_many_seconds_of_trios_clock_more(shop, kind, mock_clock):
    with shop.app.faults("billing").slow(3, HANDLERS[kind]) as slow:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shop.trigger, kind)
            await slow.wait_hit()
            await shop.app.advance(2.9)
            assert shop.cell.mailbox.statistics().in_hand == 1
            await shop.app.advance(0.2)
    assert shop.cell.mailbox.statistics().in_hand == 0
    assert await shop.done() == [kind]


@pytest.mark.parametrize("kind", ["http", "event", "call"])
async def test_a_flood_leaves_no_room_until_it_is_over(shop, kind, mock_clock):
    with shop.app.faults("billing").flood() as sent:
        assert sent == 1000
        assert await shop.trigger(kind) == {"http": 503, "call": 503}.get(kind)
        assert [letter.reason for letter in shop.app.dead_letters] == (
            ["mailbox full"] if kind == "event" else []
        )
    await shop.trigger(kind)
    await shop.app.settle()
    assert await shop.done() == [kind]
    account = shop.cell.mailbox.statistics()
    assert account.abandoned == 1000
    assert account.refused == 1


@by_http
async def test_switches_end_with_their_block_also_by_an_error(shop, kind, mock_clock):
    with pytest.raises(KeyError):
        with shop.app.faults("billing").fail(ValueError, "by_http"):
            raise KeyError("x")
    assert await shop.trigger("http") == 200


@by_http
async def test_a_switch_meets_the_handler_it_names_alone_and_outlives_restarts(
    shop, kind, mock_clock
):
    with shop.app.faults("billing").fail(ValueError, "by_http"):
        assert await shop.trigger("call") == 200
        shop.app.faults("billing").crash_now()
        await shop.app.settle()
        assert await shop.trigger("http") == 500
    assert shop.cell.incarnation == 2


@by_http
async def test_a_plugin_that_fails_to_start_again_is_suspended(shop, kind, mock_clock):
    billing = shop.app.faults("billing")
    with billing.fail(OSError("no network"), "initialize"):
        billing.crash_now()
        await shop.app.settle()
        assert shop.cell.state == "suspended"
        with pytest.raises(NexusError, match="billing is suspended: there is nothing to crash"):
            billing.crash_now()
        assert await shop.trigger("http") == 503
    await shop.app.advance(2)
    assert await shop.trigger("http") == 200


@by_http
async def test_a_handler_that_is_not_there_is_named_with_the_nearest(shop, kind, mock_clock):
    with pytest.raises(ValueError, match="billing .Billing. has no handler 'by_htpp'.*by_http"):
        shop.app.faults("billing").hang("by_htpp")


@pytest.mark.parametrize("kind", ["http"])
async def test_a_handler_that_streams_is_met_before_its_first_item(shop, kind, mock_clock):
    with shop.app.faults("billing").slow(3, "stream") as slow:
        async with shop.app.autojump():
            response = await shop.client.get("/billing/stream")
    assert slow.hits == 1
    assert response.text.count("number") == 3


# -- actors without a node -----------------------------------------------------------------------


class Counter(Actor):
    def __init__(self):
        self.count = 0

    @handles
    def add(self, number: int) -> int:
        self.count += number
        return self.count


async def test_an_actor_is_met_as_a_plugin_is(autojump_clock):
    async with open_system() as system:
        counter = await system.spawn(Counter)
        with faults(counter).slow(2, "add", times=1):
            began = trio.current_time()
            assert await counter.ask(1) == 1
            assert trio.current_time() - began == pytest.approx(2)
            assert await counter.ask(1) == 2
        with faults(counter).hang(), pytest.raises(AskTimeout):
            await counter.ask(1)
        with faults(counter).fail(ValueError("no")), pytest.raises(RemoteError, match="no"):
            await counter.ask(1)
        with faults(counter).crash(), pytest.raises(ActorRestarted):
            await counter.ask(1)
        await settle(system)
        assert await counter.ask(1) == 1
        with faults(counter).crash(error=KeyError("mine")):
            await counter.tell(1)
            await settle(system)
        (letter,) = system.dead_letters.list()
        assert "KeyError" in str(letter.report)
        with faults(counter).flood(), pytest.raises(MailboxFull):
            await counter.tell(1)
        with faults(counter).flood(10) as sent:
            await counter.tell(5)
            assert (sent, counter.load) == (10, 11)
        await settle(system)
        assert await counter.ask(0) == 5


async def test_a_crash_by_a_switch_has_its_own_name(autojump_clock):
    reports = []
    async with open_system(on_report=reports.append) as system:
        counter = await system.spawn(Counter)
        faults(counter).crash_now()
        await settle(system)
    assert InjectedCrash.__name__ in str(reports)


async def test_waiting_for_a_switch_that_meets_nobody_is_a_timeout(autojump_clock):
    async with open_system() as system:
        counter = await system.spawn(Counter, name="counter")
        with faults(counter).hang("add") as hang:
            with pytest.raises(TimeoutError, match="hang of add of counter: met 0"):
                await hang.wait_hit()


@pytest.mark.parametrize("seconds", [-1, float("nan"), "1"])
async def test_a_handler_cannot_be_slow_for_a_time_that_is_none(seconds, autojump_clock):
    async with open_system() as system:
        counter = await system.spawn(Counter)
        with pytest.raises((TypeError, ValueError), match="must be a number of seconds"):
            faults(counter).slow(seconds)


async def test_a_flood_has_no_negative_number_of_messages(autojump_clock):
    async with open_system() as system:
        counter = await system.spawn(Counter)
        with pytest.raises(ValueError, match="a number of messages"), faults(counter).flood(-1):
            pass
