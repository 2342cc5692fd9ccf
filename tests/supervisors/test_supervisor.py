"""Starting, stopping, nesting, and being cancelled."""

import math

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    IGNORE,
    KILLED,
    NORMAL,
    SHUTDOWN,
    ChildSpec,
    FailedToStart,
    NoProc,
    ShutdownError,
    StartFailed,
    Supervisor,
    SupervisorDied,
    error,
    kill,
    shutdown_with,
)


async def test_children_start_in_order_each_when_the_one_before_is_ready(troupe, run, nursery):
    troupe.starts["b"].append("held")
    supervisor = troupe.supervisor("a", "b", "c")
    nursery.start_soon(run, supervisor)
    await wait_all_tasks_blocked()
    assert troupe.taken() == ["start a", "held b"]
    troupe.gate.set()
    await wait_all_tasks_blocked()
    assert troupe.taken() == ["start b", "start c"]


async def test_children_stop_in_reverse_order_each_when_the_one_before_has_ended(troupe, run):
    async def slowly(child):
        troupe.log.append(f"slow {child.id}")
        await trio.sleep(3)

    troupe.stopping["b"] = slowly
    ref = await run(troupe.supervisor("a", "b", "c"))
    troupe.taken()
    assert await ref.stop() == SHUTDOWN
    assert troupe.taken() == ["stop c: shutdown", "slow b", "stop b: shutdown", "stop a: shutdown"]


async def test_children_stop_in_the_reverse_of_their_specs_whatever_was_restarted(troupe, run):
    ref = await run(troupe.supervisor("a", "b", "c"))
    await troupe.end("a", "crash")
    troupe.taken()
    await ref.stop()
    assert troupe.taken() == ["stop c: shutdown", "stop b: shutdown", "stop a: shutdown"]


async def test_a_child_that_does_not_stop_is_killed_at_its_deadline(troupe, run):
    deadlines = []

    async def never(child):
        deadlines.append(child.stop_deadline - trio.current_time())
        await trio.sleep_forever()

    troupe.stopping["a"] = never
    ref = await run(troupe.supervisor(troupe.spec("a", shutdown=7)))
    began = trio.current_time()
    await ref.stop()
    assert trio.current_time() - began == pytest.approx(7)
    assert deadlines == [pytest.approx(7)]
    assert troupe.log[-1] == "stop a: killed"
    (report,) = troupe.told(ShutdownError)
    assert str(report) == "root: 'a' was stopped (shutdown 7) but ended: killed"


async def test_infinity_means_as_long_as_it_takes(troupe, run):
    async def long(child):
        assert child.stop_deadline == math.inf
        await trio.sleep(5e4)

    troupe.stopping["a"] = long
    ref = await run(troupe.supervisor(troupe.spec("a", shutdown="infinity")))
    await ref.stop()
    assert troupe.log[-1] == "stop a: shutdown"


async def test_brutal_kill_does_not_ask(troupe, run):
    async def must_not_be_asked(child):
        raise AssertionError

    troupe.stopping["a"] = must_not_be_asked
    ref = await run(troupe.supervisor(troupe.spec("a", shutdown="brutal_kill")))
    await ref.stop()
    assert troupe.log[-1] == "stop a: killed"
    assert troupe.told(ShutdownError) == []


async def test_the_new_incarnation_waits_until_the_old_one_has_cleaned_up(run):
    log = []

    async def life(child):
        log.append(f"start {child.incarnation}")
        child.started()
        try:
            if child.incarnation == 1:
                raise ValueError
            await child.wait_stop()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(10)
            log.append(f"cleaned up {child.incarnation}")

    ref = await run(Supervisor([ChildSpec("a", life, shutdown="infinity")]))
    await trio.sleep(20)
    await ref.stop()
    assert log == ["start 1", "cleaned up 1", "start 2", "cleaned up 2"]


async def test_a_first_child_that_fails_stops_those_before_it_and_is_the_reason(troupe, run):
    troupe.starts["c"].append("fail")
    with pytest.raises(StartFailed) as info:
        await run(troupe.supervisor("a", "b", "c", "d"))
    assert troupe.log == ["start a", "start b", "fail c", "stop b: shutdown", "stop a: shutdown"]
    reason = info.value.reason
    assert reason.kind == "shutdown"
    assert isinstance(reason.info, FailedToStart)
    assert str(info.value) == (
        "root did not start: shutdown: failed to start child 'c': RuntimeError: no luck"
    )


