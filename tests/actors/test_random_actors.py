"""Random systems of actors under random treatment: what actors promise holds, whatever happens.

``NEXUS_RANDOM_ACTORS=5000`` runs so many, with new seeds each time.
"""

import logging
import os
import random
import sys
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from trio._core import _run as scheduler
from trio.testing import MockClock

sys.path.append(str(Path(__file__).parent / "support"))
from actor_world import World
from random_actors import program, smaller

MORE = os.environ.get("NEXUS_RANDOM_ACTORS", "")
EXAMPLES = int(MORE or 200)


def broken(given_program, monkeypatch):
    """What did not hold. In mocked time; the program's seed says in which order Trio runs tasks
    that are ready together."""
    world = World(given_program)
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # they fail all the time
    with world.watched(monkeypatch), monkeypatch.context() as patch:
        patch.setattr(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
        scheduler._r.seed(given_program.seed)
        trio.run(world.run, clock=MockClock(autojump_threshold=0))
    return world.broken


def least(failing, monkeypatch):
    """What is left of a failing program when nothing more can be left out."""
    for less in smaller(failing):
        if broken(less, monkeypatch):
            return least(less, monkeypatch)
    return failing


@pytest.mark.timeout(120 + EXAMPLES // 5)
@given(seed=st.integers(0, 2**64 - 1))
@settings(
    max_examples=EXAMPLES,
    derandomize=not MORE,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # a seed has nothing to shrink; least() does that
    suppress_health_check=list(HealthCheck),
)
def test_whatever_happens_to_actors_every_promise_holds(monkeypatch, seed):
    one = program(random.Random(seed))
    if broken(one, monkeypatch):
        one = least(one, monkeypatch)
        pytest.fail("\n".join([*broken(one, monkeypatch), repr(one)]))
