"""A plugin's life under its keeper: crash and return, services, sessions, what it may do."""

from __future__ import annotations

import asyncio
import functools
import json

import pytest
import sniffio
import trio
import trio.testing

from nexus_actors import log
from nexus_actors.actors import in_hand
from nexus_actors.database import DatabaseAdapter
from nexus_actors.errors import (
    ActorStopped,
    AskCycle,
    AskTimeout,
    CannotCross,
    HTTPError,
    MailboxFull,
    NotInNode,
    PermissionDenied,
    RemoteError,
)
from nexus_actors.events import event_handler
from nexus_actors.http import Response, ServerSentEvent, WebSocket, get, post, websocket
from nexus_actors.middleware import Middleware
from nexus_actors.permissions import Permissions
from nexus_actors.plugin import Plugin
from nexus_actors.plugin.manifest import Supervision
from nexus_actors.services import Service, inject


def body(response):
    return json.loads(response.body)


class Shop(Plugin):
    def __init__(self, config):
        super().__init__(config)
        self.seen = []
        self.log = []

    async def cleanup(self):
        self.log.append("cleanup")

    @get("/shop")
    async def status(self):
        return {"seen": self.seen}

    @post("/shop/break")
    async def break_it(self):
        raise ValueError("secret words")

    @get("/shop/refuse")
    async def refuse(self):
        raise HTTPError(404, "no such thing")

    @get("/shop/slow")
    async def slow(self):
        await trio.sleep(10)

    @event_handler("item.added")
    async def added(self, event):
        self.seen.append(event.data["n"])

    @event_handler("item.bad")
    async def bad(self, event):
        await trio.sleep(1)
        raise ValueError("bad item")

    async def count(self, extra=0):
        return len(self.seen) + extra

    async def get_object(self):
        return object()

    async def fail(self):
        raise KeyError("inside")

    async def _private(self):
        return 1

    def plain(self):
        return 1


async def test_a_request_is_answered_by_the_plugin(run_plugins, autojump_clock):
    async with run_plugins(Shop) as nest:
        response = await nest.request("GET", "/shop")
        assert (response.status, body(response)) == (200, {"seen": []})


async def test_an_event_goes_through_the_mailbox_to_its_handler(run_plugins, autojump_clock):
    async with run_plugins(Shop) as nest:
        assert [nest.emit("item.added", {"n": n}) for n in range(3)] == [1, 1, 1]
        assert body(await nest.request("GET", "/shop")) == {"seen": [0, 1, 2]}


async def test_a_crash_in_an_event_handler_brings_a_fresh_object_at_the_same_address(
    run_plugins, autojump_clock
):
    async with run_plugins(Shop) as nest:
        nest.emit("item.added", {"n": 1})
        address = nest.registry.address("shop")
        nest.emit("item.bad")
        await trio.sleep(0.5)
        assert body(await nest.request("GET", "/shop")) == {"seen": []}
        first, second = nest.objects["shop"]
        assert first is not second
        assert first.log == ["cleanup"]
        assert nest.registry.address("shop").name == address.name
        (letter,) = nest.dead_letters.list()
        assert (letter.handler, letter.reason) == ("bad", "crash")
        assert "bad item" in str(letter.report)


async def test_a_fault_in_a_request_is_a_500_without_its_words_and_the_plugin_lives_on(
    run_plugins, autojump_clock, caplog
):
    async with run_plugins(Shop) as nest:
        with pytest.raises(HTTPError) as caught:
            await nest.request("POST", "/shop/break", id="abc123")
        assert caught.value.status == 500
        assert "abc123" in caught.value.detail
        assert "secret" not in caught.value.detail
        assert "secret words" in caplog.text
        assert len(nest.objects["shop"]) == 1


async def test_a_refusal_is_answered_as_it_was_said(run_plugins, autojump_clock):
    async with run_plugins(Shop) as nest:
        with pytest.raises(HTTPError, match="404 no such thing"):
            await nest.request("GET", "/shop/refuse")
        assert nest.cell("shop").faults == 0


async def test_a_request_without_an_answer_ends_at_its_deadline(run_plugins, autojump_clock):
    async with run_plugins(Shop) as nest:
        began = trio.current_time()
        with pytest.raises(AskTimeout):
            await nest.request("GET", "/shop/slow", deadline=3)
        assert trio.current_time() - began == pytest.approx(3)


