"""A small actor under a real supervisor: its behaviour is a dict of functions."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from nexus_actors.actors import ActorCell, Address, DeadLetters, Limits, Message, run_incarnation
from supervisors import ChildSpec, Supervisor


class Behaviour:
    """Calls ``script[payload]`` for a payload that is a name, or ``script["*"]`` with it."""

    def __init__(self, script):
        self.script = script
        self.nursery = None

    async def start(self, nursery):
        self.nursery = nursery
        if "start" in self.script:
            await self.script["start"](self)

    async def handle(self, message: Message):
        function = self.script.get(message.payload) or self.script["*"]
        arguments = [message] if len(inspect.signature(function).parameters) else []
        result = function(*arguments)
        return await result if inspect.isawaitable(result) else result

    async def drain(self):
        if "drain" in self.script:
            await self.script["drain"]()

    async def stop(self):
        if "stop" in self.script:
            await self.script["stop"]()


@attrs.define
class Running:
    """A running actor and what a test looks at."""

    cell: ActorCell
    address: Address
    dead_letters: DeadLetters
    supervisor: object

    def account(self):
        """The mailbox's account, checked: every accepted message is in exactly one place."""
        s = self.cell.mailbox.statistics()
        parts = s.handled + s.faulted + s.dead_lettered + s.abandoned + s.in_hand + s.waiting
        assert s.accepted == parts, s
        return s

    async def until(self, condition):
        """Let the mock clock run on until ``condition`` holds, an hour of it at most."""
        with trio.fail_after(3600):
            while not condition():  # noqa: ASYNC110 - the condition is any, and the clock is a mock
                await trio.sleep(0.01)


@pytest.fixture
def run_actor():
    """``async with run_actor(script) as running``: a supervised actor, intensity 10."""

    @asynccontextmanager
    async def run(script, *, capacity=1000, shutdown=5.0, intensity=10, **limits):
        dead_letters = DeadLetters()
        cell = ActorCell("it", dead_letters, capacity=capacity)

        async def start(child):
            await run_incarnation(child, cell, Behaviour(script), Limits(**limits))

        supervisor = Supervisor(
            [ChildSpec(id="it", start=start, shutdown=shutdown)],
            intensity=intensity,
            period=60,
            on_report=lambda report: None,
        )
        async with trio.open_nursery() as nursery:
            ref = await nursery.start(supervisor.run)
            yield Running(cell, Address(cell), dead_letters, ref)
            cell.ending = True
            await ref.stop()

    return run
