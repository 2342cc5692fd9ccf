"""How an incarnation runs its messages: one at a time, faults, deadlines, stop and restart."""

from __future__ import annotations

import contextlib
import math
import re
import time

import pytest
import trio
import trio.testing

from nexus_actors.actors import Message
from nexus_actors.actors.reply import ReplySlot
from nexus_actors.errors import (
    ActorRestarted,
    ActorStopped,
    AskTimeout,
    DatabaseUnavailable,
    HTTPError,
    MailboxFull,
    RemoteError,
)

CRASHING = [MemoryError("m"), RecursionError("r"), SystemExit(3), KeyboardInterrupt()]
NO_FAULT = [DatabaseUnavailable("away"), ActorStopped("other"), RemoteError("other", "why")]


def raises(error):
    def function():
        raise error

    return function


async def test_a_tell_is_handled_and_an_ask_is_answered(run_actor, autojump_clock):
    seen = []
    async with run_actor({"*": lambda message: seen.append(message.payload) or "answer"}) as it:
        await it.address.tell("one")
        assert await it.address.ask("two") == "answer"
        assert seen == ["one", "two"]
        assert it.account().handled == 2


async def test_messages_are_handled_one_at_a_time_and_in_order(run_actor, autojump_clock):
    running, seen = 0, []

    async def slow(message):
        nonlocal running
        running += 1
        assert running == 1
        await trio.sleep(1)
        seen.append(message.payload)
        running -= 1

    async with run_actor({"*": slow}) as it:
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(it.address.tell, number)
                await trio.testing.wait_all_tasks_blocked()
        await it.until(lambda: it.account().handled == 5)
        assert seen == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "error", [ValueError("v"), KeyError("k"), ExceptionGroup("g", [ValueError("v")])]
)
async def test_a_fault_in_answering_goes_to_the_caller_and_the_actor_lives_on(
    run_actor, autojump_clock, error
):
    async with run_actor({"bad": raises(error), "good": lambda: 1}) as it:
        with pytest.raises(RemoteError) as caught:
            await it.address.ask("bad")
        assert "it failed while answering" in str(caught.value)
        assert await it.address.ask("good") == 1
        assert (it.cell.faults, it.cell.crashes, it.cell.incarnation) == (1, 0, 1)
        assert it.account().faulted == 1


@pytest.mark.parametrize("error", [ValueError("v"), *CRASHING], ids=lambda e: type(e).__name__)
async def test_a_fault_in_a_tell_crashes_the_actor_and_the_message_is_a_dead_letter(
    run_actor, autojump_clock, error
):
    async with run_actor({"bad": raises(error), "good": lambda: 1}) as it:
        await it.address.tell("bad")
        await it.until(lambda: it.cell.incarnation == 2)
        assert await it.address.ask("good") == 1
        (letter,) = it.dead_letters.list()
        assert letter.reason == "crash"
        assert type(error).__name__ in str(letter.report)
        assert letter.report.triples[-1][2].endswith("function")
        assert it.account().dead_lettered == 1


@pytest.mark.parametrize("error", CRASHING, ids=lambda e: type(e).__name__)
async def test_what_no_plugin_may_raise_answers_the_caller_and_then_crashes(
    run_actor, autojump_clock, error
):
    async with run_actor({"bad": raises(error)}) as it:
        with pytest.raises(RemoteError):
            await it.address.ask("bad")
        await it.until(lambda: it.cell.incarnation == 2)


@pytest.mark.parametrize("error", NO_FAULT, ids=lambda e: type(e).__name__)
async def test_anothers_failure_is_not_the_actors_fault(run_actor, autojump_clock, error):
    async with run_actor({"bad": raises(error)}) as it:
        with pytest.raises(type(error)):
            await it.address.ask("bad")
        await it.address.tell("bad")
        await it.until(lambda: it.account().dead_lettered == 1)
        (letter,) = it.dead_letters.list()
        assert letter.retryable
        assert (it.cell.faults, it.cell.incarnation) == (0, 1)


async def test_a_refusal_said_on_purpose_is_neither_crash_nor_fault(run_actor, autojump_clock):
    async with run_actor({"bad": raises(HTTPError(404, "no such order"))}) as it:
        with pytest.raises(HTTPError, match="no such order"):
            await it.address.ask("bad")
        await it.address.tell("bad")
        await it.until(lambda: it.account().handled == 2)
        assert (it.cell.faults, it.cell.incarnation) == (0, 1)