async def test_a_request_without_an_answer_is_logged_with_its_route_and_counted(
    run_plugins, autojump_clock, capsys
):
    log.configure(json=True)
    try:
        async with run_plugins(Shop) as nest:
            with pytest.raises(AskTimeout):
                await nest.request("GET", "/shop/slow", deadline=3, id="abc123")
            await nest.until(lambda: not nest.cell("shop").in_hand)
            assert nest.cell("shop").faults == 1
    finally:
        log.unconfigure()
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (line["level"], line["plugin"], line["route"], line["request_id"]) == (
        "warning",
        "shop",
        "GET /shop/slow",
        "abc123",
    )
    assert line["message"] == "slow was cancelled after 3 s: the time for its answer was up"


# calls between plugins


class Asker(Plugin):
    async def ask(self, method, *args):
        return await getattr(self.get_plugin("shop"), method)(*args)

    async def has(self, name):
        return hasattr(self.get_plugin("shop"), name)

    async def nobody(self):
        return self.get_plugin("nobody")

    async def around(self):
        return await self.get_plugin("asker").ask("count")


async def test_a_plugin_calls_anothers_public_coroutine_methods(run_plugins, autojump_clock):
    async with run_plugins(Shop, Asker) as nest:
        assert await nest.proxy("asker").ask("count", 5) == 5
        assert await nest.proxy("asker").nobody() is None


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("count", True),
        ("fail", True),
        ("_private", False),
        ("plain", False),
        ("status", False),
        ("added", False),
        ("initialize", False),
        ("cleanup", False),
        ("emit_event", False),
        ("nothing", False),
    ],
)
async def test_a_proxy_has_only_what_the_class_defines_for_others(
    run_plugins, autojump_clock, name, there
):
    async with run_plugins(Shop, Asker) as nest:
        assert await nest.proxy("asker").has(name) is there


async def test_what_a_callee_raises_reaches_the_caller_in_words(run_plugins, autojump_clock):
    async with run_plugins(Shop, Asker) as nest:
        with pytest.raises(RemoteError, match="shop failed while answering: KeyError"):
            await nest.proxy("asker").ask("fail")
        assert nest.cell("shop").faults == 1
        assert nest.cell("asker").faults == 0, "the one who asked is not to blame"


async def test_what_may_not_cross_is_refused_on_both_ways(run_plugins, autojump_clock):
    async with run_plugins(Shop) as nest:
        with pytest.raises(CannotCross, match="object"):
            await nest.proxy("shop").count(object())
        with pytest.raises(RemoteError, match="CannotCross"):
            await nest.proxy("shop").get_object()


async def test_an_ask_back_into_the_own_chain_is_refused_with_its_path(run_plugins, autojump_clock):
    async with run_plugins(Shop, Asker) as nest:
        with pytest.raises(AskCycle, match="asker > asker"):
            await nest.proxy("asker").around()


class Forbidden(Plugin):
    says = {"permissions": Permissions.of("events:emit:own.*", "plugins:call:billing")}

    async def emit(self, type):
        return await self.emit_event(type, {})

    async def other(self, name):
        return self.get_plugin(name)

    async def query(self):
        return await self.db.fetch_one("SELECT 1")


@pytest.mark.parametrize(
    ("method", "argument", "line"),
    [
        ("emit", "foreign.thing", "events:emit"),
        ("other", "shop", "plugins:call"),
        ("query", None, "database:"),
    ],
)
async def test_what_the_manifest_does_not_ask_for_is_denied_with_the_line_to_add(
    run_plugins, autojump_clock, method, argument, line
):
    async with run_plugins(Forbidden) as nest:
        arguments = [] if argument is None else [argument]
        with pytest.raises(RemoteError, match=f'add "{line}') as caught:
            await getattr(nest.proxy("forbidden"), method)(*arguments)
        assert PermissionDenied.__name__ in str(caught.value)


async def test_narrowed_permissions_allow_what_they_name(run_plugins, autojump_clock):
    async with run_plugins(Forbidden) as nest:
        assert await nest.proxy("forbidden").emit("own.thing") == 0
        assert await nest.proxy("forbidden").other("billing") is None


# giving up


class Echo(Plugin):
    def __init__(self, config):
        super().__init__(config)
        self.heard = []

    @post("/shout")
    async def shout(self):
        await self.emit_event("echo.heard", {})

    @event_handler("echo.heard")
    async def on_heard(self, event):
        self.heard.append(in_hand().request_id)


