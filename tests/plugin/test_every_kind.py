"""What a manifest says of handlers holds for every kind of message, and so does one at a time."""

import pytest
import trio

from nexus_actors.errors import RemoteError
from nexus_actors.http import WebSocket, post, websocket
from nexus_actors.plugin import Plugin
from nexus_actors.plugin.manifest import Deadlines


class Shop(Plugin):
    async def total(self):
        raise RuntimeError("no total")

    async def soon(self, method):
        self.send_after(1, getattr(self, method))

    async def hang(self):
        await trio.sleep_forever()


async def test_a_fault_of_a_called_method_restarts_a_plugin_that_wants_so(run_plugins):
    class Strict(Shop):
        says = {"on_error": "restart"}

    async with run_plugins(Strict) as nest:
        with pytest.raises(RemoteError):
            await nest.proxy("strict").total()
        await nest.until_running("strict", incarnation=2)


async def test_a_fault_of_a_timer_restarts_no_plugin_that_wants_none(run_plugins):
    class Lenient(Shop):
        says = {"on_error": "reply"}

    async with run_plugins(Lenient) as nest:
        await nest.proxy("lenient").soon("total")
        await nest.until(lambda: nest.dead_letters.list())
        (letter,) = nest.dead_letters.list()
        assert letter.kind == "timer"
        assert letter.report is not None
        assert nest.cell("lenient").crashes == 0


async def test_the_deadline_of_handlers_is_that_of_timers_too(run_plugins):
    class Quick(Shop):
        says = {"deadlines": Deadlines(handler=2)}

    async with run_plugins(Quick) as nest:
        await nest.proxy("quick").soon("hang")
        began = trio.current_time()
        await nest.until_running("quick", incarnation=2)
        assert trio.current_time() - began == pytest.approx(3, abs=0.1)


async def test_what_a_given_up_websocket_still_does_runs_beside_no_other_message(run_plugins):
    at_work = []

    class Talking(Plugin):
        @websocket("/talk")
        async def talk(self, ws: WebSocket):
            at_work.append("talk")
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(1)
                at_work.remove("talk")

        @post("/look")
        async def look(self):
            return {"beside": [*at_work]}

    async with run_plugins(Talking) as nest, trio.open_nursery() as nursery:
        endpoint, _ = nest.endpoints["WEBSOCKET", "/talk"]
        nursery.start_soon(endpoint.websocket, WebSocket("/talk"))
        await nest.until(lambda: at_work)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            response = await nest.request("POST", "/look")
        assert response.body == b'{"beside":[]}'
