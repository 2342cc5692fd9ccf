"""Random programs for a system of actors: what is spawned, sent and done to it, in which order."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import attrs

RESTARTS = ("permanent", "permanent", "transient", "temporary")
OVERFLOWS = ("refuse", "wait", "drop_oldest", "drop_newest")
STARTS = ("ok", "ok", "ok", "slow", "fails", "monitors", "links", "joins", "spawns")
CLEANUPS = ("ok", "ok", "ok", "slow", "raises")
GROUPS = ("red", "blue")
PAUSES = (0.1, 0.5, 1, 3, 7)  # seconds


@attrs.frozen
class Act:
    """One thing to do. ``which`` chooses among the actors that there are, or ever were."""

    op: str
    which: int = 0
    what: Any = None
    pace: str = "settle"
    """How far it gets before the next: ``settle``, ``step`` (of the scheduler), ``none``."""


@attrs.frozen
class Program:
    acts: tuple[Act, ...]
    intensity: int
    seed: int
    """For the order in which Trio runs tasks that are ready together."""


@attrs.frozen
class Kind:
    """An actor: its options, and how it starts and ends."""

    options: dict[str, Any]
    start: str = "ok"
    cleanup: str = "ok"
    which: int = 0
    """Whom it monitors or links to when it starts."""


def program(rng: Random) -> Program:
    """About forty acts; the first make some actors."""
    acts = [Act("spawn", n, kind(rng)) for n in range(rng.randint(2, 4))]
    acts += [act(rng) for _ in range(rng.randint(15, 45))]
    return Program(tuple(acts), rng.choice([5, 1000, 1000, 1000]), rng.randrange(2**16))


def smaller(given: Program) -> Iterator[Program]:
    """The same with one act less."""
    for n in range(len(given.acts)):
        yield attrs.evolve(given, acts=given.acts[:n] + given.acts[n + 1 :])


def kind(rng: Random) -> Kind:
    options = {
        "restart": rng.choice(RESTARTS),
        "overflow": rng.choice(OVERFLOWS),
        "capacity": rng.choice([1, 2, 3, 5, 1000]),
        "concurrency": rng.choice([1, 1, 1, 2, 3]),
        "trap_exits": rng.random() < 0.4,
        "shutdown": rng.choice([0.4, 2.0, 5.0, "infinity", "brutal_kill"]),
    }
    return Kind(options, rng.choice(STARTS), rng.choice(CLEANUPS), rng.randrange(20))


OPS = {
    "tell": 10,
    "ask": 10,
    "flood": 3,
    "give up": 3,
    "spawn": 2,
    "pool": 1,
    "pool tell": 1,
    "pool ask": 1,
    "stop": 1.5,
    "suspend": 1,
    "resume": 1.5,
    "group tell": 1.5,
    "sleep": 5,
    "not handled": 0.5,
}
DEEDS = {
    "note": 4,
    "work": 4,
    "hang": 1,
    "deaf": 1,
    "raise": 3,
    "background": 0.7,
    "chain": 3,
    "stop": 1,
    "spawn": 4,
    "stop child": 1,
    "monitor": 3,
    "link": 2,
    "unwatch": 1,
    "send_after": 2,
    "every": 1.5,
    "untime": 1,
    "stash": 3,
    "stash slowly": 1.5,
    "stash and raise": 0.5,
    "stash deafly": 0.5,
    "unstash": 2,
    "join": 2,
    "stop all children": 0.3,
}


def act(rng: Random) -> Act:
    (op,) = rng.choices([*OPS], [*OPS.values()])
    pace = rng.choice(["settle", "settle", "step", "none"])
    return Act(op, rng.randrange(20), details(rng, op), pace)


def details(rng: Random, op: str) -> Any:
    match op:
        case "tell":
            return deed(rng), rng.choice([0.2, 5])
        case "ask" | "pool ask":
            return deed(rng), timeout(rng)
        case "flood":
            return deed(rng), rng.randint(2, 8), rng.random() < 0.4
        case "pool tell" | "group tell":
            return deed(rng), rng.choice(GROUPS)
        case "spawn":
            return kind(rng)
        case "pool":
            return kind(rng), rng.randint(1, 3), rng.choice(["round_robin", "least_busy", "key"])
        case "sleep":
            return rng.choice(PAUSES)
    return None


def deed(rng: Random, depth: int = 0) -> tuple[Any, ...]:
    """What a handler is to do: its name and what belongs to it."""
    names = [name for name in DEEDS if name != "chain" or depth < 2]
    (name,) = rng.choices(names, [DEEDS[name] for name in names])
    match name:
        case (
            "work"
            | "send_after"
            | "every"
            | "background"
            | "stash slowly"
            | "stash deafly"
            | "deaf"
        ):
            return name, rng.choice([0.1, 0.1, 0.5, 1, 3])
        case "chain":
            return name, rng.randrange(20), timeout(rng), deed(rng, depth + 1)
        case "spawn":
            return name, rng.choice(["", "", "a", "b"]), kind(rng)
        case "monitor" | "link" | "unwatch" | "untime" | "stop child":
            return name, rng.randrange(20)
        case "join":
            return name, rng.choice(GROUPS)
    return (name,)


def timeout(rng: Random) -> float:
    return rng.choice([0.1, 0.1, 0.5, 1, 5, 20])
