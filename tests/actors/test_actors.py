"""Actors as their authors write them: typed messages, children, monitors, links, timers, stash."""

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexus_actors.actors import (
    Actor,
    ChildrenGaveUp,
    Down,
    Exited,
    NoSuchLetter,
    NotHandled,
    NotRetried,
    handles,
    open_system,
)
from nexus_actors.errors import (
    ActorRestarted,
    ActorStopped,
    AskCycle,
    AskTimeout,
    Invalid,
    MailboxFull,
    NoSuchActor,
    NotInNode,
    RemoteError,
)
from supervisors import StartFailed


@attrs.frozen
class Add:
    number: int


class AddTwice(Add):
    pass


@attrs.frozen
class Total:
    pass


@attrs.frozen
class Boom:
    why: str = "boom"


@attrs.frozen
class Wait:
    pass


@attrs.frozen
class Go:
    pass


class Counter(Actor):
    def __init__(self, start=0):
        self.count = start
        self.gate = trio.Event()

    @handles
    def add(self, message: Add) -> None:
        self.count += message.number

    @handles
    async def total(self, message: Total) -> int:
        await trio.lowlevel.checkpoint()
        return self.count

    @handles
    def boom(self, message: Boom) -> None:
        raise ValueError(message.why)

    @handles
    async def wait(self, message: Wait | Go) -> None:
        await self.gate.wait()


@pytest.fixture
async def system():
    async with open_system() as system:
        yield system


async def until(condition):
    with trio.fail_after(100):
        while not condition():  # noqa: ASYNC110 - the condition is any, and the clock is a mock
            await trio.sleep(0.01)


# -- messages --------------------------------------------------------------------------------------


async def test_messages_are_handled_by_type_and_an_ask_is_answered(system, autojump_clock):
    counter = await system.spawn(Counter, 10, name="counter")
    await counter.tell(Add(5))
    await counter.tell(AddTwice(1))
    assert await counter.ask(Total()) == 16
    assert system.address("counter").name == "counter"


async def test_a_type_it_does_not_handle_is_refused_to_the_sender_with_those_it_does(
    system, autojump_clock
):
    counter = await system.spawn(Counter)
    for send in (counter.tell, counter.ask):
        with pytest.raises(NotHandled, match="counter-1 does not handle str; it handles Add, Boom"):
            await send("hello")
    account = counter.look().account
    assert (account.accepted, account.refused) == (0, 2)


async def test_a_fault_in_an_ask_goes_to_the_caller_and_in_a_tell_to_the_supervisor(
    system, autojump_clock
):
    counter = await system.spawn(Counter, name="counter")
    await counter.tell(Add(5))
    with pytest.raises(RemoteError, match="counter failed while answering: ValueError: boom"):
        await counter.ask(Boom())
    assert await counter.ask(Total()) == 5
    await counter.tell(Boom())
    assert await counter.ask(Total()) == 0, "a fresh object answers"
    look = counter.look()
    assert (look.incarnation, look.crashes, look.faults) == (2, 1, 1)
    assert look.account.dead_lettered == len(system.dead_letters.list()) == 1


async def test_a_wrong_name_suggests_the_nearest(system, autojump_clock):
    await system.spawn(Counter, name="counter")
    with pytest.raises(NoSuchActor, match="did you mean 'counter'"):
        system.address("cuonter")


def test_all_that_is_wrong_with_a_class_is_said_when_it_is_made():
    with pytest.raises(Invalid) as caught:

        class Wrong(Actor, restart="allways", capacity=0, colour="red", trap_exits=True):
            @handles
            def one(self, message): ...

            @handles(Add)
            def two(self, message): ...

            @handles(Add, 7)
            def three(self, message): ...

            @handles(Total)
            def four(self, message, other): ...

            @handles
            def five(self, message: "Nothing"): ...  # noqa: F821

    assert [fault.what for fault in caught.value.faults] == [
        "one does not say what it handles: annotate 'message'",
        "three handles 7, which is no class: write @handles(TheClass)",
        "two and three both handle Add: take one away",
        "four is called with the message alone: write four(self, message)",
        "the annotations of five cannot be read (name 'Nothing' is not defined): "
        "write @handles(...)",
        "restart: must be 'permanent' or 'transient' or 'temporary', not 'allways'",
        "capacity: must be an integer of at least 1, not 0",
        "there is no option 'colour'; there are restart, shutdown, capacity, overflow, "
        "max_size, concurrency, trap_exits",
        "trap_exits=True wants a handler for Exited",
    ]


async def test_wrong_options_of_a_spawn_are_refused(system, autojump_clock):
    with pytest.raises(Invalid, match=r"spawn\(Counter\): overflow: must be 'refuse' or 'wait'"):
        await system.spawn(Counter, overflow="drop")
    with pytest.raises(Invalid, match=r"there is no option 'capcity'; did you mean 'capacity'\?"):
        await system.spawn(Counter, capcity=5)
    with pytest.raises(Invalid, match=r"spawn\(Counter\): trap_exits=True wants a handler"):
        await system.spawn(Counter, trap_exits=True)
    assert system.addresses() == []