class EchoInAsyncio(Echo):
    library = "asyncio"


@pytest.mark.parametrize("kind", [Echo, EchoInAsyncio])
async def test_an_event_carries_the_request_id_of_what_emitted_it(run_plugins, kind):
    async with run_plugins(kind) as nest:
        await nest.request("POST", "/shout", id="the-request")
        nest.emit("echo.heard")
        heard = nest.objects[kind.__name__.lower()][0].heard
        with trio.fail_after(5):
            while len(heard) < 2:  # noqa: ASYNC110 - a plugin's list tells nobody
                await trio.sleep(0.001)
        assert heard == ["the-request", ""]


class Fragile(Plugin):
    says = {"supervision": Supervision(intensity=2, period=10.0)}

    @event_handler("break")
    async def on_break(self, event):
        raise ValueError("broken")

    @get("/fragile")
    async def status(self):
        return {}


async def test_a_plugin_over_its_intensity_is_suspended_and_comes_back_after_a_pause(
    run_plugins, autojump_clock
):
    async with run_plugins(Fragile, Shop) as nest:
        cell = nest.cell("fragile")
        pauses = []
        for _ in range(3):
            for _ in range(3):
                await nest.until(lambda: cell.state == "running")
                nest.emit("break")
                await nest.until(lambda: cell.mailbox.waiting == 0)
            await nest.until(lambda: cell.state == "suspended")
            assert "more than 2 restarts in 10 s" in cell.reason
            assert "broken" in cell.reason
            pauses.append(cell.next_try - trio.current_time())
            with pytest.raises(ActorStopped) as caught:
                await nest.request("GET", "/fragile")
            assert caught.value.retry_after == pytest.approx(pauses[-1], abs=0.1)
        assert pauses[1] > 1.5 * pauses[0]
        assert pauses[2] > 1.5 * pauses[1]
        assert body(await nest.request("GET", "/shop")) == {"seen": []}, "the others serve"
        await nest.until(lambda: cell.state == "running")


async def test_an_event_for_a_suspended_plugin_is_a_lost_copy_not_the_emitters_trouble(
    run_plugins, autojump_clock
):
    async with run_plugins(Fragile) as nest:
        cell = nest.cell("fragile")
        for _ in range(3):
            await nest.until(lambda: cell.state == "running")
            nest.emit("break")
            await nest.until(lambda: cell.mailbox.waiting == 0)
        await nest.until(lambda: cell.state == "suspended")
        assert nest.emit("break") == 0
        assert nest.lost[-1].reason == "suspended"


class Once(Plugin):
    says = {"supervision": Supervision(restart="temporary")}

    @event_handler("break")
    async def on_break(self, event):
        raise ValueError("broken")

    @get("/once")
    async def status(self):
        return {}


async def test_a_temporary_plugin_that_crashed_is_stopped_and_its_callers_told_at_once(
    run_plugins, autojump_clock
):
    async with run_plugins(Once) as nest:
        nest.emit("break")
        await nest.until(lambda: nest.cell("once").state == "stopped")
        assert "broken" in nest.cell("once").reason
        with pytest.raises(ActorStopped):
            await nest.request("GET", "/once")


class Never(Plugin):
    async def initialize(self):
        raise RuntimeError("no licence")


class Endless(Plugin):
    async def initialize(self):
        await trio.sleep_forever()


class Forgetful(Plugin):
    def __init__(self, config):
        pass


class Renamed(Plugin):
    def __init__(self, config):
        super().__init__(config)
        self.name = "another"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Never, "no licence"),
        (Endless, "initialize of endless did not end within 30 s"),
        (Forgetful, "begin it with super().__init__(config)"),
        (Renamed, "it sets name to 'another'"),
    ],
)
async def test_a_plugin_that_cannot_start_is_failed_with_its_reason_and_tried_again(
    run_plugins, autojump_clock, kind, words
):
    async with run_plugins(kind, wait=False) as nest:
        cell = nest.cell(kind.__name__.lower())
        await nest.until(lambda: cell.state == "failed")
        assert words in cell.reason
        assert cell.next_try > trio.current_time()
        tries = len(nest.objects[cell.name])
        while len(nest.objects[cell.name]) == tries or cell.state != "failed":
            await cell.wait_changed()


