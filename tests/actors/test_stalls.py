"""A system without a node: who holds the event loop is named in the log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import trio

from nexus_actors.actors import Actor, handles, open_system

SOON = 0.05
"""``stall_warn``, seconds."""


class Holder(Actor):
    """Holds the loop until ``until`` says so, where ``where`` says."""

    def __init__(self, where: str, until: Callable[[], bool]) -> None:
        self.where = where
        self.until = until
        self.hold_in("init")

    async def initialize(self) -> None:
        self.hold_in("initialize")

    async def cleanup(self) -> None:
        self.hold_in("cleanup")

    @handles
    async def on_text(self, text: str) -> None:
        self.hold_in("handler")
        if self.where == "later":
            await trio.lowlevel.checkpoint()
            self.hold_in("later")
        if self.where == "task":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.task)
        if self.where == "background":
            self.nursery.start_soon(self.task)

    @handles
    def on_number(self, number: int) -> int:
        self.hold_in("sync")
        return number

    async def task(self) -> None:
        self.hold_in("task")
        self.hold_in("background")

    def hold_in(self, where: str) -> None:
        end = time.monotonic() + 10
        while where == self.where and not self.until() and time.monotonic() < end:
            time.sleep(0.001)


PLACES = ["init", "initialize", "cleanup", "handler", "later", "task", "background", "sync"]


@pytest.mark.parametrize("place", PLACES)
async def test_an_actor_that_holds_the_loop_is_named_with_the_line_it_is_at(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    def named() -> bool:
        return "has held the loop" in caplog.text

    async with open_system(stall_warn=SOON) as system:
        holder = await system.spawn(Holder, place, named, name="holder")
        await holder.tell("hold")
        await holder.ask(1)
    (said,) = [each for each in caplog.messages if "has held the loop" in each]
    assert said.startswith("holder has held the loop for 0.")
    assert "in Holder.hold_in at " in said
    assert "test_stalls.py:" in said


async def test_when_it_lets_go_that_is_said_and_the_next_one_is_named_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def said(words: str) -> int:
        return sum(words in each for each in caplog.messages)

    async with open_system(stall_warn=SOON) as system:
        for times in (1, 2):
            holder = await system.spawn(
                Holder,
                "sync",
                lambda: said("has held the loop") == times,  # noqa: B023
                name=f"holder-{times}",
            )
            await holder.ask(1)
            with trio.fail_after(10):
                while said("has let go of the loop after") < times:  # noqa: ASYNC110 - a log
                    await trio.sleep(0.001)
    assert said("holder-1 has held the loop") == said("holder-2 has held the loop") == 1


async def test_who_does_not_hold_it_for_that_long_is_not_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_system(stall_warn=1.0) as system:
        began = time.monotonic()
        holder = await system.spawn(
            Holder, "sync", lambda: time.monotonic() > began + 0.2, name="holder"
        )
        await holder.ask(1)
    assert not caplog.messages


@pytest.mark.parametrize(("after", "looks"), [(None, False), (1.0, True)])
async def test_nobody_looks_where_that_is_switched_off(after: float | None, looks: bool) -> None:
    async with open_system(stall_warn=after):
        assert ("nexus-stalls" in [each.name for each in threading.enumerate()]) is looks
    assert "nexus-stalls" not in [each.name for each in threading.enumerate()]


async def test_a_system_within_another_names_nobody_twice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_system(stall_warn=SOON), open_system(stall_warn=SOON) as system:
        began = time.monotonic()
        holder = await system.spawn(
            Holder, "sync", lambda: time.monotonic() > began + 0.4, name="holder"
        )
        await holder.ask(1)
    assert sum("has held the loop" in each for each in caplog.messages) == 1


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), float("inf")])
async def test_a_time_to_warn_after_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="stall_warn must be a number of seconds"):
        async with open_system(stall_warn=wrong):
            pass