async def test_an_object_nobody_spawned_says_so():
    counter = Counter(3)
    counter.add(Add(4))
    assert counter.count == 7
    with pytest.raises(NotInNode, match="this Counter is an ordinary object"):
        counter.send_after(1, Total())


# -- ways of ending --------------------------------------------------------------------------------


class Ending(Counter):
    """Ends as it is told."""

    log: list[str] = []

    @handles(str)
    def end(self, how):
        if how == "stop":
            self.stop()
        else:
            raise ValueError(how)

    async def cleanup(self):
        Ending.log.append("cleanup")


@pytest.mark.parametrize(
    ("restart", "how", "comes_back"),
    [
        ("permanent", "stop", True),
        ("permanent", "crash", True),
        ("transient", "stop", False),
        ("transient", "crash", True),
        ("temporary", "stop", False),
        ("temporary", "crash", False),
    ],
)
async def test_whether_it_comes_back_is_its_restart_types_affair(
    system, restart, how, comes_back, autojump_clock
):
    Ending.log.clear()
    actor = await system.spawn(Ending, restart=restart, name="ending")
    await actor.tell(how)
    if comes_back:
        assert await actor.ask(Total()) == 0
        assert actor.look().incarnation == 2
    else:
        await until(lambda: not actor.is_running)
        with pytest.raises(ActorStopped, match="ending is stopped"):
            await actor.ask(Total())
        with pytest.raises(NoSuchActor):
            system.address("ending")
    assert Ending.log == ["cleanup"]


async def test_messages_behind_a_stop_are_dead_letters_and_their_callers_told(
    system, autojump_clock
):
    actor = await system.spawn(Ending, restart="transient", name="ending")
    outcomes = []

    async def ask():
        try:
            await actor.ask(Total())
        except ActorStopped as error:
            outcomes.append(str(error))

    async with trio.open_nursery() as nursery:
        await actor.tell("stop")
        await actor.tell(Add(1))
        nursery.start_soon(ask)
    assert outcomes == ["ending is stopped"]
    (letter,) = system.dead_letters.list()
    assert (letter.payload, letter.reason) == (Add(1), "stopped")
    account = actor.look().account
    assert account.accepted == account.handled + account.faulted + account.dead_lettered == 3


async def test_one_that_cannot_start_is_not_there(system, autojump_clock):
    class Never(Actor):
        async def initialize(self):
            raise OSError("no luck")

    with pytest.raises(StartFailed, match="no luck"):
        await system.spawn(Never, name="never")
    with pytest.raises(NoSuchActor):
        system.address("never")


async def test_a_system_whose_actors_crash_too_often_ends_and_says_who(autojump_clock):
    with pytest.raises(ChildrenGaveUp, match="the children of the system were restarted too often"):
        async with open_system(intensity=1) as system:
            counter = await system.spawn(Counter, name="counter")
            for _ in range(2):
                await counter.tell(Boom())
            await trio.sleep_forever()


# -- children --------------------------------------------------------------------------------------


class Parent(Actor, trap_exits=True):
    def __init__(self):
        self.seen = []

    async def initialize(self):
        self.child = await self.spawn(Counter, 7, name="child")
        self.monitor(self.child)

    @handles(Total)
    async def total(self, message):
        return await self.child.ask(message)

    @handles(Boom)
    def boom(self, message):
        raise ValueError("the parent")

    @handles(Down, Exited)
    def seen_end(self, message):
        self.seen.append(message)

    @handles(str)
    async def do(self, what):
        if what == "stop child":
            await self.stop_child(self.child)
        elif what == "again":
            await self.spawn(Counter, name="child")
        return [str(each.reason) for each in self.seen]


async def test_a_child_is_supervised_by_its_parent_and_ends_with_it(system, autojump_clock):
    parent = await system.spawn(Parent, name="parent")
    child = system.address("parent/child")
    assert await parent.ask(Total()) == 7
    await child.tell(Boom())
    assert await parent.ask(Total()) == 7
    assert child.look().incarnation == 2
    assert parent.look().incarnation == 1, "a child's crash is not its parent's"
    await parent.tell(Boom())
    assert await parent.ask(Total()) == 7
    assert not child.is_running
    with pytest.raises(ActorStopped):
        await child.ask(Total())
    assert system.address("parent/child").look().incarnation == 1, "a new one has the name"
    await system.stop(parent)
    assert system.addresses() == []


async def test_children_that_crash_too_often_are_their_parents_crash(system, autojump_clock):
    parent = await system.spawn(Parent, name="parent")
    for number in range(6):
        child = system.address("parent/child")
        await child.tell(Boom(str(number)))
        await until(
            lambda: parent.look().incarnation == 2 or system.address("parent/child").is_running
        )
        await until(lambda child=child: child.look().account.waiting == 0)
    await until(lambda: parent.is_running and parent.look().incarnation == 2)
    assert await parent.ask(Total()) == 7