async def test_a_full_mailbox_refuses_and_the_others_serve(run_plugins, autojump_clock):
    async with run_plugins(Stuck, Shop) as nest:
        for _ in range(1001):
            nest.emit("stick")
        await trio.testing.wait_all_tasks_blocked()
        nest.emit("stick")
        assert nest.emit("stick") == 0
        assert nest.lost[-1].reason == "mailbox full"
        with pytest.raises(MailboxFull):
            await nest.request("POST", "/stuck")
        assert (await nest.request("GET", "/shop")).status == 200


class Stuck(Plugin):
    @event_handler("stick")
    async def on_stick(self, event):
        await trio.sleep(50)

    @post("/stuck")
    async def post(self):
        return {}


# services


class Counter(Service):
    started = 0

    def __init__(self, config):
        super().__init__(config)
        self.steps = []

    async def initialize(self):
        type(self).started += 1
        self.steps.append("initialize")
        self.nursery.start_soon(self.work)
        self.trigger = trio.Event()

    async def work(self):
        await self.trigger.wait()
        raise OSError("the service broke")

    def next(self):
        self.steps.append("next")
        return len(self.steps)

    async def cleanup(self):
        self.steps.append("cleanup")


class Later(Service):
    started = 0

    def __init__(self):
        super().__init__()

    async def initialize(self):
        type(self).started += 1


class Served(Plugin):
    def __init__(self, config):
        super().__init__(config)
        self.counter = inject(Counter)
        self.later = inject(Later)
        assert inject(Counter) is self.counter, "one instance a plugin"

    async def initialize(self):
        assert self.counter.steps[0] == "initialize", "services start before initialize"

    @get("/next")
    async def next(self):
        return {"next": self.counter.next()}

    @event_handler("plugin.break")
    async def on_break(self, event):
        raise ValueError

    @event_handler("service.break")
    async def on_service_break(self, event):
        self.counter.trigger.set()

    @event_handler("service.fail")
    async def on_service_fail(self, event):
        self.counter.fail(OSError("said so"))

    @event_handler("later.fail")
    async def on_later_fail(self, event):
        self.later.fail(OSError("said so"))


@pytest.fixture
def counts():
    Counter.started = Later.started = 0
    return lambda: (Counter.started, Later.started)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("plugin.break", (1, 1)),
        ("service.break", (2, 2)),
        ("service.fail", (2, 2)),
        ("later.fail", (1, 2)),
    ],
)
async def test_a_crash_restarts_the_service_those_after_it_and_the_plugin(
    run_plugins, autojump_clock, counts, event, expected
):
    async with run_plugins(Served) as nest:
        assert body(await nest.request("GET", "/next")) == {"next": 2}
        nest.emit(event)
        await nest.until_running("served", incarnation=2)
        assert counts() == expected
        kept = 3 if expected[0] == 1 else 2
        assert body(await nest.request("GET", "/next")) == {"next": kept}


class Prices(Service):
    def __init__(self):
        super().__init__()
        self.counter = inject(Counter)
        self.db = inject(DatabaseAdapter)
        self.made_in = sniffio.current_async_library()


class Priced(Plugin):
    def __init__(self, config):
        super().__init__(config)
        self.counter = inject(Counter)
        self.prices = inject(Prices)

    @get("/price")
    async def price(self):
        prices = self.prices
        return {"same": prices.counter is self.counter, "in": prices.made_in, "db": repr(prices.db)}


class PricedForAsyncio(Priced):
    library = "asyncio"


@pytest.mark.parametrize(("kind", "library"), [(Priced, "trio"), (PricedForAsyncio, "asyncio")])
async def test_a_service_finds_the_database_and_the_services_named_before_it(
    run_plugins, kind, library
):
    async with run_plugins(kind) as nest:
        said = body(await nest.request("GET", "/price"))
        assert (said["same"], said["in"]) == (True, library)
        assert "not in a node" not in said["db"]


class Reversed(Plugin):
    def __init__(self, config):
        super().__init__(config)
        inject(Prices)
        inject(Counter)


class Unnamed(Plugin):
    def __init__(self, config):
        super().__init__(config)
        inject(Prices)


@pytest.mark.parametrize("kind", [Reversed, Unnamed])
async def test_a_service_that_names_one_that_comes_later_is_refused_in_words(
    run_plugins, autojump_clock, kind
):
    async with run_plugins(kind, wait=False) as nest:
        name = kind.__name__.lower()
        await nest.until(lambda: nest.cell(name).state == "failed")
        assert (
            "inject(Counter) in Prices.__init__: a service finds those that the plugin named "
            "before it; write inject(Counter) before inject(Prices)"
        ) in nest.cell(name).reason


