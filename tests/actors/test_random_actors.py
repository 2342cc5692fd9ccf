"""Random systems of actors under random treatment: what actors promise holds, whatever happens."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "support"))
sys.path.append(str(Path(__file__).parents[1] / "support"))
import random_programs
from actor_world import World
from random_actors import program, smaller

MACHINE = random_programs.Machine(
    "tests/actors/test_random_actors.py",
    program,
    World,
    smaller,
    share=0.4,
    expected={
        "tell": 500,
        "ask": 500,
        "flood": 150,
        "give up": 150,
        "stop": 50,
        "asks answered": 500,
        "asks refused or failed": 1000,
        "crashes": 300,
        "dead letters": 500,
    },
)


@random_programs.limit(MACHINE.examples)
def test_whatever_happens_to_actors_every_promise_holds(monkeypatch):
    MACHINE.run(monkeypatch)
