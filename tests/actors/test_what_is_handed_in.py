"""What a caller hands in wrongly is refused to that caller, before it harms others."""

import math

import attrs
import pytest
import trio

from nexus_actors.actors import Actor, Down, handles, open_system
from nexus_actors.errors import AskTimeout


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
