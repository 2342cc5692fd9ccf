"""Random trees under random treatment: what a supervisor promises holds, whatever happens.

``HYPOTHESIS_PROFILE=soak`` runs many more, with new seeds each time; ``RANDOM_TREES=5000`` so many.
"""

import os
import random

import pytest
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_trees import program, smaller
from tree_world import World
from trio._core import _run as scheduler
from trio.testing import MockClock

SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
EXAMPLES = int(os.environ.get("RANDOM_TREES", 20_000 if SOAK else 1000))


def broken(given_program, monkeypatch):
    """What did not hold. In mocked time; the program's seed says in which order Trio runs tasks
    that are ready together."""
    world = World(given_program)
    with monkeypatch.context() as patch:
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


@pytest.mark.timeout(120 + EXAMPLES // 10)
@given(seed=st.integers(0, 2**64 - 1))
@settings(
    max_examples=EXAMPLES,
    derandomize=not SOAK,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # a seed has nothing to shrink; least() does that
    suppress_health_check=list(HealthCheck),
)
def test_whatever_happens_to_a_tree_every_promise_holds(monkeypatch, seed):
    one = program(random.Random(seed))
    if broken(one, monkeypatch):
        one = least(one, monkeypatch)
        pytest.fail("\n".join([*broken(one, monkeypatch), repr(one)]))
