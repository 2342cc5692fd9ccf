"""The bus: who gets an event, in which order, and what becomes of a copy nobody took."""

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_actors.errors import ActorStopped, MailboxFull, NoSuchActor, Unanswered
from nexus_actors.events.bus import BusStatistics, EventBus, Undelivered
from nexus_actors.events.event import Event, make_event


@attrs.define(eq=False)
class Box:
    """A subscriber that keeps what it takes; refuses with ``error`` while there is one."""

    name: str
    error: Unanswered | None = None
    taken: list[tuple[str, Any, Any]] = attrs.field(factory=list)
    on_take: Any = None

    def take(self, event: Event, handler: Any) -> None:
        if self.error:
            raise self.error
        self.taken.append((event.type, event, handler))
        if self.on_take:
            self.on_take()

    @property
    def types(self) -> list[str]:
        return [type for type, _, _ in self.taken]


@pytest.fixture
def refused():
    return []


@pytest.fixture
def bus(refused):
    return EventBus(refused.append)


def emit(bus, type="user.created", data=None):
    return bus.emit(make_event(type, data, source="shop"))


def test_an_event_goes_to_those_who_want_it_and_the_count_says_how_many_mailboxes_took_it(bus):
    one, two, other = Box("one"), Box("two"), Box("other")
    bus.subscribe("user.created", one, "on_created")
    bus.subscribe("user.*", two, "on_user")
    bus.subscribe("order.*", other, "on_order")
    assert emit(bus) == 2
    assert [(type, handler) for type, _, handler in one.taken] == [("user.created", "on_created")]
    assert [(type, handler) for type, _, handler in two.taken] == [("user.created", "on_user")]
    assert other.taken == []
    assert emit(bus, "nobody.wants.this") == 0


def test_a_handler_that_an_event_matches_twice_gets_it_once(bus):
    box = Box("box")
    for pattern in ("user.created", "user.*", "#", "user.created"):
        bus.subscribe(pattern, box, "on_user")
    assert emit(bus) == 1
    assert len(box.taken) == 1


def test_two_handlers_of_one_mailbox_get_a_copy_each_and_count_as_one(bus):
    box = Box("box")
    bus.subscribe("user.*", box, "first")
    bus.subscribe("user.created", box, "second")
    assert emit(bus, data={"n": []}) == 1
    assert [handler for _, _, handler in box.taken] == ["first", "second"]
    (_, one, _), (_, two, _) = box.taken
    one.data["n"].append(1)
    assert two.data == {"n": []}


def test_no_receiver_sees_what_another_does_to_the_data(bus):
    boxes = [Box(name) for name in "abc"]
    for box in boxes:
        bus.subscribe("#", box, "h")
    event = make_event("a", {"tags": []}, source="shop")
    assert bus.emit(event) == 3
    for box in boxes:
        box.taken[0][1].data["tags"].append(box.name)
    assert [box.taken[0][1].data["tags"] for box in boxes] == [["a"], ["b"], ["c"]]
    assert event.data == {"tags": []}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MailboxFull("full", 1000), "mailbox full"),
        (ActorStopped("full"), "stopped"),
        (ActorStopped("full", "suspended", 4.0), "suspended"),
        (NoSuchActor("full"), "no actor is called 'full'"),
    ],
)
def test_a_copy_that_is_not_taken_is_reported_and_costs_neither_emitter_nor_others(
    bus, refused, error, reason
):
    before, full, after = Box("before"), Box("full", error), Box("after")
    for box in (before, full, after):
        bus.subscribe("user.created", box, "h")
    assert emit(bus, data={"id": 1}) == 2
    assert before.types == after.types == ["user.created"]
    (letter,) = refused
    assert isinstance(letter, Undelivered)
    assert (letter.subscriber, letter.handler, letter.error) == (full, "h", error)
    assert letter.reason == reason
    assert letter.event.data == {"id": 1}
    full.error = None
    full.take(letter.event, letter.handler)  # a retry is an ordinary offer
    assert full.types == ["user.created"]


def test_a_mailbox_that_took_one_copy_of_two_counts_as_having_taken_the_event(bus, refused):
    box = Box("box")
    box.on_take = lambda: setattr(box, "error", MailboxFull("box", 1))
    bus.subscribe("a", box, "first")
    bus.subscribe("a", box, "second")
    assert emit(bus, "a") == 1
    assert [letter.handler for letter in refused] == ["second"]


def test_a_bug_in_the_mailbox_is_not_taken_for_a_refusal(bus, refused):
    box = Box("box")
    box.on_take = lambda: 1 / 0
    bus.subscribe("a", box, "h")
    with pytest.raises(ZeroDivisionError):
        emit(bus, "a")
    assert refused == []


def test_the_end_of_a_subscription_ends_it_for_all_patterns_of_that_name_only(bus):
    one, two = Box("one"), Box("two")
    for box in (one, two):
        bus.subscribe("user.*", box, "h")
        bus.subscribe("#", box, "other")
    assert emit(bus) == 2
    assert bus.unsubscribe("one") == 2
    assert emit(bus) == 1
    assert (len(one.taken), len(two.taken)) == (2, 4)
    assert bus.unsubscribe("one") == 0
    assert bus.unsubscribe("never there") == 0


def test_subscribing_from_within_a_delivery_does_not_disturb_it(bus):
    late = Box("late")
    first = Box("first", on_take=lambda: bus.subscribe("a", late, "h"))
    second = Box("second", on_take=lambda: bus.unsubscribe("first"))
    bus.subscribe("a", first, "h")
    bus.subscribe("a", second, "h")
    assert emit(bus, "a") == 2
    assert late.taken == []
    assert emit(bus, "a") == 2
    assert (len(first.taken), len(second.taken), len(late.taken)) == (1, 2, 1)


@given(st.lists(st.sampled_from(["user.created", "user.deleted", "order.paid"]), max_size=20))
def test_the_events_of_one_emitter_reach_a_subscriber_in_order(types):
    bus = EventBus(lambda letter: None)
    everything, users = Box("everything"), Box("users")
    bus.subscribe("#", everything, "h")
    bus.subscribe("user.*", users, "h")
    for number, type in enumerate(types):
        emit(bus, type, {"n": number})
    assert [event.data["n"] for _, event, _ in everything.taken] == [*range(len(types))]
    assert users.types == [type for type in types if type.startswith("user.")]


def test_the_statistics_count_events_and_copies(bus):
    good, bad = Box("good"), Box("bad", MailboxFull("bad", 1))
    bus.subscribe("a", good, "h")
    bus.subscribe("a", bad, "h")
    bus.subscribe("#", good, "h")
    bus.subscribe("#", good, "h")  # the same again is nothing new
    emit(bus, "a")
    emit(bus, "b")
    assert bus.statistics() == BusStatistics(emitted=2, delivered=2, undelivered=1, subscriptions=3)
    bus.unsubscribe("good")
    assert bus.statistics().subscriptions == 1
    assert bus.subscriptions() == (("a", "bad", "h"),)


def test_a_bad_pattern_is_refused_and_leaves_no_trace(bus):
    with pytest.raises(ValueError, match="word 2"):
        bus.subscribe("a..b", Box("box"), "h")
    assert bus.subscriptions() == ()
    assert bus.unsubscribe("box") == 0
