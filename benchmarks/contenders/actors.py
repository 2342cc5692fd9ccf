"""Ours: plain actors, through what ``nexus_actors.actors`` offers everybody."""

from __future__ import annotations

import gc
import logging
import math
from functools import partial
from typing import Any

import attrs
import trio

from benchmarks.contenders import tasks
from benchmarks.contenders.tasks import now
from benchmarks.harness import emit
from nexus_actors.actors import Actor, Address, handles, open_system

ROOM = 1000


@attrs.frozen
class Count:
    """One more."""


@attrs.frozen
class Hop:
    """So many hops are left."""

    left: int


@attrs.frozen
class Echo:
    """A question whose answer is its number."""

    number: int


@attrs.frozen
class Boom:
    """Crash."""


class Tally:
    """What all counters of a task count together."""

    def __init__(self, wanted: float) -> None:
        self.wanted = wanted
        self.seen = 0
        self.done = trio.Event()


class Counter(Actor, capacity=ROOM, overflow="wait"):
    """Counts what it is told."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally

    @handles
    def count(self, message: Count) -> None:
        """One more."""
        tally = self.tally
        tally.seen += 1
        if tally.seen == tally.wanted:
            tally.done.set()


class Node(Actor, capacity=ROOM, overflow="wait"):
    """Hands on what it gets."""

    def __init__(self, done: trio.Event, following: list[Address], number: int) -> None:
        self.done = done
        self.following = following
        self.number = number

    @handles
    async def hop(self, message: Hop) -> None:
        """Tell the next, or say that it is over."""
        if message.left == 0:
            self.done.set()
        else:
            await self.following[self.number].tell(Hop(message.left - 1))


class Server(Actor):
    """Answers. Its handler never waits, so it is an ordinary method, as gen_server's is."""

    @handles
    def echo(self, message: Echo) -> int:
        """What it was asked."""
        return message.number


class Waiter(Actor):
    """Answers, by a coroutine."""

    @handles
    async def echo(self, message: Echo) -> int:
        """What it was asked."""
        return message.number


class Crasher(Actor):
    """Crashes when told to, and says when it handles the next message."""

    def __init__(self, seen: dict[str, Any]) -> None:
        self.seen = seen

    @handles
    async def boom(self, message: Boom) -> None:
        """Crash."""
        self.seen["crashed"] = now()
        raise RuntimeError("boom")

    @handles
    async def count(self, message: Count) -> None:
        """The first after the crash."""
        self.seen["took"].append(now() - self.seen["crashed"])
        self.seen["handled"].set()


class Idle(Actor):
    """Waits."""

    @handles
    async def count(self, message: Count) -> None:
        """Never comes."""


class Busy(Actor, capacity=ROOM):
    """Works 10 µs for each message and always has another."""

    @handles
    async def work(self, message: Count) -> None:
        """Work, and do it again."""
        until = now() + 10e-6
        while now() < until:
            pass
        await self.address.tell(message)


async def tell(scale: float) -> None:
    """One tells, one counts."""
    count = int(tasks.TELLS * scale)
    async with open_system() as system:
        tally = Tally(count)
        counter = await system.spawn(Counter, tally)
        message = Count()
        began = now()
        for _ in range(count):
            await counter.tell(message)
        await tally.done.wait()
        tasks.rate("tell", count, began)


async def ring(scale: float) -> None:
    """A message goes round."""
    hops = int(tasks.HOPS * scale)
    async with open_system() as system:
        done = trio.Event()
        following: list[Address] = []
        ring = [await system.spawn(Node, done, following, each) for each in range(tasks.RING)]
        following.extend([*ring[1:], ring[0]])
        began = now()
        await ring[0].tell(Hop(hops))
        await done.wait()
        tasks.rate("ring", hops, began)


async def fan(scale: float) -> None:
    """One tells a thousand."""
    rounds = max(1, int(tasks.ROUNDS * scale))
    async with open_system() as system:
        tally = Tally(tasks.FAN * rounds)
        counters = [await system.spawn(Counter, tally) for _ in range(tasks.FAN)]
        message = Count()
        began = now()
        for _ in range(rounds):
            for counter in counters:
                await counter.tell(message)
        await tally.done.wait()
        tasks.rate("fan", tasks.FAN * rounds, began)


async def ask(scale: float) -> None:
    """Questions, one after the other."""
    count = int(tasks.ASKS * scale)
    async with open_system() as system:
        for metric, kind in (("ask", Server), ("ask of a coroutine", Waiter)):
            server = await system.spawn(kind)
            began = now()
            for number in range(count):
                await server.ask(Echo(number))
            tasks.rate(metric, count, began)


async def restart(scale: float, siblings: int = 0) -> None:
    """From a crash until the next message is handled, one_for_one."""
    logging.disable(logging.CRITICAL)
    count = int(tasks.CRASHES * scale)
    seen: dict[str, Any] = {"took": []}
    async with open_system(intensity=10**9, on_report=lambda report: None) as system:
        for _ in range(siblings // 2):
            await system.spawn(Idle)
        crasher = await system.spawn(Crasher, seen)
        for _ in range(siblings // 2, siblings):
            await system.spawn(Idle)
        for _ in range(count):
            seen["handled"] = trio.Event()
            await crasher.tell(Boom())
            await crasher.tell(Count())
            await seen["handled"].wait()
    tasks.middle("restart", seen["took"])


async def spawn(scale: float) -> None:
    """Idle actors."""
    count = int(tasks.IDLE * scale)
    async with open_system() as system:
        before = tasks.memory()
        gc.collect()
        began = now()
        for _ in range(count):
            await system.spawn(Idle)
        tasks.rate("spawn", count, began)
        emit("bytes each", (tasks.memory() - before) / count)


async def fairness(scale: float) -> None:
    """How long another task has to wait at worst while a hundred actors are busy."""
    async with open_system() as system:
        for _ in range(tasks.BUSY):
            await (await system.spawn(Busy)).tell(Count())
        worst, over = 0.0, now() + tasks.BUSY_SECONDS * scale
        last = now()
        gaps = []
        while last < over:
            await trio.lowlevel.checkpoint()
            gaps.append(now() - last)
            last = now()
        worst = max(gaps)
        emit("worst gap", worst * 1e3)
        emit("p99 gap", sorted(gaps)[math.floor(len(gaps) * 0.99)] * 1e3)


if __name__ == "__main__":
    tasks.run(
        {
            "tell": tell,
            "ring": ring,
            "fan": fan,
            "ask": ask,
            "restart": restart,
            "spawn": spawn,
            "fairness": fairness,
            **{f"restart-of-{n}": partial(restart, siblings=n) for n in (1, 10, 100, 1000)},
        }
    )
