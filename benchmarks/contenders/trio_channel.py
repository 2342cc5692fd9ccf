"""The peer under Trio: a memory channel with room for 1,000 and a task that receives from it."""

from __future__ import annotations

import gc
from typing import Any

import trio

from benchmarks.contenders import tasks
from benchmarks.contenders.tasks import now
from benchmarks.harness import emit

ROOM = 1000


def channel() -> Any:
    """One channel: where to send, where to receive."""
    return trio.open_memory_channel[Any](ROOM)


async def tell(scale: float) -> None:
    """One sends, one receives."""
    count = int(tasks.TELLS * scale)
    send, receive = channel()
    done = trio.Event()

    async def receiver() -> None:
        seen = 0
        async for _ in receive:
            seen += 1
            if seen == count:
                done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiver)
        await trio.lowlevel.checkpoint()
        began = now()
        for number in range(count):
            await send.send(number)
        await done.wait()
        tasks.rate("tell", count, began)
        nursery.cancel_scope.cancel()


async def ring(scale: float) -> None:
    """Each hands what it receives to the next."""
    hops = int(tasks.HOPS * scale)
    done = trio.Event()
    channels = [channel() for _ in range(tasks.RING)]

    async def node(number: int) -> None:
        receive, send = channels[number][1], channels[(number + 1) % tasks.RING][0]
        async for left in receive:
            if left == 0:
                done.set()
            else:
                await send.send(left - 1)

    async with trio.open_nursery() as nursery:
        for number in range(tasks.RING):
            nursery.start_soon(node, number)
        await trio.lowlevel.checkpoint()
        began = now()
        await channels[0][0].send(hops)
        await done.wait()
        tasks.rate("ring", hops, began)
        nursery.cancel_scope.cancel()


async def fan(scale: float) -> None:
    """One sends to a thousand."""
    rounds = max(1, int(tasks.ROUNDS * scale))
    wanted = tasks.FAN * rounds
    done = trio.Event()
    seen = 0
    channels = [channel() for _ in range(tasks.FAN)]

    async def node(receive: Any) -> None:
        nonlocal seen
        async for _ in receive:
            seen += 1
            if seen == wanted:
                done.set()

    async with trio.open_nursery() as nursery:
        for _, receive in channels:
            nursery.start_soon(node, receive)
        await trio.lowlevel.checkpoint()
        began = now()
        for number in range(rounds):
            for send, _ in channels:
                await send.send(number)
        await done.wait()
        tasks.rate("fan", wanted, began)
        nursery.cancel_scope.cancel()


async def ask(scale: float) -> None:
    """A question with a channel for its answer, one after the other."""
    count = int(tasks.ASKS * scale)
    send, receive = channel()

    async def server() -> None:
        async for answer, number in receive:
            answer.send_nowait(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server)
        began = now()
        for number in range(count):
            give, take = trio.open_memory_channel[int](1)
            await send.send((give, number))
            await take.receive()
        tasks.rate("ask", count, began)
        nursery.cancel_scope.cancel()


async def restart(scale: float) -> None:
    """A loop by hand: a nursery for each life, the next one after a crash."""
    count = int(tasks.CRASHES * scale)
    took: list[float] = []
    crashed_at = 0.0
    handled = trio.Event()
    send, receive = channel()

    async def child() -> None:
        nonlocal crashed_at
        async for word in receive:
            if word == "boom":
                crashed_at = now()
                raise RuntimeError("boom")
            took.append(now() - crashed_at)
            handled.set()

    async def supervisor() -> None:
        while True:
            try:
                async with trio.open_nursery() as life:
                    life.start_soon(child)
            except* RuntimeError:
                pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor)
        for _ in range(count):
            handled = trio.Event()
            send.send_nowait("boom")
            send.send_nowait("next")
            await handled.wait()
        nursery.cancel_scope.cancel()
    tasks.middle("restart", took)


async def spawn(scale: float) -> None:
    """Idle tasks, each with its channel."""
    count = int(tasks.IDLE * scale)

    async def idle(receive: Any) -> None:
        async for _ in receive:
            pass

    async with trio.open_nursery() as nursery:
        before = tasks.memory()
        gc.collect()
        began = now()
        kept = []
        for _ in range(count):
            send, receive = channel()
            kept.append(send)
            nursery.start_soon(idle, receive)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        tasks.rate("spawn", count, began)
        emit("bytes each", (tasks.memory() - before) / count)
        nursery.cancel_scope.cancel()


async def events(scale: float) -> None:
    """One sends each event to a thousand channels."""
    rounds = max(1, int(tasks.ROUNDS * scale))
    wanted = tasks.FAN * rounds
    done = trio.Event()
    seen = 0
    channels = [channel() for _ in range(tasks.FAN)]

    async def subscriber(receive: Any) -> None:
        nonlocal seen
        async for _ in receive:
            seen += 1
            if seen == wanted:
                done.set()

    async with trio.open_nursery() as nursery:
        for _, receive in channels:
            nursery.start_soon(subscriber, receive)
        await trio.lowlevel.checkpoint()
        began = now()
        for number in range(rounds):
            event = {"type": "order.paid", "data": {"number": number}}
            for send, _ in channels:
                await send.send(event)
        await done.wait()
        tasks.rate("events", wanted, began)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    tasks.run(
        {
            "tell": tell,
            "ring": ring,
            "fan": fan,
            "ask": ask,
            "restart": restart,
            "spawn": spawn,
            "events": events,
        }
    )