async def test_a_child_that_is_stopped_is_gone_and_its_name_is_free(system, autojump_clock):
    parent = await system.spawn(Parent, name="parent")
    with pytest.raises(RemoteError, match="has a child called 'child' already"):
        await parent.ask("again")
    assert await parent.ask("stop child") == []
    assert await parent.ask("") == ["shutdown"]
    await parent.ask("again")
    assert await system.address("parent/child").ask(Total()) == 0


# -- monitors and links ----------------------------------------------------------------------------


class Watcher(Actor):
    def __init__(self):
        self.seen = []

    @handles(Down)
    def down(self, message):
        self.seen.append(f"{message.address.name}: {message.reason}")

    @handles(tuple)
    def watch(self, message):
        how, other = message
        self.watching = getattr(self, how)(other)

    @handles(str)
    def tell_seen(self, what):
        if what == "cancel":
            self.watching.cancel()
        return self.seen


class Trapper(Watcher, trap_exits=True):
    @handles(Exited)
    def exited(self, message):
        self.seen.append(f"{message.address.name}: {message.reason}")


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("stop", "normal"),
        ("crash", "ValueError: crash"),
        ("system", "shutdown"),
        ("gone", "error: noproc"),
    ],
)
@pytest.mark.parametrize("how", ["monitor", "link"])
async def test_the_end_of_another_is_told_once_with_its_reason(
    system, way, reason, how, autojump_clock
):
    watcher = await system.spawn(Trapper if how == "link" else Watcher, name="watcher")
    other = await system.spawn(Ending, restart="transient", name="other")
    if way == "gone":
        await system.stop(other)
    await watcher.ask((how, other))
    if way == "system":
        await system.stop(other)
    elif way != "gone":
        await other.tell(way)
    await until(lambda: watcher.look().attributes["seen"] != "[]")
    assert await watcher.ask("") == [f"other: {reason}"]
    if way == "crash":
        await other.tell("crash")
        await wait_all_tasks_blocked()
        assert await watcher.ask("") == [f"other: {reason}"], "a monitor is answered once"


async def test_a_monitor_that_was_cancelled_tells_nothing(system, autojump_clock):
    watcher = await system.spawn(Watcher)
    other = await system.spawn(Ending)
    await watcher.ask(("monitor", other))
    await watcher.ask("cancel")
    await other.tell("crash")
    assert await other.ask(Total()) == 0
    assert await watcher.ask("") == []


async def test_who_cannot_handle_the_news_cannot_monitor(system, autojump_clock):
    class Deaf(Actor):
        @handles(tuple)
        def watch(self, message):
            self.monitor(message[1])

    deaf = await system.spawn(Deaf)
    with pytest.raises(RemoteError, match="monitors deaf-1 and does not handle Down"):
        await deaf.ask(("monitor", deaf))


@pytest.mark.parametrize("first", ["linker", "linked"])
async def test_linked_actors_crash_together_whichever_is_first(system, first, autojump_clock):
    linker = await system.spawn(Watcher, name="linker")
    linked = await system.spawn(Ending, name="linked")
    await linker.ask(("link", linked))
    if first == "linked":
        await linked.tell("crash")
    else:
        await linker.tell(("no such method", linked))
    await until(lambda: linker.look().crashes == 1 and linked.look().crashes == 1)
    await until(lambda: linker.is_running and linked.is_running)
    await linked.tell("crash")
    assert await linked.ask(Total()) == 0
    assert linker.look().crashes == 1, "the next incarnations are not linked"


async def test_a_normal_end_does_not_hurt_the_linked_one(system, autojump_clock):
    linker = await system.spawn(Watcher, name="linker")
    linked = await system.spawn(Ending, name="linked")
    await linker.ask(("link", linked))
    await linked.tell("stop")
    assert await linked.ask(Total()) == 0
    assert linker.look().crashes == 0


# -- time ------------------------------------------------------------------------------------------


class Clock(Actor):
    def __init__(self):
        self.ticks = []

    @handles(tuple)
    def plan(self, message):
        how, seconds, what = message
        self.timer = getattr(self, how)(seconds, what)

    @handles(str)
    async def tick(self, what):
        if what == "cancel":
            self.timer.cancel()
        elif what == "crash":
            raise ValueError
        elif what == "slow":
            self.ticks.append(trio.current_time())
            await trio.sleep(2.5)
        elif what:
            self.ticks.append(trio.current_time())
        return self.ticks


async def test_a_message_can_be_sent_later_or_again_and_again(system, autojump_clock):
    clock = await system.spawn(Clock)
    began = trio.current_time()
    await clock.ask(("send_after", 5, "tick"))
    await trio.sleep(20)
    assert [round(at - began, 1) for at in await clock.ask("")] == [5]
    again = trio.current_time()
    await clock.ask(("every", 1, "tick"))
    await trio.sleep(3.5)
    await clock.ask("cancel")
    await trio.sleep(10)
    assert [round(at - again, 1) for at in (await clock.ask(""))[1:]] == [1, 2, 3]


