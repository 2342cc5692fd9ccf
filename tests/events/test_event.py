"""What emit_event takes, what it refuses, and whose the data is."""

import datetime

import attrs
import pytest

from nexus_actors.actors.crossing import cross
from nexus_actors.errors import CannotCross, Invalid
from nexus_actors.events import Event
from nexus_actors.events.event import make_event

NOON = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)


def make(*args):
    return make_event(*args, source="shop", now=lambda: NOON, new_id=lambda: "id-1")


@pytest.mark.parametrize(
    ("args", "data"),
    [
        (({"type": "user.created", "data": {"id": 1}},), {"id": 1}),
        (("user.created", {"id": 1}), {"id": 1}),
        (("user.created", [1, 2]), [1, 2]),
        (("user.created", 0), 0),
        (("user.created",), {}),
        (("user.created", None), {}),
        (({"type": "user.created"},), {}),
        (({"type": "user.created", "data": None},), {}),
    ],
)
def test_both_forms_make_the_same_event(args, data):
    event = make(*args)
    assert event == Event("user.created", data, id="id-1", source="shop", time=NOON)
    assert (event.type, event.data, event.id, event.source, event.time) == (
        "user.created",
        data,
        "id-1",
        "shop",
        NOON,
    )


def test_an_event_gets_an_id_of_its_own_and_a_time_in_utc():
    one, two = (make_event("a", source="shop") for _ in range(2))
    assert one.id != two.id
    assert one.time.tzinfo is datetime.UTC
    assert one.time <= two.time <= datetime.datetime.now(datetime.UTC)


@pytest.mark.parametrize(
    ("args", "faults"),
    [
        (({},), ['"type" is missing (add "type": "user.created")']),
        (({"data": {}},), ['"type" is missing']),
        (({"type": 7},), ['emit_event: type: an event\'s type is a str like "user.created"']),
        (({"type": None},), ["not None"]),
        ((7,), ["not int 7"]),
        ((None, {}), ["not None"]),
        (("a..b",), ['word 2 of "a..b" is empty']),
        (("user.*",), ['has the wildcard "*"']),
        (({"type": "user.#"},), ['has the wildcard "#"']),
        (({"type": "a", "dta": {}},), ["unknown key 'dta'", "did you mean 'data'?"]),
        (({"type": "a", "user_id": 1},), ["unknown key 'user_id' (what belongs to the event"]),
        (({"type": "a", "id": 1},), ["unknown key 'id' (leave it out: the node sets it"]),
        (({"type": "a", "time": 1},), ["unknown key 'time' (leave it out"]),
        (({"type": "a", 3: 1},), ["unknown key 3"]),
        (({"type": "a"}, {}), ["data was given twice over"]),
        ((Event("a", {}),), ["already emitted (emit_event(event.type, event.data))"]),
        (
            ({"tipe": "a", "dat": 1},),
            ["unknown key 'tipe'", "did you mean 'type'?", "unknown key 'dat'", "is missing"],
        ),
        (({"type": "a..b", "source": 1},), ["unknown key 'source'", "is empty"]),
    ],
)
def test_bad_arguments_are_refused_with_every_fault_and_its_fix(args, faults):
    with pytest.raises(Invalid) as caught:
        make(*args)
    for words in faults:
        assert words in str(caught.value)
    assert all(fault.where.startswith("emit_event") for fault in caught.value.faults)


def test_data_that_may_not_cross_is_refused_at_emit_with_its_path():
    with pytest.raises(CannotCross, match=r"^emit_event: data\['user'\]\[0\] is of type object"):
        make("a", {"user": [object()]})


def test_what_the_emitter_changes_after_emitting_is_not_seen():
    data = {"tags": ["new"]}
    event = make("a", data).for_receiver()
    data["tags"].append("late")
    data["more"] = 1
    assert event.data == {"tags": ["new"]}


def test_each_receiver_has_data_of_its_own():
    event = make("a", {"tags": ["new"]})
    one, two = event.for_receiver(), event.for_receiver()
    one.data["tags"].append("mine")
    one.data["more"] = 1
    assert one.data == {"tags": ["new", "mine"], "more": 1}  # and it stays as it was left
    assert two.data == {"tags": ["new"]}
    assert event.for_receiver().data == {"tags": ["new"]}
    assert (one.id, one.type, one.source, one.time) == (two.id, two.type, two.source, two.time)


def test_a_receiver_that_does_not_look_costs_no_copy(monkeypatch):
    copies = []
    event = make("a", {"big": [1]})
    monkeypatch.setattr(
        "nexus_actors.events.event.cross", lambda value, where: copies.append(1) or cross(value)
    )
    one = event.for_receiver()
    assert copies == []
    assert one.data is one.data
    assert copies == [1]


def test_an_event_is_frozen_and_says_what_it_is_without_its_data():
    event = make("user.created", {"password": "secret"})
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.type = "b"
    with pytest.raises(AttributeError):
        event.data = {}
    assert "user.created" in repr(event)
    assert "shop" in repr(event)
    assert "secret" not in repr(event)
    assert hash(event) == hash(event.for_receiver())


def test_an_event_handed_on_to_another_plugin_crosses_with_what_its_holder_made_of_it():
    event = make("a", {"tags": []})
    event.data["tags"].append("seen")
    other = cross({"event": event})["event"]
    assert other == event
    assert other.data == {"tags": ["seen"]}
    other.data["tags"].append("other")
    assert event.data == {"tags": ["seen"]}


def test_a_test_makes_an_event_by_hand():
    event = Event("user.created", {"user_id": "1"})
    assert event.data == {"user_id": "1"}
    assert event.source == ""
    assert len(event.id) == 32
    assert Event("user.created").data == {}
    assert Event(type="a", data=[1], source="x").data == [1]
