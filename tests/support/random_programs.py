"""What tests of random programs share: the seeds, mocked time, the least program that still fails.

A test has a :class:`Machine`: how a program is made of a random generator, and the world that runs
it. Hypothesis draws nothing but the generator's seed; the program comes from that, for programs
that are drawn choice by choice are too much alike.

==========================  ====================================================================
``NEXUS_RANDOM_SEED``       runs the program of this seed alone, as a failure said it
``NEXUS_RANDOM_EXAMPLES``   runs so many instead of the number that CI runs
``NEXUS_SOAK_SECONDS``      runs 2,000, and then fresh ones until all machines together took so long
==========================  ====================================================================
"""

from __future__ import annotations

import logging
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import attrs
import pytest
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from trio._core import _run as scheduler
from trio.testing import MockClock

__all__ = ["Machine", "World"]

SOAK = float(os.environ.get("NEXUS_SOAK_SECONDS", 0))
ONE = os.environ.get("NEXUS_RANDOM_SEED")
SOAK_EXAMPLES = 2000
"""Before the fresh ones: always the same."""


class World(Protocol):
    """Runs one program, once."""

    broken: list[str]
    """What did not hold."""

    async def run(self) -> None:
        """Run it; nothing is raised for what did not hold."""


def limit(examples: int) -> Any:
    """The mark for a test that runs so many: how long it may take."""
    seconds = 120 + (_examples(examples) // 4)
    return pytest.mark.timeout(0 if SOAK else seconds)


def _examples(by_default: int) -> int:
    return int(os.environ.get("NEXUS_RANDOM_EXAMPLES", SOAK_EXAMPLES if SOAK else by_default))


@attrs.define
class Machine:
    """Random programs of one kind."""

    test: str
    """What runs it, as pytest is told."""
    program: Callable[[random.Random], Any]
    world: Callable[[Any], Any]
    smaller: Callable[[Any], Iterator[Any]]
    """The same program with something less, in every way there is."""
    examples: int = 200
    share: float = 1.0
    """Of the time of a soak."""
    expected: Mapping[str, int] = attrs.field(factory=dict)
    """What is done in 200 programs, and how often at least."""
    did: Counter[str] = attrs.field(factory=Counter)
    """What the worlds counted, all together."""
    ran: int = 0

    def run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The whole of the test."""
        monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # all fail often
        if ONE is not None:
            self.try_seed(int(ONE), monkeypatch)
            return
        examples = _examples(self.examples)
        settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],  # a seed has nothing to shrink; least() does that
            suppress_health_check=list(HealthCheck),
        )(given(seed=st.integers(0, 2**64 - 1))(self._try_given(monkeypatch)))()
        if SOAK:
            self._tell()
            self._soak(SOAK * self.share, monkeypatch)
        self._check_variety()

    def _try_given(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
        def whatever_happens_every_promise_holds(seed: int) -> None:
            self.try_seed(seed, monkeypatch)

        return whatever_happens_every_promise_holds

    def _soak(self, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        fresh, ends = random.SystemRandom(), time.monotonic() + seconds
        tell_at = time.monotonic() + 60
        while time.monotonic() < ends:
            self.try_seed(fresh.randrange(2**64), monkeypatch)
            if time.monotonic() > tell_at:
                tell_at += 300
                self._tell()
        self._tell()

    def _tell(self) -> None:
        what = ", ".join(f"{count:,} {name}" for name, count in sorted(self.did.items()))
        print(f"\n{self.test}: {self.ran:,} programs; {what}", file=sys.stderr, flush=True)

    def _check_variety(self) -> None:
        """Whether what is to be tested has happened at all, and often."""
        rare = {
            name: self.did[name]
            for name, least in self.expected.items()
            if self.did[name] < least * self.ran / 200
        }
        assert not rare, f"too rarely in {self.ran} programs: {rare}; there were {self.did}"

    def try_seed(self, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Run the program of ``seed``; where something does not hold, fail with the least program
        that shows it."""
        one = self.program(random.Random(seed))
        self.ran += 1
        if self.broken(one, monkeypatch, self.did):
            one = self.least(one, monkeypatch)
            words = self.broken(one, monkeypatch)
            again = f"NEXUS_RANDOM_SEED={seed} python -m pytest {self.test}"
            pytest.fail("\n".join([*words, f"{one!r}", f"seed {seed}; again: {again}"]))

    def broken(
        self, program: Any, monkeypatch: pytest.MonkeyPatch, did: Counter[str] | None = None
    ) -> list[str]:
        """What did not hold. In mocked time; the program's seed says in which order Trio runs tasks
        that are ready together."""
        world = self.world(program)
        watched: AbstractContextManager[Any] = (
            world.watched(monkeypatch) if hasattr(world, "watched") else nullcontext()
        )
        with watched, monkeypatch.context() as patch:
            patch.setattr(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
            scheduler._r.seed(program.seed)
            trio.run(world.run, clock=MockClock(autojump_threshold=0))
        if did is not None:
            did.update(getattr(world, "did", {}))
        return list(world.broken)

    def least(self, failing: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        """What is left of a failing program when nothing more can be left out."""
        while less := next(filter(self._fails(monkeypatch), self.smaller(failing)), None):
            failing = less
        return failing

    def _fails(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], bool]:
        return lambda program: bool(self.broken(program, monkeypatch))
