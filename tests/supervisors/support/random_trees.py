"""Random supervision trees, and random things that are done to them: programs for tree_world."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st

POOL = "simple_one_for_one"
STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one", POOL)
RESTARTS = ("permanent", "transient", "temporary")
AUTO_SHUTDOWNS = ("never", "any_significant", "all_significant")
PERIODS = (5, 1000)  # seconds; tree_world says how close to them the group strategies are checked

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


def starts(share: int) -> st.SearchStrategy[tuple[str, ...]]:
    """Outcomes of the next starts; none, so that all are ok, in all but one of `share`."""
    some = st.lists(st.sampled_from(STARTS), min_size=1, max_size=3).map(tuple)
    return st.integers(1, share).flatmap(lambda n: some if n == share else st.just(()))


@st.composite
def nodes(draw: Any, id: str, level: int, auto_shutdown: str) -> Node:
    restart = draw(st.sampled_from(RESTARTS))
    may_be = auto_shutdown != "never" and restart != "permanent"
    common = {
        "id": id,
        "restart": restart,
        "significant": may_be and draw(st.booleans()),
        "starts": draw(starts(25)),
    }
    if level > 0 and draw(st.integers(0, 4)) < 2:
        shutdown = draw(st.sampled_from(["infinity", "infinity", 1.0, "brutal_kill"]))
        return draw(supervisors(level - 1, **common, shutdown=shutdown))
    return Node(
        **common,
        shutdown=draw(st.sampled_from([0.5, 0.5, 2.0, "infinity", "brutal_kill"])),
        stop=draw(st.sampled_from(("at once", *STOPS))),
    )


@st.composite
def supervisors(draw: Any, level: int, **fields: Any) -> Node:
    strategy = draw(st.sampled_from(("one_for_one", *STRATEGIES)))
    auto_shutdown = draw(st.sampled_from(("never", *AUTO_SHUTDOWNS)))
    ids = "t" if strategy == POOL else "abcd"[: draw(st.integers(0 if level < 1 else 1, 4))]
    return Node(
        **fields,
        strategy=strategy,
        intensity=draw(st.sampled_from([0, 1, 1, 2, 3, 8])),
        period=draw(st.sampled_from(PERIODS)),
        auto_shutdown=auto_shutdown,
        children=tuple(draw(nodes(id, level, auto_shutdown)) for id in ids),
        members=draw(st.integers(0, 4)) if strategy == POOL else 0,
    )


NOTHING = st.none()


def _acts() -> st.SearchStrategy[Act]:
    which = st.integers(0, 20)
    pace = st.sampled_from(["settle", "settle", "step", "none"])

    def act(op: str, what: st.SearchStrategy[Any] = NOTHING) -> st.SearchStrategy[Act]:
        return st.builds(Act, st.just(op), which, what, pace)

    added = st.sampled_from("abnm").flatmap(
        lambda id: st.tuples(nodes(id, 1, "any_significant"), st.booleans())
    )
    end = act("end", st.sampled_from(ENDINGS))
    call = act("call", st.tuples(st.sampled_from(CALLS), st.integers(0, 6)))
    start = act("start_child", added)
    pulse = act(
        "pulse",
        st.tuples(st.sampled_from(ENDINGS), st.sampled_from([0, 2.5, 5, 5]), st.integers(2, 5)),
    )
    meanwhile = st.lists(
        st.sampled_from(
            [
                "terminate_child",
                *CALLS[:4],
                "start_child",
                "end",
                "kill supervisor",
                "stop supervisor",
            ]
        ),
        max_size=3,
    )
    held = st.sampled_from(
        [("hold_ok",), ("hold_raise",), ("hold_raise",), ("raise", "hold_error", "ignore")]
    )
    busy = act("while it restarts", st.tuples(held, meanwhile.map(tuple)))
    leaving = act("while it stops", meanwhile.map(tuple))
    end_many = act("end_many", st.tuples(st.sampled_from(ENDINGS), st.integers(1, 5)))
    return st.one_of(
        *(
            end,
            end,
            end,
            end_many,
            pulse,
            pulse,
            busy,
            busy,
            leaving,
            call,
            call,
            call,
            start,
            start,
        ),
        act("script", st.tuples(starts(1), st.sampled_from(ENDINGS))),
        act("script", st.tuples(starts(1), st.sampled_from(ENDINGS))),
        act("stop way", st.sampled_from(STOPS)),
        act("kill supervisor"),
        act("stop supervisor"),
        act("release"),
        act("release all"),
        act("caller gives up"),
        act("sleep", st.sampled_from([0.25, 1, 5, 6])),
        act("rest"),
    )


ACTS = _acts()


@st.composite
def programs(draw: Any) -> Program:
    """A tree of up to three levels of supervisors, and what is done to it, in order.

    In one of three the last act is an outer cancel.
    """
    tree = draw(supervisors(draw(st.sampled_from([0, 0, 1, 2, 2, 2])), id="root"))
    done = draw(st.lists(ACTS, min_size=1, max_size=14))
    if draw(st.integers(0, 2)) == 2:
        done = [*done, Act("cancel")]
    return Program(tree, tuple(done), draw(st.integers(0, 2**16)))
