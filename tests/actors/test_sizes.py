"""Messages have a size, and a mailbox may have a limit to it."""

import collections
import dataclasses
import enum
import sys
import time
from typing import Any, NamedTuple

import attrs
import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from nexus_actors.actors import Actor, handles, open_system
from nexus_actors.actors.sizes import largest_part, size_of
from nexus_actors.errors import MailboxFull, MessageTooLarge

MB = 1024**2


class Colour(enum.Enum):
    RED = "r" * MB


class Pair(NamedTuple):
    left: Any
    right: Any


@attrs.frozen
class Slotted:
    data: Any


@attrs.define(slots=False)
class Open:
    data: Any


@dataclasses.dataclass
class Invoice:
    data: Any


class Struct(msgspec.Struct):
    data: Any


class Plain:
    def __init__(self, data):
        self.data = data


class Words(dict):
    pass


# -- what is counted -------------------------------------------------------------------------------

HOLDERS = {
    "itself": lambda data: data,
    "list": lambda data: [1, data],
    "tuple": lambda data: (data,),
    "namedtuple": lambda data: Pair(1, data),
    "dict": lambda data: {"a": data},
    "dict key": lambda data: {data: 1},
    "dict subclass": lambda data: Words(a=data),
    "default dict": lambda data: collections.defaultdict(list, a=data),
    "set": lambda data: {data},
    "frozenset": lambda data: frozenset({data}),
    "deque": lambda data: collections.deque([data]),
    "attrs with slots": Slotted,
    "attrs": Open,
    "dataclass": Invoice,
    "struct": Struct,
    "message of any class": Plain,
    "deep": lambda data: [{"a": Slotted((Invoice([Struct(data)]),))}],
}
DATA = {"text": "x" * MB, "wide text": "ä€" * (MB // 4), "bytes": b"x" * MB}


@pytest.mark.parametrize("data", DATA.values(), ids=DATA.keys())
@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS.keys())
def test_what_a_message_holds_counts_wherever_it_is(hold, data):
    alone = sys.getsizeof(data)
    assert alone <= size_of(hold(data)) < alone + 2000


@pytest.mark.parametrize("kind", [list, tuple, set])
@pytest.mark.parametrize("item", [int, str, float], ids=lambda kind: kind.__name__)
def test_many_small_things_count_each(kind, item):
    value = kind(item(each) for each in range(1000, 2000))
    assert size_of(value) == sys.getsizeof(value) + sum(map(sys.getsizeof, value))


def test_a_buffer_that_may_change_counts_too():
    assert size_of(Plain(bytearray(MB))) > MB


@pytest.mark.parametrize(
    "value", [Colour.RED, [Colour.RED], Plain, [sys], len, Plain(trio), object()], ids=repr
)
def test_what_all_share_is_not_the_messages(value):
    assert size_of(value) < 5000


def test_what_is_held_twice_counts_once():
    data = "x" * MB
    assert size_of([data, {"a": data}, Slotted(data)]) < 1.1 * MB


def test_what_contains_itself_is_counted_to_an_end():
    loop = [1]
    loop.append({"a": loop})
    assert size_of(loop) < 1000


def test_any_depth_is_counted():
    value: Any = "x" * MB
    for _ in range(100_000):
        value = [value]
    assert size_of(value) > MB


def test_counting_stops_at_the_limit():
    huge = [[str(n)] for n in range(300_000)]
    began = time.perf_counter()
    size = size_of(huge, 10_000)
    quick = time.perf_counter() - began
    assert size > 10_000
    began = time.perf_counter()
    size_of(huge)
    assert quick < (time.perf_counter() - began) / 20


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.binary() | st.floats(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    ),
    st.integers(0, 2000),
)
def test_over_the_limit_is_said_exactly_of_what_is(value, limit):
    whole = size_of(value)
    assert whole >= sys.getsizeof(value)
    assert (size_of(value, limit) > limit) == (whole > limit)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"id": 7, "image": b"x" * MB}, '["image"]'),
        (Slotted({"user": {"avatar": "x" * MB}}), '.data["user"]["avatar"]'),
        ([1, 2, b"x" * MB], "[2]"),
        (Pair(1, b"x" * MB), ".right"),
        (Plain(b"x" * MB), ".data"),
        ([b"x" * 1000 for _ in range(1000)], ""),
        (b"x" * MB, ""),
        ({b"x" * MB}, ""),
    ],
    ids=["dict", "deep", "list", "namedtuple", "plain", "evenly", "itself", "set"],
)
def test_the_bulk_of_it_is_found(value, path):
    found, size = largest_part(value, 10_000)
    assert found == path
    assert size > MB if path else size == 0


# -- the limit of a mailbox ------------------------------------------------------------------------