async def test_a_first_child_may_be_ignored_and_a_temporary_one_is_then_forgotten(troupe, run):
    troupe.starts["a"].append("ignore")
    troupe.starts["b"].append("ignore")
    ref = await run(troupe.supervisor("a", troupe.spec("b", restart="temporary"), "c"))
    assert [(row.id, row.child is None) for row in await ref.which_children()] == [
        ("c", False),
        ("a", True),
    ]


async def test_run_returns_the_reason_and_wait_gives_it_too(troupe, run, nursery):
    reasons = []

    async def root(task_status):
        reasons.append(await troupe.supervisor("a", intensity=0).run(task_status=task_status))

    ref = await nursery.start(root)
    await troupe.end("a", "crash")
    assert await ref.wait() == SHUTDOWN
    await wait_all_tasks_blocked()
    assert reasons == [SHUTDOWN]


async def test_stopping_twice_is_no_error(troupe, run):
    ref = await run(troupe.supervisor("a"))
    await ref.stop()
    assert await ref.stop() == SHUTDOWN
    assert not ref.is_alive


class TestNested:
    async def test_a_tree_starts_from_below_and_stops_from_above(self, troupe, run):
        inner = troupe.supervisor("b", "c").as_child("inner")
        ref = await run(troupe.supervisor("a", inner, "d"))
        assert troupe.taken() == ["start a", "start b", "start c", "start d"]
        await ref.stop()
        assert [line[:6] for line in troupe.log] == ["stop d", "stop c", "stop b", "stop a"]

    async def test_a_failure_that_one_level_cannot_mend_is_the_next_ones(self, troupe, run):
        inner = troupe.supervisor("b", intensity=0).as_child("inner")
        ref = await run(troupe.supervisor("a", inner))
        troupe.taken()
        await troupe.end("b", "crash")
        assert troupe.taken() == ["stop b: error: crash", "start b"]
        assert ref.is_alive

    @pytest.mark.parametrize("restart", ["transient", "temporary"])
    async def test_a_transient_or_temporary_supervisor_that_gives_up_stops_there(
        self, troupe, run, restart
    ):
        inner = troupe.supervisor("b", intensity=0).as_child("inner", restart=restart)
        ref = await run(troupe.supervisor("a", inner))
        await troupe.end("b", "crash")
        assert ref.is_alive
        assert troupe.running == {"a"}

    async def test_a_first_child_that_fails_below_is_told_above(self, troupe, run):
        troupe.starts["b"].append("fail")
        inner = troupe.supervisor("b").as_child("inner")
        with pytest.raises(StartFailed) as info:
            await run(troupe.supervisor("a", inner))
        assert "'inner': shutdown: failed to start child 'b'" in str(info.value)

    async def test_reports_come_up_with_the_path_of_their_supervisor(self, troupe, run):
        inner = Supervisor([troupe.spec("b")]).as_child("inner")
        await run(troupe.supervisor("a", inner, name="top"))
        assert [str(report) for report in troupe.reports] == [
            "top started 'a'",
            "top/inner started 'b'",
            "top/inner is up",
            "top started 'inner'",
            "top is up",
        ]

    async def test_a_start_function_may_end_with_it(self, troupe, run):
        below = Supervisor([troupe.spec("b")])

        async def start(child):
            troupe.log.append("prepared")
            return await below.run_under(child, extra="ready")

        ref = await run(troupe.supervisor())
        child = await ref.start_child(ChildSpec("inner", start, type="supervisor"))
        assert child.extra == "ready"
        assert [row.id for row in await child.supervisor.which_children()] == ["b"]
        await ref.stop()
        assert troupe.log == ["prepared", "start b", "stop b: shutdown"]

    async def test_a_supervisor_may_have_a_deadline(self, troupe, run):
        async def never(child):
            await trio.sleep_forever()

        troupe.stopping["b"] = never
        below = Supervisor([troupe.spec("b", shutdown="infinity")])
        ref = await run(troupe.supervisor(below.as_child("inner", shutdown=3)))
        began = trio.current_time()
        await ref.stop()
        assert trio.current_time() - began == pytest.approx(3)
        assert troupe.log[-1] == "stop b: killed"