async def test_ticks_do_not_pile_up_behind_a_slow_handler_and_keep_their_rhythm(
    system, autojump_clock
):
    clock = await system.spawn(Clock)
    began = trio.current_time()
    await clock.ask(("every", 1, "slow"))
    await trio.sleep(9.9)
    assert clock.look().account.waiting <= 1
    ticks = [round(at - began, 1) for at in await clock.ask("")]
    assert ticks == [1, 4, 7]


class Planning(Actor):
    def __init__(self):
        self.ticks = []

    @handles
    async def plan(self, message: Go) -> None:
        self.send_after(1, "once")
        self.every(2, "again")
        await trio.sleep(7)

    @handles
    async def tick(self, message: str) -> None:
        self.ticks.append((trio.current_time(), message))

    @handles
    async def wait(self, message: Wait) -> None:
        await trio.sleep_forever()


@pytest.mark.parametrize(
    ("overflow", "lost", "refused", "handled"),
    [
        ("refuse", ["once"], 4, []),
        ("wait", ["once"], 4, []),
        ("drop_newest", ["once", "again", "again", "again"], 4, []),
        # the tick at 2 s displaces that of 1 s, and those at 4 and 6 s find it waiting
        ("drop_oldest", [Add(0), "once"], 0, ["again"]),
    ],
)
async def test_what_a_full_mailbox_takes_of_no_timer_is_not_lost_in_silence(
    system, autojump_clock, caplog, overflow, lost, refused, handled
):
    class Filled(Planning):
        @handles
        def add(self, message: Add) -> None: ...

    actor = await system.spawn(Filled, capacity=1, overflow=overflow)
    began = trio.current_time()
    await actor.tell(Go())
    await wait_all_tasks_blocked()
    await actor.tell(Add(0))
    await trio.sleep(7.5)
    letters = system.dead_letters.list()
    assert [letter.payload for letter in letters] == lost
    assert {letter.reason for letter in letters} == {"mailbox full"}
    assert all(letter.sender == actor.name for letter in letters if letter.kind == "timer")
    account = actor.look().account
    assert account.refused == refused
    assert account.accepted == account.handled + account.dead_lettered
    ticks = [(at - began, tick) for at, tick in actor._cell.behaviour._actor.ticks]
    assert [tick for _, tick in ticks] == handled
    await trio.sleep(1)  # and the rhythm goes on
    assert actor._cell.behaviour._actor.ticks[-1] == (pytest.approx(began + 8), "again")
    assert "dead letter 1" in caplog.text


class Mortal(Actor):
    lives = 0

    async def initialize(self):
        type(self).lives += 1
        self.life, self.ticks = self.lives, []
        if self.life == 1:
            self.send_after(1, 1)
            self.every(1, 1)

    @handles
    async def go(self, message: Go) -> None:
        await trio.sleep(2)
        raise ValueError

    @handles
    async def end(self, message: Boom) -> None:
        await trio.sleep(2)
        self.stop()

    @handles
    def tick(self, message: int) -> None:
        if self.life == 1 and message:
            self.stash()
        self.ticks.append(message)

    @handles
    def seen(self, message: Total) -> list:
        return self.ticks


@pytest.mark.parametrize("put_aside", [False, True])
@pytest.mark.parametrize("ending", [Go(), Boom()])
async def test_what_timers_have_sent_dies_with_their_incarnation(
    system, autojump_clock, monkeypatch, ending, put_aside
):
    monkeypatch.setattr(Mortal, "lives", 0)
    actor = await system.spawn(Mortal)
    if put_aside:
        await trio.sleep(1.5)
    await actor.tell(ending)
    await trio.sleep(1)
    await actor.tell(0)
    await until(lambda: actor.look().incarnation == 2)
    assert await actor.ask(Total()) == [0], "what others sent waits for the next one"
    account = actor.look().account
    assert (account.abandoned, account.expired, account.waiting) == (2, 0, 0)


async def test_a_timers_message_that_is_sent_again_is_for_any_incarnation(
    system, autojump_clock, monkeypatch
):
    class Once(Counter):
        tries = 0

        async def initialize(self):
            if not self.tries:
                self.send_after(1, Add(1))

        @handles
        def add(self, message: Add) -> None:
            type(self).tries += 1
            if self.tries == 1:
                raise ValueError

        @handles(Wait, Go)
        async def wait(self, message):
            await trio.sleep(1)
            raise ValueError

    actor = await system.spawn(Once)
    await until(lambda: actor.look().incarnation == 2)
    await actor.tell(Go())
    await wait_all_tasks_blocked()
    system.retry(1)
    await until(lambda: actor.look().incarnation == 3)
    await wait_all_tasks_blocked()
    assert Once.tries == 2