@pytest.mark.parametrize(
    ("kind", "on_error", "crashes"),
    [
        ("ask", None, False),
        ("ask", "restart", True),
        ("ask", "reply", False),
        ("event", None, True),
        ("event", "restart", True),
        ("event", "reply", False),
    ],
)
async def test_on_error_changes_the_rule_for_one_handler(
    run_actor, autojump_clock, kind, on_error, crashes
):
    async with run_actor({"bad": raises(ValueError("v"))}) as it:
        slot = ReplySlot() if kind == "ask" else None
        it.address.offer(Message(kind, "bad", reply=slot, on_error=on_error))
        await it.until(lambda: it.account().in_hand == it.account().waiting == 0)
        await trio.testing.wait_all_tasks_blocked()
        assert (it.cell.incarnation == 2) is crashes
        assert slot is None or slot.filled


async def test_more_faults_than_the_limit_within_the_period_restart(run_actor, autojump_clock):
    async with run_actor({"bad": raises(ValueError())}, fault_limit=2, fault_period=10) as it:
        for pause in (0, 9, 9, 9, 1, 1):
            await trio.sleep(pause)
            with pytest.raises(RemoteError):
                await it.address.ask("bad")
        await it.until(lambda: it.cell.incarnation == 2)


@pytest.mark.parametrize("how", ["cut", "deaf"])
async def test_answers_that_are_late_do_not_count_towards_the_limit(run_actor, autojump_clock, how):
    late = trio.sleep_forever if how == "cut" else deaf
    async with run_actor({"late": late, "bad": raises(ValueError())}, fault_limit=1) as it:
        for _ in range(4):
            with pytest.raises(AskTimeout):
                await it.address.ask("late", timeout=2)
            await it.until(lambda: not it.cell.in_hand)
        assert (it.cell.faults, it.cell.incarnation) == (4, 1)
        for _ in range(2):
            with pytest.raises(RemoteError):
                await it.address.ask("bad")
        await it.until(lambda: it.cell.incarnation == 2)


async def test_a_full_mailbox_refuses_the_sender(run_actor, autojump_clock):
    gate = trio.Event()
    async with run_actor({"*": gate.wait}, capacity=2) as it:
        await it.address.tell("in hand")
        await it.until(lambda: it.account().in_hand == 1)
        await it.address.tell("1")
        await it.address.tell("2")
        with pytest.raises(MailboxFull, match="full \\(it holds 2\\)"):
            await it.address.tell("3")
        statistics = it.account()
        assert (statistics.accepted, statistics.refused, statistics.waiting) == (3, 1, 2)
        gate.set()


async def test_an_ask_that_times_out_cancels_its_handler_and_harms_nobody(
    run_actor, autojump_clock
):
    async with run_actor({"slow": trio.sleep_forever, "good": lambda: 1}) as it:
        with pytest.raises(AskTimeout, match="no reply within 2 s"):
            await it.address.ask("slow", timeout=2)
        assert await it.address.ask("good") == 1
        assert it.account().abandoned == 1
        assert it.cell.incarnation == 1


def late_lines(caplog):
    return [r.message for r in caplog.records if "the time for its answer was up" in r.message]


async def stubborn():
    try:
        await trio.sleep_forever()
    finally:
        raise ValueError("in the finally")


async def deaf():
    with trio.CancelScope(shield=True):
        await trio.sleep(4)


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        (trio.sleep_forever, "slow was cancelled after 2 s"),
        (stubborn, "slow was cancelled after 2 s"),
        (deaf, "slow ended after 4 s"),
    ],
)
async def test_a_handler_that_is_late_is_told_and_counted_once(
    run_actor, autojump_clock, caplog, handler, told
):
    async with run_actor({"*": handler}) as it:
        with pytest.raises(AskTimeout):
            await it.address.request(
                "ask", "*", handler="slow", deadline=trio.current_time() + 2, request_id="r1"
            )
        await it.until(lambda: not it.cell.in_hand)
        assert it.cell.faults == 1
    (line,) = late_lines(caplog)
    assert line.startswith(f"{told}: ")
    (report,) = it.cell.history
    assert str(report).startswith(
        f"failed on the ask str in {told.replace('slow ', 'slow(): ', 1)}"
    )
    assert str(report).endswith("(request r1)")
    assert ("ValueError: in the finally" in line) == (handler is stubborn)
    assert len(caplog.records) == 1


