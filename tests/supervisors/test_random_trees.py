"""Random trees under random treatment: what a supervisor promises holds, whatever happens.

``HYPOTHESIS_PROFILE=soak`` runs many more examples, with new seeds; ``RANDOM_TREES=5000`` so many.
"""

import os

import random_trees
import trio
from hypothesis import HealthCheck, given, settings
from tree_world import World
from trio._core import _run as scheduler
from trio.testing import MockClock

SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
EXAMPLES = int(os.environ.get("RANDOM_TREES", 20_000 if SOAK else 200))


def run(program, monkeypatch):
    """In mocked time, and with tasks that are ready together run in an order the seed gives."""
    world = World(program)
    with monkeypatch.context() as patch:
        patch.setattr(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
        scheduler._r.seed(program.seed)
        trio.run(world.run, clock=MockClock(autojump_threshold=0))
    return world


@given(program=random_trees.programs())
@settings(
    max_examples=EXAMPLES,
    derandomize=not SOAK,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_whatever_happens_to_a_tree_every_promise_holds(monkeypatch, program):
    world = run(program, monkeypatch)
    assert world.broken == []