async def test_timers_die_with_their_incarnation(system, autojump_clock):
    clock = await system.spawn(Clock)
    await clock.ask(("every", 1, "tick"))
    await clock.ask(("send_after", 3, "tick"))
    await clock.tell("crash")
    assert await clock.ask("") == []
    await trio.sleep(10)
    assert await clock.ask("") == []


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "x", None, True])
async def test_a_rhythm_of_no_time_is_refused(system, seconds, autojump_clock):
    clock = await system.spawn(Clock)
    why = rf"clock-1: the time of every\(\) must be a number of seconds above 0.*, not {seconds!r}"
    with pytest.raises(RemoteError, match=why):
        await clock.ask(("every", seconds, "tick"))
    with pytest.raises(RemoteError, match="clock-1 does not handle int"):
        await clock.ask(("every", 1, 5))


# -- stash, suspend, look --------------------------------------------------------------------------


class Door(Actor):
    def __init__(self):
        self.open = False
        self.guests = []

    @handles(str)
    def guest(self, name):
        if not self.open:
            self.stash()
            return None
        self.guests.append(name)
        return len(self.guests)

    @handles(bool)
    def turn(self, is_open):
        self.open = is_open
        return self.unstash_all()

    @handles(Boom)
    def boom(self, message):
        raise ValueError

    @handles(Total)
    def total(self, message):
        return self.guests


async def test_what_is_stashed_is_handled_later_in_its_order_and_its_callers_answered(
    system, autojump_clock
):
    door = await system.spawn(Door)
    answers = []

    async def ask(name):
        answers.append((name, await door.ask(name)))

    async with trio.open_nursery() as nursery:
        for name in ("Ann", "Bob"):
            nursery.start_soon(ask, name)
            await wait_all_tasks_blocked()
        await door.tell("Cay")
        await wait_all_tasks_blocked()
        account = door.look().account
        assert (account.waiting, account.in_hand, account.handled) == (3, 0, 0)
        assert await door.ask(True) == 3
    assert sorted(answers) == [("Ann", 1), ("Bob", 2)]
    assert await door.ask(Total()) == ["Ann", "Bob", "Cay"]


async def test_a_stashed_ask_expires_and_a_crash_gives_the_rest_to_the_next_incarnation(
    system, autojump_clock
):
    door = await system.spawn(Door)
    with pytest.raises(AskTimeout):
        await door.ask("Ann", timeout=1)
    await door.tell("Bob")
    await wait_all_tasks_blocked()
    await door.tell(Boom())
    assert await door.ask(True) == 1, "Bob was stashed again, by the next one"
    assert await door.ask(Total()) == ["Bob"]
    account = door.look().account
    assert account.abandoned == 1
    assert account.accepted == account.handled + account.abandoned + account.dead_lettered


async def test_a_full_stash_is_a_full_mailbox(system, autojump_clock):
    door = await system.spawn(Door, capacity=2)
    for name in ("Ann", "Bob"):
        await door.tell(name)
        await wait_all_tasks_blocked()
    with pytest.raises(MailboxFull):
        await door.tell("Cay")


async def test_a_suspended_actor_handles_nothing_until_it_is_resumed(system, autojump_clock):
    counter = await system.spawn(Counter)
    counter.suspend()
    await counter.tell(Add(3))
    with pytest.raises(AskTimeout):
        await counter.ask(Total(), timeout=1)
    assert counter.look().paused
    counter.resume()
    assert await counter.ask(Total()) == 3


async def test_news_of_an_end_come_first_and_also_into_a_full_mailbox_of_a_suspended_actor(
    system, autojump_clock
):
    watcher = await system.spawn(Watcher, capacity=1)
    other = await system.spawn(Ending, restart="temporary", name="other")
    await watcher.ask(("monitor", other))
    watcher.suspend()
    await watcher.tell("")
    await other.tell("crash")
    await until(lambda: watcher.look().account.handled == 2)
    assert watcher.look().attributes["seen"] == "['other: ValueError: crash']"
    assert watcher.look().account.waiting == 1


async def test_a_look_shows_what_it_holds_and_did_last(system, autojump_clock):
    counter = await system.spawn(Counter, 3, name="counter")
    await counter.tell(Add(1))
    await counter.ask(Total())
    look = counter.look()
    assert look.attributes["count"] == "4"
    assert [(each.kind, each.about) for each in look.recent] == [("tell", "Add"), ("ask", "Total")]
    await system.stop(counter)
    assert counter.look().attributes == {}


# -- mailboxes -------------------------------------------------------------------------------------


async def full(system, overflow):
    """An actor with one message in hand and two waiting, which is all that fits."""
    actor = await system.spawn(Counter, capacity=2, overflow=overflow, name="full")
    await actor.tell(Wait())
    await wait_all_tasks_blocked()
    for number in (1, 2):
        await actor.tell(Add(number))
    return actor


async def test_refuse_gives_the_message_back_to_its_sender(system, autojump_clock):
    actor = await full(system, "refuse")
    for send in (actor.tell, actor.ask):
        with pytest.raises(MailboxFull):
            await send(Add(3))
    assert actor.look().account.refused == 2


