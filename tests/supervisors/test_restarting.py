"""What a supervisor does when a child ends: restart type by way of ending by strategy."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import SHUTDOWN, Backoff, ChildTerminated, GaveUp, RetryScheduled

ABNORMAL = ("crash", "kill")
ENDINGS = ("normal", "shutdown", "shutdown_info", *ABNORMAL)
WORDS = {"crash": "error: crash", "kill": "killed", "shutdown_info": "shutdown: info"}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_who_is_started_again(troupe, run, strategy, restart, ending):
    """b ends; a, c and d are its siblings, c temporary."""
    ref = await run(
        troupe.supervisor(
            "a",
            troupe.spec("b", restart=restart),
            troupe.spec("c", restart="temporary"),
            "d",
            strategy=strategy,
        )
    )
    troupe.taken()
    await troupe.end("b", ending)

    restarted = restart == "permanent" or (restart == "transient" and ending in ABNORMAL)
    expected = [f"stop b: {WORDS.get(ending, ending)}"]
    present = ["a", "b", "c", "d"]
    if restarted:
        team = {"one_for_one": "b", "one_for_all": "abcd", "rest_for_one": "bcd"}[strategy]
        expected += [f"stop {one}: shutdown" for one in reversed(team) if one != "b"]
        expected += [f"start {one}" for one in team if one != "c"]
        if "c" in team:
            present.remove("c")
    elif restart == "temporary":
        present.remove("b")
    assert troupe.taken() == expected
    assert [row.id for row in await ref.which_children()] == present[::-1]
    assert troupe.running == {one for one in present if restarted or one != "b"}


async def test_a_transient_child_that_had_ended_starts_again_with_its_siblings(troupe, run):
    await run(troupe.supervisor(troupe.spec("a", restart="transient"), "b", strategy="one_for_all"))
    await troupe.end("a", "normal")
    assert troupe.running == {"b"}
    await troupe.end("b", "crash")
    assert troupe.running == {"a", "b"}


@pytest.mark.parametrize("intensity", [0, 1, 3])
async def test_a_supervisor_over_its_intensity_stops_all_and_ends_with_shutdown(
    troupe, run, intensity
):
    ref = await run(troupe.supervisor("a", "b", "c", intensity=intensity))
    for _ in range(intensity):
        await troupe.end("b", "crash")
        assert ref.is_alive
    troupe.taken()
    await troupe.end("b", "crash")
    assert troupe.taken() == ["stop b: error: crash", "stop c: shutdown", "stop a: shutdown"]
    assert await ref.wait() == SHUTDOWN
    (report,) = troupe.told(GaveUp)
    assert str(report) == (
        f"root gives up: 'b' needed restart {intensity + 1} within 5 s, {intensity} are allowed"
    )


@pytest.mark.parametrize(("gap", "alive"), [(4.99, False), (5.01, True)])
async def test_restarts_a_period_apart_are_counted_together(troupe, run, gap, alive):
    ref = await run(troupe.supervisor("a"))
    await troupe.end("a", "crash")
    await trio.sleep(gap)
    await troupe.end("a", "crash")
    assert ref.is_alive is alive


async def test_simultaneous_crashes_under_one_for_all_count_once(troupe, run):
    ref = await run(troupe.supervisor("a", "b", "c", strategy="one_for_all", intensity=1))
    for name in "abc":
        troupe._reasons[name] = SHUTDOWN
        troupe._commands[name].set()
    await wait_all_tasks_blocked()
    assert ref.is_alive
    assert troupe.running == {"a", "b", "c"}


async def test_every_failed_try_counts_towards_the_intensity(troupe, run):
    ref = await run(troupe.supervisor("a", intensity=3))
    troupe.starts["a"].extend(["fail", "fail", "fail"])
    troupe.taken()
    await troupe.end("a", "crash")
    assert troupe.taken() == ["stop a: error: crash", "fail a", "fail a", "fail a"]
    assert ref.reason == SHUTDOWN


async def test_a_failed_restart_is_tried_again_until_it_succeeds(troupe, run):
    await run(troupe.supervisor("a", intensity=3))
    troupe.starts["a"].extend(["fail", "fail"])
    await troupe.end("a", "crash")
    assert troupe.running == {"a"}
    assert [str(report) for report in troupe.told(RetryScheduled)] == [
        "root: trying 'a' again at once (after 2 tries; 1 of 3 restarts in 5 s are used)",
        "root: trying 'a' again at once (after 3 tries; 2 of 3 restarts in 5 s are used)",
    ]


async def test_one_for_all_takes_the_restarted_down_when_a_sibling_does_not_start(troupe, run):
    await run(troupe.supervisor("a", "b", "c", strategy="one_for_all", intensity=3))
    troupe.starts["b"].append("fail")
    troupe.taken()
    await troupe.end("c", "crash")
    assert troupe.taken() == [
        "stop c: error: crash", "stop b: shutdown", "stop a: shutdown",
        "start a", "fail b", "stop a: shutdown",
        "start a", "start b", "start c",
    ]  # fmt: skip


async def test_rest_for_one_tries_again_from_the_child_that_failed(troupe, run):
    await run(troupe.supervisor("a", "b", "c", "d", strategy="rest_for_one", intensity=3))
    troupe.starts["c"].append("fail")
    troupe.taken()
    await troupe.end("b", "crash")
    assert troupe.taken() == [
        "stop b: error: crash", "stop d: shutdown", "stop c: shutdown",
        "start b", "fail c",
        "start c", "start d",
    ]  # fmt: skip


async def test_a_restart_that_is_ignored_leaves_the_spec_without_a_process(troupe, run):
    ref = await run(troupe.supervisor("a", "b"))
    troupe.starts["a"].append("ignore")
    await troupe.end("a", "crash")
    assert [(row.id, row.child is None) for row in await ref.which_children()] == [
        ("b", False),
        ("a", True),
    ]


async def test_calls_are_answered_between_failed_tries(troupe, run, nursery):
    ref = await run(troupe.supervisor("a", intensity=5))
    troupe.starts["a"].extend(["held fail", "held fail"])
    await troupe.end("a", "crash")
    answers = []

    async def ask():
        answers.append((await ref.which_children())[0].child)

    nursery.start_soon(ask)
    await wait_all_tasks_blocked()
    assert answers == []  # a start is going on
    troupe.gate.set()
    await wait_all_tasks_blocked()
    assert answers == ["restarting"]
    assert troupe.running == {"a"}


async def test_terminate_child_cancels_a_pending_retry(troupe, run, nursery):
    ref = await run(troupe.supervisor("a", intensity=5))
    troupe.starts["a"].append("held fail")
    await troupe.end("a", "crash")
    nursery.start_soon(ref.terminate_child, "a")
    await wait_all_tasks_blocked()
    troupe.gate.set()
    await wait_all_tasks_blocked()
    assert troupe.running == set()
    assert (await ref.which_children())[0].child is None


async def test_stop_wins_over_a_pending_retry(troupe, run, nursery):
    ref = await run(troupe.supervisor("a", intensity=5))
    troupe.starts["a"].append("held fail")
    await troupe.end("a", "crash")
    nursery.start_soon(ref.stop)
    await wait_all_tasks_blocked()
    troupe.gate.set()
    assert await ref.wait() == SHUTDOWN
    assert troupe.log[-1] == "fail a"


@pytest.mark.parametrize(
    ("auto_shutdown", "first_ends", "second_ends"),
    [("never", True, True), ("any_significant", False, False), ("all_significant", True, False)],
)
async def test_auto_shutdown_by_its_flag(troupe, run, auto_shutdown, first_ends, second_ends):
    significant = auto_shutdown != "never"
    fields = {"restart": "transient", "significant": significant}
    ref = await run(
        troupe.supervisor(
            troupe.spec("a", **fields), troupe.spec("b", **fields), "c", auto_shutdown=auto_shutdown
        )
    )
    await troupe.end("a", "normal")
    assert ref.is_alive is first_ends
    if first_ends:
        await troupe.end("b", "normal")
        assert ref.is_alive is second_ends


async def test_a_significant_child_that_waits_to_be_restarted_has_not_ended(troupe, run):
    fields = {"restart": "transient", "significant": True}
    ref = await run(
        troupe.supervisor(
            troupe.spec("a", **fields),
            troupe.spec("b", **fields),
            auto_shutdown="all_significant",
            intensity=9,
            backoff=Backoff(first=10, jitter=0),
        )
    )
    await troupe.end("a", "crash")
    await troupe.end("a", "crash")
    await troupe.end("b", "normal")
    assert ref.is_alive
    await trio.sleep(10.1)
    await troupe.end("a", "normal")
    assert ref.reason == SHUTDOWN


async def test_auto_shutdown_needs_an_ending_of_its_own(troupe, run):
    ref = await run(
        troupe.supervisor(
            troupe.spec("a", restart="transient", significant=True),
            "b",
            auto_shutdown="any_significant",
        )
    )
    await ref.terminate_child("a")
    assert ref.is_alive
    await ref.restart_child("a")
    await troupe.end("a", "crash")  # restarted, so not ended
    assert ref.is_alive


class TestBackoff:
    """Beyond OTP: pauses between tries."""

    BACKOFF = Backoff(first=1, factor=2, maximum=8, jitter=0, reset_after=100)

    async def starts(self, troupe):
        return [
            report.time
            for report in troupe.reports
            if type(report).__name__ == "ProgressReport" and report.id == "a"
        ]

    async def test_the_first_restart_is_made_at_once_and_later_ones_wait(self, troupe, run):
        began = trio.current_time()
        await run(troupe.supervisor("a", intensity=100, backoff=self.BACKOFF))
        for pause in (0, 1, 2, 4, 8, 8):
            await troupe.end("a", "crash")
            assert ("a" in troupe.running) is (pause == 0)
            await trio.sleep(pause)
            await wait_all_tasks_blocked()
            assert "a" in troupe.running
        assert trio.current_time() - began == pytest.approx(23)

    async def test_calm_brings_the_pauses_back_to_nothing(self, troupe, run):
        await run(troupe.supervisor("a", intensity=100, backoff=self.BACKOFF))
        await troupe.end("a", "crash")
        await trio.sleep(100)
        await troupe.end("a", "crash")
        assert "a" in troupe.running

    async def test_failed_starts_wait_too(self, troupe, run):
        await run(troupe.supervisor("a", intensity=100, backoff=self.BACKOFF))
        troupe.starts["a"].extend(["fail", "fail"])
        await troupe.end("a", "crash")
        await trio.sleep(2.9)
        assert troupe.running == set()
        await trio.sleep(0.2)
        assert troupe.running == {"a"}

    async def test_in_a_pause_the_supervisor_answers_and_the_child_is_restarting(self, troupe, run):
        ref = await run(troupe.supervisor("a", intensity=100, backoff=self.BACKOFF))
        await troupe.end("a", "crash")
        await troupe.end("a", "crash")
        assert (await ref.which_children())[0].child == "restarting"
        await ref.terminate_child("a")
        await trio.sleep(10)
        assert troupe.running == set()

    async def test_siblings_that_must_go_are_stopped_before_the_pause(self, troupe, run):
        await run(
            troupe.supervisor("a", "b", strategy="one_for_all", intensity=100, backoff=self.BACKOFF)
        )
        await troupe.end("a", "crash")
        await troupe.end("a", "crash")
        assert troupe.running == set()
        await trio.sleep(1.1)
        assert troupe.running == {"a", "b"}

    async def test_a_restart_by_hand_in_a_pause_is_not_repeated_by_the_pause(self, troupe, run):
        ref = await run(troupe.supervisor("a", intensity=100, backoff=self.BACKOFF))
        await troupe.end("a", "crash")
        await troupe.end("a", "crash")
        await ref.terminate_child("a")
        await ref.restart_child("a")
        troupe.taken()
        await trio.sleep(10)
        assert troupe.taken() == []

    async def test_a_restart_with_a_sibling_in_a_pause_is_not_repeated_by_the_pause(
        self, troupe, run
    ):
        await run(
            troupe.supervisor(
                "a", "b", strategy="rest_for_one", intensity=100, backoff=self.BACKOFF
            )
        )
        await troupe.end("b", "crash")
        await troupe.end("b", "crash")
        assert troupe.running == {"a"}
        await troupe.end("a", "crash")
        assert troupe.running == {"a", "b"}
        troupe.taken()
        await trio.sleep(10)
        assert troupe.taken() == []

    async def test_a_paused_restart_counts_when_it_is_made_and_may_be_one_too_many(
        self, troupe, run
    ):
        ref = await run(troupe.supervisor("a", "b", intensity=1, backoff=self.BACKOFF))
        await troupe.end("a", "crash")
        await troupe.end("a", "crash")
        await trio.sleep(0.9)
        assert ref.is_alive
        await trio.sleep(0.2)
        assert ref.reason == SHUTDOWN
        assert [report.action for report in troupe.told(ChildTerminated)] == ["restart", "restart"]
        assert troupe.told(GaveUp)[0].restarts == 2

    async def test_a_paused_restart_that_is_called_off_never_counts(self, troupe, run):
        ref = await run(troupe.supervisor("a", "b", intensity=1, backoff=self.BACKOFF))
        await troupe.end("a", "crash")
        await troupe.end("a", "crash")
        await ref.terminate_child("a")
        await trio.sleep(5.1)
        await troupe.end("b", "crash")
        assert ref.is_alive

    async def test_a_failed_try_after_a_pause_may_be_one_too_many(self, troupe, run):
        ref = await run(troupe.supervisor("a", intensity=2, backoff=self.BACKOFF))
        troupe.starts["a"] += ["ok", "fail", "fail"]
        await troupe.end("a", "crash")
        await troupe.end("a", "crash")
        await trio.sleep(1.1)
        assert ref.is_alive
        assert troupe.told(RetryScheduled)[0].pause == 2
        await trio.sleep(1.8)
        assert ref.is_alive
        await trio.sleep(0.2)
        assert ref.reason == SHUTDOWN
        assert troupe.taken().count("fail a") == 1
        assert troupe.told(GaveUp)[0].restarts == 3

    LONG = Backoff(first=10, jitter=0)

    async def test_a_planned_restart_is_not_counted_beside_those_made_meanwhile(self, troupe, run):
        ref = await run(troupe.supervisor("a", "b", intensity=1, backoff=self.LONG))
        await troupe.end("a", "crash")
        await trio.sleep(6)
        await troupe.end("a", "crash")  # to be restarted in 10 s
        await trio.sleep(1)
        await troupe.end("b", "crash")
        assert troupe.running == {"b"}
        await trio.sleep(9.1)
        assert troupe.running == {"a", "b"}
        assert ref.is_alive

    async def test_a_planned_restart_does_not_wipe_out_those_that_were_made(self, troupe, run):
        ref = await run(troupe.supervisor(*"abcd", intensity=2, backoff=self.LONG))
        await troupe.end("a", "crash")
        await trio.sleep(6)
        for name in "bcad":
            assert ref.is_alive
            await troupe.end(name, "crash")
            await trio.sleep(0.1)
        assert ref.reason == SHUTDOWN

    async def test_reports_before_a_pause_tell_what_is_used_by_then(self, troupe, run):
        await run(troupe.supervisor("a", "b", intensity=9, backoff=self.LONG))
        await troupe.end("a", "crash")
        await trio.sleep(4)
        await troupe.end("b", "crash")
        await trio.sleep(2)
        troupe.starts["a"].append("fail")
        await troupe.end("a", "crash")  # the restart of b alone is within 5 s
        assert (
            "so it is started again in 10 s (one_for_one; 1 of 9 restarts in 5 s are used)"
            in str(troupe.told(ChildTerminated)[-1])
        )
        await trio.sleep(10.1)
        (retry,) = troupe.told(RetryScheduled)
        assert (retry.pause, retry.restarts) == (20, 1)

    async def test_a_try_that_took_long_to_fail_tells_what_is_used_when_it_has_failed(
        self, troupe, run
    ):
        await run(troupe.supervisor("a", intensity=9, backoff=self.BACKOFF))
        troupe.starts["a"].append("held fail")
        await troupe.end("a", "crash")
        await trio.sleep(6)
        troupe.gate.set()
        await wait_all_tasks_blocked()
        assert [report.restarts for report in troupe.told(RetryScheduled)] == [0]


async def test_a_retry_that_another_child_fails_leaves_only_that_one_waiting(troupe, run):
    """b fails, and in the retry a, which comes before it: now a is tried again, and b just does
    not run. Seen on OTP 25 too."""
    ref = await run(troupe.supervisor("a", "b", strategy="one_for_all", intensity=8))
    troupe.starts["b"] += ["fail"]
    troupe.starts["a"] += ["ok", "held fail"]
    await troupe.end("b", "crash")
    async with trio.open_nursery() as nursery:  # the calls wait until a has failed
        rows, restarted = [], []

        async def look():
            rows.extend(await ref.which_children())

        async def restart_b():
            restarted.append(await ref.restart_child("b"))

        for call in (look, restart_b):
            nursery.start_soon(call)
            await wait_all_tasks_blocked()
        nursery.start_soon(ref.terminate_child, "a")
        await wait_all_tasks_blocked()
        troupe.gate.set()
    assert [(row.id, row.child) for row in rows] == [("b", None), ("a", "restarting")]
    assert restarted == [troupe.children["b"]]
    assert troupe.running == {"b"}
