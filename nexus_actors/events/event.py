"""An event: something that happened, said once by its emitter and read by any number of plugins."""

from __future__ import annotations

import datetime
import enum
import uuid
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

import attrs

from nexus_actors.actors.crossing import cross
from nexus_actors.errors import Fault, Invalid, did_you_mean
from nexus_actors.events.topics import check_type

__all__ = ["Event", "make_event"]


def now() -> datetime.datetime:
    """The wall clock, with its zone."""
    return datetime.datetime.now(datetime.UTC)


def new_id() -> str:
    """A new event's id: 32 hexadecimal digits."""
    return uuid.uuid4().hex


class _Missing(enum.Enum):
    """Says that there is no value, where None is one. An enum, so that it crosses as it is."""

    MISSING = enum.auto()


MISSING: Any = _Missing.MISSING


@attrs.frozen
class Event:
    """Something that happened. What an ``@event_handler`` gets.

    ::

        @event_handler("user.created")
        async def welcome(self, event):
            await self.greet(event.data["username"])

    Each receiver has an Event of its own: what it changes in :attr:`data` no other receiver sees,
    nor the emitter. In a unit test, ``Event("user.created", {"username": "ann"})`` makes one.
    """

    type: str
    """Words joined by dots: ``user.created``."""
    _data: Any = attrs.field(factory=dict, repr=False, hash=False)
    """The emitter's snapshot, shared by all receivers' events: never handed out, never changed."""
    id: str = attrs.field(factory=new_id)
    """The same for every receiver; no two events share one."""
    source: str = ""
    """Who emitted it: a plugin's name; empty for one made by hand."""
    time: datetime.datetime = attrs.field(factory=now)
    """When it was emitted, in UTC."""
    _own: Any = attrs.field(init=False, default=MISSING, eq=False, repr=False)
    """This receiver's copy of the data; MISSING until it was first asked for."""

    @property
    def data(self) -> Any:
        """What the emitter said about it; a copy of this receiver's own, made when first read."""
        if self._own is MISSING:
            object.__setattr__(self, "_own", cross(self._data, "data"))
        return self._own

    def for_receiver(self) -> Event:
        """The same event for one more receiver, with a copy of its own to come."""
        return Event(self.type, self._data, self.id, self.source, self.time)


_KEYS = ("type", "data")
_SET_BY_THE_NODE = ("id", "source", "time")


def make_event(
    event: str | Mapping[str, Any],
    data: Any = MISSING,
    *,
    source: str,
    now: Callable[[], datetime.datetime] = now,
    new_id: Callable[[], str] = new_id,
) -> Event:
    """The Event for the arguments of ``emit_event``, with a snapshot of its data.

    ``make_event({"type": "user.created", "data": {...}}, source="shop")`` and
    ``make_event("user.created", {...}, source="shop")`` are the same. Without data, or with None,
    it is ``{}``. Later changes by the emitter are not in the snapshot.

    Raises:
        Invalid: for a shape that is neither, naming everything that is wrong and what to write.
        CannotCross: for data that holds something which may not leave the plugin.
    """
    faults: list[Fault] = []
    if isinstance(event, Mapping):
        type, data = _from_mapping(event, data, faults)
    elif isinstance(event, Event):
        faults.append(_fault("an Event was already emitted", "emit_event(event.type, event.data)"))
        type = event.type
    else:
        type = event
    if type is not MISSING and (wrong := check_type(type)):
        faults.append(Fault("emit_event: type", wrong))
    if faults:
        raise Invalid(faults)
    if data is MISSING or data is None:
        data = {}
    return Event(type, cross(data, "emit_event: data"), new_id(), source, now())


def _from_mapping(event: Mapping[str, Any], data: Any, faults: list[Fault]) -> tuple[Any, Any]:
    if data is not MISSING:
        faults.append(
            _fault(
                "data was given twice over: beside a dict that has a place for it",
                'emit_event({"type": ..., "data": ...}) or emit_event(type, data)',
            )
        )
    for key in event:
        if key in _KEYS:
            continue
        if key in _SET_BY_THE_NODE:
            fix = 'leave it out: the node sets it; one of your own belongs into "data"'
        else:
            nearest = get_close_matches(str(key), _KEYS, n=1, cutoff=0.5)
            fix = f'what belongs to the event goes into "data"{did_you_mean(nearest)}'
        faults.append(_fault(f"unknown key {key!r}", fix))
    type = event.get("type", MISSING)
    if type is MISSING:
        faults.append(_fault('"type" is missing', 'add "type": "user.created"'))
    return type, event.get("data", MISSING)


def _fault(what: str, fix: str) -> Fault:
    return Fault("emit_event", what, fix)