class TestInit:
    async def test_it_is_called_at_each_start(self, troupe, run):
        calls = []

        def init():
            calls.append(1)
            return {"intensity": 0}, [troupe.spec(f"b{len(calls)}")]

        await run(troupe.supervisor(Supervisor.from_init(init).as_child("inner")))
        assert troupe.running == {"b1"}
        await troupe.end("b1", "crash")
        assert troupe.running == {"b2"}

    async def test_it_may_be_async(self, troupe, run):
        async def init():
            await trio.sleep(1)
            return {}, [troupe.spec("a")]

        await run(Supervisor.from_init(init))
        assert troupe.running == {"a"}

    async def test_it_may_say_ignore(self, nursery):
        assert await nursery.start(Supervisor.from_init(lambda: IGNORE).run) is None
        assert await Supervisor.from_init(lambda: IGNORE).run() == NORMAL

    async def test_a_nested_one_may_be_ignored(self, troupe, run):
        inner = Supervisor.from_init(lambda: IGNORE).as_child("inner")
        ref = await run(troupe.supervisor(inner, "a"))
        assert (await ref.which_children())[1].child is None

    @pytest.mark.parametrize(
        ("given", "term"),
        [
            ("invalid", ("bad_return", "'invalid'")),
            (({"strategy": "x"}, []), ("supervisor_data", ("invalid_strategy", "x"))),
            (("x", []), ("supervisor_data", ("invalid_type", "x"))),
            (({}, [{"id": "a"}]), ("start_spec", "missing_start")),
        ],
    )
    async def test_what_is_wrong_with_it_is_the_reason_of_the_failed_start(
        self, nursery, given, term
    ):
        with pytest.raises(StartFailed) as info:
            await nursery.start(Supervisor.from_init(lambda: given).run)
        assert info.value.term == term

    async def test_what_it_raises_is_the_reason_too(self, nursery):
        def init():
            raise RuntimeError("no config")

        with pytest.raises(StartFailed, match="root did not start: RuntimeError: no config"):
            await nursery.start(Supervisor.from_init(init).run)


class TestOuterCancel:
    async def test_it_ends_all_children_and_passes_on(self, troupe):
        async with trio.open_nursery() as nursery:
            inner = troupe.supervisor("b", "c").as_child("inner")
            ref = await nursery.start(troupe.supervisor("a", inner).run)
            nursery.cancel_scope.cancel()
        assert nursery.cancel_scope.cancelled_caught
        assert troupe.running == set()
        assert ref.reason == KILLED
        assert await ref.wait() == KILLED

    @pytest.mark.parametrize("phase", ["starting", "running", "stopping", "restarting", "pausing"])
    async def test_it_may_come_at_any_point(self, troupe, phase):
        async def never(child):
            await trio.sleep_forever()

        troupe.stopping["a"] = never
        with trio.move_on_after(2) as scope:
            async with trio.open_nursery() as nursery:
                if phase == "starting":
                    troupe.starts["b"].append("held")
                ref = await nursery.start(
                    troupe.supervisor(troupe.spec("a", shutdown="infinity"), "b").run
                )
                if phase == "stopping":
                    nursery.start_soon(ref.stop)
                if phase == "restarting":
                    troupe.starts["b"].append("held")
                    await troupe.end("b", "crash")
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert troupe.running == set()

    async def test_a_fault_in_the_cleanup_is_kept_as_a_reason_and_does_not_stop_it(self, nursery):
        async def life(child):
            child.started()
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("in cleanup")

        handles = []

        async def catch(child):
            handles.append(child)
            await life(child)

        async with trio.open_nursery() as inner:
            await inner.start(Supervisor([ChildSpec("a", catch)]).run)
            inner.cancel_scope.cancel()
        assert str(handles[0].exit_reason) == "ValueError: in cleanup"


