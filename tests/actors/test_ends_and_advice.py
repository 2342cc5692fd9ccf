"""What those learn whose message was in hand at an end, and what an author is advised."""

import attrs
import pytest
import trio

from nexus_actors.actors import Actor, DeadLetters, handles, open_system
from nexus_actors.errors import ActorRestarted, ActorStopped, NexusError


@attrs.frozen
class Hang:
    pass


@attrs.frozen
class Fall:
    pass


class Hanger(Actor, concurrency=2):
    @handles
    async def hang(self, message: Hang) -> None:
        await trio.sleep(1)

    @handles
    def fall(self, message: Fall) -> None:
        raise ValueError("it falls")


@pytest.mark.parametrize(
    ("restart", "error", "words"),
    [
        ("permanent", ActorRestarted, "it was restarted while it had this message in hand"),
        ("transient", ActorRestarted, "it was restarted while it had this message in hand"),
        ("temporary", ActorStopped, "it is stopped"),
    ],
)
async def test_a_caller_is_told_of_a_restart_where_there_is_one(
    restart, error, words, autojump_clock
):
    async with open_system() as system, trio.open_nursery() as nursery:
        hanger = await system.spawn(Hanger, name="it", restart=restart)
        caught = []

        async def ask():
            with pytest.raises(NexusError) as told:
                await hanger.ask(Hang())
            caught.append(told.value)

        nursery.start_soon(ask)
        await trio.sleep(0.5)
        await hanger.tell(Fall())
        await trio.sleep(0.1)
        assert type(caught[0]) is error
        assert str(caught[0]) == words


async def test_what_is_in_hand_when_the_block_of_a_system_raises_was_stopped(autojump_clock):
    letters = DeadLetters()
    with pytest.raises(KeyError):
        async with open_system(dead_letters=letters) as system:
            hanger = await system.spawn(Hanger)
            await hanger.tell(Hang())
            await trio.sleep(0.5)
            raise KeyError
    assert [letter.reason for letter in letters.list()] == ["stopped"]


async def test_what_is_in_hand_of_a_crash_says_so(autojump_clock):
    async with open_system() as system:
        hanger = await system.spawn(Hanger)
        await hanger.tell(Hang())
        await trio.sleep(0.5)
        await hanger.tell(Fall())
        await trio.sleep(0.1)
        reasons = {
            type(letter.payload).__name__: letter.reason for letter in system.dead_letters.list()
        }
        assert reasons == {"Hang": "in hand of a crash", "Fall": "crash"}


async def test_who_asks_when_the_block_of_a_system_raises_learns_that_it_has_stopped(
    autojump_clock,
):
    caught = []

    async def ask(hanger):
        with pytest.raises(ActorStopped) as told:
            await hanger.ask(Hang())
        caught.append(str(told.value))

    async with trio.open_nursery() as nursery:
        with pytest.raises(KeyError):
            async with open_system() as system:
                hanger = await system.spawn(Hanger)
                nursery.start_soon(ask, hanger)
                await trio.sleep(0.5)
                raise KeyError
    assert caught == ["hanger-1 is stopping"]


async def test_the_advice_to_interleave_names_the_message_and_where_an_actor_says_so(
    autojump_clock, caplog
):
    class Slow(Actor):
        @handles
        async def hang(self, message: Hang) -> None:
            await trio.sleep(3)

    async with open_system() as system:
        slow = await system.spawn(Slow)
        for _ in range(3):
            await slow.tell(Hang())
        await trio.sleep(10)
    assert "(most in Hang); if the actor keeps no state between its awaits" in caplog.text
    assert "class Worker(Actor, concurrency=10)" in caplog.text
    assert "plugin.json" not in caplog.text
