"""What @event_handler leaves on a method, and what it refuses."""

import inspect
import math

import pytest

from nexus_actors.events import event_handler
from nexus_actors.events.handler import EventMark


def test_the_method_stays_itself_and_carries_its_mark():
    async def on_created(self, event): ...

    assert event_handler("user.created")(on_created) is on_created
    assert inspect.iscoroutinefunction(on_created)
    assert on_created.__nexus_event__ == (EventMark("user.created"),)
    assert EventMark("user.created").timeout is None, "the manifest or the node says it"


def test_several_marks_stand_in_the_order_in_which_they_are_read():
    @event_handler("user.created", on_error="reply")
    @event_handler("user.#", timeout=5, alone=True)
    def on_user(self, event): ...

    assert on_user.__nexus_event__ == (
        EventMark("user.created", on_error="reply"),
        EventMark("user.#", timeout=5, alone=True),
    )


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({}, "on_error", None),
        ({"on_error": "restart"}, "on_error", "restart"),
        ({"on_error": "reply"}, "on_error", "reply"),
        ({"timeout": None}, "timeout", None),
        ({"timeout": 0.5}, "timeout", 0.5),
        ({"timeout": 7}, "timeout", 7),
        ({"timeout": math.inf}, "timeout", math.inf),
        ({"alone": True}, "alone", True),
        ({"together": True}, "together", True),
        ({"durable": False}, "pattern", "a"),
    ],
)
def test_each_option_is_kept(options, field, value):
    @event_handler("a", **options)
    async def on_event(self, event): ...

    assert getattr(on_event.__nexus_event__[0], field) == value


@pytest.mark.parametrize(
    ("pattern", "options", "words"),
    [
        ("", {}, "a pattern is empty"),
        (None, {}, 'a pattern is a str like "user.created", not None'),
        ("a..b", {}, 'word 2 of "a..b" is empty'),
        ("user*", {}, 'write ".*", not "user*"'),
        ("a b", {}, "no ' '"),
        ("a", {"on_error": "ignore"}, 'on_error is "restart" or "reply", not \'ignore\''),
        ("a", {"on_error": True}, "not True"),
        ("a", {"timeout": 0}, "timeout is a number of seconds above 0, not 0"),
        ("a", {"timeout": -1}, "not -1"),
        ("a", {"timeout": math.nan}, "not nan"),
        ("a", {"timeout": True}, "not True"),
        ("a", {"timeout": "5"}, "not '5'"),
        ("a", {"alone": "yes"}, "alone is True or False, not 'yes'"),
        ("a", {"together": 1}, "together is True or False, not 1"),
        ("a", {"alone": True, "together": True}, "exclude each other"),
        ("a", {"durable": True}, "durable events are not built yet"),
    ],
)
def test_a_bad_mark_is_refused_naming_the_method(pattern, options, words):
    async def on_event(self, event): ...

    with pytest.raises(ValueError, match=r"@event_handler on .*on_event: ") as caught:
        event_handler(pattern, **options)(on_event)
    assert words in str(caught.value)
    assert not hasattr(on_event, "__nexus_event__")


def test_a_forgotten_pattern_is_named():
    with pytest.raises(ValueError, match=r'write @event_handler\("user.created"\)'):

        @event_handler
        async def on_event(self, event): ...


async def _yields(self, event):
    yield 1


def _yields_too(self, event):
    yield 1


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_yields, "it does not yield"),
        (_yields_too, "it does not yield"),
        (staticmethod(len), "staticmethod"),
        (classmethod(len), "classmethod"),
        (dict, "belongs on a method"),
        ("text", "belongs on a method"),
    ],
)
def test_only_a_method_that_returns_can_be_a_handler(function, words):
    with pytest.raises(ValueError, match="@event_handler on") as caught:
        event_handler("a")(function)
    assert words in str(caught.value)
