"""Plugins for these tests: a shop that asks a billing plugin, written for Trio or for asyncio."""

import json

BILLING = """
import {library}

from nexus_actors.events import event_handler
from nexus_actors.http import get, post
from nexus_actors.plugin import Plugin


class Billing(Plugin):
    def __init__(self, config):
        super().__init__(config)
        self.done = []

    async def initialize(self):
        if self.config.get("period"):
            self.every(self.config["period"], self.tick)

    @post("/billing")
    async def by_http(self):
        await {library}.sleep(0)
        self.done.append("http")
        return {{"done": self.done}}

    @event_handler("bill.asked")
    async def by_event(self, event):
        self.done.append("event")

    async def by_call(self):
        self.done.append("call")
        return self.done

    async def tick(self):
        self.done.append("timer")

    @get("/billing/stream")
    async def stream(self):
        for number in range(3):
            await {library}.sleep(0)
            yield {{"number": number}}

    @get("/billing/done")
    async def show(self):
        return {{"done": self.done}}
"""

SHOP = """
from nexus_actors.errors import HTTPError
from nexus_actors.http import get, post
from nexus_actors.plugin import Plugin


class Shop(Plugin):
    @post("/shop/order")
    async def order(self):
        return {"billed": await self.get_plugin("billing").by_call()}

    @post("/shop/order/{number}")
    async def order_number(self, number: int):
        paid = await self.get_plugin("billing").charge(number, currency="EUR")
        await self.emit_event("order.placed", {"number": number})
        return {"paid": paid}

    @get("/shop/can")
    async def can(self):
        billing = self.get_plugin("billing")
        return {"there": billing is not None, "charges": hasattr(billing, "charge")}
"""

PERMISSIONS = ["events:emit", "events:subscribe", "plugins:call"]


def write_plugin(folder, name, source, **manifest):
    place = folder / name
    place.mkdir()
    (place / "plugin.py").write_text(source)
    (place / "plugin.json").write_text(
        json.dumps(
            {
                "name": name,
                "version": "1.0.0",
                "entry_point": f"plugin:{name.title()}",
                "permissions": PERMISSIONS,
                **manifest,
            }
        )
    )
    return place