async def test_a_service_that_has_ended_is_nobodys(run_plugins, autojump_clock):
    async with run_plugins(Served) as nest:
        counter = nest.objects["served"][0].counter
        assert counter.next()
    with pytest.raises(NotInNode, match="Counter.next: the service is not running"):
        counter.next()


class Broken(Service):
    async def initialize(self):
        raise OSError("no such host")


class Needy(Plugin):
    def __init__(self, config):
        super().__init__(config)
        self.broken = inject(Broken)


async def test_a_service_that_cannot_start_fails_the_plugin_with_its_reason(
    run_plugins, autojump_clock
):
    async with run_plugins(Needy, wait=False) as nest:
        await nest.until(lambda: nest.cell("needy").state == "failed")
        assert "no such host" in nest.cell("needy").reason


# middleware


class Stamp(Middleware):
    def __init__(self, text):
        self.text = text

    async def __call__(self, request, call_next):
        request.headers["X-Seen"] = request.headers.get("X-Seen", "") + self.text
        response = await call_next(request)
        response.headers["X-Stamp"] = response.headers.get("X-Stamp", "") + self.text
        return response


class Stamped(Plugin):
    async def initialize(self):
        self.add_middleware(Stamp("a"))
        self.add_middleware(Stamp("b"))

    @get("/stamped")
    async def stamped(self, request):
        return {"seen": request.headers["X-Seen"]}


async def test_middleware_wraps_the_plugins_routes_in_the_order_of_adding(
    run_plugins, autojump_clock
):
    async with run_plugins(Stamped) as nest:
        response = await nest.request("GET", "/stamped")
        assert body(response) == {"seen": "ab"}
        assert response.headers["X-Stamp"] == "ba"


# sessions


class Streams(Plugin):
    says = {"max_sessions": 2}

    def __init__(self, config):
        super().__init__(config)
        self.ended = []

    @get("/numbers")
    async def numbers(self):
        async def count():
            try:
                for n in range(10_000):
                    yield ServerSentEvent(str(n))
                    await trio.sleep(1)
            finally:
                self.ended.append("numbers")

        return count()

    @get("/broken")
    async def broken(self):
        async def count():
            yield "one"
            raise ValueError("in the stream")

        return count()

    @event_handler("crash")
    async def on_crash(self, event):
        raise ValueError


async def test_a_streamed_reply_goes_on_after_its_message_and_holds_up_nobody(
    run_plugins, autojump_clock
):
    async with run_plugins(Streams) as nest:
        response = await nest.request("GET", "/numbers")
        items = aiter(response.stream)
        assert (await anext(items)).data == "0"
        assert nest.cell("streams").mailbox.statistics().in_hand == 0
        assert (await anext(items)).data == "1"
        await items.aclose()
        await nest.until(lambda: nest.objects["streams"][0].ended == ["numbers"])
        assert nest.cell("streams").sessions == 0


async def test_streams_end_cleanly_with_their_incarnation(run_plugins, autojump_clock):
    async with run_plugins(Streams) as nest:
        response = await nest.request("GET", "/numbers")
        items = aiter(response.stream)
        await anext(items)
        nest.emit("crash")
        await nest.until_running("streams", incarnation=2)
        assert len([item async for item in items]) < 3


async def test_a_fault_in_a_stream_ends_that_stream_alone(run_plugins, autojump_clock):
    async with run_plugins(Streams) as nest:
        response = await nest.request("GET", "/broken")
        items = aiter(response.stream)
        assert await anext(items) == "one"
        with pytest.raises(Exception, match="in the midst of its reply"):
            await anext(items)
        assert nest.cell("streams").incarnation == 1


async def test_no_more_sessions_are_open_than_may(run_plugins, autojump_clock):
    async with run_plugins(Streams) as nest:
        streams = [(await nest.request("GET", "/numbers")).stream for _ in range(2)]
        with pytest.raises(HTTPError, match="503"):
            await nest.request("GET", "/numbers")
        for stream in streams:
            await stream.aclose()


async def test_a_response_may_be_built_by_hand(run_plugins, autojump_clock):
    class ByHand(Plugin):
        @get("/by-hand")
        async def by_hand(self):
            return Response("made", 201, {"X-A": "b"})

    async with run_plugins(ByHand) as nest:
        response = await nest.request("GET", "/by-hand")
        assert (response.status, response.body, response.headers["x-a"]) == (201, b"made", "b")


