"""Random supervision trees, and random things that are done to them: programs for tree_world."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import attrs

POOL = "simple_one_for_one"
STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one", POOL)
RESTARTS = ("permanent", "transient", "temporary")
AUTO_SHUTDOWNS = ("never", "any_significant", "all_significant")
PERIODS = (5, 1000)  # seconds; tree_world says how close to them the group strategies are checked
BACKOFFS = (None, None, (0.5, 1), (1, 60), (10, 60))

STARTS = ("ok", "extra", "raise", "error", "garbage", "ignore", "kill", "hold_ok", "hold_raise")
STOPS = ("at once", "linger", "deaf", "crash", "exit normal", "slow cleanup")
ENDINGS = ("crash", "group", "exit error", "system exit", "garbage", "normal", "shutdown",
           "shutdown info", "kill", "kill")  # fmt: skip
CALLS = ("terminate_child", "restart_child", "delete_child", "get_childspec", "which_children",
         "count_children")  # fmt: skip


@attrs.frozen
class Node:
    """A child, and how it will behave: a worker, or with `strategy` a supervisor."""

    id: str
    restart: str = "permanent"
    shutdown: float | str = 0.5
    significant: bool = False
    starts: tuple[str, ...] = ()
    stop: str = "at once"
    strategy: str = ""
    intensity: int = 1
    period: float = 5
    auto_shutdown: str = "never"
    children: tuple[Node, ...] = ()
    backoff: tuple[float, float] | None = None
    """The first pause and the longest, in seconds."""
    members: int = 0
    """How many children a pool gets as soon as it is up."""

    @property
    def flags(self) -> dict[str, Any]:
        names = ("strategy", "intensity", "period", "auto_shutdown")
        return {name: getattr(self, name) for name in names}


@attrs.frozen
class Act:
    """One thing to do. The numbers choose among what is there when it is done."""

    op: str
    which: int = 0
    what: Any = None
    pace: str = "settle"
    """How far the tree gets before the next: ``settle``, ``step`` (of the scheduler), ``none``."""


@attrs.frozen
class Program:
    tree: Node
    acts: tuple[Act, ...]
    seed: int
    """For the order in which Trio runs tasks that are ready together."""


def program(rng: Random) -> Program:
    """A tree of up to three levels of supervisors, and what is done to it, in order.

    In one of three the last act is an outer cancel.
    """
    tree = supervisor(rng, rng.choice([0, 0, 1, 2, 2, 2]), id="root")
    acts = [act(rng) for _ in range(rng.randint(1, 14))]
    if rng.random() < 1 / 3:
        acts.append(Act("cancel"))
    return Program(tree, tuple(acts), rng.randrange(2**16))


def smaller(given: Program) -> Iterator[Program]:
    """The same with one act, or one child of the root, less: to find what a failure needs."""
    for n in range(len(given.acts)):
        yield attrs.evolve(given, acts=given.acts[:n] + given.acts[n + 1 :])
    for n in range(len(given.tree.children) if given.tree.strategy != POOL else 0):
        children = given.tree.children[:n] + given.tree.children[n + 1 :]
        yield attrs.evolve(given, tree=attrs.evolve(given.tree, children=children))


def supervisor(rng: Random, level: int, **fields: Any) -> Node:
    strategy = rng.choice(("one_for_one", *STRATEGIES))
    auto_shutdown = rng.choice(("never", *AUTO_SHUTDOWNS))
    ids = "t" if strategy == POOL else "abcd"[: rng.randint(0 if level == 0 else 1, 4)]
    return Node(
        **fields,
        strategy=strategy,
        intensity=rng.choice([0, 1, 1, 2, 3, 8]),
        period=rng.choice(PERIODS),
        auto_shutdown=auto_shutdown,
        children=tuple(node(rng, id, level, auto_shutdown) for id in ids),
        backoff=rng.choice(BACKOFFS),
        members=rng.randint(0, 4) if strategy == POOL else 0,
    )


def node(rng: Random, id: str, level: int, auto_shutdown: str) -> Node:
    restart = rng.choice(RESTARTS)
    may_be = auto_shutdown != "never" and restart != "permanent"
    common = {
        "id": id,
        "restart": restart,
        "significant": may_be and rng.random() < 0.5,
        "starts": outcomes(rng) if rng.random() < 0.04 else (),
    }
    if level > 0 and rng.random() < 0.4:
        shutdown = rng.choice(["infinity", "infinity", 1.0, "brutal_kill"])
        return supervisor(rng, level - 1, **common, shutdown=shutdown)
    return Node(
        **common,
        shutdown=rng.choice([0.5, 0.5, 2.0, "infinity", "brutal_kill"]),
        stop=rng.choice(("at once", *STOPS)),
    )


def outcomes(rng: Random) -> tuple[str, ...]:
    """How the next starts go."""
    return tuple(rng.choice(STARTS) for _ in range(rng.randint(1, 3)))


OPS = {
    "end": 3,
    "end_many": 1,
    "pulse": 2,
    "script": 2,
    "while it restarts": 2,
    "while it stops": 1,
    "call": 3,
    "start_child": 2,
    "stop way": 1,
    "kill supervisor": 1,
    "stop supervisor": 0.5,
    "release": 1,
    "release all": 1,
    "caller gives up": 1,
    "sleep": 1,
    "rest": 1,
}
HELD = (("hold_ok",), ("hold_raise",), ("hold_raise",), ("raise", "hold_error", "ignore"))
MEANWHILE = ("terminate_child", *CALLS[:4], "start_child", "end", "kill supervisor",
             "stop supervisor")  # fmt: skip


def act(rng: Random) -> Act:
    (op,) = rng.choices(list(OPS), list(OPS.values()))
    pace = rng.choice(["settle", "settle", "step", "none"])
    return Act(op, rng.randint(0, 20), details(rng, op), pace)


def details(rng: Random, op: str) -> Any:
    meanwhile = tuple(rng.choice(MEANWHILE) for _ in range(rng.randint(0, 3)))
    match op:
        case "end":
            return rng.choice(ENDINGS)
        case "end_many":
            return rng.choice(ENDINGS), rng.randint(1, 5)
        case "pulse":
            return rng.choice(ENDINGS), rng.choice([0, 2.5, 5, 5]), rng.randint(2, 5)
        case "script":
            return outcomes(rng), rng.choice(ENDINGS)
        case "while it restarts":
            return rng.choice(HELD), meanwhile
        case "while it stops":
            return meanwhile
        case "call":
            return rng.choice(CALLS), rng.randint(0, 6)
        case "start_child":
            return node(rng, rng.choice("abnm"), 1, "any_significant"), rng.random() < 0.5
        case "stop way":
            return rng.choice(STOPS)
        case "sleep":
            return rng.choice([0.25, 1, 5, 6])
    return None
