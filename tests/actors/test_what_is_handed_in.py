"""What a caller hands in wrongly is refused to that caller, before it harms others."""

import math

import attrs
import pytest
import trio

from nexus_actors.actors import Actor, Down, handles, open_system
from nexus_actors.errors import AskTimeout, NexusError
from supervisors import StartFailed


@attrs.frozen
class Do:
    what: object


class Doer(Actor):
    """Does what it is told, with itself, and answers with what comes of it."""

    @handles
    async def do(self, message: Do) -> object:
        result = message.what(self)
        return await result if hasattr(result, "__await__") else result

    @handles
    def ended(self, message: Down) -> None:
        pass

    @handles
    def tick(self, message: str) -> None:
        pass


@pytest.fixture
async def system():
    async with open_system() as system:
        yield system


# -- times -----------------------------------------------------------------------------------------

BAD = [("x", TypeError), (None, TypeError), (True, TypeError), (math.nan, ValueError)]


@pytest.mark.parametrize("overflow", ["refuse", "wait"])
@pytest.mark.parametrize(("timeout", "error"), BAD)
async def test_a_timeout_that_is_none_is_refused_to_the_caller_and_harms_nobody(
    system, timeout, error, overflow, autojump_clock
):
    doer = await system.spawn(Doer, overflow=overflow)
    words = f"of an ask of doer-1 must be a number of seconds, not {timeout!r}"
    with pytest.raises(error, match=words):
        await doer.ask(Do(lambda self: 5), timeout=timeout)
    with pytest.raises(error, match=f"of a tell to doer-1 must be .*, not {timeout!r}"):
        await doer.tell(Do(lambda self: 5), timeout=timeout)
    assert await doer.ask(Do(lambda self: 5), timeout=math.inf) == 5
    numbers = doer.statistics()
    assert (numbers.crashes, numbers.mailbox.accepted) == (0, 1)


@pytest.mark.parametrize("seconds", ["x", None, math.nan, -1])
async def test_a_delay_that_is_none_is_refused_where_it_is_asked_for(
    system, seconds, autojump_clock
):
    doer = await system.spawn(Doer)

    def plan(self):
        with pytest.raises(
            (TypeError, ValueError), match=r"doer-1: the time of send_after\(\) must"
        ):
            self.send_after(seconds, "tick")

    await doer.ask(Do(plan))
    await trio.sleep(100)
    assert doer.statistics().crashes == 0


@pytest.mark.parametrize("timeout", [0, -1])
@pytest.mark.parametrize("overflow", ["refuse", "wait"])
async def test_an_ask_whose_time_is_up_is_not_begun(system, timeout, overflow, autojump_clock):
    doer, begun = await system.spawn(Doer, overflow=overflow), []
    with pytest.raises(AskTimeout) as caught:
        await doer.ask(Do(begun.append), timeout=timeout)
    assert str(caught.value) == "doer-1 was not asked: the time for its answer was up already"
    await doer.ask(Do(lambda self: None))
    assert begun == []
    assert doer.statistics().mailbox.accepted == 1


# -- classes, names, addresses ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fix"),
    [
        (dict, r"<class 'dict'>: give it class Worker\(Actor\)"),
        (lambda: None, "<lambda>"),
        (None, "None: give it class Worker"),
        (Doer(), "give it Doer, and what its __init__ takes behind it"),
    ],
)
async def test_what_is_no_class_of_actors_is_not_spawned(system, kind, fix, autojump_clock):
    doer = await system.spawn(Doer)

    async def inside(self):
        with pytest.raises(TypeError, match=rf"^spawn\(\) wants a class of actors, not .*{fix}"):
            await self.spawn(kind)
        with pytest.raises(TypeError, match=rf"^spawn_pool\(\) wants .*{fix}"):
            await self.spawn_pool(kind, size=2)

    await doer.ask(Do(inside))
    with pytest.raises(TypeError, match=rf"^spawn\(\) wants a class of actors, not .*{fix}"):
        await system.spawn(kind)
    with pytest.raises(TypeError, match=rf"^spawn_pool\(\) wants .*{fix}"):
        await system.spawn_pool(kind, size=2)