class Nested(Plugin):
    """Streams and sockets that hold nurseries around their yields and receives."""

    says = {"supervision": Supervision(intensity=0)}

    @get("/nested")
    async def nested(self):
        async def count():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                while True:
                    yield "item"
                    await trio.sleep(1)

        return count()

    @websocket("/socket/{how}")
    async def socket(self, ws, how):
        await ws.accept()
        if how == "refuse":
            raise HTTPError(403, "not you")
        if how == "unanswered":
            raise ActorStopped("other")
        if how == "fail":
            raise ValueError("secret words")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.read, ws)
            nursery.start_soon(self.untidy, how)

    async def read(self, ws):
        while True:
            await ws.receive()

    async def untidy(self, how):
        try:
            await trio.sleep_forever()
        finally:
            if how == "untidy":
                raise ValueError("while it was being ended")


async def open_socket(nest, nursery, how):
    endpoint, _ = nest.endpoints["WEBSOCKET", "/socket/{how}"]
    socket = WebSocket(f"/socket/{how}", path_params={"how": how})
    nursery.start_soon(endpoint.websocket, socket)
    assert (await socket.next_command()).kind == "accept"
    return socket


async def test_a_client_that_leaves_a_stream_with_a_nursery_hurts_nobody(
    run_plugins, autojump_clock
):
    async with run_plugins(Nested) as nest:
        stream = (await nest.request("GET", "/nested")).stream
        assert await anext(aiter(stream)) == "item"
        await stream.aclose()
        await nest.until(lambda: nest.cell("nested").sessions == 0)
        assert (nest.cell("nested").state, nest.cell("nested").crashes) == ("running", 0)


@pytest.mark.parametrize(
    ("how", "code", "logged"),
    [("refuse", 1008, False), ("unanswered", 1013, False), ("fail", 1011, True)],
)
async def test_a_websocket_is_closed_by_the_kind_of_error(
    run_plugins, autojump_clock, caplog, how, code, logged
):
    async with run_plugins(Nested) as nest, trio.open_nursery() as nursery:
        socket = await open_socket(nest, nursery, how)
        assert (await socket.wait_closed())[0] == code
        assert "secret" not in socket.closed[1]
        await nest.until(lambda: nest.cell("nested").sessions == 0)
        assert ("a websocket failed" in caplog.text) is logged
        assert nest.cell("nested").state == "running"


@pytest.mark.parametrize("how", ["tidy", "untidy"])
async def test_a_websocket_whose_client_goes_is_no_fault_also_in_a_nursery(
    run_plugins, autojump_clock, caplog, how
):
    async with run_plugins(Nested) as nest, trio.open_nursery() as nursery:
        socket = await open_socket(nest, nursery, how)
        socket.lost(1001, "going away")
        await nest.until(lambda: nest.cell("nested").sessions == 0)
        assert ("a websocket failed" in caplog.text) is (how == "untidy")
        assert nest.cell("nested").state == "running"


async def test_a_fault_in_a_session_that_ends_with_its_plugin_is_no_crash(
    run_plugins, autojump_clock
):
    async with run_plugins(Nested) as nest, trio.open_nursery() as nursery:
        socket = await open_socket(nest, nursery, "untidy")
        crashes = nest.cell("nested")
        nest.registry.cell("nested").enter("running")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert crashes.crashes == 0
    assert socket.closed[0] == 1012


class SlowReturn(Plugin):
    starts = 0

    async def initialize(self):
        SlowReturn.starts += 1
        if SlowReturn.starts > 1:
            await trio.sleep_forever()

    @event_handler("break")
    async def on_break(self, event):
        raise ValueError


async def test_a_stop_does_not_wait_for_a_restart_that_is_under_way(run_plugins, autojump_clock):
    SlowReturn.starts = 0
    async with run_plugins(SlowReturn) as nest:
        nest.emit("break")
        await nest.until(lambda: SlowReturn.starts == 2)
        began = trio.current_time()
    assert trio.current_time() - began < 1


class OnceOnly(Plugin):
    says = {"supervision": Supervision(restart="temporary")}

    async def initialize(self):
        raise ValueError("no licence")