async def test_a_handler_past_its_own_time_is_late_though_its_caller_would_wait(
    run_actor, autojump_clock, caplog
):
    async with run_actor({"*": trio.sleep_forever}) as it:
        with pytest.raises(AskTimeout):
            await it.address.request("ask", "slow", handle_timeout=3)
        assert it.cell.faults == 1
    assert len(late_lines(caplog)) == 1


@pytest.mark.parametrize("ended_by", ["the caller", "the stop"])
async def test_a_handler_that_was_cancelled_before_its_time_is_not_late(
    run_actor, autojump_clock, caplog, ended_by
):
    async with run_actor({"*": trio.sleep_forever}, shutdown=1.0) as it, trio.open_nursery() as n:

        async def ask():
            with contextlib.suppress(ActorStopped):
                await it.address.ask("slow", timeout=60)

        n.start_soon(ask)
        await trio.sleep(1)
        if ended_by == "the caller":
            n.cancel_scope.cancel()
        else:
            it.cell.ending = True
            await it.supervisor.stop()
        await it.until(lambda: not it.cell.in_hand)
        assert it.cell.faults == 0
    assert not late_lines(caplog)


async def test_an_ask_that_expires_while_it_waits_is_never_begun(run_actor, autojump_clock):
    begun = []

    async def slow(message):
        begun.append(message.payload)
        await trio.sleep(10)

    async with run_actor({"*": slow}) as it:
        await it.address.tell("first")
        with pytest.raises(AskTimeout):
            await it.address.ask("second", timeout=1)
        await it.address.tell("third")
        await it.until(lambda: it.account().handled == 2)
        assert begun == ["first", "third"]
        assert it.account().abandoned == 1


async def test_callers_that_give_up_do_not_make_a_stuck_mailbox_grow(run_actor, autojump_clock):
    async with run_actor({"*": trio.sleep_forever}, capacity=3, shutdown=0.1) as it:
        it.address.offer(Message("tell", "stuck", handle_timeout=math.inf))
        for _ in range(50):
            with pytest.raises(AskTimeout):
                await it.address.ask("more", timeout=0.1)
        assert it.account().abandoned == 50
        assert len(it.cell.mailbox.queue) <= 4


async def test_a_tell_past_its_time_is_a_crash(run_actor, autojump_clock):
    async with run_actor({"slow": trio.sleep_forever}) as it:
        began = trio.current_time()
        await it.address.tell("slow")
        await it.until(lambda: it.cell.incarnation == 2)
        assert trio.current_time() - began == pytest.approx(60, abs=0.02)
        (letter,) = it.dead_letters.list()
        assert "did not end within 60 s" in str(letter.report)


async def test_what_is_raised_while_being_cancelled_is_no_crash(run_actor, autojump_clock):
    async with run_actor({"bad": stubborn, "good": lambda: 1}) as it:
        with pytest.raises(AskTimeout):
            await it.address.ask("bad", timeout=1)
        assert await it.address.ask("good") == 1
        assert it.cell.incarnation == 1
        assert it.account().abandoned == 1


async def test_queued_messages_are_answered_by_the_new_incarnation(run_actor, autojump_clock):
    async def crash_soon():
        await trio.sleep(1)
        raise ValueError

    async with run_actor({"crash": crash_soon, "good": lambda: "new"}) as it:
        await it.address.tell("crash")
        await trio.testing.wait_all_tasks_blocked()
        assert await it.address.ask("good") == "new"
        assert it.cell.incarnation == 2


async def test_callers_in_hand_of_a_crash_learn_that_it_restarted(run_actor, autojump_clock):
    async def crash_soon():
        await trio.sleep(1)
        raise SystemExit

    async with run_actor({"slow": trio.sleep_forever, "crash": crash_soon}, concurrency=3) as it:
        async with trio.open_nursery() as nursery:

            async def ask():
                with pytest.raises(ActorRestarted):
                    await it.address.ask("slow")

            nursery.start_soon(ask)
            nursery.start_soon(it.address.tell, "crash")
        assert it.account().faulted == 1
        assert it.account().dead_lettered == 1


async def test_readers_run_beside_each_other_and_a_writer_alone(run_actor, autojump_clock):
    log = []

    async def work(message):
        log.append(f"+{message.payload}")
        await trio.sleep(1)
        log.append(f"-{message.payload}")

    async with run_actor({"*": work}, readers=3) as it:
        for number, mode in enumerate(["reader", "reader", "normal", "reader", "reader"]):
            it.address.offer(Message("tell", number, mode=mode))
        await it.until(lambda: it.account().handled == 5)
        assert sorted(log[:2]) == ["+0", "+1"]
        assert log[4:6] == ["+2", "-2"]
        assert sorted(log[6:8]) == ["+3", "+4"]


