"""The numbers of an actor: what became of its messages, how long they waited and took."""

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexus_actors.actors import Actor, ActorStatistics, handles, open_system
from nexus_actors.errors import AskTimeout, MailboxFull, RemoteError


@attrs.frozen
class Take:
    seconds: float = 0.0


@attrs.frozen
class Boom:
    pass


class Worker(Actor, capacity=3):
    @handles
    async def take(self, message: Take) -> None:
        await trio.sleep(message.seconds)

    @handles
    def boom(self, message: Boom) -> None:
        raise ValueError("boom")


@pytest.fixture
async def worker():
    async with open_system() as system:
        yield await system.spawn(Worker, name="worker")


def told(worker):
    """Its numbers, as all three ways to them tell them alike."""
    numbers = worker.statistics()
    assert worker.look().statistics == numbers
    assert worker.look().account == worker._cell.mailbox.statistics() == numbers.mailbox
    return numbers


async def test_one_that_has_done_nothing_has_nothing_but_zeros(worker, autojump_clock):
    numbers = attrs.asdict(told(worker))
    box = numbers.pop("mailbox")
    assert box.pop("capacity") == 3
    assert numbers.pop("longest_handler") == ""
    assert not any((*numbers.values(), *box.values()))


async def test_handlers_times_are_added_up_and_the_longest_is_named(worker, autojump_clock):
    for seconds in (1, 5, 2):
        await worker.ask(Take(seconds), timeout=10)
    numbers = told(worker)
    assert numbers.begun == numbers.mailbox.handled == 3
    assert numbers.handling_time == pytest.approx(8)
    assert numbers.longest_handling == pytest.approx(5)
    assert numbers.longest_handler == "Take"


async def test_a_handler_that_failed_or_was_cancelled_counts_too(worker, autojump_clock):
    with pytest.raises(RemoteError):
        await worker.ask(Boom())
    with pytest.raises(AskTimeout):
        await worker.ask(Take(10), timeout=3)
    await wait_all_tasks_blocked()  # the handler may be the later of the two
    numbers = told(worker)
    assert (numbers.begun, numbers.faults, numbers.crashes) == (2, 2, 0)
    assert numbers.handling_time == pytest.approx(3)


async def test_waits_are_counted_from_acceptance_to_begin(worker, autojump_clock):
    for _ in range(4):
        await worker.tell(Take(10))
        await wait_all_tasks_blocked()
    await trio.sleep(5)
    numbers = told(worker)
    assert (numbers.mailbox.in_hand, numbers.mailbox.waiting) == (1, 3)
    assert numbers.mailbox.oldest_waiting == pytest.approx(5)
    await trio.sleep(10)
    assert told(worker).mailbox.oldest_waiting == pytest.approx(15), "the next one, as old"
    await trio.sleep(100)
    numbers = told(worker)
    assert numbers.waiting_time == pytest.approx(10 + 20 + 30)
    assert numbers.longest_wait == pytest.approx(30)
    assert numbers.mailbox.oldest_waiting == 0


async def test_the_most_that_waited_at_once_stays(worker, autojump_clock):
    worker.suspend()
    for count in (1, 2, 3):
        await worker.tell(Take())
        assert told(worker).mailbox.most_waiting == count
    with pytest.raises(MailboxFull):
        await worker.tell(Take())
    worker.resume()
    await wait_all_tasks_blocked()
    box = told(worker).mailbox
    assert (box.most_waiting, box.waiting, box.refused, box.handled) == (3, 0, 1, 3)


async def test_what_expired_in_the_queue_is_told_apart_from_what_was_cancelled(
    worker, autojump_clock
):
    await worker.tell(Take(20))
    await wait_all_tasks_blocked()
    with pytest.raises(AskTimeout):
        await worker.ask(Take(), timeout=5)
    box = told(worker).mailbox
    assert (box.abandoned, box.expired) == (1, 1)
    await trio.sleep(20)
    with pytest.raises(AskTimeout):
        await worker.ask(Take(20), timeout=5)
    await wait_all_tasks_blocked()
    box = told(worker).mailbox
    assert (box.abandoned, box.expired) == (2, 1)
    assert told(worker).begun == 2


async def test_restarts_and_crashes_outlive_the_incarnations(worker, autojump_clock):
    await worker.ask(Take(2))
    for crashes in (1, 2):
        await worker.tell(Boom())
        await wait_all_tasks_blocked()
        numbers = told(worker)
        assert (numbers.restarts, numbers.crashes) == (crashes, crashes)
    assert numbers.mailbox.dead_lettered == 2
    assert numbers.handling_time == pytest.approx(2), "what was counted before goes on"


async def test_what_was_put_aside_and_put_back_waits_from_its_acceptance_on(autojump_clock):
    class Picky(Actor):
        ready = False

        @handles
        def take(self, message: Take) -> None:
            if not self.ready:
                self.stash()

        @handles
        def go(self, message: Boom) -> None:
            self.ready = True
            self.unstash_all()

    async with open_system() as system:
        picky = await system.spawn(Picky)
        await picky.tell(Take())
        await trio.sleep(7)
        assert told(picky).mailbox.oldest_waiting == pytest.approx(7)
        await picky.tell(Boom())
        await wait_all_tasks_blocked()
        numbers: ActorStatistics = told(picky)
        assert numbers.begun == 3
        assert numbers.longest_wait == pytest.approx(7)
