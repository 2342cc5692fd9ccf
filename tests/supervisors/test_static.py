"""Calls on a supervisor whose children have ids."""

from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildCounts,
    ChildSpec,
    InvalidSpec,
    NoProc,
    NotFound,
    Restarting,
    Running,
    StartFailed,
    kill,
)


async def rows(ref):
    return [(row.id, row.child and row.child.incarnation) for row in await ref.which_children()]


async def test_which_children_lists_the_last_started_first(troupe, run):
    ref = await run(troupe.supervisor("a", "b"))
    row = (await ref.which_children())[0]
    assert (row.id, row.child, row.type) == ("b", troupe.children["b"], "worker")
    assert await rows(ref) == [("b", 1), ("a", 1)]


async def test_count_children_counts_specs_and_processes(troupe, run):
    inner = troupe.supervisor("x").as_child("inner")
    ref = await run(troupe.supervisor("a", "b", inner))
    await ref.terminate_child("a")
    assert await ref.count_children() == ChildCounts(specs=3, active=2, supervisors=1, workers=2)


async def test_a_child_that_has_died_is_not_active_though_nothing_was_done_about_it_yet(
    troupe, run, nursery
):
    ref = await run(troupe.supervisor("a"))
    troupe.starts["b"].append("held")
    nursery.start_soon(ref.start_child, troupe.spec("b"))
    await wait_all_tasks_blocked()
    counts = []

    async def count():
        counts.append(await ref.count_children())

    nursery.start_soon(count)
    await wait_all_tasks_blocked()
    await troupe.end("a", "crash")  # its end is behind the call in the queue
    troupe.gate.set()
    await wait_all_tasks_blocked()
    assert (counts[0].specs, counts[0].active) == (2, 1)
    assert troupe.running == {"a", "b"}


class Odd:
    """An object that cannot be hashed, compared, named or shown."""

    def __init__(self, *what):
        self.what = what

    def _may(self, what):
        if what in self.what:
            raise ValueError(f"no {what}")

    def __hash__(self):
        self._may("hash")
        return hash("a")

    def __eq__(self, other):
        self._may("eq")
        return self is other

    def __str__(self):
        self._may("str")
        return "odd"

    def __repr__(self):
        self._may("repr")
        return "Odd"


@pytest.mark.parametrize("what", [["hash"], ["hash", "repr"], ["str"], ["repr"]], ids="+".join)
async def test_an_id_that_raises_is_a_fault_of_the_spec(troupe, run, what):
    ref = await run(troupe.supervisor("a"))
    with pytest.raises(InvalidSpec, match="'id' must be hashable and have words, not "):
        await ref.start_child({"id": Odd(*what), "start": troupe.play})
    assert await rows(ref) == [("a", 1)]


@pytest.mark.parametrize(
    "fields",
    [{"id": Odd("eq")}, {"restart": Odd("eq")}, {"args": Odd("repr")}, {Odd("repr"): 1}],
    ids=["id", "restart", "args", "key"],
)
async def test_a_spec_that_raises_when_it_is_checked_is_refused(troupe, run, fields):
    ref = await run(troupe.supervisor("a"))
    with pytest.raises(InvalidSpec, match="it cannot be checked: ValueError: no "):
        await ref.start_child({"id": "b", "start": troupe.play} | fields)
    assert await rows(ref) == [("a", 1)]


@pytest.mark.parametrize("what", [["hash"], ["eq"], ["repr"]], ids="+".join)
@pytest.mark.parametrize("op", ["terminate_child", "restart_child", "get_childspec"])
async def test_an_id_that_raises_is_not_found(troupe, run, op, what):
    ref = await run(troupe.supervisor("a"))
    with pytest.raises(NotFound):
        await getattr(ref, op)(Odd(*what))
    assert ref.is_alive