async def test_no_more_readers_run_at_once_than_may(run_actor, autojump_clock):
    running = most = 0

    async def work():
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1

    async with run_actor({"*": work}, readers=64) as it:
        for number in range(200):
            it.address.offer(Message("tell", number, mode="reader"))
        await it.until(lambda: it.account().handled == 200)
        assert most == 64


async def test_concurrency_lets_messages_interleave_and_alone_keeps_them_out(
    run_actor, autojump_clock
):
    running = set()
    seen = {}

    async def work(message):
        running.add(message.payload)
        await trio.sleep(1)
        seen[message.payload] = set(running)
        await trio.sleep(1)
        running.discard(message.payload)

    async with run_actor({"*": work}, concurrency=2) as it:
        for number, mode in enumerate(["normal", "normal", "alone", "normal"]):
            it.address.offer(Message("tell", number, mode=mode))
        await it.until(lambda: it.account().handled == 4)
        assert seen[0] == {0, 1}
        assert seen[2] == {2}


async def test_a_background_task_that_dies_is_the_actors_crash(run_actor, autojump_clock):
    async def die():
        await trio.sleep(1)
        raise ValueError("in the background")

    async def start(behaviour):
        behaviour.nursery.start_soon(die)

    async with run_actor({"start": start}) as it:
        await it.until(lambda: it.cell.incarnation == 3)


async def test_a_start_that_never_ends_fails(run_actor, autojump_clock):
    async def start(behaviour):
        await trio.sleep_forever()

    with pytest.RaisesGroup(pytest.RaisesExc(Exception, match="did not end within 30 s")):
        async with run_actor({"start": start}):
            pass
    assert trio.current_time() >= 30


async def test_the_clean_up_runs_after_a_stop_and_after_a_crash(run_actor, autojump_clock):
    stops = []

    async def stop():
        stops.append(trio.current_time())

    async with run_actor({"stop": stop, "bad": raises(ValueError())}) as it:
        await it.address.tell("bad")
        await it.until(lambda: it.cell.incarnation == 2)
        assert len(stops) == 1
    assert len(stops) == 2


async def test_a_stop_lets_the_message_in_hand_end_and_turns_the_others_away(
    run_actor, autojump_clock
):
    async def slow():
        await trio.sleep(1)
        return "done"

    results = []

    async def ask(it):
        try:
            results.append(await it.address.ask("slow"))
        except ActorStopped as stopped:
            results.append(stopped.state)

    async with trio.open_nursery() as nursery:
        async with run_actor({"slow": slow}) as it:
            nursery.start_soon(ask, it)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask, it)
            await trio.testing.wait_all_tasks_blocked()
        it.cell.enter("stopped")
    assert results == ["stopping", "done"], "who waits learns it before what is in hand has ended"
    assert it.account().waiting == 0


async def test_a_handler_that_outlasts_the_stop_is_cut_off_in_time_for_the_clean_up(
    run_actor, autojump_clock
):
    cleaned = []

    async def stop():
        await trio.sleep(1)
        cleaned.append(trio.current_time())

    async with run_actor({"slow": trio.sleep_forever, "stop": stop}, shutdown=4.0) as it:
        it.address.offer(Message("tell", "slow", handle_timeout=math.inf))
        await it.until(lambda: it.account().in_hand == 1)
        began = trio.current_time()
    assert cleaned[0] - began == pytest.approx(3)
    assert it.account().dead_lettered == 1


@pytest.mark.parametrize(("seconds", "said"), [(0.5, True), (0.05, False)])
async def test_an_actor_whose_messages_wait_for_waiting_handlers_is_advised_once(
    run_actor, autojump_clock, caplog, seconds, said
):
    async def wait():
        await trio.sleep(seconds)

    async with run_actor({"*": wait}) as it:
        for _ in range(50):
            await it.address.tell("work")
        await it.until(lambda: it.account().handled == 50)
    assert caplog.text.count('set "concurrency" in its plugin.json') == said


async def test_a_handler_that_works_is_no_reason_for_advice(run_actor, caplog, monkeypatch):
    monkeypatch.setattr("nexus_actors.actors.advice.ENOUGH", 0.05)
    # a machine that gives this thread all its time, however busy it is
    monkeypatch.setattr(time, "thread_time", time.perf_counter)

    def work():
        end = time.perf_counter() + 0.02
        while time.perf_counter() < end:
            pass

    async with run_actor({"*": work}) as it:
        for _ in range(20):
            await it.address.tell("work")
        with trio.fail_after(10):
            await it.address.ask("work")
    assert "concurrency" not in caplog.text