class Upload:
    def __init__(self, size):
        self.data = b"x" * size


@attrs.frozen
class Tick:
    data: bytes = b""


class Store(Actor, max_size=64 * 1024):
    def __init__(self):
        self.seen = 0

    @handles
    def upload(self, message: Upload) -> int:
        self.seen += 1
        return len(message.data)

    @handles
    def tick(self, message: Tick) -> None:
        self.seen += 1


@pytest.fixture
async def system():
    async with open_system() as system:
        yield system


async def test_what_is_over_the_size_is_refused_to_its_sender_in_words(system, autojump_clock):
    store = await system.spawn(Store, name="store")
    assert await store.ask(Upload(60_000)) == 60_000
    for send in (store.tell, store.ask):
        with pytest.raises(MessageTooLarge) as caught:
            await send(Upload(70_000))
        error = caught.value
        assert (error.actor, error.limit) == ("store", 65_536)
        assert str(error) == (
            f"the {'tell' if send == store.tell else 'ask'} Upload for store is over 65,536 bytes, "
            "the max_size of its mailbox: data alone has 68.4 KiB (send less at a time, or where "
            "to find it; or raise max_size)"
        )
    account = store.look().account
    assert (account.accepted, account.refused, account.handled) == (1, 2, 1)
    assert system.dead_letters.total == 0


async def test_a_spawn_may_have_another_limit_and_none(system, autojump_clock):
    small = await system.spawn(Store, max_size=1000)
    with pytest.raises(MessageTooLarge):
        await small.tell(Upload(1000))
    free = await system.spawn(Store, max_size=None)
    assert await free.ask(Upload(10 * MB)) == 10 * MB


async def test_without_a_limit_nothing_is_counted(system, autojump_clock, monkeypatch):
    store = await system.spawn(Store, max_size=None)
    monkeypatch.setattr("nexus_actors.actors.cell.size_of", None)
    assert await store.ask(Upload(MB)) == MB


async def test_a_timer_for_a_message_that_is_too_large_is_refused_when_it_is_set(
    system, autojump_clock
):
    class Planner(Actor, max_size=1000):
        @handles
        def plan(self, message: int) -> str:
            for set_timer in (self.send_after, self.every):
                with pytest.raises(MessageTooLarge, match="the timer Tick for planner"):
                    set_timer(1, Tick(b"x" * 1000))
            return "refused"

        @handles
        def tick(self, message: Tick) -> None: ...

    planner = await system.spawn(Planner, name="planner")
    assert await planner.ask(1) == "refused"


async def test_it_is_the_mistake_of_the_one_who_lets_it_out(system, autojump_clock):
    class Sender(Actor, restart="temporary"):
        @handles
        async def send(self, message: int) -> None:
            await store.tell(Upload(70_000))

    store = await system.spawn(Store, name="store")
    sender = await system.spawn(Sender)
    await sender.tell(1)
    with trio.fail_after(10):
        while sender.is_running:  # noqa: ASYNC110 - the clock is a mock
            await trio.sleep(0.1)
    (letter,) = system.dead_letters.list()
    assert letter.reason == "crash"
    assert "MessageTooLarge" in str(letter.report)


async def test_a_group_leaves_out_who_takes_none_of_that_size(system, autojump_clock):
    class Joined(Store):
        async def initialize(self):
            self.join("stores")

    for size in (1000, None, 5000):
        await system.spawn(Joined, max_size=size)
    assert await system.group("stores").tell(Upload(2000)) == 2


async def test_it_does_not_wait_for_room_first(system, autojump_clock):
    store = await system.spawn(Store, overflow="wait", capacity=1)
    store.suspend()
    await store.tell(Tick())
    with trio.fail_after(1), pytest.raises(MessageTooLarge):
        await store.tell(Upload(70_000), timeout=100)
    store.resume()


async def test_nothing_makes_way_for_what_is_refused(system, autojump_clock):
    store = await system.spawn(Store, overflow="drop_oldest", capacity=1)
    store.suspend()
    await store.tell(Tick())
    with pytest.raises(MessageTooLarge):
        await store.tell(Upload(70_000))
    assert system.dead_letters.total == 0
    store.resume()


async def test_a_mailbox_holds_at_most_its_capacity_times_the_size_of_a_message(
    system, autojump_clock
):
    store = await system.spawn(Store, capacity=3)
    store.suspend()
    for _ in range(3):
        await store.tell(Upload(60_000))
    with pytest.raises(MailboxFull):
        await store.tell(Upload(60_000))
    held = [message.payload for message in store._cell.mailbox.waiting_messages()]
    assert size_of([payload.data for payload in held]) <= 3 * 65_536
    store.resume()