class TestStartChild:
    async def test_it_comes_last_and_gives_its_handle(self, troupe, run):
        ref = await run(troupe.supervisor("a"))
        child = await ref.start_child(troupe.spec("b"))
        assert child is troupe.children["b"]
        assert await rows(ref) == [("b", 1), ("a", 1)]

    async def test_it_takes_an_unchecked_mapping(self, troupe, run):
        ref = await run(troupe.supervisor())
        await ref.start_child({"id": "b", "start": troupe.play, "restart": "temporary"})
        assert (await ref.get_childspec("b")).restart == "temporary"

    async def test_what_the_child_gave_to_started_is_on_the_handle(self, run, troupe):
        async def start(child):
            child.started({"port": 80})
            await child.wait_stop()

        ref = await run(troupe.supervisor())
        child = await ref.start_child(ChildSpec("a", start))
        assert child.extra == {"port": 80}

    @pytest.mark.parametrize(
        ("given", "term"),
        [
            ("hej", ("invalid_child_spec", "hej")),
            ({}, "missing_id"),
            ({"id": "x"}, "missing_start"),
            ({"id": "x", "start": "mfa"}, ("invalid_mfa", "mfa")),
        ],
    )
    async def test_a_wrong_spec_is_refused_and_the_supervisor_lives(self, troupe, run, given, term):
        ref = await run(troupe.supervisor("a"))
        with pytest.raises(InvalidSpec) as info:
            await ref.start_child(given)
        assert info.value.term == term
        assert await rows(ref) == [("a", 1)]

    async def test_a_significant_child_must_go_with_the_supervisors_flag(self, troupe, run):
        ref = await run(troupe.supervisor("a"))
        with pytest.raises(InvalidSpec, match="auto_shutdown"):
            await ref.start_child(troupe.spec("b", restart="transient", significant=True))

    async def test_a_running_child_is_not_started_twice(self, troupe, run):
        ref = await run(troupe.supervisor("a"))
        with pytest.raises(AlreadyStarted, match="'a' is already running") as info:
            await ref.start_child(troupe.spec("a"))
        assert info.value.child is troupe.children["a"]
        assert info.value.term == ("already_started", troupe.children["a"])

    async def test_a_spec_that_is_there_is_not_replaced(self, troupe, run):
        ref = await run(troupe.supervisor("a"))
        await ref.terminate_child("a")
        with pytest.raises(AlreadyPresent, match="restart_child"):
            await ref.start_child(troupe.spec("a"))

    async def test_a_child_that_does_not_start_leaves_no_spec(self, troupe, run):
        ref = await run(troupe.supervisor("a"))
        troupe.starts["b"].append("fail")
        with pytest.raises(StartFailed, match="root/b did not start: RuntimeError: no luck"):
            await ref.start_child(troupe.spec("b"))
        assert await rows(ref) == [("a", 1)]

    @pytest.mark.parametrize(("restart", "kept"), [("permanent", True), ("temporary", False)])
    async def test_an_ignored_child_keeps_its_spec_unless_temporary(
        self, troupe, run, restart, kept
    ):
        ref = await run(troupe.supervisor())
        troupe.starts["b"].append("ignore")
        assert await ref.start_child(troupe.spec("b", restart=restart)) is None
        assert (await rows(ref) == [("b", None)]) is kept

    async def test_a_cancelled_caller_takes_its_call_back(self, troupe, run, nursery):
        ref = await run(troupe.supervisor())
        troupe.starts["a"].append("held")
        nursery.start_soon(ref.start_child, troupe.spec("a"))
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as impatient:
            impatient.start_soon(ref.start_child, troupe.spec("b"))
            await wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
        troupe.gate.set()
        await wait_all_tasks_blocked()
        assert await rows(ref) == [("a", 1)]

    async def test_a_start_once_begun_is_finished_though_its_caller_is_gone(
        self, troupe, run, nursery
    ):
        ref = await run(troupe.supervisor())
        troupe.starts["a"].append("held")
        async with trio.open_nursery() as impatient:
            impatient.start_soon(ref.start_child, troupe.spec("a"))
            await wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
        troupe.gate.set()
        assert await rows(ref) == [("a", 1)]


class TestTerminateChild:
    async def test_the_spec_stays(self, troupe, run):
        ref = await run(troupe.supervisor("a"))
        await ref.terminate_child("a")
        assert troupe.log[-1] == "stop a: shutdown"
        assert await rows(ref) == [("a", None)]
        await ref.terminate_child("a")  # and again is no error

    async def test_a_temporary_spec_goes_too(self, troupe, run):
        ref = await run(troupe.supervisor(troupe.spec("a", restart="temporary")))
        await ref.terminate_child("a")
        assert await rows(ref) == []

    async def test_it_is_by_id_not_by_handle(self, troupe, run):
        ref = await run(troupe.supervisor("a"))
        with pytest.raises(NotFound, match="there is no child"):
            await ref.terminate_child(troupe.children["a"])

    async def test_what_cannot_be_an_id_is_not_found(self, troupe, run):
        ref = await run(troupe.supervisor("a"))
        with pytest.raises(NotFound):
            await ref.terminate_child([])
        assert ref.is_alive


