"""Ours: ``nexus run`` with one plugin that emits and a thousand that subscribe.

``python -m benchmarks.contenders.events_node events SCALE``
"""

from __future__ import annotations

import sys

import httpx

from benchmarks.contenders import tasks
from benchmarks.contenders.node_of import node_of
from benchmarks.harness import ROOT, emit

EMITTER = f"""
import sys
import time

import trio

sys.path.insert(0, {str(ROOT)!r})

from benchmarks.contenders import tally
from nexus_actors.http import post
from nexus_actors.plugin import Plugin


class Written(Plugin):
    @post("/emit")
    async def emit(self, request):
        rounds = (await request.json())["rounds"]
        tally.wait_for(rounds * tally.subscribers)
        began = time.perf_counter()
        for number in range(rounds):
            await self.emit_event("order.paid", {{"number": number}})
        await tally.done.wait()
        return {{"seconds": time.perf_counter() - began}}
"""

SUBSCRIBER = f"""
import sys

sys.path.insert(0, {str(ROOT)!r})

from benchmarks.contenders import tally
from nexus_actors.events import event_handler
from nexus_actors.plugin import Plugin


class Written(Plugin):
    async def initialize(self):
        tally.subscribers += 1

    @event_handler("order.paid")
    async def paid(self, event):
        tally.count()
"""


def main(scale: float) -> None:
    """Emit so many, and print how many were handled a second."""
    rounds = max(1, int(tasks.ROUNDS * scale))
    subscribers = min(tasks.FAN, int(tasks.FAN * scale * 10))  # each is a plugin, which takes time
    plugins = {f"subscriber-{number}": SUBSCRIBER for number in range(subscribers)}
    permissions = ["events:emit", "events:subscribe"]
    with node_of({"emitter": EMITTER, **plugins}, permissions=permissions) as url:
        for count in (1, rounds):  # the first finds everything as new
            answer = httpx.post(f"{url}/emit", json={"rounds": count}, timeout=120, trust_env=False)
            answer.raise_for_status()
        emit("events", rounds * subscribers / answer.json()["seconds"])


if __name__ == "__main__":
    main(float(sys.argv[2]))
