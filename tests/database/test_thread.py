"""The thread with an asyncio loop: what crosses to it and back, and that its end frees everyone."""

import asyncio
import threading
from contextlib import suppress

import pytest
import trio
import trio.testing

from nexus_actors.database.thread import AsyncioThread
from nexus_actors.errors import DatabaseUnavailable


@pytest.fixture
async def thread(nursery: trio.Nursery) -> AsyncioThread:
    thread = AsyncioThread()
    await nursery.start(thread.run)
    return thread


async def test_work_runs_in_the_other_thread_and_its_result_comes_back(
    thread: AsyncioThread,
) -> None:
    async def work(a: int, b: int) -> tuple[int, int]:
        await asyncio.sleep(0)
        return a + b, threading.get_ident()

    result, where = await thread.call(work, 1, 2)
    assert result == 3
    assert where != threading.get_ident()


async def test_an_error_comes_back(thread: AsyncioThread) -> None:
    async def work() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        await thread.call(work)


async def test_many_results_at_once_wake_trio_once(
    thread: AsyncioThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hand-over is batched in both directions."""
    all_there = asyncio.Event()
    there: list[int] = []

    async def work(number: int) -> int:
        there.append(number)
        if len(there) == 20:
            all_there.set()
        await all_there.wait()
        return number

    handed_over: list[int] = []
    call_trio = thread._call_trio

    def counted() -> None:
        handed_over.append(len(thread._outbox))
        call_trio()

    monkeypatch.setattr(thread, "_call_trio", counted)
    results: list[int] = []

    async def call(number: int) -> None:
        results.append(await thread.call(work, number))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(call, number)
    assert sorted(results) == list(range(20))
    assert handed_over == [20]


async def test_cancelling_waits_until_the_work_has_ended(thread: AsyncioThread) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            ended.append("tidied up")

    with trio.move_on_after(0.05) as scope:
        await thread.call(work)
    assert scope.cancelled_caught
    assert ended == ["tidied up"]


async def test_work_cancelled_before_it_began_does_not_begin(thread: AsyncioThread) -> None:
    began: list[int] = []

    async def work() -> None:
        began.append(1)

    with trio.CancelScope() as scope:
        scope.cancel()
        await thread.call(work)
    assert scope.cancelled_caught
    assert began == []


async def test_a_result_that_came_in_spite_of_the_cancellation_is_returned(
    thread: AsyncioThread,
) -> None:
    async def work() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "done all the same"
        return ""

    with trio.move_on_after(0.05):
        assert await thread.call(work) == "done all the same"


async def test_the_end_of_the_thread_ends_all_work() -> None:
    tidied: list[int] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            tidied.append(1)

    async def call() -> None:
        with pytest.raises(DatabaseUnavailable, match="the node is stopping"):
            await thread.call(work)

    thread = AsyncioThread()
    with trio.fail_after(5):
        async with trio.open_nursery() as callers:
            async with trio.open_nursery() as nursery:
                await nursery.start(thread.run)
                for _ in range(3):
                    callers.start_soon(call)
                await trio.testing.wait_all_tasks_blocked(0.01)
                nursery.cancel_scope.cancel()
    assert tidied == [1, 1, 1]
    with pytest.raises(DatabaseUnavailable, match="the node is stopping"):
        await thread.call(work)


async def test_work_that_does_not_end_does_not_keep_the_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nexus_actors.database.thread.ENDING", 0.05)
    release = threading.Event()

    async def stubborn() -> None:
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    async def call() -> None:
        with pytest.raises(DatabaseUnavailable):
            await thread.call(stubborn)

    thread = AsyncioThread()
    with trio.fail_after(5):
        async with trio.open_nursery() as callers:
            async with trio.open_nursery() as nursery:
                await nursery.start(thread.run)
                callers.start_soon(call)
                await trio.testing.wait_all_tasks_blocked(0.01)
                nursery.cancel_scope.cancel()
