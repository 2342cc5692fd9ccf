"""Every fault in each phase of a child's life: it is always a reason, and never more than that."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    SHUTDOWN,
    ChildSpec,
    ChildTerminated,
    Exit,
    ShutdownError,
    StartError,
    StartFailed,
    Supervisor,
    error,
    kill,
)


async def raises(child):
    raise ValueError("boom")


async def raises_in_a_nursery(child):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(raises, child)


async def exits(child):
    raise Exit(error("boom"))


async def exits_the_system(child):
    raise SystemExit("boom")


async def is_killed(child):
    kill(child)
    await trio.sleep_forever()


async def returns_nonsense(child):
    return "boom"


FAULTS = {
    raises: "ValueError: boom",
    raises_in_a_nursery: "ValueError: boom",
    exits: "error: boom",
    exits_the_system: "SystemExit: boom",
    is_killed: "killed",
    returns_nonsense: "error: it returned 'boom', which is not an ExitReason",
}
every_fault = pytest.mark.parametrize(
    ("fault", "words"), FAULTS.items(), ids=[fault.__name__ for fault in FAULTS]
)


class Life:
    """The life of one child that meets the fault in one phase, in its first so many lives."""

    def __init__(self, phase, fault, lives=1):
        self.phase, self.fault, self.lives = phase, fault, lives
        self.count = 0
        self.running = 0

    async def __call__(self, child):
        self.count += 1
        if self.phase == "start" and self.count <= self.lives:
            return await self.fault(child)
        if self.phase == "restart" and 1 < self.count <= 1 + self.lives:
            return await self.fault(child)
        self.running += 1
        assert self.running == 1
        try:
            child.started()
            if self.phase == "run" and self.count <= self.lives:
                return await self.fault(child)
            if self.phase == "restart" and self.count == 1:
                raise KeyError("first")
            await child.wait_stop()
            if self.phase == "stop":
                return await self.fault(child)
        finally:
            self.running -= 1
        return None

    @property
    def spec(self):
        return ChildSpec("it", self)


@every_fault
async def test_in_the_first_start_it_fails_the_supervisor_and_stops_the_others(
    troupe, run, fault, words
):
    with pytest.raises(StartFailed) as info:
        await run(troupe.supervisor("a", Life("start", fault).spec))
    assert words in str(info.value)
    assert troupe.running == set()
    assert troupe.log[-1] == "stop a: shutdown"


@every_fault
async def test_in_a_later_start_it_fails_that_call(troupe, run, fault, words):
    ref = await run(troupe.supervisor("a"))
    with pytest.raises(StartFailed) as info:
        await ref.start_child(Life("start", fault).spec)
    assert words in str(info.value)
    assert troupe.running == {"a"}
    assert ref.is_alive


@every_fault
async def test_while_running_it_is_restarted(troupe, run, fault, words):
    life = Life("run", fault)
    ref = await run(troupe.supervisor("a", life.spec))
    await wait_all_tasks_blocked()
    (report,) = troupe.told(ChildTerminated)
    assert str(report.reason) == words
    assert (life.count, life.running) == (2, 1)
    assert ref.is_alive


@every_fault
async def test_in_a_restart_it_is_tried_again(troupe, run, fault, words):
    life = Life("restart", fault, lives=2)
    ref = await run(troupe.supervisor("a", life.spec, intensity=3))
    await wait_all_tasks_blocked()
    assert [str(report.reason) for report in troupe.told(StartError)] == [words, words]
    assert (life.count, life.running) == (4, 1)
    assert ref.is_alive


@every_fault
async def test_while_stopping_it_is_reported_and_the_others_are_stopped_all_the_same(
    troupe, run, fault, words
):
    life = Life("stop", fault)
    ref = await run(troupe.supervisor("a", life.spec, "b"))
    assert await ref.stop() == SHUTDOWN
    assert troupe.running == set()
    assert life.running == 0
    (report,) = troupe.told(ShutdownError)
    assert str(report.reason) == words


@every_fault
async def test_too_often_it_goes_up_one_level_and_no_further(troupe, run, fault, words):
    life = Life("run", fault, lives=2)
    inner = Supervisor([life.spec], intensity=1).as_child("inner")
    ref = await run(troupe.supervisor("a", inner, "b"))
    await wait_all_tasks_blocked()
    assert ref.is_alive
    assert (life.count, life.running) == (3, 1)
    ended = [(report.supervisor, report.action) for report in troupe.told(ChildTerminated)]
    assert ended == [("root/inner", "restart"), ("root/inner", "give_up"), ("root", "restart")]


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault is not is_killed])
@pytest.mark.parametrize("phase", ["start", "run", "stop", "restart"])
async def test_a_fault_during_an_outer_cancel_does_not_hold_it_up(troupe, fault, phase):
    async def cancelled_into(child):
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await fault(child)

    life = Life(phase, cancelled_into)
    with trio.move_on_after(1) as scope:
        async with trio.open_nursery() as nursery:
            ref = await nursery.start(troupe.supervisor("a", life.spec).run)
            if phase == "stop":
                await ref.stop()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert troupe.running == set()
    assert life.running == 0