async def test_a_name_that_is_no_string_is_refused(system, autojump_clock):
    with pytest.raises(TypeError, match="the name of a child is a string, not 5"):
        await system.spawn(Doer, name=5)


@pytest.mark.parametrize("what", ["monitor", "link", "stop_child"])
async def test_what_is_no_address_is_refused_with_where_to_get_one(system, what, autojump_clock):
    doer = await system.spawn(Doer)

    async def inside(self):
        with pytest.raises(TypeError, match=rf"^{what}\(\) wants an address, not 'y': spawn\(\)"):
            result = getattr(self, what)("y")
            await result

    await doer.ask(Do(inside))
    with pytest.raises(TypeError, match=r"^stop\(\) wants an address"):
        await system.stop("y")


async def test_an_actor_stops_its_own_children_alone(system, autojump_clock):
    doer = await system.spawn(Doer, name="doer")
    stranger = await system.spawn(Doer, name="kid")

    async def inside(self):
        with pytest.raises(ValueError, match="^doer has no child kid, and stops none but its own"):
            await self.stop_child(stranger)  # it has none at all
        kid = await self.spawn(Doer, name="kid")
        with pytest.raises(ValueError, match="^doer has no child kid, and stops none but its own"):
            await self.stop_child(stranger)
        assert kid.is_running
        await self.stop_child(kid)
        assert not kid.is_running
        again = await self.spawn(Doer, name="kid")
        await self.stop_child(kid)  # it has ended already, and the other has but its name
        assert again.is_running
        return again

    kid = await doer.ask(Do(inside))
    assert stranger.is_running
    with pytest.raises(ValueError, match="^the system has no child doer/kid"):
        await system.stop(kid)
    await system.stop(stranger)
    assert not stranger.is_running


# -- pools -----------------------------------------------------------------------------------------


async def test_pools_without_a_name_and_actors_without_one_go_together(system, autojump_clock):
    first = await system.spawn(Doer)
    pools = [await system.spawn_pool(Doer, size=2) for _ in range(2)]
    last = await system.spawn(Doer)
    names = [first.name, *(each.name for pool in pools for each in pool.members), last.name]
    assert names == [f"doer-{number}" for number in range(1, 7)]


class Third(Actor):
    """Starts, but for the third."""

    started = 0

    async def initialize(self):
        Third.started += 1
        if Third.started == 3:
            raise OSError("no port left")


async def test_a_pool_that_fails_half_way_leaves_nobody(system, autojump_clock):
    Third.started = 0
    with pytest.raises(StartFailed, match="no port left"):
        await system.spawn_pool(Third, size=4, name="pool")
    assert system.addresses() == []
    pool = await system.spawn_pool(Third, size=4, name="pool")
    assert all(member.is_running for member in pool.members)


async def test_a_pool_whose_starter_is_cancelled_half_way_leaves_nobody(system, autojump_clock):
    class Slow(Actor):
        async def initialize(self):
            await trio.sleep(1)

    with trio.move_on_after(2.5) as scope:
        await system.spawn_pool(Slow, size=4)
    assert scope.cancelled_caught
    await trio.sleep(1)
    assert system.addresses() == []


async def test_a_key_that_cannot_be_made_names_the_pool_and_the_message(system, autojump_clock):
    pool = await system.spawn_pool(Doer, size=2, route=lambda message: message.customer)
    words = (
        "the route of the pool of doer-1 made no key of a Do, and nothing was sent: "
        "AttributeError: 'Do' object has no attribute 'customer'"
    )
    for send in (pool.tell, pool.ask):
        with pytest.raises(NexusError, match=words):
            await send(Do(lambda self: None))
