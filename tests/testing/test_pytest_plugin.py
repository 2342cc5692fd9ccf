"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SOMEBODY_ELSES = """
import asyncio

import pytest


@pytest.fixture
def four():
    return 4


def test_four(four):
    assert asyncio.run(asyncio.sleep(0, four)) == 4


@pytest.mark.skip(reason="for a plugin of theirs")
async def test_in_a_loop(four):
    await asyncio.sleep(0)
"""

BUSY = """
import trio

from nexus_actors.plugin import Plugin


class Busy(Plugin):
    async def initialize(self):
        await self.emit_event("work.begun", {})
        self.nursery.start_soon(self.work)

    async def work(self):
        try:
            await self.emit_event("work.done", {})
            await trio.sleep_forever()
        finally:
            self.ended = True

    async def die(self):
        raise ValueError("unseen")
"""

ALONE = """
import asyncio

import pytest
from busy import Busy
from nexus_actors.testing import alone


async def test_it_has_a_nursery_and_keeps_events():
    plugin = Busy({})
    async with alone(plugin) as seen:
        await plugin.initialize()
        while len(seen.events) < 2:
            await asyncio.sleep(0.001)
        assert not hasattr(plugin, "ended")
    assert [event.type for event in seen.events] == ["work.begun", "work.done"]
    assert plugin.ended


async def test_a_task_that_dies_is_raised():
    plugin = Busy({})
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="unseen")):
        async with alone(plugin):
            plugin.nursery.start_soon(plugin.die)
            await asyncio.sleep(20)
    await asyncio.sleep(0)  # nothing of the cancellation is left


async def test_what_the_block_raises_comes_out():
    with pytest.raises(KeyError):
        async with alone(Busy({})):
            raise KeyError("x")


async def test_a_cancellation_from_outside_goes_through():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), alone(Busy({})):
            await asyncio.sleep(20)
"""


def pytest_on(folder, source, *options):
    (folder / "test_it.py").write_text(source)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, "test_it.py"],
        cwd=folder,
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
            "PYTHONPATH": str(folder),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("in_a_plugin", [False, True])
def test_without_pytest_trio_tests_run_as_if_it_were_not_there(tmp_path, in_a_plugin):
    if in_a_plugin:  # of some other system that has a plugin.json
        (tmp_path / "plugin.json").write_text("{}")
    run = pytest_on(tmp_path, SOMEBODY_ELSES, "-p", "no:trio")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed, 1 skipped" in run.stdout


def test_alone_works_in_a_test_written_for_asyncio(tmp_path):
    (tmp_path / "plugin.json").write_text("{}")
    (tmp_path / "busy.py").write_text(BUSY)
    run = pytest_on(tmp_path, ALONE, "--timeout=20")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "4 passed" in run.stdout
