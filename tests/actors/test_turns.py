"""Busy actors take turns that share the time of a pass. Time is a mock: handlers let it go on
themselves, and what is measured are passes, not the machine."""

from collections import Counter

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from nexus_actors.actors import Actor, handles, open_system
from nexus_actors.actors.turns import PASS, TURN


@attrs.frozen
class Work:
    """What there is to do."""

    cost: float
    """Seconds that its handler holds the loop."""
    waits: bool = False


class Worker(Actor, capacity=10_000):
    def __init__(self, clock, done):
        self._clock, self._done = clock, done

    @handles
    async def work(self, message: Work) -> None:
        self._clock.jump(message.cost)
        if message.waits:
            await trio.lowlevel.checkpoint()
        self._done[self.address.name] += 1


class Passes(trio.abc.Instrument):
    """When each pass of the scheduler began."""

    def __init__(self, done):
        self.times = []
        self.done = []
        self._done = done

    def after_io_wait(self, timeout):
        self.times.append(trio.current_time())
        self.done.append(dict(self._done))

    def longest(self):
        pairs = zip(self.times, self.times[1:], strict=False)
        return max((after - before for before, after in pairs), default=0.0)


def busy(*, actors, messages, cost, waits=False, beside=None, idle=0):
    """Let so many actors handle so many messages each, of that cost; what there was to be seen."""
    clock, done = MockClock(), Counter()
    passes = Passes(done)

    async def main():
        async with open_system() as system, trio.open_nursery() as nursery:
            addresses = [
                await system.spawn(Worker, clock, done, name=f"{number}")
                for number in range(actors)
            ]
            others = [await system.spawn(Worker, clock, Counter()) for _ in range(idle)]
            for address in addresses:
                address.suspend()
                for _ in range(messages):
                    await address.tell(Work(cost, waits))
            await wait_all_tasks_blocked()
            trio.lowlevel.add_instrument(passes)
            for address in (*addresses, *others):
                address.resume()
            if beside is not None:
                nursery.start_soon(beside)
            while done.total() < actors * messages:
                await trio.lowlevel.checkpoint()
            trio.lowlevel.remove_instrument(passes)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=clock)
    return passes


@pytest.mark.parametrize("cost", [1e-6, 20e-6])
@pytest.mark.parametrize("actors", [1, 2, 10, 100])
def test_a_pass_is_bounded_however_many_actors_are_busy(actors, cost):
    passes = busy(actors=actors, messages=50, cost=cost)
    # beyond the shared time, each that comes late has one message
    assert passes.longest() <= PASS + actors * cost + 1e-9
    if actors * cost < PASS:
        assert passes.longest() < 0.001


def test_an_actor_alone_takes_a_turn_of_its_own_length():
    passes = busy(actors=1, messages=1000, cost=1e-6)
    assert passes.longest() == pytest.approx(TURN, rel=0.1)
    assert len(passes.times) < 1000 * 1e-6 / TURN + 5


@pytest.mark.parametrize("actors", [3, 10, 30])
def test_busy_actors_share_the_time_evenly(actors):
    passes = busy(actors=actors, messages=1500, cost=1e-6)
    counts = [[done.get(str(number), 0) for number in range(actors)] for done in passes.done]
    gaps = [max(each) - min(each) for each in counts if max(each) < 1500]
    assert len(gaps) > 5
    # in the first pass nobody knew how many there are: some have a whole turn, the others a message
    assert max(gaps) <= 2 * TURN / 1e-6


def test_handlers_longer_than_a_turn_have_a_pass_for_each_message():
    passes = busy(actors=1, messages=20, cost=0.01)
    assert passes.longest() == pytest.approx(0.01)


def test_a_handler_that_is_longer_than_a_pass_holds_up_others_once():
    passes = busy(actors=5, messages=4, cost=0.01)
    assert passes.longest() == pytest.approx(0.01)
    counts = [max(done.values()) - min(done.values()) for done in passes.done if len(done) == 5]
    assert counts, "all had their turns"
    assert max(counts) <= 1, "and the same number of them"


def test_a_handler_that_waited_has_had_its_pass():
    passes = busy(actors=1, messages=100, cost=0.001, waits=True)
    assert len(passes.times) <= 100 + 4, "no further pass between two messages"
    assert passes.longest() == pytest.approx(0.001)


def test_another_task_runs_once_in_each_pass():
    gaps = []

    async def beside():
        before = trio.current_time()
        while True:
            await trio.lowlevel.checkpoint()
            gaps.append(trio.current_time() - before)
            before = trio.current_time()

    busy(actors=100, messages=50, cost=1e-6, beside=beside)
    assert len(gaps) > 10
    assert max(gaps) < 0.001


def test_those_that_only_woke_up_take_nothing_from_the_next_pass():
    alone = busy(actors=1, messages=1000, cost=1e-6)
    among = busy(actors=1, messages=1000, cost=1e-6, idle=200)
    assert len(among.times) <= len(alone.times) + 2
