"""The handshake of a start, the stop request, and every way for a child to end."""

import math

import pytest
import trio

from supervisors import (
    IGNORE,
    KILLED,
    NORMAL,
    SHUTDOWN,
    ChildSpec,
    Exit,
    StartFailed,
    Supervisor,
    error,
    kill,
    shutdown_with,
)


class Own(BaseException):
    """As an interrupt of a blocked loop would be."""


async def ended(run, life, *, ask=False):
    """Run one temporary child to its end; give its handle."""
    ref = await run(Supervisor([]))
    child = await ref.start_child(ChildSpec("a", life, restart="temporary"))
    assert child is not None
    if ask:
        await ref.terminate_child("a")
    with trio.fail_after(100):
        await child.wait_ended()
    assert ref.is_alive
    return child


def after_started(then):
    async def life(child):
        child.started()
        return then()

    return life


def raises(exc):
    def then():
        raise exc

    return then


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (lambda: None, "normal"),
        (lambda: NORMAL, "normal"),
        (lambda: SHUTDOWN, "shutdown"),
        (lambda: shutdown_with("done"), "shutdown: done"),
        (lambda: error("boom"), "error: boom"),
        (lambda: 42, "error: it returned 42, which is not an ExitReason"),
        (lambda: IGNORE, "error: it returned IGNORE, which is not an ExitReason"),
        (raises(Exit(shutdown_with("x"))), "shutdown: x"),
        (raises(ValueError("boom")), "ValueError: boom"),
        (raises(ExceptionGroup("g", [ValueError("boom")])), "ValueError: boom"),
        (raises(SystemExit(3)), "SystemExit: 3"),
        (raises(KeyboardInterrupt()), "KeyboardInterrupt"),
        (raises(Own("stalled")), f"{__name__}.Own: stalled"),
    ],
)
async def test_every_way_of_ending_is_a_reason(run, then, words):
    child = await ended(run, after_started(then))
    assert str(child.exit_reason) == words


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (lambda: None, "shutdown"),
        (lambda: NORMAL, "normal"),
        (lambda: error("late"), "error: late"),
        (raises(ValueError("in cleanup")), "ValueError: in cleanup"),
    ],
)
async def test_a_child_that_was_asked_to_stop_ends_with_shutdown_or_what_it_says(run, then, words):
    async def life(child):
        child.started()
        await child.wait_stop()
        return then()

    assert str((await ended(run, life, ask=True)).exit_reason) == words


async def test_a_killed_child_ends_with_killed(run):
    async def life(child):
        child.started()
        kill(child)
        await trio.sleep_forever()

    assert (await ended(run, life)).exit_reason == KILLED


async def test_an_error_in_the_cleanup_of_a_killed_child_is_its_reason(run):
    async def life(child):
        child.started()
        try:
            kill(child)
            await trio.sleep_forever()
        finally:
            raise ValueError("in cleanup")

    assert str((await ended(run, life)).exit_reason) == "ValueError: in cleanup"


async def test_an_error_beside_a_cancellation_in_a_nursery_is_its_reason(run):
    async def life(child):
        child.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise ValueError("boom")

    assert str((await ended(run, life)).exit_reason) == "ValueError: boom"


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "it returned before it called started()"),
        (error("boom"), "boom"),
        ("weird", "it returned 'weird', which is not an ExitReason"),
        (SHUTDOWN, "shutdown"),
    ],
)
async def test_to_return_before_started_is_a_failed_start(run, returned, words):
    async def life(child):
        return returned

    with pytest.raises(StartFailed) as info:
        await run(Supervisor([ChildSpec("a", life)]))
    assert words in str(info.value)


@pytest.mark.parametrize("exc", [ValueError("boom"), SystemExit(1), KeyboardInterrupt(), Own()])
async def test_to_raise_before_started_is_a_failed_start(run, exc):
    async def life(child):
        raise exc

    with pytest.raises(StartFailed, match=type(exc).__name__):
        await run(Supervisor([ChildSpec("a", life)]))


async def test_a_start_function_that_is_not_async_is_a_failed_start(run):
    with pytest.raises(StartFailed, match="its start function is not async: it returned None"):
        await run(Supervisor([ChildSpec("a", lambda child: None)]))


async def test_started_is_called_once(run):
    async def life(child):
        child.started()
        child.started()

    child = await ended(run, life)
    assert (
        str(child.exit_reason) == "RuntimeError: root/a: started() was called when it was running"
    )


async def test_a_child_knows_its_spec_and_its_name(run):
    async def life(child):
        child.started()
        seen = (child.id, child.restart, child.shutdown, child.name, child.incarnation)
        return error(seen)

    child = await ended(run, life)
    assert child.exit_reason == error(("a", "temporary", 5.0, "root/a", 1))


async def test_a_stop_request_has_a_deadline(run):
    seen = []

    async def life(child):
        seen.append((child.stop_requested, child.stop_deadline))
        child.started()
        await child.wait_stop()
        seen.append((child.stop_requested, child.stop_deadline - trio.current_time()))
        await child.wait_stop()  # does not wait any more

    await ended(run, life, ask=True)
    assert seen == [(False, math.inf), (True, pytest.approx(5.0))]


async def test_on_stop_calls_back_at_the_request_and_at_once_after_it(run):
    calls = []

    async def life(child):
        child.started()
        child.on_stop(lambda: calls.append("early"))
        await child.wait_stop()
        child.on_stop(lambda: calls.append("late"))

    await ended(run, life, ask=True)
    assert calls == ["early", "late"]


async def test_an_on_stop_that_raises_is_the_childs_end_not_the_supervisors(run):
    async def life(child):
        child.started()
        child.on_stop(raises(ValueError("in on_stop")))
        await trio.sleep_forever()

    child = await ended(run, life, ask=True)
    assert str(child.exit_reason) == "ValueError: in on_stop"


async def test_repr_says_who_and_how(run):
    child = await ended(run, after_started(lambda: None))
    assert repr(child) == "<Child root/a#1 ended>"


@pytest.mark.parametrize("fault", [SystemExit, KeyboardInterrupt])
async def test_an_exception_whose_words_cannot_be_made_is_the_end_of_the_child_alone(run, fault):
    class Mute(Exception):
        def __str__(self):
            raise fault

    child = await ended(run, after_started(raises(Mute())))
    assert child.exit_reason.kind == "error"
