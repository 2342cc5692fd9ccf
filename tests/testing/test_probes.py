"""Probes: what they keep, answer and expect; in a node and in an actor system."""

from __future__ import annotations

import attrs
import pytest
import trio

from nexus_actors.actors import Actor, Address, Call, Down, handles, open_system
from nexus_actors.errors import ActorStopped, HTTPError, RemoteError
from nexus_actors.events import Event
from nexus_actors.testing import TestApplication, TestClient, spawn_probe


@attrs.frozen
class Ping:
    number: int


@attrs.frozen
class Pong:
    number: int


class Echo(Actor):
    def __init__(self, to: Address) -> None:
        self.to = to

    @handles
    async def ping(self, ping: Ping) -> None:
        await trio.sleep(1)
        await self.to.tell(Pong(ping.number))


@pytest.fixture
async def system(autojump_clock):
    async with open_system() as system:
        yield system


async def test_a_probe_keeps_all_it_gets_in_order(system, autojump_clock):
    probe = await spawn_probe(system, "probe")
    for number in range(5):
        await probe.address.tell(Ping(number))
    await probe.expect_nothing(Pong)
    assert probe.messages == [Ping(number) for number in range(5)]
    assert repr(probe) == "<Probe probe: 5 messages>"


@pytest.mark.parametrize(
    ("what", "number"),
    [
        (Pong, 3),
        (lambda message: message.number == 2, 2),
        (Ping(4), 4),
        (None, 1),
    ],
    ids=["a class", "a function", "an equal value", "anything"],
)
async def test_expect_takes_the_first_message_that_is_like_what_is_expected(
    system, autojump_clock, what, number
):
    probe = await spawn_probe(system)
    for message in (Ping(1), Ping(2), Pong(3), Ping(4)):
        await probe.address.tell(message)
    assert (await probe.expect(what)).number == number
    left = [(await probe.expect()).number for _ in range(3)]
    assert left == [each for each in (1, 2, 3, 4) if each != number]
    await probe.expect_nothing()


async def test_expect_waits_for_what_has_not_come(system, autojump_clock):
    probe = await spawn_probe(system)
    echo = await system.spawn(Echo, probe.address)
    await echo.tell(Ping(7))
    began = trio.current_time()
    assert (await probe.expect(Pong)).number == 7
    assert trio.current_time() - began == pytest.approx(1)


async def test_an_expectation_that_fails_shows_what_came_instead(system, autojump_clock):
    probe = await spawn_probe(system, "probe")
    with pytest.raises(AssertionError, match=r"probe got nothing like Pong within 2 s; it"):
        await probe.expect(Pong, timeout=2)
    for number in range(12):
        await probe.address.tell(Ping(number))
    with pytest.raises(AssertionError) as caught:
        await probe.expect(Pong)
    assert "it got\n  Ping(number=0)\n" in str(caught.value)
    assert str(caught.value).endswith("Ping(number=9)\n  and 2 more")


async def test_expect_nothing_waits_until_all_are_at_rest(system, autojump_clock):
    probe = await spawn_probe(system)
    echo = await system.spawn(Echo, probe.address)
    await echo.tell(Ping(7))
    with pytest.raises(AssertionError, match=r"was to get nothing like a message; it got\n  Pong"):
        await probe.expect_nothing()
    await probe.expect()
    began = trio.current_time()
    await probe.expect_nothing()
    assert trio.current_time() == began
    await echo.tell(Ping(8))
    await probe.expect_nothing(Ping)
    probe.forget()
    await probe.expect_nothing()
    assert probe.messages == []


async def double(ping):
    await trio.sleep(1)
    return ping.number * 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(5, 5), (lambda ping: ping.number + 1, 8), (double, 14), (None, None)],
    ids=["a value", "a function", "an async function", "nothing"],
)
async def test_a_probe_answers_as_it_is_told(system, autojump_clock, answer, expected):
    probe = await spawn_probe(system)
    probe.answer(Ping, answer)
    assert await probe.address.ask(Ping(7)) == expected
    assert await probe.address.ask(Pong(7)) is None


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ValueError("no"), RemoteError),
        (ValueError, RemoteError),
        (HTTPError(404, "no"), HTTPError),
        (ActorStopped("x", "stopped"), ActorStopped),
    ],
    ids=str,
)
async def test_an_answer_that_is_an_error_is_raised(system, autojump_clock, error, raised):
    probe = await spawn_probe(system)
    probe.answer(None, error)
    with pytest.raises(raised):
        await probe.address.ask(Ping(1))
    probe.answer(Ping, 1)
    assert await probe.address.ask(Ping(1)) == 1, "what was said last counts"


async def test_a_probe_that_crashed_is_the_same_probe(system, autojump_clock):
    probe = await spawn_probe(system)
    probe.answer(Ping, ValueError)
    await probe.address.tell(Ping(1))
    await probe.address.tell(Pong(2))
    assert await probe.expect(Pong) == Pong(2)
    assert probe.messages == [Ping(1), Pong(2)]
    (letter,) = system.dead_letters.list()
    assert letter.payload == Ping(1)


