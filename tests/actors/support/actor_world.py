"""Runs a program of random_actors and checks, at every quiet moment and at the end, that what the
actors promise holds; what did not is written down in ``broken``.

It watches from two sides: the actors' own (their handlers, starts and ends), and the places where
each message passes (the mailbox, the dead letters, the reply slot), which it wraps.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs
import trio
from random_actors import GROUPS, Act, Kind, Program
from trio.testing import wait_all_tasks_blocked

from nexus_actors.actors import (
    Actor,
    ActorCell,
    Address,
    ChildrenGaveUp,
    DeadLetter,
    DeadLetters,
    Down,
    Exited,
    Mailbox,
    Message,
    NotHandled,
    Pool,
    handles,
    in_hand,
    open_system,
)
from nexus_actors.actors.dead_letters import QUIET
from nexus_actors.actors.mailbox import NOTHING
from nexus_actors.actors.reply import ReplySlot
from nexus_actors.errors import AskTimeout, RemoteError, Unanswered
from supervisors import ExitReason, NoProc, StartFailed

GRACE = 0.01
"""Seconds of mock time by which an answer may be late."""
MOST = 25
"""Actors are no longer spawned when so many were."""
CALLED_OFF = (ValueError, StartFailed, Unanswered)
"""What a spawn may raise."""


@attrs.frozen
class Do:
    """A message; its number comes back in the answer."""

    number: int
    deed: tuple[Any, ...] = attrs.field(repr=False)


@attrs.frozen(eq=False)
class Tick:
    """What a timer sends."""

    timer: Planned = attrs.field(repr=False)


class Strange:
    """What no actor handles."""


class Oops(Exception):
    """What a handler raises because it was told to."""


@attrs.define(eq=False)
class Life:
    """One incarnation of an actor."""

    cell: ActorCell = attrs.field(repr=False)
    number: int
    joined: set[str] = attrs.field(factory=set)
    timers: list[Planned] = attrs.field(factory=list, repr=False)
    interests: list[Interest] = attrs.field(factory=list, repr=False)
    closing: bool = False
    """Whether its clean-up has begun."""
    over: bool = False
    reason: ExitReason | None = None
    """Why it ended; None also where it never came up."""
    busy: int = 0
    """How many of its handlers run."""

    @property
    def is_well(self) -> bool:
        """Whether it is up, and nothing has asked it to end."""
        control: Any = self.cell._control
        if control is None or control._taker._has_crashed() or self.closing or self.over:
            return False
        return self.cell.state == "running"


@attrs.define(eq=False)
class Planned:
    """A timer."""

    life: Life
    first: float
    period: float
    handle: Any = None
    cancelled: bool = False
    tried: int = 0
    """How often it put its message into the mailbox, or was refused."""
    last: float = 0
    """When it did so last."""
    idle: float | None = None
    """Since when none of its messages is seen to wait."""


@attrs.define(eq=False)
class Interest:
    """A monitor, or one side of a link."""

    life: Life
    other: ActorCell
    target: Life | None
    """The incarnation it is about; None where there was none."""
    kind: type
    handle: Any = None
    cancelled: bool = False
    """Before it was answered."""

    @property
    def is_due(self) -> bool:
        return not self.cancelled and (self.target is None or self.target.over)

    def abnormal(self) -> bool:
        reason = self.target.reason if self.target is not None else None
        return self.target is None or (reason is not None and reason.abnormal)


@attrs.define(eq=False)
class Asked:
    number: int
    deadline: float
    scope: trio.CancelScope | None = None
    over: bool = False


class One(Actor):
    """Does what the message says."""

    def __init__(self, world: World, kind: Kind) -> None:
        self.world, self.kind = world, kind
        self.life: Life | None = None

    async def initialize(self) -> None:
        world, kind = self.world, self.kind
        self.life = life = world.born(self.address._cell)
        match kind.start:
            case "slow":
                await trio.sleep(0.5)
            case "fails" if life.number > 1 and life.number % 3 == 2:
                await trio.sleep(0.1)
                raise Oops("it does not start")
            case "monitors":
                world.monitor(self, kind.which)
                await trio.sleep(0.5)
            case "links":
                world.link(self, kind.which)
                await trio.sleep(0.5)
                if life.number % 2 == 0:
                    raise Oops("it does not start")
            case "joins":
                world.join(self, GROUPS[0])
            case "spawns":
                await world.spawn(self, "first", Kind({"restart": "permanent"}))

    async def cleanup(self) -> None:
        life = self.life
        if life is None:
            return
        life.closing = True
        if life.busy:
            self.world.wrong(f"{life} cleans up while a handler runs")
        try:
            if self.kind.cleanup == "slow":
                await trio.sleep(0.3)
            elif self.kind.cleanup == "raises":
                raise Oops("it does not clean up")
        finally:
            self.world.died(life)

    @handles
    async def do(self, message: Do) -> int:
        with self.world.handling(self):
            self.world.begun[message.number] += 1
            await self.world.deed(self, message)
            self.world.done.add(message.number)
            return message.number

    @handles
    async def tick(self, message: Tick) -> None:
        with self.world.handling(self):
            if message.timer.life is not self.life:
                self.world.wrong(f"{self.life} handles a tick of {message.timer.life}")
            await trio.lowlevel.checkpoint()

    @handles(Down, Exited)
    async def told(self, message: Any) -> None:
        with self.world.handling(self):
            self.world.told(self, message)
            await trio.lowlevel.checkpoint()


class World:
    """One run of one program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.broken: list[str] = []
        self.cells: list[ActorCell] = []
        self.lives: dict[ActorCell, Life] = {}  # those that are not over
        self.births: Counter[ActorCell] = Counter()
        self.addresses: list[Address] = []
        self.pools: list[Pool] = []
        self.accepted: dict[ActorCell, list[Message]] = defaultdict(list)
        self.by_number: dict[int, Message] = {}
        self.letters: list[Message] = []
        self.fills: Counter[ReplySlot] = Counter()
        self.notices: Counter[tuple[Life | None, ActorCell, type]] = Counter()
        self.begun: Counter[int] = Counter()
        self.put_aside: Counter[int] = Counter()
        self.arrived: set[int] = set()
        """Numbers of messages, as :class:`.Message` counts them, that came to a mailbox."""
        self.done: set[int] = set()
        self.asks: list[Asked] = []
        self.numbers = 0
        self.did: Counter[str] = Counter()
        """What was done, and what came of it: to see that a test tests something."""
        self.children: dict[Life, list[Address]] = defaultdict(list)

    def wrong(self, words: str) -> None:
        self.broken.append(f"{trio.current_time():g} s: {words}")

    # Where messages pass

    @contextmanager
    def watched(self, monkeypatch: Any) -> Iterator[None]:
        """Wrap the places where messages pass."""
        world = self
        with monkeypatch.context() as patch:

            def around(owner: type, name: str, wrapper: Any) -> None:
                inner = getattr(owner, name)
                patch.setattr(owner, name, lambda *a, **k: wrapper(inner, *a, **k))

            def made(inner: Any, cell: ActorCell, *args: Any, **kwargs: Any) -> None:
                inner(cell, *args, **kwargs)
                world.cells.append(cell)

            def put(inner: Any, mailbox: Mailbox, message: Message) -> None:
                cell = next(one for one in world.cells if one.mailbox is mailbox)
                world.comes(cell, message)
                inner(mailbox, message)
                world.accepted[cell].append(message)
                world.came(cell, message)

            def dressed(inner: Any, mailbox: Mailbox, *args: Any) -> Message:
                message: Message = inner(mailbox, *args)
                world.taken_in(mailbox, message)
                return message

            def hand_out(inner: Any, mailbox: Mailbox, message: Message) -> None:
                inner(mailbox, message)
                world.taken_in(mailbox, message)

            def stash(inner: Any, mailbox: Mailbox, message: Message) -> None:
                inner(mailbox, message)
                if isinstance(message.payload, Do):
                    world.put_aside[message.payload.number] += 1

            def add(inner: Any, letters: DeadLetters, actor: str, message: Message, *a: Any,
                    **k: Any) -> Any:  # fmt: skip
                world.letters.append(message)
                letter = inner(letters, actor, message, *a, **k)
                world.buried(letter)
                return letter

            def fill(inner: Any, slot: ReplySlot, *args: Any) -> bool:
                filled = inner(slot, *args)
                world.fills[slot] += filled
                if world.fills[slot] > 1:
                    world.wrong("a reply was given twice")
                return filled  # type: ignore[no-any-return]

            def end(inner: Any, cell: ActorCell, reason: ExitReason) -> None:
                life = world.lives.pop(cell, None)
                if life is not None:
                    life.over, life.reason = True, reason
                inner(cell, reason)
                if life is not None:
                    world.ended(life)

            around(ActorCell, "__init__", made)
            around(ActorCell, "end", end)
            around(Mailbox, "put", put)
            around(Mailbox, "_dressed", dressed)
            around(Mailbox, "hand_out", hand_out)
            around(Mailbox, "stash", stash)

            def lose(inner: Any, cell: ActorCell, message: Message, reason: str) -> None:
                if (
                    message.number not in world.arrived
                ):  # it was refused before it came to the mailbox
                    world.comes(cell, message)
                inner(cell, message, reason)

            around(DeadLetters, "add", add)
            around(ActorCell, "lose", lose)
            around(ReplySlot, "_fill", fill)
            yield

    def taken_in(self, mailbox: Mailbox, message: Message) -> None:
        """A message is there that was not put, but lay bare or was handed out at once."""
        cell = next(one for one in self.cells if one.mailbox is mailbox)
        self.accepted[cell].append(message)
        if isinstance(message.payload, Do):
            self.by_number[message.payload.number] = message

    def comes(self, cell: ActorCell, message: Message) -> None:
        """A message is put into a mailbox, or finds it full."""
        self.arrived.add(message.number)
        payload, life = message.payload, self.lives.get(cell)
        timer = self.timer_in(payload)
        if timer is not None and message.origin is None:
            timer.tried += 1
            timer.last = trio.current_time()
            if timer.cancelled:
                self.wrong(f"a timer of {timer.life} fires that was cancelled")
            if timer.life is not life:
                self.wrong(f"a timer of {timer.life} fires into {life}")
            if trio.current_time() < timer.first:
                self.wrong(f"a timer of {timer.life} fires too early")
        elif isinstance(payload, Down | Exited):
            self.notices[life, payload.address._cell, type(payload)] += 1

    def came(self, cell: ActorCell, message: Message) -> None:
        """A mailbox has taken a message."""
        if isinstance(message.payload, Do):
            self.by_number[message.payload.number] = message

    def buried(self, letter: DeadLetter) -> None:
        """A message has become a dead letter."""
        self.did["dead letters"] += 1

    def timer_in(self, payload: Any) -> Planned | None:
        """The timer that sent it."""
        return payload.timer if isinstance(payload, Tick) else None

    # Starts and ends

    def born(self, cell: ActorCell, kind: type[Any] = Life) -> Any:
        if cell in self.lives:
            self.wrong(f"two incarnations of {cell.name} at once")
        self.births[cell] += 1
        life = self.lives[cell] = kind(cell, self.births[cell])
        return life

    def ended(self, life: Life) -> None:
        """It is over, and whoever watched it has been told."""
        self.did["crashes" if life.reason and life.reason.abnormal else "other ends"] += 1

    def died(self, life: Life) -> None:
        """Its clean-up is over: the very next thing is the end in its cell."""
        if life.over:
            self.wrong(f"{life} ended before its clean-up")

    @contextmanager
    def handling(self, actor: One) -> Iterator[None]:
        life = actor.life
        assert life is not None
        life.busy += 1
        most = actor.kind.options.get("concurrency", 1)
        if life.busy > most:
            self.wrong(f"{life.busy} handlers of {life} run at once, and {most} may")
        if life.closing or life.over or not life.cell.is_up:
            self.wrong(f"{life} handles a message, and is not up")
        try:
            yield
        finally:
            life.busy -= 1

    def told(self, actor: One, message: Any) -> None:
        assert actor.life is not None
        cell = message.address._cell
        if not any(one.other is cell and one.kind is type(message) for one in actor.life.interests):
            self.wrong(f"{actor.life} is told {message}, and did not ask for that")

    # What is done

    def address(self, which: int) -> Address | None:
        return self.addresses[which % len(self.addresses)] if self.addresses else None

    def message(self, deed: tuple[Any, ...]) -> Do:
        self.numbers += 1
        return Do(self.numbers, deed)

    async def ask(self, target: Address | Pool, deed: tuple[Any, ...], timeout: float,
                  scope: trio.CancelScope | None = None) -> None:  # fmt: skip
        """Ask, and see that the answer is the right one and comes in time."""
        message = self.message(deed)
        parent = in_hand()
        deadline = trio.current_time() + timeout
        if parent is not None:
            deadline = min(deadline, parent.deadline)
        asked = Asked(message.number, deadline, scope)
        self.asks.append(asked)
        fate: str | None = ""
        try:
            answer = await target.ask(message, timeout=timeout)
            if answer != message.number:
                self.wrong(f"{message} was answered with {answer}")
            fate = "handled"
        except AskTimeout as error:
            late = trio.current_time() - asked.deadline
            if error.actor == target_name(target) and late < -GRACE:
                self.by_own_limit(message, late)
            raise
        except RemoteError:
            fate = "faulted"
            raise
        except (Unanswered, NotHandled):
            raise
        except Exception as error:
            self.wrong(f"{message} was answered with {error!r}")
            raise
        finally:
            asked.over = True
            self.did["asks answered" if fate == "handled" else "asks refused or failed"] += 1
            if trio.current_time() > asked.deadline + GRACE:
                self.wrong(f"{message} was answered {trio.current_time() - asked.deadline} s late")
            sent = self.by_number.get(message.number)
            if fate and (sent is None or sent.fate != fate):
                self.wrong(f"{message} was answered as {fate}, and its fate: {sent and sent.fate}")

    def by_own_limit(self, message: Do, late: float) -> None:
        # the ask of one further down a chain may be over earlier; then it was no timeout of ours
        sent = self.by_number.get(message.number)
        if sent is None or sent.fate is None:
            self.wrong(f"{message} was given up {-late} s too early")

    async def ask_from_outside(self, target: Address | Pool, deed: Any, timeout: float) -> None:
        scope = trio.CancelScope()
        with scope:
            with suppress(Unanswered):
                await self.ask(target, deed, timeout, scope)

    async def tell(self, target: Address | Pool, deed: Any, timeout: float) -> None:
        with suppress(Unanswered):
            await target.tell(self.message(deed), timeout=timeout)

    async def spawn(self, actor: One, name: str, kind: Kind) -> None:
        assert actor.life is not None
        cell = actor.life.cell
        if len(self.cells) >= MOST or cell.name.count("/") >= 2:
            return
        try:
            address = await actor.spawn(One, self, kind, name=name, **kind.options)
        except CALLED_OFF:
            return
        except Exception as error:
            self.wrong(f"a spawn raised {error!r}")
            raise
        self.addresses.append(address)
        self.children[actor.life].append(address)

    def peer(self, which: int) -> Address | None:
        """One to be watched."""
        return self.address(which)

    def monitor(self, actor: One, which: int) -> None:
        other = self.peer(which)
        life = actor.life
        assert life is not None
        if other is None or other._cell is life.cell:
            return
        target = self.lives.get(other._cell) if other._cell.is_up else None
        interest = Interest(life, other._cell, target, Down)
        life.interests.append(interest)
        interest.handle = actor.monitor(other)

    def link(self, actor: One, which: int) -> None:
        other = self.peer(which)
        life = actor.life
        assert life is not None
        if other is None or other._cell is life.cell:
            return
        target = self.lives.get(other._cell) if other._cell.is_up else None
        both = [Interest(life, other._cell, target, Exited)]
        life.interests.append(both[0])
        if target is not None:
            both.append(Interest(target, life.cell, life, Exited))
            target.interests.append(both[1])
        handle = actor.link(other)
        for each in both:
            each.handle = handle

    def unwatch(self, life: Life, which: int) -> None:
        if life.interests:
            one = life.interests[which % len(life.interests)]
            for each in (one, *(one.target.interests if one.target is not None else ())):
                if each.handle is one.handle and not each.is_due:
                    each.cancelled = True
            one.handle.cancel()

    def join(self, actor: One, group: str) -> None:
        assert actor.life is not None
        actor.join(group)
        actor.life.joined.add(group)

    def timer(self, actor: One, seconds: float, often: bool) -> None:
        life = actor.life
        assert life is not None
        period = seconds if often else float("inf")
        timer = Planned(life, trio.current_time() + seconds, period)
        life.timers.append(timer)
        set_timer = actor.every if often else actor.send_after
        timer.handle = set_timer(seconds, Tick(timer))

    async def deed(self, actor: One, message: Do) -> None:
        life = actor.life
        assert life is not None
        match message.deed:
            case ("work", seconds):
                await trio.sleep(seconds)
            case ("hang",):
                await trio.sleep_forever()
            case ("deaf", seconds):
                with trio.CancelScope(shield=True):
                    await trio.sleep(seconds)
            case ("raise",):
                raise Oops("as it was told")
            case ("background", seconds):
                actor.nursery.start_soon(self.fail_later, seconds)
            case ("chain", which, timeout, deed):
                other = self.address(which)
                if other is not None:
                    await self.ask(other, deed, timeout)
            case ("stop",):
                actor.stop()
            case ("spawn", name, kind):
                await self.spawn(actor, name, kind)
            case ("stop child", which):
                if self.children[life]:
                    await actor.stop_child(self.children[life][which % len(self.children[life])])
            case ("stop all children",):
                for child in [*self.children[life]]:
                    await actor.stop_child(child)
            case ("monitor", which):
                self.monitor(actor, which)
            case ("link", which):
                self.link(actor, which)
            case ("unwatch", which):
                self.unwatch(life, which)
            case ("send_after", seconds):
                self.timer(actor, seconds, False)
            case ("every", seconds):
                self.timer(actor, seconds, True)
            case ("untime", which):
                if life.timers:
                    timer = life.timers[which % len(life.timers)]
                    timer.handle.cancel()
                    timer.cancelled = True
            case ("stash",):
                if self.put_aside[message.number] < 3:
                    actor.stash()
            case ("stash slowly", seconds):
                if self.put_aside[message.number] < 3:
                    actor.stash()
                await trio.sleep(seconds)
            case ("stash deafly", seconds):
                if self.put_aside[message.number] < 3:
                    actor.stash()
                with trio.CancelScope(shield=True):
                    await trio.sleep(seconds)
            case ("stash and raise",):
                actor.stash()
                raise Oops("after stash()")
            case ("unstash",):
                actor.unstash_all()
            case ("join", group):
                self.join(actor, group)

    async def fail_later(self, seconds: float) -> None:
        await trio.sleep(seconds)
        raise Oops("in the background")

    async def run(self) -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        with trio.move_on_after(1e6) as patience:
            async with trio.open_nursery() as self.callers:
                try:
                    async with open_system(
                        intensity=self.program.intensity, on_report=lambda report: None
                    ) as self.system:
                        for act in self.program.acts:
                            if self.broken:
                                break
                            await self.act(act)
                        await self.settle()
                except ChildrenGaveUp:
                    pass
                if not self.broken:
                    await wait_all_tasks_blocked()
                    self.check_end()
                self.callers.cancel_scope.cancel()
        if patience.cancelled_caught:
            self.wrong("it hangs")
        living = trio.lowlevel.current_statistics().tasks_living
        if living != before and not self.broken:
            self.wrong(f"{living - before} tasks are left")

    async def settle(self) -> None:
        await wait_all_tasks_blocked()
        if not self.broken:
            self.check()

    async def act(self, act: Act) -> None:
        self.did[act.op] += 1
        target = self.address(act.which)
        match act.op, act.what:
            case "spawn", kind:
                if len(self.cells) < MOST:
                    self.callers.start_soon(self.spawn_root, kind)
            case "pool", (kind, size, route):
                if len(self.cells) < MOST:
                    self.callers.start_soon(self.spawn_pool, kind, size, route)
            case "pool tell", (deed, _):
                if self.pools:
                    pool = self.pools[act.which % len(self.pools)]
                    self.callers.start_soon(self.tell, pool, deed, 1)
            case "pool ask", (deed, timeout):
                if self.pools:
                    pool = self.pools[act.which % len(self.pools)]
                    self.callers.start_soon(self.ask_from_outside, pool, deed, timeout)
            case "group tell", (deed, group):
                await self.group_tell(deed, group)
            case "give up", _:
                waiting = [one for one in self.asks if not one.over and one.scope is not None]
                if waiting:
                    scope = waiting[act.which % len(waiting)].scope
                    assert scope is not None
                    scope.cancel()
            case "sleep", seconds:
                await trio.sleep(seconds)
            case _ if target is None:
                pass
            case "tell", (deed, timeout):
                self.callers.start_soon(self.tell, target, deed, timeout)
            case "ask", (deed, timeout):
                self.callers.start_soon(self.ask_from_outside, target, deed, timeout)
            case "flood", (deed, count, asks):
                how = self.ask_from_outside if asks else self.tell
                for _ in range(count):
                    self.callers.start_soon(how, target, deed, 1)
            case "stop", _:
                if "/" not in target.name:  # only its own
                    self.callers.start_soon(self.system.stop, target)
            case "suspend", _:
                target.suspend()
            case "resume", _:
                target.resume()
            case "not handled", _:
                self.callers.start_soon(self.ask_strangely, target)
        if act.pace == "settle":
            await self.settle()
        elif act.pace == "step":
            await trio.lowlevel.checkpoint()

    async def spawn_root(self, kind: Kind) -> None:
        try:
            address = await self.system.spawn(One, self, kind, **kind.options)
        except (*CALLED_OFF, NoProc):
            return
        self.addresses.append(address)

    async def spawn_pool(self, kind: Kind, size: int, route: Any) -> None:
        if route == "key":
            route = lambda message: message.number % 2  # noqa: E731
        name = f"pool{len(self.cells)}"
        try:
            pool = await self.system.spawn_pool(
                One, self, kind, size=size, route=route, name=name, **kind.options
            )
        except (*CALLED_OFF, NoProc):
            return
        self.pools.append(pool)
        self.addresses += pool.members

    async def group_tell(self, deed: Any, name: str) -> None:
        before = sum(map(len, self.accepted.values()))
        await trio.lowlevel.checkpoint()
        message = self.message(deed)
        taken = await self.system.group(name).tell(message)
        came = sum(one.payload is message for each in self.accepted.values() for one in each)
        if taken != came:
            self.wrong(f"a group counts {taken}, and {came} came; {before} before")
        # one message of several actors: its number is nobody's
        self.by_number.pop(message.number, None)
        self.put_aside[message.number] = 3

    async def ask_strangely(self, target: Address) -> None:
        try:
            await target.ask(Strange(), timeout=0.5)
            self.wrong("what is not handled was answered")
        except (NotHandled, Unanswered):
            pass

    # What is checked when all is quiet

    def check(self) -> None:
        for cell in self.cells:
            self.check_account(cell)
            self.check_places(cell)
        self.check_letters()
        self.check_fates()
        self.check_asks()
        for life in [*self.lives.values()]:
            self.check_life(life)
        for name in GROUPS:
            self.check_group(name)

    def check_account(self, cell: ActorCell) -> None:
        s = cell.mailbox.statistics()
        parts = s.handled + s.faulted + s.dead_lettered + s.abandoned + s.in_hand + s.waiting
        if s.accepted != parts or min(attrs.astuple(s)) < 0:
            self.wrong(f"the account of {cell.name} does not add up: {s}")
        fates = Counter(one.fate for one in self.accepted[cell])
        box = cell.mailbox
        bare = sum(not isinstance(one, Message) for one in box.queue) + (box.bare is not NOTHING)
        handled = fates["handled"] + box.bare_handled
        seen = (handled, fates["faulted"], fates["dead-lettered"], fates["abandoned"])
        told = (s.handled, s.faulted, s.dead_lettered, s.abandoned)
        if seen != told or len(self.accepted[cell]) + box.bare_handled + bare != s.accepted:
            self.wrong(f"the account of {cell.name} says {told}, and it is {seen}")
        held = [one for one in cell.in_hand.values() if one.fate is None]
        if len(held) + (box.bare is not NOTHING) != s.in_hand:
            self.wrong(f"{cell.name} has {held} in hand, and its account says {s.in_hand}")

    def check_places(self, cell: ActorCell) -> None:
        box = cell.mailbox
        queued = Counter(
            id(one) for queue in (box.queue, box._system, box._stashed) for one in queue
        )
        for one in self.accepted[cell]:
            places = [f"{queued[id(one)]} x queue"] if queued[id(one)] else []
            if cell.in_hand.get(one.number) is one and one.taken:
                places.append("in hand")
            if one.fate is None and (len(places) != 1 or queued[id(one)] > 1):
                self.wrong(f"{one} of {cell.name} is in {places or 'no place'}")

    def check_letters(self) -> None:
        letters = Counter(map(id, self.letters))
        dead = Counter(
            id(one)
            for each in self.accepted.values()
            for one in each
            if one.fate == "dead-lettered"
        )
        dropped = Counter(id(one) for one in self.letters if one.fate is None)
        if letters != dead + dropped or any(count > 1 for count in letters.values()):
            self.wrong(f"{letters.total()} letters for {dead.total()} and {dropped.total()}")
        if self.system.dead_letters.total != len(self.letters):
            self.wrong("the dead letters are miscounted")
        for cell in self.cells:
            mine = [one for one in self.accepted[cell] if one.fate == "dead-lettered"]
            new = [one for one in self.letters if one.fate is None and not one.receiver]
            if cell.letters < len(mine) or cell.letters > len(mine) + len(new):
                self.wrong(f"{cell.name} counts {cell.letters} letters of {len(mine)}")

    def check_fates(self) -> None:
        for number, message in self.by_number.items():
            if message.fate == "handled" and number not in self.done:
                self.wrong(f"{message} counts as handled, and was not to its end")
            if self.begun[number] > 1 + self.put_aside[number]:
                self.wrong(f"{message} was begun {self.begun[number]} times")

    def check_asks(self) -> None:
        for asked in self.asks:
            if not asked.over and trio.current_time() > asked.deadline + GRACE:
                self.wrong(f"ask {asked.number} has no answer by its deadline")

    def check_life(self, life: Life) -> None:
        cell = life.cell
        if not life.is_well:
            return
        if cell.name not in self.system._kernel.registry:
            self.wrong(f"{life} of {cell.name} lives, and nobody knows it")
        elif self.system._kernel.registry.cell(cell.name) is not cell:
            self.wrong(f"{cell.name} is another than {life}")
        waits = [one for one in cell.mailbox.waiting_messages() if one not in cell.mailbox._stashed]
        control: Any = cell._control
        ends = control._taker.closing  # it ends by its own wish, and its children come first
        if waits and not cell.in_hand and not cell.mailbox.paused and not ends:
            self.wrong(f"{cell.name} has nothing in hand and lets {waits} wait")
        self.check_timers(life)
        self.check_interests(life)

    def check_timers(self, life: Life) -> None:
        for timer in life.timers:
            if timer.first < trio.current_time() and not timer.cancelled and not timer.tried:
                self.wrong(f"a timer of {life} has not fired")
            left = [
                one
                for one in self.accepted[life.cell]
                if one.origin is None and self.timer_in(one.payload) is timer and one.fate is None
            ]
            if len(left) > 1:
                self.wrong(f"{len(left)} ticks of one timer of {life} wait")
            if left or timer.cancelled:  # one that waits keeps the next ones from coming
                timer.idle = None
            elif timer.idle is None or timer.idle < timer.last:
                timer.idle = trio.current_time()
            elif trio.current_time() - timer.idle > timer.period + GRACE:
                self.wrong(f"a timer of {life} fires no more")

    def check_interests(self, life: Life) -> None:
        due: Counter[tuple[ActorCell, type]] = Counter()
        for one in life.interests:
            told = one.kind is Down or life.cell.traps_exits
            due[one.other, one.kind] += one.is_due and told
            if one.is_due and not told and one.abnormal():
                self.wrong(f"{life} lives, and {one.other.name}, which it is linked to, crashed")
        for (other, kind), count in due.items():
            came = self.notices[life, other, kind]
            if came != count:
                self.wrong(f"{life} was told {came} x {kind.__name__} of {other.name}, not {count}")

    def check_group(self, name: str) -> None:
        members = {one._cell for one in self.system.group(name).members}
        joined = {one.cell for one in self.lives.values() if name in one.joined}
        closing = {one.cell for one in self.lives.values() if one.closing}
        if members - closing != joined - closing:
            self.wrong(f"members of {name} are {members}, and {joined} joined")

    def check_end(self) -> None:
        """The system is closed."""
        self.check()
        kernel = self.system._kernel
        if self.lives:
            self.wrong(f"all is over, and these live: {self.lives}")
        if kernel.registry.addresses():
            self.wrong(f"all is over, and these are known: {kernel.registry.addresses()}")
        if len(kernel.groups):
            self.wrong(f"all is over, and these groups are kept: {kernel.groups._members}")
        letters = kernel.dead_letters.list()
        told_of = kernel.dead_letters._said.values()
        if letters and any(letters[-1].at - at >= QUIET for at, _ in told_of):
            self.wrong(f"lines of long ago are remembered: {kernel.dead_letters._said}")
        for cell in self.cells:
            if cell.in_hand or cell.mailbox.waiting or cell.is_up or cell._watches:
                self.wrong(f"{cell.name} is not empty at its end")
            left = [one for one in self.accepted[cell] if one.fate is None]
            if left:
                self.wrong(f"{left} of {cell.name} came to no end")
            if cell.state != "stopped" and self.accepted[cell]:
                self.wrong(f"{cell.name} is {cell.state} at the end")
            if cell.mailbox._room:
                self.wrong(f"senders wait for room with {cell.name}, which is stopped")
        left = [one for one in self.asks if not one.over]
        if left:
            self.wrong(f"all is over, and these have no answer: {left}")


def target_name(target: Address | Pool) -> str:
    return target.name if isinstance(target, Address) else ""
