"""Runs a program of random_plugins on a node without sockets and database, and checks, at every
quiet moment and at the end, that what a node promises its plugins and their callers holds.

It is an actor_world with plugins above the actors: real classes with real manifests, loaded by the
loader, kept by their keepers, reached through registry, router, event bus and dead letters. The
model of what should happen is kept apart from the runtime: by what the plugins' own code sees, and
by what passes at the mailboxes, the dead letters and the reply slots.
"""

from __future__ import annotations

import asyncio
import json
import math
import traceback
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs
import trio
from actor_world import CALLED_OFF, GRACE, MOST, Asked, Do, Life, One, Planned, Strange, World
from random_actors import Act, Kind
from random_plugins import TYPES, Program, Spec
from scripted_plugins import AsyncioWays, Fatal, Oops, PluginLife, Run, plugin_class
from trio.testing import wait_all_tasks_blocked

from nexus_actors.actors import ActorCell, Address, Call, DeadLetter, Message, NotHandled, Proxy
from nexus_actors.actors.dead_letters import DeadLetters
from nexus_actors.actors.kernel import Kernel
from nexus_actors.actors.message import current_message, in_hand
from nexus_actors.actors.system import ActorSystem
from nexus_actors.config import HttpSettings, NodeSettings, Settings
from nexus_actors.errors import AskTimeout, HTTPError, NotInNode, RemoteError, Unanswered
from nexus_actors.events.event import make_event
from nexus_actors.http import Request
from nexus_actors.http.router import Match
from nexus_actors.http.session import _close_words
from nexus_actors.http.websockets import WebSocket, WebSocketClosed
from nexus_actors.node.letters import discard, retry
from nexus_actors.node.node import Node
from nexus_actors.plugin import Plugin, keeper, loader
from nexus_actors.plugin.discovery import Found
from nexus_actors.plugin.host import EventCall, HttpCall, SocketCall
from nexus_actors.plugin.loader import plan_from
from nexus_actors.plugin.manifest import parse_manifest
from nexus_actors.plugin.sessions import BrokenStream

PLUGINS = 6
"""No more are added when there are so many."""
LONGEST = 200.0
"""Seconds of mock time a plugin may be neither up nor down: longer than all its starts take."""
LAST_WORDS = 12.0
"""Seconds by which a stop may exceed its limit: what is killed may be deaf for a while."""


class PluginNode(Node):
    """A node of plugins alone: no sockets, no watchdog, so that mocked time can jump."""

    def _children(self) -> list[Any]:
        return super()._children()[:1]