async def test_a_temporary_plugin_that_cannot_start_is_not_tried_again(run_plugins, autojump_clock):
    async with run_plugins(OnceOnly, wait=False) as nest:
        await nest.until(lambda: nest.cell("onceonly").state == "stopped")
        assert "no licence" in nest.cell("onceonly").reason
        await trio.sleep(1000)
        assert len(nest.objects["onceonly"]) == 1


@pytest.mark.parametrize("where", ["handler", "initialize", "nursery"])
async def test_a_generator_exit_is_one_crash_like_any_other(run_plugins, autojump_clock, where):
    class Odd(Plugin):
        made = 0

        async def initialize(self):
            Odd.made += 1
            if where == "initialize" and Odd.made == 1:
                raise GeneratorExit
            if where == "nursery" and Odd.made == 1:
                self.nursery.start_soon(self.leave)

        @get("/odd")
        async def leave(self):
            raise GeneratorExit

    async with run_plugins(Odd, wait=False) as nest:
        cell = nest.cell("odd")
        if where == "handler":
            await nest.until_running("odd")
            with pytest.raises(Exception, match="failed while answering"):
                await nest.request("GET", "/odd")
        await nest.until(lambda: cell.crashes)
        await nest.until_running("odd", cell.incarnation + (cell.state != "running"))
        assert cell.crashes == 1
        assert "suspended" not in cell.reason


class Pending:
    """Awaits as a Future of asyncio does: it yields itself."""

    def __await__(self):
        yield self


@pytest.mark.parametrize(
    ("library", "start", "other"),
    [
        ("trio", lambda: asyncio.sleep(1), "asyncio"),
        ("trio", lambda: asyncio.timeout(1).__aenter__(), "asyncio"),
        ("trio", asyncio.get_running_loop, "asyncio"),
        ("trio", lambda: Pending(), "asyncio"),
        ("asyncio", functools.partial(trio.sleep, 1), "trio"),
        ("asyncio", trio.lowlevel.checkpoint, "trio"),
    ],
)
async def test_a_plugin_run_by_the_wrong_library_is_told_what_to_write(
    run_plugins, autojump_clock, library, start, other
):
    class Lost(Plugin):
        async def initialize(self):
            await start()

    Lost.library = library
    async with run_plugins(Lost, wait=False) as nest:
        await nest.until(lambda: nest.cell("lost").state == "failed")
        hint = f'if it is written for {other}, write "async_library": "{other}" in its plugin.json'
        assert hint in nest.cell("lost").reason


async def test_any_other_failure_says_nothing_of_libraries(run_plugins, autojump_clock):
    class Bad(Plugin):
        async def initialize(self):
            raise RuntimeError("no luck")

    async with run_plugins(Bad, wait=False) as nest:
        await nest.until(lambda: nest.cell("bad").state == "failed")
        assert "async_library" not in nest.cell("bad").reason


# what runs beside what


class Queue(Plugin):
    @get("/get")
    async def reads(self):
        await trio.sleep(1)

    @post("/post")
    async def writes(self):
        await trio.sleep(1)

    @post("/together", together=True)
    async def writes_together(self):
        await trio.sleep(1)

    @post("/alone", alone=True)
    async def writes_alone(self):
        await trio.sleep(1)


class WideQueue(Queue):
    says = {"concurrency": 2}


GET, POST, TOGETHER, ALONE = (
    ("GET", "/get"),
    ("POST", "/post"),
    ("POST", "/together"),
    ("POST", "/alone"),
)


@pytest.mark.parametrize(
    ("plugin", "first", "second", "beside"),
    [
        (Queue, GET, GET, True),
        (Queue, GET, POST, False),
        (Queue, POST, GET, False),
        (Queue, POST, POST, False),
        (Queue, TOGETHER, GET, True),
        (Queue, GET, TOGETHER, True),
        (Queue, TOGETHER, TOGETHER, True),
        (Queue, TOGETHER, POST, False),
        (Queue, POST, TOGETHER, False),
        (WideQueue, GET, POST, True),
        (WideQueue, POST, GET, True),
        (WideQueue, POST, POST, True),
        (WideQueue, POST, ALONE, False),
        (WideQueue, ALONE, GET, False),
    ],
)
async def test_what_runs_beside_what_is_as_the_manual_says(
    run_plugins, autojump_clock, plugin, first, second, beside
):
    async with run_plugins(plugin) as nest:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(nest.request, *first)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(nest.request, *second)
        assert trio.current_time() - began == pytest.approx(1 if beside else 2)
