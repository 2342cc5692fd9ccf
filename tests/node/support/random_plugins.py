"""Random programs for a node: which plugins it has, what these do, and what is done to it."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import attrs
import random_actors
from random_actors import Act, Kind

PATTERNS = ("a.b", "a.*", "a.#", "*.b", "x", "#")
TYPES = ("a.b", "a.b", "a", "a.b.c", "x", "x.b")
STARTS = ("ok", "ok", "ok", "ok", "slow", "fails", "hangs", "calls", "emits", "spawns", "timers",
          "dies later", "builds badly", "one more service")  # fmt: skip
CLEANUPS = ("ok", "ok", "ok", "ok", "slow", "raises", "hangs", "calls")
SERVICES = ("ok", "ok", "slow", "fails", "unclean", "slow to clean")
ROUTES = ("read", "do", "alone", "beside", "fatal", "brief")
ON_ERROR = (None, None, None, "reply", "restart")


@attrs.frozen
class On:
    """A handler of events."""

    pattern: str
    on_error: str | None = None
    timeout: float | None = None
    mode: str = "normal"


@attrs.frozen
class Spec:
    """A plugin: its manifest, and what its class is like."""

    name: str
    manifest: dict[str, Any]
    start: str = "ok"
    cleanup: str = "ok"
    events: tuple[On, ...] = ()
    services: tuple[str, ...] = ()


@attrs.frozen
class Program:
    plugins: tuple[Spec, ...]
    acts: tuple[Act, ...]
    node: dict[str, float]
    """Settings of the node."""
    letters: int
    """How many dead letters are kept."""
    seed: int
    """For the order in which Trio runs tasks that are ready together."""


def program(rng: Random) -> Program:
    names = [f"p{n}" for n in range(rng.randint(2, 4))]
    plugins = [spec(rng, name, names[:n]) for n, name in enumerate(names)]
    acts = [act(rng) for _ in range(rng.randint(15, 45))]
    settings = {
        "ask_timeout": rng.choice([0.5, 5.0]),
        "handler_timeout": rng.choice([2.0, 60.0]),
        "initialize_timeout": rng.choice([2.0, 30.0]),
        "stop_timeout": rng.choice([3.0, 25.0, 25.0]),
    }
    return Program(
        tuple(plugins), tuple(acts), settings, rng.choice([3, 20, 1000]), rng.randrange(2**16)
    )


def smaller(given: Program) -> Iterator[Program]:
    """The same with some acts, or one plugin, or something of a plugin, less."""
    size = len(given.acts)
    step = size // 2
    while step:
        for n in range(0, size, step):
            yield attrs.evolve(given, acts=given.acts[:n] + given.acts[n + step :])
        step //= 2
    needed = {name for one in given.plugins for name in one.manifest.get("requires", ())}
    for n, one in enumerate(given.plugins):
        rest = given.plugins[:n], given.plugins[n + 1 :]
        if one.name not in needed and len(given.plugins) > 1:
            yield attrs.evolve(given, plugins=rest[0] + rest[1])
        for less in simpler(one):
            yield attrs.evolve(given, plugins=(*rest[0], less, *rest[1]))
    if given.letters < 1000:
        yield attrs.evolve(given, letters=1000)


def simpler(given: Spec) -> Iterator[Spec]:
    for name, plain in (("start", "ok"), ("cleanup", "ok"), ("services", ()), ("events", ())):
        if getattr(given, name) != plain:
            yield attrs.evolve(given, **{name: plain})
    for key in [*given.manifest]:
        yield attrs.evolve(given, manifest={k: v for k, v in given.manifest.items() if k != key})


def spec(rng: Random, name: str, others: list[str]) -> Spec:
    return Spec(
        name,
        manifest(rng, others),
        rng.choice(STARTS),
        rng.choice(CLEANUPS),
        tuple(on(rng) for _ in range(rng.choice([0, 1, 1, 2]))),
        tuple(rng.choice(SERVICES) for _ in range(rng.choice([0, 0, 1, 2]))),
    )


def on(rng: Random) -> On:
    return On(
        rng.choice(PATTERNS),
        rng.choice(ON_ERROR),
        rng.choice([None, None, 0.4]),
        rng.choice(["normal", "normal", "normal", "alone", "reader"]),
    )


def manifest(rng: Random, others: list[str]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "async_library": rng.choice(["trio", "asyncio"]),
        "supervision": {
            "restart": rng.choice(["permanent", "permanent", "permanent", "transient",
                                   "temporary"]),
            "strategy": rng.choice(["one_for_one", "one_for_all", "rest_for_one"]),
            "intensity": rng.choice([0, 1, 1, 5, 5, 100]),
            "period": rng.choice([5, 30]),
            "shutdown": rng.choice([0.4, 2.0, 5.0, 5.0, "infinity", "brutal_kill"]),
        },
        "mailbox": {
            "capacity": rng.choice([1, 2, 3, 5, 1000]),
            "overflow": rng.choice(random_actors.OVERFLOWS),
        },
    }  # fmt: skip
    if rng.random() < 0.5:
        first = rng.choice([0.2, 1, 2])
        said["supervision"]["backoff"] = {"first": first, "maximum": first * rng.choice([1, 4])}
    if rng.random() < 0.4:
        said["concurrency"] = rng.choice([2, 3])
    if rng.random() < 0.4:
        said["readers"] = rng.choice([1, 2])
    if rng.random() < 0.5:
        said["max_sessions"] = rng.choice([1, 2])
    if rng.random() < 0.3:
        said["deadlines"] = {"handler": rng.choice([0.5, 2.0]), "initialize": 1.0}
    if rng.random() < 0.3:
        said["on_error"] = rng.choice(["reply", "restart"])
    if rng.random() < 0.2:
        said |= {"fault_limit": rng.choice([1, 2]), "fault_period": 5}
    if others and rng.random() < 0.3:
        said["requires"] = sorted(rng.sample(others, rng.randint(1, min(2, len(others)))))
    return said


OPS = {
    "call": 10,
    "http": 10,
    "event": 6,
    "stream": 3,
    "talk": 3,
    "flood": 3,
    "give up": 4,
    "child tell": 1,
    "retry": 3,
    "discard": 1,
    "stop plugin": 0.8,
    "add plugin": 0.8,
    "restart node": 0.4,
    "hurry node": 0.2,
    "crash": 0.4,
    "suspend": 0.7,
    "resume": 1.2,
    "not handled": 0.3,
    "sleep": 5,
}
DEEDS = {
    "note": 4,
    "work": 4,
    "hang": 1,
    "deaf": 1,
    "raise": 3,
    "refuse": 1,
    "die": 0.4,
    "strange": 0.5,
    "dies later": 0.7,
    "stays": 0.7,
    "call": 4,
    "emit": 2,
    "spawn": 2,
    "pool": 0.7,
    "child": 4,
    "stop child": 1,
    "send_after": 2,
    "every": 1,
    "untime": 1,
    "service": 2,
}


def act(rng: Random) -> Act:
    (op,) = rng.choices([*OPS], [*OPS.values()])
    pace = rng.choice(["settle", "settle", "step", "none"])
    return Act(op, rng.randrange(20), details(rng, op), pace)


def details(rng: Random, op: str) -> Any:
    match op:
        case "call":
            return deed(rng), rng.choice([0.3, 1, 5, 20])
        case "http":
            return rng.choice(ROUTES), deed(rng), rng.choice([0.3, 1, 5, 30])
        case "event":
            return rng.choice(TYPES), deed(rng)
        case "stream" | "talk":
            # what it does, how many items, seconds between them, when the client goes
            ending = rng.choice(["ok", "ok", "raise", "refuse", "die", "hang", "hang"])
            return ending, rng.choice([0, 1, 3, 12]), rng.choice([0, 0.1, 1]), reader(rng)
        case "flood":
            kind = rng.choice(["call", "http", "event"])
            return kind, details(rng, kind), rng.randint(2, 8)
        case "child tell":
            return random_actors.deed(rng)
        case "retry":
            return rng.choice(["one", "one", "plugin", "all"]), rng.random() < 0.3
        case "discard":
            return rng.choice(["one", "plugin", "all"])
        case "add plugin":
            return spec(rng, "", ["p0"])
        case "sleep":
            return rng.choice([0.1, 0.5, 1, 1, 3, 7, 30, 100])
    return None


def reader(rng: Random) -> float | None:
    """After how many seconds the client goes away."""
    return rng.choice([None, None, 0.05, 0.5, 3])


def deed(rng: Random, depth: int = 0) -> tuple[Any, ...]:
    """What the handler of a plugin is to do: its name and what belongs to it."""
    names = [name for name in DEEDS if name not in ("call", "emit") or depth < 2]
    (name,) = rng.choices(names, [DEEDS[name] for name in names])
    match name:
        case "work" | "deaf" | "dies later":
            return name, rng.choice([0.1, 0.1, 0.5, 1, 3])
        case "call":
            return name, rng.randrange(20), deed(rng, depth + 1)
        case "emit":
            return name, rng.choice(TYPES), deed(rng, depth + 1)
        case "spawn":
            return name, rng.choice(["", "", "a", "b"]), child(rng)
        case "pool":
            route = rng.choice(["round_robin", "least_busy", "key"])
            return name, child(rng), rng.randint(1, 3), route
        case "child":
            return name, rng.randrange(20), random_actors.deed(rng, 1), rng.random() < 0.7
        case "stop child" | "untime":
            return name, rng.randrange(20)
        case "send_after" | "every":
            kinds = [("note",), ("note",), ("work", 0.1), ("raise",), ("hang",)]
            return name, rng.choice([0.1, 0.5, 1, 3]), rng.choice(kinds)
        case "service":
            how = rng.choice(["use", "use", "fail", "task dies"])
            return name, rng.randrange(2), how
    return (name,)


def child(rng: Random) -> Kind:
    return random_actors.kind(rng)