class PluginWorld(World):
    """One run of one program."""

    program: Any

    def __init__(self, program: Program) -> None:
        super().__init__(program)  # type: ignore[arg-type]
        self.start_anew()
        self.past: Counter[str] = Counter()

    def start_anew(self) -> None:
        """Forget the node that is gone."""
        did, broken = self.did, self.broken
        super().__init__(self.program)
        self.did, self.broken = did, broken
        self.specs: dict[str, Spec] = getattr(self, "specs", None) or {
            one.name: one for one in self.program.plugins
        }
        self.runs: dict[str, Run] = {}
        self.classes: dict[str, type[Plugin]] = {}
        self.deeds: dict[int, Any] = {}
        self.planned: dict[int, Planned] = {}
        self.running: dict[Message, tuple[PluginLife, float]] = {}
        self.deaf: set[Message] = set()
        self.ended_well: dict[Message, str] = {}
        self.served: Counter[Message] = Counter()
        self.position: dict[Message, int] = {}
        self.last_begun: dict[ActorCell, int] = {}
        self.offered: dict[int, list[tuple[str, str, bool]]] = defaultdict(list)
        self.asked: dict[int, Asked] = {}
        self.outcomes: dict[int, str] = {}
        self.dropped: set[int] = set()
        """Streams and websockets whose clients have gone."""
        self.streams: dict[int, PluginLife] = {}
        """Those that are being sent."""
        self.origins: dict[Message, DeadLetter] = {}
        self.letter_crashes: dict[int, int] = {}
        self.loops: Counter[str] = Counter()
        self.node: Any = None
        self.hurried = False
        self.stop_began = math.inf

    # -- where things pass -----------------------------------------------------------------------

    @contextmanager
    def watched(self, monkeypatch: Any) -> Iterator[None]:
        world = self
        with super().watched(monkeypatch), monkeypatch.context() as patch:
            send_again, open_compartment = DeadLetters.retry, keeper.open_compartment

            def retried(letters: Any, number: int, *args: Any, **options: Any) -> Message:
                letter = letters.get(number)
                message = send_again(letters, number, *args, **options)
                world.origins[message] = letter
                if letter.message.reply is not None:
                    world.wrong(f"a question was sent again: {letter}")
                return message

            def opened(library: str, name: str) -> Any:
                return world.counted_loop(open_compartment(library, name), name)

            patch.setattr(DeadLetters, "retry", retried)
            patch.setattr(keeper, "open_compartment", opened)
            patch.setattr(loader, "load_class", lambda found, base: world.classes[found.name])
            yield

    def counted_loop(self, context: Any, name: str) -> Any:
        world = self

        class Counted:
            async def __aenter__(self) -> Any:
                world.loops[name] += 1
                if world.loops[name] > 1:
                    world.wrong(f"{name} has two compartments")
                return await context.__aenter__()

            async def __aexit__(self, *details: Any) -> Any:
                try:
                    return await context.__aexit__(*details)
                finally:
                    world.loops[name] -= 1

        return Counted()

    def comes(self, cell: ActorCell, message: Message) -> None:
        super().comes(cell, message)
        if message.origin is not None:
            self.origins[message] = message.origin
            if isinstance(message.payload, Do):
                self.put_aside[message.payload.number] += 1  # it may be begun once more

    def came(self, cell: ActorCell, message: Message) -> None:
        super().came(cell, message)
        self.position[message] = len(self.position)
        payload = message.payload
        number = self.number_in(payload)
        if isinstance(payload, EventCall):
            if message.origin is None:
                self.offered[number].append((cell.name, payload.entry.handler, True))
        elif message.reply is not None and not isinstance(payload, SocketCall) and number:
            self.by_number[number] = message

    def number_in(self, payload: Any) -> int:
        match payload:
            case HttpCall():
                return int(payload.request.path_params["number"])
            case SocketCall():
                return int(payload.socket.path_params["number"])
            case Call():
                return int(payload.args[0])
            case EventCall():
                return int(payload.event._data["number"])
        return 0

    def timer_in(self, payload: Any) -> Planned | None:
        if isinstance(payload, Call) and payload.method == "_tick":
            return self.planned[payload.args[0]]
        return super().timer_in(payload)

    def buried(self, letter: DeadLetter) -> None:
        super().buried(letter)
        message = letter.message
        origin = self.origins.get(message)
        before = 0 if origin is None else self.letter_crashes[origin.number]
        kills = letter.reason in ("crash", "quarantined")
        self.letter_crashes[letter.number] = before + kills
        if kills and (letter.reason == "quarantined") != (before > 0):
            self.wrong(f"{letter} has crashed {before} times before")
        if kills and letter.report is None:
            self.wrong(f"{letter} has no report")
        if letter.crashes != before + kills:
            self.wrong(f"{letter} counts {letter.crashes} crashes, not {before + kills}")
        self.did["quarantined"] += letter.reason == "quarantined"
        payload = message.payload
        if isinstance(payload, EventCall) and message.fate is None and not message.receiver:
            self.offered[self.number_in(payload)].append(
                (letter.actor, payload.entry.handler, False)
            )

    def ended(self, life: Life) -> None:
        super().ended(life)
        run = self.runs.get(life.cell.name)
        if run is None or not isinstance(life, PluginLife):
            return
        reason: Any = life.reason
        failure = getattr(reason, "failure", None)
        name = "" if failure is None else str(failure.type).rpartition(".")[2]
        self.did[f"a plugin ended: {name or reason}"] += 1
        if name in ("Oops", "Fatal") and str(failure.message) not in life.allowed:
            self.wrong(f"{life} ended by {failure.message!r}, which is no cause for that")
        wanted = run.stop_asked or self.stopping or life.cell.ending or run.service_failed
        if not name and not (life.causes or wanted):
            self.wrong(f"{life} ended without a cause: {reason}")
        if self.stopping and not self.killed and not run.stop_asked:
            for other in self.runs.values():
                needed = run.spec.name in other.said.requires
                if needed and other.cell.is_up and reason is not None and not name:
                    self.wrong(f"{run.spec.name} ends before {other.spec.name}, which requires it")

    @property
    def stopping(self) -> bool:
        return self.node.phase == "stopping"

    @property
    def killed(self) -> bool:
        """Whether the node no longer stops in good order."""
        limit = self.node.settings.node.stop_timeout
        return self.hurried or trio.current_time() - self.stop_began >= limit

    # -- what plugins do -------------------------------------------------------------------------

    async def initialize(self, plugin: Any) -> PluginLife:
        run: Run = plugin._run
        life: PluginLife = self.born(run.cell, PluginLife)
        plugin._life = life.plugin = plugin
        plugin._life = life
        own = {text for text, owner in run.tasks.values() if owner is not None}
        if own or run.sessions:
            self.wrong(f"{life} begins, and of the one before there are {own}, {run.sessions}")
        if run.said.supervision.strategy != "one_for_one":
            fails = any(one._doomed for one in run.services.values())
            missing = [one for one in plugin._services if not fails and "not running" in repr(one)]
            if missing:
                self.wrong(f"{life} begins without {missing}")
        number = life.number
        match run.spec.start:
            case "slow":
                await plugin._ways.sleep(0.5)
            case "fails" if number % 3 == 2:
                await plugin._ways.sleep(0.1)
                raise self.own_fault(life, Oops, False)
            case "hangs" if number % 4 == 2:
                await plugin._ways.sleep(math.inf)
            case "calls":
                with suppress(Unanswered):
                    await self.call(plugin, number, ("note",))
            case "emits":
                await self.emit(plugin, TYPES[number % len(TYPES)], ("note",))
            case "spawns":
                await self.spawn(plugin, "first", Kind({"restart": "permanent"}))
            case "timers":
                self.set_timer(plugin, 0.5, ("note",), False)
                self.set_timer(plugin, 1, ("note",), True)
            case "dies later" if number % 2:
                self.dies_later(plugin, 2)
        return life

    async def cleanup(self, plugin: Any) -> None:
        run, life = plugin._run, plugin._life
        if life is None:
            return
        life.cleaned += 1
        if life.cleaned > 1:
            self.wrong(f"{life} is cleaned up twice")
        life.closing = True
        if life.busy:
            self.wrong(f"{life} cleans up while a handler runs")
        try:
            match run.spec.cleanup:
                case "slow":
                    await plugin._ways.sleep(0.3)
                case "hangs":
                    await plugin._ways.sleep(8)
                case "raises":
                    raise self.own_fault(life, Oops, False)
                case "calls":
                    with suppress(Unanswered):
                        await self.call(plugin, life.number, ("note",))
        finally:
            self.died(life)

    def own_fault(self, life: PluginLife, kind: type[BaseException], must: bool) -> BaseException:
        """What its own code raises, where nothing but its crash can come of it."""
        words = f"fault {len(life.allowed)} of {life.number}"
        life.allowed.add(words)
        if must and life.is_well:
            life.causes.append(words)
        return kind(words)

    def fault(self, plugin: Any, message: Message, kind: type[BaseException]) -> BaseException:
        """What a handler raises: whether that is its plugin's crash is said here once more."""
        life, said = plugin._life, plugin._run.said
        on_error = self.on_error(plugin, message)
        answers = message.kind in ("http", "call")
        crash = on_error == "restart" if answers else on_error != "reply"
        counts = life.is_well and message.fate is None
        counts = counts and not (message.scope is not None and message.scope.cancel_called)
        if counts and not crash and kind is Oops and said.fault_limit is not None:
            now = trio.current_time()
            life.faults = [one for one in life.faults if one >= now - said.fault_period] + [now]
            crash = len(life.faults) > said.fault_limit
        if crash or kind is Fatal:
            return self.own_fault(life, kind, counts)
        return kind(f"a fault of {message}")

    def on_error(self, plugin: Any, message: Message) -> str | None:
        whole: str | None = plugin._run.said.on_error
        if message.handler == "fatal":
            return "restart"
        if message.kind == "event":
            return plugin._spec.events[int(message.handler.removeprefix("on_"))].on_error or whole
        return whole

    @contextmanager
    def serving(self, plugin: Any, number: int) -> Iterator[Message]:
        """Around a handler: is it the right one, and may it run now?"""
        message, life = current_message.get(), plugin._life
        assert message is not None
        if self.number_in(message.payload) != number:
            self.wrong(f"{message} is handled as {number}")
        if life is None or life.closing or life.over or not life.cell.is_up:
            self.wrong(f"{plugin.name} handles a message, and is not up: {life}")
        cell, said = plugin._run.cell, plugin._run.said
        self.served[message] += 1
        self.begun[number] += message.reply is not None
        if self.served[message] > 1:
            self.wrong(f"{message} is handled twice")
        mode = self.mode(plugin, message)
        life.busy += 1
        life.modes[mode] += 1
        modes, one = life.modes, said.concurrency == 1
        if (
            (modes["alone"] and life.busy > 1)
            or modes["normal"] > said.concurrency
            or modes["reader"] > said.readers
            or (one and modes["normal"] and modes["reader"])
        ):
            self.wrong(f"{life} handles {dict(modes)} at once")
        if one and mode != "reader":
            if self.position[message] < self.last_begun.get(cell, -1):
                self.wrong(f"{message} is handled out of its turn")
            self.last_begun[cell] = self.position[message]
        self.running[message] = life, trio.current_time()
        try:
            yield message
            self.ended_well[message] = "to its end"
            self.did[f"{plugin._run.loaded.library}: {message.kind} handled"] += 1
            if message.reply is not None:
                self.done.add(number)
        except HTTPError:
            self.ended_well[message] = "refused"
            self.done.add(number)
            raise
        finally:
            life.busy -= 1
            life.modes[mode] -= 1
            del self.running[message]
            self.deaf.discard(message)

    def mode(self, plugin: Any, message: Message) -> str:
        if message.kind == "event":
            return str(plugin._spec.events[int(message.handler.removeprefix("on_"))].mode)
        if message.handler == "alone":
            return "alone"
        return "reader" if message.handler in ("read", "stream", "beside") else "normal"

    async def serve(self, plugin: Any, number: int) -> Any:
        with self.serving(plugin, number) as message:
            deed = self.deeds[number]
            await self.plugin_deed(plugin, message, deed)
        if deed == ("strange",):
            if message.reply is not None:
                self.fault(plugin, message, Oops)  # it is counted as one
            return Strange()
        return {"number": number}

    async def plugin_deed(self, plugin: Any, message: Message, deed: Any) -> None:
        run, life, ways = plugin._run, plugin._life, plugin._ways
        match deed:
            case ("work", seconds):
                await ways.sleep(seconds)
            case ("hang",):
                await ways.sleep(math.inf)
            case ("deaf", seconds):
                self.deaf.add(message)
                await ways.deaf(seconds)
            case ("raise",):
                raise self.fault(plugin, message, Oops)
            case ("die",):
                raise self.fault(plugin, message, Fatal)
            case ("refuse",):
                raise HTTPError(404, "there is none")
            case ("dies later", seconds):
                self.dies_later(plugin, seconds)
            case ("stays",):
                ways.begin(plugin, lambda: self.stay(run, "a task", life, ways.sleep))
            case ("call", which, deed):
                await self.call(plugin, which, deed)
            case ("emit", kind, deed):
                await self.emit(plugin, kind, deed)
            case ("spawn", name, kind):
                await self.spawn(plugin, name, kind)
            case ("pool", kind, size, route):
                await self.pool(plugin, kind, size, route)
            case ("child", which, deed, asks):
                children = self.children[life]
                if children:
                    child = children[which % len(children)]
                    if asks:
                        await self.ask(child, deed, 1)
                    else:
                        await child.tell(self.message(deed), timeout=0.3)
            case ("stop child", which):
                if self.children[life]:
                    await plugin.stop_child(self.children[life][which % len(self.children[life])])
            case ("send_after", seconds, deed):
                self.set_timer(plugin, seconds, deed, False)
            case ("every", seconds, deed):
                self.set_timer(plugin, max(seconds, 1), deed, True)
            case ("untime", which):
                if life.timers:
                    timer = life.timers[which % len(life.timers)]
                    timer.handle.cancel()
                    timer.cancelled = True
            case ("service", which, how):
                if plugin._services:
                    place = which % len(plugin._services)
                    with suppress(NotInNode):
                        self.treat_service(plugin, plugin._services[place], how)

    def treat_service(self, plugin: Any, service: Any, how: str) -> None:
        run, life = plugin._run, plugin._life
        up = service._up
        if up not in run.services.values():
            self.wrong(f"{plugin.name} reaches a service that is not up")
        self.did[f"service: {how}"] += 1
        words = f"{how} of a service {self.did[f'service: {how}']}"
        if how == "use":
            return
        up._doomed = run.service_failed = True
        if how == "fail":
            service.fail(Oops(words))
        else:
            service.nursery.start_soon(self.die, Oops(words))
        if run.said.supervision.strategy != "one_for_one" and life.is_well:
            life.causes.append(words)

    async def die(self, error: BaseException) -> None:
        raise error

    def dies_later(self, plugin: Any, seconds: float) -> None:
        run, life, ways = plugin._run, plugin._life, plugin._ways
        # asyncio waits a second for somebody to retrieve it
        grace = 1.0 if ways is AsyncioWays else 0.0

        async def body() -> None:
            token = object()
            run.tasks[token] = "a task that will die", life
            try:
                await ways.sleep(seconds)
                error = self.own_fault(life, Oops, not grace)
            finally:
                del run.tasks[token]
            raise error

        ways.begin(plugin, body)

    async def stay(
        self, run: Run, what: str, life: PluginLife | None, sleep: Any = trio.sleep
    ) -> None:
        token = object()
        run.tasks[token] = what, life
        try:
            await sleep(math.inf)
        finally:
            del run.tasks[token]

    async def call(self, plugin: Any, which: int, deed: Any) -> None:
        """Call another plugin, or this one, which is a cycle."""
        names = [*self.runs]
        name = names[which % len(names)]
        proxy = plugin.get_plugin(name)
        parent = in_hand()
        deadline = trio.current_time() + self.node.settings.node.ask_timeout
        deadline = deadline if parent is None else min(deadline, parent.deadline)
        number = self.new_deed(deed)
        with self.asking(number, deadline, name, None):
            self.is_answer(number, await proxy.do(number))

    async def emit(self, plugin: Any, kind: str, deed: Any) -> None:
        number = self.new_deed(deed)
        data = {"number": number, "bag": [number]}
        taken = await plugin.emit_event(kind, data)
        self.emitted(kind, number, taken)

    def emitted(self, kind: str, number: int, taken: int) -> None:
        """Whether everybody who wants it was offered it, and once."""
        wanted = Counter(
            (name, f"on_{place}")
            for name, run in self.runs.items()
            for place, on in enumerate(run.spec.events)
            if matches(on.pattern.split("."), kind.split("."))
        )
        offered = Counter((name, handler) for name, handler, _ in self.offered[number])
        if wanted != offered:
            self.wrong(f"{kind} was offered to {offered}, and {wanted} want it")
        came = {name for name, _, accepted in self.offered[number] if accepted}
        if taken != len(came):
            self.wrong(f"{kind} was taken by {came}, and the emitter was told {taken}")

    async def pool(self, plugin: Any, kind: Kind, size: int, route: Any) -> None:
        if len(self.cells) + size >= MOST:
            return
        if route == "key":
            route = lambda message: message.number % 2  # noqa: E731
        name = f"pool{len(self.cells)}"
        try:
            pool = await plugin.spawn_pool(
                One, self, kind, size=size, route=route, name=name, **kind.options
            )
        except CALLED_OFF:
            return
        self.pools.append(pool)
        self.addresses += pool.members
        self.children[plugin._life] += pool.members
        self.did["pools"] += 1

    def set_timer(self, plugin: Any, seconds: float, deed: Any, often: bool) -> None:
        number = self.new_deed(deed)
        life = plugin._life
        timer = Planned(life, trio.current_time() + seconds, seconds if often else math.inf)
        self.planned[number] = timer
        life.timers.append(timer)
        set_timer = plugin.every if often else plugin.send_after
        timer.handle = set_timer(seconds, plugin._tick, number)

    # -- sessions --------------------------------------------------------------------------------

    @contextmanager
    def session(self, plugin: Any, number: int) -> Iterator[None]:
        run, token = plugin._run, object()
        run.sessions[token] = plugin._life
        if len(run.sessions) > run.said.max_sessions:
            self.wrong(f"{plugin.name} has {len(run.sessions)} sessions")
        self.outcomes[number] = "cut off"
        try:
            yield
        finally:
            del run.sessions[token]
            self.streams.pop(number, None)

    def end_session(self, plugin: Any, number: int, ending: str) -> None:
        """Raise what the session is to end with."""
        unseen = number in self.dropped or not plugin._life.is_well
        self.outcomes[number] = "unsure" if unseen and ending != "ok" else ending
        match ending:
            case "raise":
                raise Oops(f"in session {number}")
            case "refuse":
                raise HTTPError(409, "no more of it")
            case "die":
                raise self.own_fault(plugin._life, Fatal, not unseen)

    async def items(self, plugin: Any, number: int) -> AsyncIterator[Any]:
        ending, count, pause, _ = self.deeds[number]
        with self.session(plugin, number):
            self.streams[number] = plugin._life
            for place in range(count):
                yield {"number": number, "place": place}
                if pause:
                    await plugin._ways.sleep(pause)
            if ending == "hang":
                await plugin._ways.sleep(math.inf)
            self.end_session(plugin, number, ending)

    async def stream(self, target: Any, number: int, timeout: float, scope: Any) -> None:
        """Be a client that reads a streamed reply."""
        _, count, _, leaves_after = self.deeds[number]
        path = f"/{target.spec.name}/stream/{number}"
        response = await self.request("GET", path, number, timeout, scope)
        if response is None:
            return
        assert response.stream is not None
        got, left = 0, trio.CancelScope()
        if leaves_after is not None:
            left.deadline = trio.current_time() + leaves_after
        try:
            with left:
                try:
                    async for item in response.stream:
                        if item != {"number": number, "place": got}:
                            self.wrong(f"item {got} of stream {number} is {item}")
                        got += 1
                    whole = True
                except BrokenStream:
                    whole = False
                outcome = self.outcomes.get(number, "cut off")
                self.did[f"streams: {'whole' if whole else 'broken'}"] += 1
                failed = outcome in ("raise", "refuse", "die")
                if whole and (failed or (outcome == "ok" and got < count)):
                    self.wrong(f"stream {number} seems whole after {got} items: {outcome}")
                if not whole and not failed and outcome != "unsure":
                    self.wrong(f"stream {number} is broken after {got} items: {outcome}")
        finally:
            self.dropped.add(number)
            response.stream.drop()

    async def converse(self, plugin: Any, ws: WebSocket, number: int) -> None:
        ending, count, pause, _ = self.deeds[number]
        with self.session(plugin, number):
            with self.serving(plugin, number):
                if pause:
                    await plugin._ways.sleep(pause)
                if ending == "refuse" and count == 0:
                    raise HTTPError(403, "not to you")
                with suppress(WebSocketClosed):
                    await ws.accept()
            for place in range(count):
                await ws.send(f"{number} {place}")
                if await ws.receive() != f"{number} {place}":
                    self.wrong(f"websocket {number} answers something else")
            if ending == "hang":
                await ws.receive()
            if number not in self.dropped and ws.closed is None:
                self.end_session(plugin, number, ending)

    async def talk(self, target: Any, number: int, timeout: float, scope: Any) -> None:
        """Be a client, and the connection, of a websocket."""
        _, _, _, leaves_after = self.deeds[number]
        path = f"/{target.spec.name}/talk/{number}"
        found = self.node.router.match("WEBSOCKET", path)
        deadline = trio.current_time() + timeout
        ws = WebSocket(path, path_params=found.params, deadline=deadline)
        asked = Asked(number, deadline, scope)
        self.asks.append(asked)
        self.asked[number] = asked
        codes: list[int] = []

        async def listen() -> None:
            while True:
                command = await ws.next_command()
                if command.kind == "accept":
                    asked.over = True
                elif command.kind == "send":
                    await ws.deliver(str(command.data))
                else:
                    codes.append(command.code)
                    return

        async def leave() -> None:
            await trio.sleep(leaves_after)
            self.dropped.add(number)
            asked.over = True
            ws.lost(1001)
            ws.deliver_no_more()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            if leaves_after is not None:
                nursery.start_soon(leave)
            try:
                await found.route.target.websocket(ws)
            except (Unanswered, HTTPError, WebSocketClosed) as error:
                self.did[f"websockets: {type(error).__name__}"] += 1
                ws.end(*_close_words(error))
            finally:
                self.dropped.add(number)
                asked.over = True
                nursery.cancel_scope.deadline = trio.current_time()
        if trio.current_time() > deadline + GRACE and not ws.accepted:
            self.wrong(f"websocket {number} was refused {trio.current_time() - deadline} s late")
        if ws.accepted:
            self.check_close(number, ws)

    def check_close(self, number: int, ws: WebSocket) -> None:
        assert ws.closed is not None
        code, outcome = ws.closed[0], self.outcomes.get(number, "cut off")
        self.did[f"websockets: {code}"] += 1
        right = {"ok": 1000, "hang": 1001, "raise": 1011, "die": 1011, "refuse": 1008,
                 "cut off": 1012, "unsure": code}[outcome]  # fmt: skip
        if code not in (right, 1001):  # that one is said by the client
            self.wrong(f"websocket {number} was closed with {code}: {outcome}")

    # -- callers from outside --------------------------------------------------------------------

    def new_deed(self, deed: Any) -> int:
        self.numbers += 1
        self.deeds[self.numbers] = deed
        return self.numbers

    def is_answer(self, number: int, answer: Any) -> None:
        if answer != {"number": number}:
            self.wrong(f"{number} was answered with {answer!r}")

    @contextmanager
    def asking(self, number: int, deadline: float, target: str, scope: Any) -> Iterator[None]:
        """Around a question: is it answered in time, and as its message fared?"""
        asked = Asked(number, deadline, scope)
        self.asks.append(asked)
        self.asked[number] = asked
        fate: str | None = ""
        how = "answered"
        try:
            yield
            fate = "handled"
        except HTTPError as error:
            fate = "faulted" if error.status == 500 else "handled"
            if error.status == 503:
                fate = ""  # too many sessions: the handler had done its part
            how = str(error.status)
            raise
        except RemoteError:
            fate, how = "faulted", "RemoteError"
            raise
        except AskTimeout as error:
            how = "AskTimeout"
            sent = self.by_number.get(number)
            early = deadline - trio.current_time()
            own_limit = sent is not None and sent.fate is not None  # that of its handler
            if error.actor == target and not own_limit and early > GRACE:
                self.wrong(f"{number} was given up {early} s early")
            raise
        except Unanswered as error:
            how = type(error).__name__
            raise
        except trio.Cancelled:
            how = "given up"
            raise
        except asyncio.CancelledError:
            how = "given up"
            raise
        except Exception as error:
            self.wrong(f"{number} was answered with {error!r}")
            raise
        finally:
            asked.over = True
            self.did[f"asks: {how}"] += 1
            if trio.current_time() > deadline + GRACE:
                self.wrong(f"{number} was answered {trio.current_time() - deadline} s late: {how}")
            sent = self.by_number.get(number)
            if fate and (sent is None or sent.fate != fate):
                self.wrong(f"{number} was answered as {fate}: {sent}, {sent and sent.fate}")

    async def call_from_outside(self, run: Run, deed: Any, timeout: float) -> None:
        number, scope = self.new_deed(deed), trio.CancelScope()
        proxy = Proxy(Address(run.cell), caller="test", timeout=timeout)
        with scope, suppress(Unanswered, HTTPError):
            with self.asking(number, trio.current_time() + timeout, run.spec.name, scope):
                self.is_answer(number, await proxy.do(number))

    async def http(self, run: Run, route: str, deed: Any, timeout: float) -> None:
        number, scope = self.new_deed(deed), trio.CancelScope()
        method = "GET" if route == "read" else "POST"
        with scope:
            path = f"/{run.spec.name}/{route}/{number}"
            response = await self.request(method, path, number, timeout, scope)
            if response is not None:
                self.is_answer(number, json.loads(response.body))

    async def request(self, method: str, path: str, number: int, timeout: float, scope: Any) -> Any:
        """Send a request through the router; None where it was refused."""
        found = self.node.router.match(method, path)
        assert isinstance(found, Match)
        deadline = trio.current_time() + timeout
        request = Request(method, path, path_params=found.params)
        with suppress(Unanswered, HTTPError):
            with self.asking(number, deadline, found.route.owner, scope):
                return await found.route.target.request(request, deadline)
        return None

    async def session_from_outside(self, which: str, run: Run, deed: Any) -> None:
        number, scope = self.new_deed(deed), trio.CancelScope()
        # every other caller gives up before the answer comes
        timeout = deed[2] / 2 if number % 2 else 0
        try:
            with scope:
                await getattr(self, which)(run, number, timeout or 5, scope)
        finally:
            self.dropped.add(number)

    # -- acts ------------------------------------------------------------------------------------

    async def act(self, act: Act) -> None:
        self.did[act.op] += 1
        names = [*self.runs]
        run = self.runs[names[act.which % len(names)]]
        await self.do_act(act, run)
        if act.pace == "settle":
            await self.settle()
        elif act.pace == "step":
            await trio.lowlevel.checkpoint()

    async def do_act(self, act: Act, run: Run) -> None:
        soon = self.callers.start_soon
        match act.op, act.what:
            case "call", (deed, timeout):
                soon(self.call_from_outside, run, deed, timeout)
            case "http", (route, deed, timeout):
                soon(self.http, run, route, deed, timeout)
            case "event", (kind, deed):
                self.emit_from_outside(kind, deed)
            case (("stream" | "talk"), deed):
                soon(self.session_from_outside, act.op, run, deed)
            case "flood", (op, what, count):
                for _ in range(count):
                    await self.do_act(attrs.evolve(act, op=op, what=what), run)
            case "give up", _:
                waiting = [one for one in self.asks if not one.over and one.scope is not None]
                if waiting:
                    scope = waiting[act.which % len(waiting)].scope
                    assert scope is not None
                    scope.cancel()
            case "child tell", deed:
                target = self.address(act.which)
                if target is not None:
                    soon(self.tell, target, deed, 1)
            case "retry", (which, force):
                self.retry(self.letters_for(act, which, run), force)
            case "discard", which:
                asked = self.letters_for(act, which, run)
                if asked:
                    discard(self.node, asked)
            case "stop plugin", _:
                soon(self.stop_plugin, run)
            case "add plugin", spec:
                if len(self.runs) < PLUGINS:
                    await self.add_plugin(spec)
            case (("restart node" | "hurry node"), _):
                await self.close_node(hurry=act.op == "hurry node")
                if not self.broken:
                    self.start_anew()
                    await self.open_node()
            case "crash", _:
                # what its node middleware does when it fails
                owner = self.node._keepers[run.spec.name]._owner
                life: Any = self.lives.get(run.cell)
                if owner is not None and life is not None and not owner.ended:
                    error = self.own_fault(life, Oops, True)
                    self.node._keepers[run.spec.name].crash(error)
            case "suspend", _:
                Address(run.cell).suspend()
            case "resume", _:
                Address(run.cell).resume()
            case "not handled", _:
                soon(self.ask_strangely, Address(run.cell))
            case "sleep", seconds:
                await trio.sleep(seconds)

    def emit_from_outside(self, kind: str, deed: Any) -> None:
        number = self.new_deed(deed)
        event = make_event(kind, {"number": number, "bag": [number]}, source="test")
        self.emitted(kind, number, self.node.emit(event))

    def letters_for(self, act: Act, which: str, run: Run) -> Any:
        kept = self.node.dead_letters.list()
        if not kept:
            return None
        match which:
            case "one":
                return {"numbers": [kept[act.which % len(kept)].number]}
            case "plugin":
                return {"plugin": run.spec.name}
        return {"all": True}

    def retry(self, asked: Any, force: bool) -> None:
        if asked is None:
            return
        letters = self.node.dead_letters
        before = {one.number: one for one in letters.list()}
        told = retry(self.node, asked | {"force": force})
        for number in told["done"]:
            self.did["letters sent again"] += 1
            if before[number].reason == "quarantined" and not force:
                self.wrong(f"{before[number]} was sent again")
            if number in {one.number for one in letters.list()}:
                self.wrong(f"{before[number]} was sent again, and is kept")
        for refused in told["refused"]:
            letter = before[refused["number"]]
            self.did["letters not sent again"] += 1
            kept = letter.number in {one.number for one in letters.list()}
            if not kept and not letters.fell_off:
                self.wrong(f"{letter} was refused, and is gone")

    async def stop_plugin(self, run: Run) -> None:
        run.stop_asked = True
        await self.node._keepers[run.spec.name].stop()
        if run.cell.state != "stopped" or run.cell in self.lives:
            self.wrong(f"{run.spec.name} was stopped, and is {run.cell.state}")
        if self.loops[run.spec.name]:
            self.wrong(f"{run.spec.name} was stopped, and has its compartment")

    async def add_plugin(self, spec: Spec) -> None:
        name = next(f"p{n}" for n in range(PLUGINS + 1) if f"p{n}" not in self.runs)
        requires = [one for one in spec.manifest.get("requires", ()) if one in self.runs]
        spec = attrs.evolve(spec, name=name, manifest=spec.manifest | {"requires": requires})
        self.specs[spec.name] = spec
        plan = self.load([spec], running=[*self.runs])
        (loaded,) = plan.plugins
        run = self.runs[spec.name] = Run(spec, loaded)
        run.cell = await self.node.add_plugin(loaded)

    # -- the node --------------------------------------------------------------------------------

    def load(self, specs: list[Spec], running: list[str] = []) -> Any:  # noqa: B006
        found = []
        for spec in specs:
            document = {
                "name": spec.name,
                "version": "1.0.0",
                "entry_point": "plugin:P",
                "permissions": ["events:emit", "events:subscribe", "plugins:call"],
                **spec.manifest,
            }
            self.classes[spec.name] = plugin_class(self, spec)
            manifest = parse_manifest(json.dumps(document), check_installed=False)
            found.append(Found(spec.name, "package", "plugin.json", "p", manifest=manifest))
        plan = plan_from(found, Settings(), running=running)
        assert not plan.refused, plan.faults()
        return plan

    async def open_node(self) -> None:
        plan = self.load([*self.specs.values()])
        self.runs = {one.name: Run(self.specs[one.name], one) for one in plan.plugins}
        settings = Settings(
            node=NodeSettings(watchdog=False, **self.program.node), http=HttpSettings(drain=1.0)
        )
        self.node = PluginNode(settings, plan, control=False)
        self.node.dead_letters.capacity = self.program.letters
        kernel = Kernel(self.node.registry, self.node.dead_letters)
        self.system = ActorSystem(None, kernel)  # type: ignore[arg-type]
        for name, run in self.runs.items():
            run.cell = self.node.registry.cell(name)
        self.gone = trio.Event()
        await self.house.start(self.run_node)

    async def run_node(self, *, task_status: Any) -> None:
        try:
            await self.node._run(task_status)
        finally:
            self.gone.set()

    async def close_node(self, hurry: bool = False) -> None:
        limit = self.node.settings.node.stop_timeout
        self.stop_began = began = trio.current_time()
        self.node.stop()
        if hurry:
            await trio.sleep(0.1)
            self.hurried = True
            self.node.stop()
        with trio.move_on_after(limit + LAST_WORDS) as patience:
            await self.gone.wait()
        if patience.cancelled_caught:
            self.wrong(f"the node does not stop within {limit} s: {self.node.not_stopped()}")
            return
        code, took = self.node.exit_code, trio.current_time() - began
        self.did[f"nodes: exit code {code}"] += 1
        if code not in (0, 1) or (code == 1 and took < limit - GRACE and not hurry):
            self.wrong(f"the node ended after {took} s with {code}")
        await wait_all_tasks_blocked()
        if not self.broken:
            self.check_end()

    async def run(self) -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        try:
            with trio.move_on_after(1e6) as patience:
                async with trio.open_nursery() as self.house:
                    async with trio.open_nursery() as self.callers:
                        await self.open_node()
                        await self.act_all()
                        self.callers.cancel_scope.cancel()
                    self.house.cancel_scope.cancel()
            if patience.cancelled_caught:
                self.wrong("it hangs")
        except BaseExceptionGroup as error:  # of this file, or of the node
            self.wrong("".join(traceback.format_exception(error)))
        if self.broken:
            return
        left = trio.lowlevel.current_statistics()
        if left.tasks_living != before:
            self.wrong(f"{left.tasks_living - before} tasks are left")
        if left.seconds_to_next_deadline != math.inf:
            self.wrong(f"a deadline is left in {left.seconds_to_next_deadline} s")

    async def act_all(self) -> None:
        for act in self.program.acts:
            if self.broken:
                return
            await self.act(act)
        await self.settle()
        if not self.broken:
            await self.close_node()

    # -- what is checked when all is quiet -------------------------------------------------------

    def check(self) -> None:
        super().check()
        for run in self.runs.values():
            self.check_run(run)
        self.check_running()
        self.check_streams()
        self.check_kept()

    def check_fates(self) -> None:
        super().check_fates()
        for run in self.runs.values():
            for message in self.accepted[run.cell]:
                if isinstance(message.payload, SocketCall):
                    continue  # it ends with the accept, and one too many never begins
                if message.fate == "handled" and message not in self.ended_well:
                    self.wrong(f"{message} counts as handled, and was not to its end")

    def check_asks(self) -> None:
        super().check_asks()
        for asked in self.asks:
            sent = self.by_number.get(asked.number)
            if not asked.over and sent is not None and sent.fate is not None:
                self.wrong(f"{sent} came to its end, and its caller waits")
        for run in self.runs.values():
            if run.cell.tells_callers:
                for message in run.cell.mailbox.waiting_messages():
                    if message.reply is not None:
                        self.wrong(f"{run.spec.name} is {run.cell.state}; {message} waits")

    def check_running(self) -> None:
        """Whether handlers run that should have been cancelled."""
        for message, (life, began) in self.running.items():
            if message in self.deaf:
                continue
            run = self.runs[life.cell.name]
            ends = message.deadline
            usual = run.said.deadlines.handler or self.node.settings.node.handler_timeout
            if message.kind == "event":
                on = run.spec.events[int(message.handler.removeprefix("on_"))]
                ends = began + (on.timeout or usual)
            elif message.kind == "timer":
                ends = began + usual
            elif message.handler == "brief":
                ends = min(ends, began + 0.5)
            if trio.current_time() > ends + GRACE:
                self.wrong(f"{message} of {life} runs {trio.current_time() - ends} s too long")
            asked = self.asked.get(self.number_in(message.payload))
            socket = isinstance(message.payload, SocketCall)  # it has a second to see it
            if message.reply is not None and asked is not None and asked.over and not socket:
                self.wrong(f"{message} of {life} goes on, and its caller has gone")

    def check_run(self, run: Run) -> None:
        cell, now = run.cell, trio.current_time()
        life: Any = self.lives.get(cell)
        if cell.sessions != len(run.sessions):
            self.wrong(f"{cell.name} counts {cell.sessions} sessions of {len(run.sessions)}")
        for token in [*run.tasks.values(), *(("a session", one) for one in run.sessions.values())]:
            if token[1] is not None and token[1].over:
                self.wrong(f"{token[0]} of {token[1]} is left")
        if self.loops[cell.name] > 1 or (life is not None and not self.loops[cell.name]):
            self.wrong(f"{cell.name} has {self.loops[cell.name]} compartments")
        # a service that has failed is cleaned up first
        fails = any(one._doomed for one in run.services.values())
        if life is not None and life.is_well and life.causes and not fails:
            self.wrong(f"{life} goes on after {life.causes}")
        self.did[f"{cell.name and 'seen'} {cell.state}"] += 1
        allowed_to_end = run.stop_asked or self.stopping
        lasts = now - (now if cell.since is None else cell.since)
        match cell.state:
            case "running":
                if life is None:
                    self.wrong(f"{cell.name} is running, and has no incarnation")
            case "suspended" | "failed":
                if cell.next_try is None or cell.next_try < now - GRACE:
                    self.wrong(f"{cell.name} is {cell.state}, and not tried again: {cell.next_try}")
            case "waiting":
                if all(self.runs[one].cell.state == "running" for one in run.said.requires):
                    self.wrong(f"{cell.name} waits for nothing: {cell.reason}")
            case "stopping":
                # a temporary one stops with its service
                if not allowed_to_end and not run.service_failed:
                    self.wrong(f"{cell.name} is stopping by itself")
            case "stopped":
                if not allowed_to_end and run.said.supervision.restart == "permanent":
                    self.wrong(f"{cell.name} is stopped: {cell.reason}")
                if life is not None:
                    self.wrong(f"{cell.name} is stopped, and {life} lives")
            case _:
                if lasts > LONGEST:
                    self.wrong(f"{cell.name} is {cell.state} since {lasts} s")

    def check_streams(self) -> None:
        for number, life in self.streams.items():
            if number in self.dropped:
                self.wrong(f"stream {number} of {life} goes on, and its client has gone")

    def check_kept(self) -> None:
        letters = self.node.dead_letters
        if len(letters) + letters.retried + letters.discarded + letters.fell_off != letters.total:
            self.wrong(f"{letters.total} letters do not add up: {vars(letters)}")
        if len(letters) > letters.capacity:
            self.wrong(f"{len(letters)} letters are kept, {letters.capacity} may be")

    def check_life(self, life: Life) -> None:
        super().check_life(life)

    def check_group(self, name: str) -> None:
        for plugin, kept in self.node._keepers.items():
            members = {one._cell for one in kept._kernel.groups.group(name).members}
            mine = [one for one in self.lives.values() if one.cell.name.split("/")[0] == plugin]
            joined = {one.cell for one in mine if name in one.joined}
            closing = {one.cell for one in mine if one.closing}
            if members - closing != joined - closing:
                self.wrong(f"members of {name} in {plugin} are {members}, and {joined} joined")

    def check_end(self) -> None:
        """The node has ended."""
        self.check()
        names = {one.name for one in self.node.registry.addresses()}
        if names != {*self.runs}:
            self.wrong(f"all is over, and these are known: {names}")
        if self.lives:
            self.wrong(f"all is over, and these live: {self.lives}")
        for cell in self.cells:
            left = [one for one in self.accepted[cell] if one.fate is None]
            if left or cell.in_hand or cell.mailbox.waiting:
                self.wrong(f"{left} of {cell.name} came to no end")
            if cell.is_up or cell._watches or cell.start is not None or cell.mailbox._room:
                self.wrong(f"{cell.name} is not empty at its end")
            if cell.state != "stopped" and self.accepted[cell]:
                self.wrong(f"{cell.name} is {cell.state} at the end")
        for run in self.runs.values():
            if run.tasks or run.sessions or self.loops[run.spec.name]:
                self.wrong(f"{run} is not empty at its end: {run.tasks}, {run.sessions}")
        for plugin, kept in self.node._keepers.items():
            if kept._kernel.groups._members:
                self.wrong(f"groups of {plugin} are left at the end")
        left_asks = [one for one in self.asks if not one.over]
        if left_asks or self.running:
            self.wrong(f"all is over, and these have no answer: {left_asks}, {self.running}")

    async def ask_strangely(self, target: Any) -> None:
        with suppress(NotHandled, Unanswered):
            await target.ask(Strange(), timeout=0.5)
            self.wrong("what is not handled was answered")

    def peer(self, which: int) -> Address | None:
        everyone = [*self.addresses, *(Address(run.cell) for run in self.runs.values())]
        return everyone[which % len(everyone)]


def matches(pattern: list[str], words: list[str]) -> bool:
    """Whether an event of the type ``words`` is one that ``pattern`` wants."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return matches(pattern[1:], words) or (bool(words) and matches(pattern, words[1:]))
    return bool(words) and pattern[0] in ("*", words[0]) and matches(pattern[1:], words[1:])