async def test_wait_lets_senders_wait_for_room_and_refuses_at_their_deadline(
    system, autojump_clock
):
    actor = await full(system, "wait")
    began, sent = trio.current_time(), []

    async def tell(number):
        await actor.tell(Add(number), timeout=30)
        sent.append(number)

    with pytest.raises(MailboxFull):
        await actor.tell(Add(3), timeout=2)
    assert trio.current_time() - began == pytest.approx(2, abs=0.1)
    async with trio.open_nursery() as nursery:
        for number in (10, 20, 30):
            nursery.start_soon(tell, number)
            await wait_all_tasks_blocked()
        actor._cell.inside()["gate"].set()
    assert sorted(sent) == [10, 20, 30]
    assert await actor.ask(Total()) == 63


async def test_wait_ends_at_once_when_the_actor_does(system, autojump_clock):
    actor = await full(system, "wait")
    async with trio.open_nursery() as nursery:

        async def tell():
            with pytest.raises(ActorStopped):
                await actor.tell(Add(3), timeout=1000)

        nursery.start_soon(tell)
        await wait_all_tasks_blocked()
        with trio.fail_after(20):
            await system.stop(actor)


async def test_wait_ends_at_once_when_the_actor_is_suspended_with_its_mailbox_full(
    system, autojump_clock
):
    actor = await full(system, "wait")
    async with trio.open_nursery() as nursery:

        async def tell():
            with pytest.raises(ActorStopped, match="full is suspended"):
                await actor.tell(Add(3), timeout=1000)

        nursery.start_soon(tell)
        await wait_all_tasks_blocked()
        with trio.fail_after(20):
            actor._cell.enter("suspended", "a rest", next_try=trio.current_time() + 500)
            await wait_all_tasks_blocked()
        assert actor.look().account.waiting == 2, "those wait for its return"


async def test_what_is_not_handled_is_refused_before_it_takes_its_turn_for_room(
    system, autojump_clock
):
    actor = await full(system, "wait")
    with trio.fail_after(1), pytest.raises(NotHandled):
        await actor.tell("hello", timeout=1000)


async def test_drop_oldest_sends_the_oldest_to_dead_letters(system, autojump_clock):
    actor = await full(system, "drop_oldest")
    await actor.tell(Add(3))
    assert [letter.payload for letter in system.dead_letters.list()] == [Add(1)]
    assert system.dead_letters.list()[0].reason == "mailbox full"
    account = actor.look().account
    assert (account.accepted, account.dead_lettered, account.refused) == (4, 1, 0)


async def test_drop_oldest_tells_its_caller(system, autojump_clock):
    actor = await system.spawn(Counter, capacity=1, overflow="drop_oldest")
    await actor.tell(Wait())
    await wait_all_tasks_blocked()
    async with trio.open_nursery() as nursery:

        async def ask():
            with pytest.raises(MailboxFull):
                await actor.ask(Total())

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        await actor.tell(Add(1))


async def test_drop_newest_sends_the_new_one_to_dead_letters_counted_as_refused(
    system, autojump_clock
):
    actor = await full(system, "drop_newest")
    await actor.tell(Add(3))
    with pytest.raises(MailboxFull):
        await actor.ask(Add(4))
    assert [letter.payload for letter in system.dead_letters.list()] == [Add(3)]
    account = actor.look().account
    assert (account.accepted, account.dead_lettered, account.refused) == (3, 0, 2)


# -- pools and groups ------------------------------------------------------------------------------


async def test_a_pool_gives_messages_in_turns(system, autojump_clock):
    pool = await system.spawn_pool(Counter, size=3, name="c")
    for _ in range(7):
        await pool.tell(Add(1))
    assert [await member.ask(Total()) for member in pool.members] == [3, 2, 2]
    assert [member.name for member in pool.members] == ["c-1", "c-2", "c-3"]


async def test_a_pool_gives_messages_to_the_least_busy(system, autojump_clock):
    pool = await system.spawn_pool(Counter, size=3, route="least_busy")
    await pool.members[0].tell(Wait())
    await pool.members[1].tell(Wait())
    await wait_all_tasks_blocked()
    for _ in range(4):
        await pool.ask(Add(1))
    assert await pool.members[2].ask(Total()) == 4


async def test_a_pool_gives_one_key_to_one_member_also_after_its_crash(system, autojump_clock):
    pool = await system.spawn_pool(Counter, size=3, route=lambda message: message.number)
    for number in (3, 4, 4, 5, 8):
        await pool.tell(Add(number))
    assert [await member.ask(Total()) for member in pool.members] == [3, 8, 13]
    assert pool.member_for(Add(4)) is pool.members[1]


@pytest.mark.parametrize(
    ("size", "route"), [(0, "round_robin"), (2, "random"), (True, "least_busy")]
)
async def test_a_pool_that_cannot_be_is_refused_before_anything_is_spawned(
    system, size, route, autojump_clock
):
    with pytest.raises(ValueError, match="a pool"):
        await system.spawn_pool(Counter, size=size, route=route)
    assert system.addresses() == []


