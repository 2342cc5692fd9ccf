"""The catalogue of a plugin's class: its routes, event handlers and public methods, read once.

What is wrong with any of them is found here, when the plugin is loaded, all of it at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from nexus_actors.actors.message import Mode
from nexus_actors.errors import Fault, Invalid
from nexus_actors.events.handler import EventMark
from nexus_actors.http.binding import Binder, Unservable
from nexus_actors.http.routes import RouteMark, marks_of
from nexus_actors.plugin.base import Plugin
from nexus_actors.words import shown_path

__all__ = ["Catalogue", "EventEntry", "RouteEntry", "catalogue_of"]


@attrs.frozen
class RouteEntry:
    """One route of a plugin."""

    handler: str
    """The method's name."""
    mark: RouteMark
    binder: Binder = attrs.field(eq=False, repr=False)

    @property
    def mode(self) -> Mode:
        """What its messages share the plugin with: ``GET`` is safe, so readers run side by side."""
        if self.mark.alone:
            return "alone"
        return "reader" if self.mark.together or self.mark.method == "GET" else "normal"


@attrs.frozen
class EventEntry:
    """One event handler of a plugin, with one of its patterns.

    Compared by the handler alone: an event that two of its patterns want is handled once.
    """

    handler: str
    mark: EventMark = attrs.field(eq=False)

    @property
    def mode(self) -> Mode:
        """What its messages share the plugin with."""
        if self.mark.alone:
            return "alone"
        return "reader" if self.mark.together else "normal"


@attrs.frozen
class Catalogue:
    """All that other parts of a node may call in a plugin."""

    routes: tuple[RouteEntry, ...]
    events: tuple[EventEntry, ...]
    methods: tuple[str, ...]
    """Public coroutine methods for other plugins."""
    wraps_node: bool = False
    """Whether it has middleware for the whole node."""

    def needs(self) -> Iterator[tuple[str, str | None, str]]:
        """(permission, subject, method) for each thing the class asks of the manifest."""
        if self.wraps_node:
            yield "http:middleware", None, "node_middleware"
        for entry in self.events:
            yield "events:subscribe", entry.mark.pattern, entry.handler


def catalogue_of(kind: type[Plugin]) -> Catalogue:
    """Read the class of a plugin.

    Raises:
        Invalid: handlers whose signatures cannot be served, each with its place and fix.
    """
    routes: list[RouteEntry] = []
    events: list[EventEntry] = []
    methods: list[str] = []
    faults: list[Fault] = []
    for name, function in _own_functions(kind):
        route_marks = marks_of(function)
        event_marks: tuple[EventMark, ...] = getattr(function, "__nexus_event__", ())
        for mark in route_marks:
            try:
                routes.append(RouteEntry(name, mark, Binder(function, mark)))
            except Unservable as error:
                faults.append(Fault(place_of(function), error.why, error.fix))
        if event_marks and (wrong := _takes_no_event(kind, name, function)):
            faults.append(wrong)
        events += [EventEntry(name, mark) for mark in event_marks]
        if _is_callable_by_others(name, function) and not route_marks and not event_marks:
            methods.append(name)
    wraps_node = _wraps_node(kind, faults)
    if faults:
        raise Invalid(faults)
    return Catalogue(tuple(routes), tuple(events), tuple(methods), wraps_node)


def _takes_no_event(kind: type[Plugin], name: str, function: Callable[..., Any]) -> Fault | None:
    """What is wrong with the parameters of an event handler, which is called with the event."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        return None
    try:
        signature.bind(kind, None)
    except TypeError:
        return Fault(
            place_of(function),
            f"an event handler is called with the event alone, and this one takes {signature}",
            f"write {name}(self, event)",
        )
    return None


def _wraps_node(kind: type[Plugin], faults: list[Fault]) -> bool:
    own = inspect.getattr_static(kind, "node_middleware")
    if own is inspect.getattr_static(Plugin, "node_middleware"):
        return False
    if not isinstance(own, classmethod):
        faults.append(
            Fault(
                place_of(getattr(own, "__func__", own)),
                "it is no class method: there is no plugin object yet when it is called",
                "write @classmethod above it: def node_middleware(cls, plugin)",
            )
        )
    return True


def place_of(function: Callable[..., Any]) -> str:
    """``plugin.py:12 on_user_created``: where a person finds it."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    name = getattr(function, "__qualname__", repr(function))
    if code is None:
        return name
    return f"{shown_path(Path(code.co_filename))}:{code.co_firstlineno} {name}"


def _own_functions(kind: type[Plugin]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The functions that the author's classes define, each name once, in the order of writing."""
    seen: set[str] = set()
    for each in kind.__mro__:
        if each in Plugin.__mro__:
            continue
        for name in vars(each):
            if name in seen:
                continue
            seen.add(name)
            function = inspect.getattr_static(kind, name)
            if inspect.isfunction(function):
                yield name, function


def _is_callable_by_others(name: str, function: Callable[..., Any]) -> bool:
    return (
        not name.startswith("_")
        and not hasattr(Plugin, name)
        and inspect.iscoroutinefunction(inspect.unwrap(function))
    )