async def test_a_probe_is_told_of_the_end_of_whom_it_monitors(system, autojump_clock):
    probe = await spawn_probe(system)
    echo = await system.spawn(Echo, probe.address)
    probe.monitor(echo)
    await probe.expect_nothing()
    await system.stop(echo)
    assert (await probe.expect(Down)).address == echo


async def test_probes_without_a_name_get_one(system, autojump_clock):
    probes = [await spawn_probe(system) for _ in range(2)]
    assert [probe.name for probe in probes] == ["probe-1", "probe-2"]
    with pytest.raises(ValueError, match="probe-1"):
        await spawn_probe(system, "probe-1")


# -- in a node -----------------------------------------------------------------------------------


@pytest.fixture
async def app(trio_shop):
    async with TestApplication(plugins=[trio_shop]) as app:
        yield app


async def test_a_probe_stands_in_for_a_plugin(app):
    billing = await app.probe("billing", methods={"charge": lambda number, currency: number * 2})
    await app.register_plugin("shop")
    client = TestClient(app)
    assert (await client.get("/shop/can")).json() == {"there": True, "charges": True}
    assert (await client.post("/shop/order/21")).json() == {"paid": 42}
    assert await billing.expect("charge") == Call("charge", (21,), {"currency": "EUR"})
    billing.answer("charge", ValueError("no money"))
    assert (await client.post("/shop/order/21")).status_code == 502
    billing.answer("charge", object())
    assert (await client.post("/shop/order/21")).status_code == 502
    assert [call.method for call in billing.calls] == ["charge"] * 3


@pytest.mark.parametrize("methods", [("charge",), {"charge": None}])
async def test_the_methods_of_a_probe_are_those_it_was_given(app, methods):
    billing = await app.probe("billing", methods=methods)
    await app.register_plugin("shop")
    client = TestClient(app)
    assert (await client.post("/shop/order/1")).json() == {"paid": None}
    assert (await client.post("/shop/order")).status_code == 500, "it has no by_call"
    billing.answer("by_call", ["done"])
    assert (await client.post("/shop/order")).json() == {"billed": ["done"]}


async def test_a_plugin_may_require_a_probe(app, tmp_path):
    from shop_plugins import SHOP, write_plugin

    write_plugin(tmp_path, "needy", SHOP.replace("Shop", "Needy"), requires=["billing"])
    await app.probe("billing")
    await app.register_plugin("needy")
    assert (await TestClient(app).get("/readyz")).status_code == 200


async def test_a_probe_gets_the_events_it_subscribes_to(app):
    audit = await app.probe("audit", events=["order.*", "bill.#"])
    await app.probe("billing", methods=["charge"])
    await app.register_plugin("shop")
    await TestClient(app).post("/shop/order/1")
    event = await audit.expect("order.*")
    assert isinstance(event, Event)
    assert (event.type, event.data, event.source) == ("order.placed", {"number": 1}, "shop")
    assert await app.emit_event("bill.sent.twice", [1]) == 1
    assert await app.emit_event("other", [1]) == 0
    assert (await audit.expect("bill.#")).data == [1]
    await audit.expect_nothing()
    assert [event.type for event in audit.events] == ["order.placed", "bill.sent.twice"]
    with pytest.raises(AssertionError, match=r"audit got nothing like 'order.paid' within 0 s"):
        await audit.expect("order.paid", timeout=0)


async def test_an_event_that_two_patterns_want_comes_once(app):
    audit = await app.probe("audit", events=["order.*", "order.paid"])
    await app.emit_event("order.paid", {})
    await app.settle()
    assert len(audit.events) == 1


async def test_a_probe_can_have_faults_of_its_own(app):
    await app.probe("billing", methods={"charge": 1})
    await app.register_plugin("shop")
    client = TestClient(app)
    with app.faults("billing").crash("charge"):
        assert (await client.post("/shop/order/1")).status_code == 503
    assert (await client.post("/shop/order/1")).json() == {"paid": 1}


async def test_a_name_that_is_taken_is_refused(app):
    await app.register_plugin("billing")
    with pytest.raises(ValueError, match="billing"):
        await app.probe("billing")


async def test_probes_of_several_fixtures_are_made_beside_each_other(trio_shop):
    app = TestApplication(plugins=[trio_shop])
    made, done = trio.open_memory_channel(4)

    async def make(function, name):
        await function(name)
        made.send_nowait(name)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(make, app.probe, f"probe-{number}")
        nursery.start_soon(make, app.register_plugin, "billing")
        names = {await done.receive() for _ in range(4)}
        assert {cell.name for cell in app.node.cells()} == names
        await app.cleanup()


async def test_a_bad_pattern_is_refused(app):
    with pytest.raises(ValueError, match="order"):
        await app.probe("audit", events=["order."])


async def test_dead_letters_are_there_to_be_looked_at(app):
    await app.register_plugin("billing")
    assert app.dead_letters == []
    with app.faults("billing").fail(ValueError("no")):
        await app.emit_event("bill.asked", {"number": 3})
        await app.settle()
    (letter,) = app.dead_letters
    assert (letter.actor, letter.about, letter.reason) == ("billing", "bill.asked", "crash")