class Member(Counter):
    async def initialize(self):
        self.join("counters")


async def test_a_group_reaches_all_its_members_and_those_that_end_leave_it(system, autojump_clock):
    members = [await system.spawn(Member) for _ in range(3)]
    group = system.group("counters")
    assert await group.tell(Add(2)) == 3
    await members[0].tell(Boom())
    assert await members[0].ask(Total()) == 0
    assert len(group) == 3, "it has joined again"
    await system.stop(members[1])
    assert await group.tell(Add(1)) == 2
    assert [await member.ask(Total()) for member in (members[0], members[2])] == [1, 3]
    assert await system.group("nobody").tell(Add(1)) == 0


class Deaf(Actor):
    async def initialize(self):
        self.join("counters")

    @handles
    def word(self, message: str) -> None: ...


class Hanging(Member):
    @handles
    async def add(self, message: Add) -> None:
        await trio.sleep_forever()


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Deaf, {}),
        (Member, {"max_size": 1}),
        *((Hanging, {"overflow": each}) for each in ("refuse", "wait", "drop_newest")),
    ],
)
async def test_a_member_that_does_not_take_a_message_keeps_none_of_the_others_from_it(
    system, autojump_clock, caplog, place, kind, options
):
    others = []
    for number in range(3):
        if number == place:
            left_out = await system.spawn(kind, name="left-out", capacity=1, **options)
            if kind is Hanging:  # one in hand, and one that fills its mailbox
                for _ in range(2):
                    await left_out.tell(Add(0))
                    await wait_all_tasks_blocked()
        else:
            others.append(await system.spawn(Member))
    assert await system.group("counters").tell(Add(2)) == 2
    assert [await member.ask(Total()) for member in others] == [2, 2]
    lines = [each for each in caplog.messages if "left out" in each]
    assert len(lines) == (kind is Deaf)
    assert all("left-out does not handle Add; it handles str" in each for each in lines)


# -- dead letters ----------------------------------------------------------------------------------


class Picky(Counter):
    healed = False

    @handles
    def boom(self, message: Boom) -> None:
        if not self.healed:
            raise ValueError(message.why)


async def crash_one(system, name):
    actor = await system.spawn(Picky, name=name)
    await actor.tell(Boom())
    await until(lambda: actor.look().incarnation == 2)
    return actor


async def test_the_letters_of_a_system_are_listed_shown_sent_again_and_thrown_away(
    system, autojump_clock, monkeypatch
):
    first, _ = await crash_one(system, "first"), await crash_one(system, "second")
    letters = system.dead_letters
    assert [each.number for each in letters.list()] == [1, 2]
    assert [each.actor for each in letters.list("second")] == ["second"]
    assert (letters.get(1).payload, letters.get(1).reason) == (Boom(), "crash")
    monkeypatch.setattr(Picky, "healed", True)
    system.retry(1)
    letters.discard(2)
    await wait_all_tasks_blocked()
    assert (letters.list(), first.look().account.handled) == ([], 1)
    for act in (letters.get, letters.discard, system.retry):
        with pytest.raises(NoSuchLetter):
            act(2)


async def test_a_letter_that_crashes_a_second_time_is_sent_again_only_by_force(
    system, autojump_clock
):
    actor = await crash_one(system, "it")
    system.retry(1)
    await until(lambda: actor.look().incarnation == 3)
    with pytest.raises(NotRetried, match="crashed it 2 times"):
        system.retry(2)
    system.retry(2, force=True)
    await until(lambda: actor.look().incarnation == 4)
    assert system.dead_letters.get(3).crashes == 3


async def test_a_letter_for_an_actor_that_is_gone_stays(system, autojump_clock):
    await system.stop(await crash_one(system, "it"))
    with pytest.raises(NoSuchActor):
        system.retry(1)
    assert len(system.dead_letters) == 1


# -- who sent it -----------------------------------------------------------------------------------


class Telling(Actor):
    def __init__(self, system, receiver, when, sender=""):
        self.system, self.receiver, self.when, self.sender = system, receiver, when, sender

    async def initialize(self):
        if self.when == "initialize":
            await self.tell_it()

    @handles(Go)
    async def go(self, message):
        if self.when == "handler, later":
            await trio.sleep(1)
        if self.when.startswith("handler"):
            await self.tell_it()
        if self.when == "group":
            await self.system.group("counters").tell(Boom())
        if self.when == "background":
            self.nursery.start_soon(self.tell_it)

    async def tell_it(self):
        await self.receiver.tell(Boom(), sender=self.sender)


