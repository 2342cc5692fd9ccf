"""Random trees under random treatment: what a supervisor promises holds, whatever happens."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "support"))
import random_programs
from random_trees import program, smaller
from tree_world import World

MACHINE = random_programs.Machine(
    "tests/supervisors/test_random_trees.py", program, World, smaller, examples=1000, share=0.1
)


@random_programs.limit(MACHINE.examples)
def test_whatever_happens_to_a_tree_every_promise_holds(monkeypatch):
    MACHINE.run(monkeypatch)