async def test_a_handler_that_swallows_its_cancellation_is_named_in_the_log(
    run_actor, autojump_clock, caplog
):
    async def deaf():
        with trio.CancelScope(shield=True):
            await trio.sleep(20)

    async with run_actor({"*": deaf}) as it:
        for timeout in (1, 1, 5, 5):
            with pytest.raises(AskTimeout):
                await it.address.ask("deaf", timeout=timeout)
    assert caplog.text.count("swallows its cancellation") == 1


async def test_a_flood_of_dead_letters_is_not_a_flood_of_log_lines(
    run_actor, autojump_clock, caplog
):
    async with run_actor({"bad": raises(DatabaseUnavailable("away"))}) as it:
        for _ in range(3):
            for _ in range(100):
                await it.address.tell("bad")
            await it.until(lambda: it.account().waiting == 0)
            await trio.sleep(2)
        assert it.dead_letters.total == 300
    assert len(re.findall(r"dead letter \d+: tell", caplog.text)) == 3
    assert "and 99 more before it" in caplog.text


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("mode", ["normal", "reader"])
@pytest.mark.parametrize("crash_in", ["handler", "background"])
async def test_a_crash_leaves_what_waits_behind_it_to_the_next_incarnation(
    run_actor, autojump_clock, concurrency, mode, crash_in
):
    handled_by = []

    async def start(behaviour):
        behaviours.append(behaviour)

    async def die():
        raise ValueError

    async def crash():
        if crash_in == "handler":
            raise ValueError
        behaviours[-1].nursery.start_soon(die)
        await trio.lowlevel.checkpoint()

    def good(message):
        handled_by.append(it.cell.incarnation)

    behaviours = []
    script = {"start": start, "crash": crash, "*": good}
    async with run_actor(script, concurrency=concurrency) as it:
        it.address.offer(Message("tell", "crash"))
        for number in range(12):
            it.address.offer(Message("tell", number, mode=mode))
        await it.until(lambda: it.account().waiting == it.account().in_hand == 0)
        if crash_in == "handler" and concurrency == 1:
            assert handled_by == [2] * 12
        assert it.account().dead_lettered <= 1, "at most the one that was in hand of the crash"
        assert len(handled_by) == 12, "none was lost, none was handled twice"


async def test_callers_learn_of_a_crash_before_the_handlers_have_cleaned_up(
    run_actor, autojump_clock
):
    async def slow_to_go():
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(100)

    async with run_actor({"slow": slow_to_go, "bad": raises(ValueError())}, concurrency=2) as it:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def ask():
                with pytest.raises(ActorRestarted):
                    await it.address.ask("slow", timeout=3)

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(it.address.tell, "bad")
        assert trio.current_time() - began < 1
        await it.until(lambda: it.cell.incarnation == 2)
        assert it.account().faulted == 1


@pytest.mark.parametrize("give_up_first", [True, False])
async def test_an_answer_that_nobody_takes_is_discarded(run_actor, autojump_clock, give_up_first):
    answered, discarded = trio.Event(), []

    async def answer():
        await answered.wait()
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
        return "a stream"

    async with run_actor({"*": answer}) as it:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def ask():
                    await it.address.request("http", "x", discard=discarded.append)

                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                if give_up_first:
                    scope.cancel()
                    answered.set()
                else:
                    (message,) = it.cell.in_hand.values()
                    scope.cancel()  # under way to the caller when the answer comes
                    message.reply.set("a stream")
        await it.until(lambda: discarded == ["a stream"])
        answered.set()


async def test_a_fault_beside_a_refusal_is_answered_as_a_fault(run_actor, autojump_clock):
    group = ExceptionGroup("both", [HTTPError(404, "gone"), ValueError("v")])
    async with run_actor({"bad": raises(group)}) as it:
        with pytest.raises(RemoteError):
            await it.address.ask("bad")


async def test_a_start_that_shields_itself_past_its_deadline_is_told(
    run_actor, autojump_clock, caplog
):
    async def start(_):
        with trio.CancelScope(shield=True):
            await trio.sleep(3)

    async with run_actor({"start": start}, start_timeout=2) as it:
        words = "initialize took 3.0 s, past its deadline of 2 s: it shields itself"
        assert [report for report in it.cell.history if words in str(report)]
        assert words in caplog.text