@pytest.mark.parametrize(
    ("when", "known"),
    [
        ("handler", True),
        ("handler, later", True),
        ("initialize", True),
        ("group", True),
        ("background", False),
    ],
)
async def test_a_message_that_is_made_names_the_actor_whose_handler_sent_it(
    system, autojump_clock, when, known
):
    receiver = await system.spawn(Member, concurrency=2)
    telling = await system.spawn(Telling, system, receiver, when, name="telling")
    await telling.tell(Go())
    await until(lambda: system.dead_letters.total)
    (letter,) = system.dead_letters.list()
    assert letter.sender == ("telling" if known else "")


@pytest.mark.parametrize("overflow", ["drop_newest", "wait"])
@pytest.mark.parametrize("sender", ["", "another"])
async def test_what_finds_no_room_names_its_sender(system, autojump_clock, overflow, sender):
    receiver = await system.spawn(Counter, name="receiver", capacity=1, overflow=overflow)
    telling = await system.spawn(Telling, system, receiver, "handler", sender, name="telling")
    receiver.suspend()
    await receiver.tell(Add(1))
    await telling.tell(Go())
    await wait_all_tasks_blocked()
    receiver.resume()
    await until(lambda: system.dead_letters.total)
    (letter,) = system.dead_letters.list()
    assert letter.sender == (sender or "telling")


async def test_a_tell_that_lies_bare_names_its_sender_where_that_was_said(system, autojump_clock):
    receiver = await system.spawn(Counter)
    for sender in ("", "me"):
        telling = await system.spawn(Telling, system, receiver, "handler", sender)
        await telling.tell(Go())
        await wait_all_tasks_blocked()
    assert [letter.sender for letter in system.dead_letters.list()] == ["", "me"]


# -- asking ----------------------------------------------------------------------------------------


class Asker(Actor):
    @handles(tuple)
    async def on(self, message):
        other, rest = message
        return await other.ask(rest, timeout=50)


async def test_one_deadline_holds_for_the_whole_chain_and_cancels_its_end(system, autojump_clock):
    first, second = await system.spawn(Asker), await system.spawn(Asker)
    last = await system.spawn(Counter)
    began = trio.current_time()
    with pytest.raises(AskTimeout):
        await first.ask((second, (last, Wait())), timeout=3)
    assert trio.current_time() - began == pytest.approx(3, abs=0.1)
    await wait_all_tasks_blocked()
    for each in (first, second, last):
        account = each.look().account
        assert account.accepted == account.abandoned + account.faulted == 1


async def test_an_ask_back_into_the_chain_is_refused_with_its_path(system, autojump_clock):
    first = await system.spawn(Asker, name="first")
    second = await system.spawn(Asker, name="second", concurrency=9)
    with pytest.raises(AskCycle, match="first > second > first"):
        await first.ask((second, (first, (second, Total()))))
    with pytest.raises(AskCycle, match="second > second"):
        await second.ask((second, (second, Total())))


async def test_the_callee_that_crashes_answers_at_once(system, autojump_clock):
    counter = await system.spawn(Counter, concurrency=2)
    async with trio.open_nursery() as nursery:

        async def ask():
            with pytest.raises(ActorRestarted):
                await counter.ask(Wait(), timeout=1000)

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        with trio.fail_after(20):
            await counter.tell(Boom())
            await until(lambda: counter.look().crashes)


# -- what is left of those that ended --------------------------------------------------------------


class Brief(Actor, restart="transient"):
    @handles
    def end(self, message: Go) -> None:
        self.stop()


async def specs(system):
    return (await system._children._ref.count_children()).specs


@pytest.mark.parametrize("restart", ["transient", "temporary"])
async def test_nothing_is_kept_of_children_that_ended_and_are_not_started_again(
    system, autojump_clock, restart
):
    for name in ("", "", "job", ""):
        child = await system.spawn(Brief, name=name, restart=restart)
        await child.tell(Go())
        await until(lambda child=child: not child.is_running)
    await wait_all_tasks_blocked()
    assert await specs(system) == 0
    assert system.addresses() == []


async def test_a_name_is_free_as_soon_as_its_actor_has_ended(system, autojump_clock):
    for _ in range(50):
        child = await system.spawn(Brief, name="job")
        await child.tell(Go())
        while child.look().state != "stopped":
            await trio.lowlevel.checkpoint()
    last = await system.spawn(Brief, name="job")
    await wait_all_tasks_blocked()
    assert last.is_running
    assert await specs(system) == 1


async def test_what_cleanup_has_joined_and_watched_ends_with_it(system, autojump_clock):
    class Late(Brief):
        async def cleanup(self):
            self.join("late")
            self.monitor(counter)
            self.link(counter)
            raise_it = self.address.name == "raising"
            await trio.sleep(1)
            if raise_it:
                raise ValueError("at the end")

        @handles
        def down(self, message: Down) -> None: ...

    counter = await system.spawn(Counter, name="counter")
    for name in ("quiet", "raising"):
        late = await system.spawn(Late, name=name, restart="temporary")
        await late.tell(Go())
        await until(lambda late=late: late.look().state == "stopped")
    await wait_all_tasks_blocked()
    assert len(system.group("late")) == 0
    assert counter._cell._watches == []
    assert counter.is_running