class TestKill:
    async def test_a_killed_supervisor_ends_its_children_first(self, troupe, run):
        ref = await run(troupe.supervisor("a", "b"))
        kill(ref)
        assert await ref.wait() == KILLED
        assert troupe.running == set()

    async def test_a_killed_nested_supervisor_is_restarted_like_after_a_crash(self, troupe, run):
        inner = troupe.supervisor("b").as_child("inner", restart="transient")
        ref = await run(troupe.supervisor(inner))
        row = (await ref.which_children())[0]
        kill(row.child)
        await wait_all_tasks_blocked()
        assert troupe.running == {"b"}
        assert (await ref.which_children())[0].child is not row.child
        assert row.child.exit_reason == KILLED

    async def test_killing_by_the_supervisors_own_handle_is_the_same(self, troupe, run):
        ref = await run(troupe.supervisor(troupe.supervisor("b").as_child("inner")))
        row = (await ref.which_children())[0]
        kill(row.child.supervisor)
        await wait_all_tasks_blocked()
        assert row.child.exit_reason == KILLED
        assert troupe.running == {"b"}

    async def test_calls_in_hand_and_in_the_queue_are_answered(self, troupe, run, nursery):
        ref = await run(troupe.supervisor("a"))
        troupe.starts["b"].append("held")
        outcomes = []

        async def call(method, *args):
            with pytest.raises(SupervisorDied) as info:
                await method(*args)
            outcomes.append((str(info.value), info.value.begun))

        nursery.start_soon(call, ref.start_child, troupe.spec("b"))
        await wait_all_tasks_blocked()
        nursery.start_soon(call, ref.which_children)
        await wait_all_tasks_blocked()
        kill(ref)
        await ref.wait()
        await wait_all_tasks_blocked()
        assert outcomes == [
            ("supervisor root ended (killed) while it was at this call", True),
            ("supervisor root ended (killed) before it came to this call", False),
        ]

    async def test_killing_the_dead_does_nothing(self, troupe, run):
        ref = await run(troupe.supervisor("a"))
        child = troupe.children["a"]
        await ref.stop()
        kill(ref)
        kill(child)
        assert child.exit_reason == SHUTDOWN


async def test_calls_to_a_dead_supervisor_say_so(troupe, run):
    ref = await run(troupe.supervisor("a"))
    await ref.stop()
    for call in (
        ref.which_children(),
        ref.count_children(),
        ref.start_child(troupe.spec("b")),
        ref.terminate_child("a"),
        ref.restart_child("a"),
        ref.delete_child("a"),
        ref.get_childspec("a"),
    ):
        with pytest.raises(NoProc, match="supervisor root is not running"):
            await call


async def test_a_supervisor_can_be_run_again(troupe, nursery):
    supervisor = troupe.supervisor("a")
    for _ in range(2):
        ref = await nursery.start(supervisor.run)
        await ref.stop()
    assert troupe.log == ["start a", "stop a: shutdown"] * 2


async def test_an_explicit_reason_of_the_start_is_kept(nursery):
    async def start(child):
        return error("boom")

    with pytest.raises(StartFailed) as info:
        await nursery.start(Supervisor([ChildSpec("a", start)]).run)
    assert info.value.reason == shutdown_with(FailedToStart("a", error("boom")))
    assert info.value.term == ("shutdown", ("failed_to_start_child", "a", "boom"))


async def test_answered_callers_go_on_in_order_and_after_those_it_did_not_come_to(troupe, run):
    """Where nothing makes the supervisor wait between its last answer and its end; as on OTP."""
    ref = await run(troupe.supervisor("a", strategy="one_for_all"))
    troupe.starts["a"].append("held fail")
    await troupe.end("a", "crash")
    heard = []

    async def ask(name, call):
        try:
            await call()
        except SupervisorDied:
            name = f"{name} died"
        heard.append(name)

    async with trio.open_nursery() as nursery:
        calls = [ref.which_children, ref.count_children, ref.stop, ref.count_children]
        for name, call in zip(["first", "second", "stop", "late"], calls, strict=True):
            nursery.start_soon(ask, name, call)
            await wait_all_tasks_blocked()
        troupe.gate.set()
    heard.remove("stop")  # no call: it waits for the end
    assert heard == ["late died", "first", "second"]
