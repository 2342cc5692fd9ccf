"""Where an interrupt may be raised, who holds the loop, and when there is no watchdog."""

from __future__ import annotations

import contextlib
import dis
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
import trio

from nexus_actors import log
from nexus_actors.config import NodeSettings
from nexus_actors.node.interrupt import Interrupter, _leaves_with, read_stack
from nexus_actors.node.watchdog import guarding
from nexus_actors.plugin.stalls import Owner, StallInterrupt, owned_by

SHORT = NodeSettings(stall_warn=0.1, stall_limit=0.3)


def code_of_a_plugin(source: str) -> dict[str, Any]:
    """The names of a module that counts as a plugin's."""
    module: dict[str, Any] = {"__name__": "nexus_plugins.shop.plugin", "contextlib": contextlib}
    exec(compile(source, "shop.py", "exec"), module)
    return module


CALLS = code_of_a_plugin(
    """
def direct(look):
    look()

@contextlib.contextmanager
def managed(look):
    look()
    yield

def in_a_context_manager(look):
    with managed(look):
        pass

def by_way_of_contextlib(look):
    with contextlib.closing(Closes(look)):
        pass

class Closes:
    def __init__(self, look):
        self.close = look
"""
)


def look_from(look: Callable[[], Any], module: str) -> Callable[[], Any]:
    """``look`` called by a frame of ``module``."""
    names: dict[str, Any] = {"__name__": module, "look": look}
    exec("def call(): return look()", names)
    call: Callable[[], Any] = names["call"]
    return call


@pytest.mark.parametrize(
    ("called", "by", "direct"),
    [
        ("direct", "json", True),
        ("direct", "trio._core._run", False),
        ("direct", "asyncio.events", False),
        ("direct", "threading", False),
        ("direct", "logging", False),
        ("direct", "nexus_actors.events.bus", False),
        ("in_a_context_manager", "json", True),
        ("by_way_of_contextlib", "json", False),
    ],
)
def test_nothing_is_raised_in_the_frames_of_what_keeps_state(
    called: str, by: str, direct: bool
) -> None:
    found: list[Any] = []
    look = look_from(lambda: found.append(read_stack(sys._getframe(1))), by)
    CALLS[called](look)
    (stack,) = found
    assert stack.plugin == "shop"
    assert stack.direct is direct
    assert stack.frames[0].f_globals is CALLS


def body(scope: Any) -> None:
    with scope:
        sum([1])
    sum([2])


async def async_body(scope: Any) -> None:
    async with scope:
        sum([1])
    sum([2])


def returns(scope: Any) -> Any:
    with scope:
        return sum([1])


@pytest.mark.parametrize("function", [body, async_body, returns])
def test_the_line_that_leaves_a_with_block_is_known(function: Any) -> None:
    code = function.__code__
    leaving = [
        each.offset
        for each in dis.get_instructions(code)
        if each.opname == "WITH_EXCEPT_START"
        or (each.starts_line is not None and _leaves_with(code, each.offset))
    ]
    lines = {
        line for start, end, line in code.co_lines() for offset in leaving if start <= offset < end
    }
    assert len(leaving) >= 2
    assert lines == {code.co_firstlineno + 1}


class Scope:
    """Counts how often it was left."""

    left = 0

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.left += 1


def test_an_armed_interrupt_lets_every_scope_be_left() -> None:
    plugin = code_of_a_plugin(
        """
def run(scope, arm):
    with scope:
        arm()
    return "missed"
"""
    )
    interrupter = Interrupter()

    def strike() -> None:
        stack = read_stack(sys._getframe(0))
        assert interrupter.strike(stack, StallInterrupt("now"), twice=False) == "later"

    before = sys.gettrace()
    scope = Scope()
    try:
        with pytest.raises(StallInterrupt):
            plugin["run"](scope, look_from(strike, "trio._core._run"))
    finally:
        after = sys.gettrace()
        sys.settrace(before)
    assert after is None
    assert scope.left == 1


# -- without a plugin, a main thread, or at all -------------------------------------------------


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    log.unconfigure()
    with caplog.at_level(logging.INFO):
        yield lambda: "\n".join(record.getMessage() for record in caplog.records)