class TestRestartChild:
    async def test_it_starts_what_does_not_run(self, troupe, run):
        ref = await run(troupe.supervisor("a"))
        await ref.terminate_child("a")
        child = await ref.restart_child("a")
        assert child is troupe.children["a"]
        assert child.incarnation == 2

    async def test_it_does_not_count_as_a_restart(self, troupe, run):
        ref = await run(troupe.supervisor("a", intensity=0))
        for _ in range(5):
            await ref.terminate_child("a")
            await ref.restart_child("a")
        assert ref.is_alive

    async def test_a_failed_one_leaves_the_spec(self, troupe, run):
        ref = await run(troupe.supervisor("a"))
        await ref.terminate_child("a")
        troupe.starts["a"].append("fail")
        with pytest.raises(StartFailed):
            await ref.restart_child("a")
        assert await rows(ref) == [("a", None)]


@pytest.mark.parametrize("method", ["restart_child", "delete_child"])
class TestNotStopped:
    async def test_a_running_child_is_left_alone(self, troupe, run, method):
        ref = await run(troupe.supervisor("a"))
        with pytest.raises(Running, match="terminate_child"):
            await getattr(ref, method)("a")

    async def test_an_unknown_child_is_not_found(self, troupe, run, method):
        ref = await run(troupe.supervisor("a"))
        with pytest.raises(NotFound, match="there is no child 'b'"):
            await getattr(ref, method)("b")

    async def test_a_child_about_to_be_restarted_is_left_alone(self, troupe, run, nursery, method):
        ref = await run(troupe.supervisor("a", intensity=5))
        troupe.starts["a"].append("held fail")
        await troupe.end("a", "crash")

        async def call():
            with pytest.raises(Restarting, match="terminate_child"):
                await getattr(ref, method)("a")
            troupe.log.append("refused")

        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        troupe.gate.set()
        await wait_all_tasks_blocked()
        assert "refused" in troupe.log


async def test_delete_child_removes_the_spec(troupe, run):
    ref = await run(troupe.supervisor("a", "b"))
    await ref.terminate_child("a")
    await ref.delete_child("a")
    assert await rows(ref) == [("b", 1)]
    with pytest.raises(NotFound):
        await ref.get_childspec("a")


async def test_get_childspec_gives_the_spec_with_its_defaults(troupe, run):
    ref = await run(troupe.supervisor("a"))
    spec = await ref.get_childspec("a")
    assert (spec.id, spec.restart, spec.shutdown) == ("a", "permanent", 5.0)


async def test_queued_calls_are_answered_in_their_order(troupe, run, nursery):
    ref = await run(troupe.supervisor("a"))
    troupe.starts["b"].append("held")
    nursery.start_soon(ref.start_child, troupe.spec("b"))
    await wait_all_tasks_blocked()
    answered = []

    async def ask(number):
        await ref.which_children()
        answered.append(number)

    for number in range(20):
        nursery.start_soon(ask, number)
        await wait_all_tasks_blocked()
    assert answered == []
    troupe.gate.set()
    await wait_all_tasks_blocked()
    assert answered == list(range(20))


async def test_a_call_from_a_childs_own_start_can_be_given_up(troupe, run):
    """In OTP it would wait for ever: the supervisor is busy with that very start."""
    gave_up = []

    async def start(child):
        with trio.move_on_after(1) as scope:
            await ref.which_children()
        gave_up.append(scope.cancelled_caught)
        child.started()
        await child.wait_stop()

    ref = await run(troupe.supervisor())
    await ref.start_child(ChildSpec("a", start))
    assert gave_up == [True]
    assert ref.is_alive


async def test_calls_that_a_dead_supervisor_leaves_are_answered_in_their_order(
    troupe, run, nursery
):
    ref = await run(troupe.supervisor("a"))
    troupe.starts["b"].append("held")
    answered = []

    async def ask(number, call, *args, scope):
        with scope, pytest.raises(NoProc):
            await call(*args)
        if not scope.cancelled_caught:
            answered.append(number)

    scopes = [trio.CancelScope() for _ in range(20)]
    nursery.start_soon(partial(ask, 0, ref.start_child, troupe.spec("b"), scope=scopes[0]))
    for number in range(1, 20):
        await wait_all_tasks_blocked()
        nursery.start_soon(partial(ask, number, ref.which_children, scope=scopes[number]))
    await wait_all_tasks_blocked()
    kill(ref)
    scopes[7].cancel()
    await wait_all_tasks_blocked()
    assert answered == [number for number in range(20) if number != 7]