async def hold(seconds: float) -> None:
    with guarding(SHORT) as watchdog:
        assert watchdog is not None
        with watchdog.watching_loop():
            await trio.sleep(0.05)
            limit = time.monotonic() + seconds
            while time.monotonic() < limit:
                pass
            await trio.sleep(0.05)


def test_code_that_is_no_plugins_is_named_and_not_interrupted(said: Callable[[], str]) -> None:
    before = signal.getsignal(signal.SIGUSR2)
    trio.run(hold, 0.6)
    assert "the node has held the loop for 0.1 s: in hold at " in said()
    assert "it is not interrupted: it is no plugin's" in said()
    assert signal.getsignal(signal.SIGUSR2) == before


def test_the_loop_of_an_idle_node_is_not_woken() -> None:
    class Counts(trio.abc.Instrument):
        times = 0

        def after_io_wait(self, timeout: float) -> None:
            self.times += 1

    async def idle() -> int:
        with guarding(SHORT) as watchdog:
            assert watchdog is not None
            with watchdog.watching_loop():
                await trio.sleep(0.1)  # the first beat may go out before it waits
                counts = Counts()
                trio.lowlevel.add_instrument(counts)
                await trio.sleep(10 * SHORT.stall_warn)
                return counts.times

    assert trio.run(idle) <= 2  # by its own clock, and perhaps by a beat before it waited


def test_who_swallowed_an_interrupt_is_crashed_also_where_the_loop_is_idle_from_then_on() -> None:
    plugin = code_of_a_plugin(
        """
def swallow():
    try:
        while True:
            pass
    except BaseException:
        pass
"""
    )

    async def run() -> None:
        with guarding(SHORT) as watchdog:
            assert watchdog is not None
            with watchdog.watching_loop(), owned_by(Owner("shop", crashed)):
                plugin["swallow"]()
                with trio.fail_after(30):
                    await done.wait()

    def crashed(error: BaseException) -> None:
        assert isinstance(error, StallInterrupt)
        done.set()

    done = trio.Event()
    trio.run(run)


def test_code_outside_of_the_main_thread_that_keeps_pythons_lock_is_reported_too() -> None:
    program = """
import itertools, threading, trio
from nexus_actors.config import NodeSettings
from nexus_actors.node.watchdog import guarding

async def main():
    with guarding(NodeSettings(stall_warn=0.1, stall_limit=0.3)) as watchdog:
        with watchdog.watching_loop():
            await trio.sleep(0.05)
            sum(itertools.repeat(1))

threading.Thread(target=trio.run, args=(main,)).start()
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        end = threading.Timer(60, process.kill)  # or without a report it would go on for ever
        end.start()
        try:
            for line in process.stderr:
                if line.startswith("Stack"):
                    break
            assert ", line 10 in main" in process.stderr.readline()
        finally:
            end.cancel()
            process.kill()


def test_a_watchdog_that_ends_leaves_no_handler_behind() -> None:
    for _ in range(2 * (signal.SIGRTMAX - signal.SIGRTMIN)):
        with guarding(SHORT) as watchdog:
            assert watchdog is not None
            assert watchdog._cry is not None


def test_a_loop_outside_of_the_main_thread_is_named_and_not_interrupted(
    said: Callable[[], str],
) -> None:
    thread = threading.Thread(target=trio.run, args=(hold, 0.6))
    thread.start()
    thread.join()
    assert "does not run in the main thread: code that holds its loop is named, and" in said()
    assert "in hold at " in said()
    assert "it is not interrupted: the node does not run in the main thread" in said()


def test_a_signal_that_is_taken_is_left_alone(said: Callable[[], str]) -> None:
    def handler(number: int, frame: FrameType | None) -> None:
        pass

    before = signal.signal(signal.SIGUSR2, handler)
    try:
        trio.run(hold, 0.4)
        assert signal.getsignal(signal.SIGUSR2) is handler
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert "set node.stall_signal to another" in said()
    assert "it is not interrupted: SIGUSR2 is handled by others" in said()


def test_under_a_debugger_there_is_no_watchdog(said: Callable[[], str]) -> None:
    before = sys.gettrace()
    sys.settrace(lambda *_: None)
    try:
        with guarding(SHORT) as watchdog:
            assert watchdog is None
    finally:
        sys.settrace(before)
    assert "the watchdog is off: a trace function is set" in said()
