"""``@event_handler``: the mark that makes a plugin's method a subscriber."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import attrs

from nexus_actors.events.topics import check_pattern
from nexus_actors.words import with_article

__all__ = ["DEFAULT_TIMEOUT", "EventMark", "OnError", "event_handler"]

F = TypeVar("F", bound=Callable[..., Any])
OnError = Literal["restart", "reply"]

DEFAULT_TIMEOUT = 60.0
"""Seconds an event handler may take where it says nothing; then it is cancelled: a crash."""

_ON_ERROR = ("restart", "reply")


@attrs.frozen
class EventMark:
    """What one ``@event_handler`` said; read by the plugin's host."""

    pattern: str
    """Types it wants: ``user.created``, ``user.*``, ``user.#``."""
    on_error: OnError | None = None
    """What an exception of the handler does; None leaves it to the manifest, then to "restart"."""
    timeout: float | None = None
    """Seconds from the handler's begin to its cancellation; inf for none. None leaves it to the
    manifest, then to the node's setting (:data:`DEFAULT_TIMEOUT`)."""
    alone: bool = False
    """Runs with no other message of its plugin beside it, whatever the plugin's concurrency."""
    together: bool = False
    """Runs beside other messages of its plugin even at concurrency 1."""


def event_handler(
    pattern: str,
    *,
    on_error: OnError | None = None,
    timeout: float | None = None,
    alone: bool = False,
    together: bool = False,
    durable: bool = False,
) -> Callable[[F], F]:
    """Subscribe a method of a plugin to the events that ``pattern`` wants.

    ::

        @event_handler("user.created")      # exactly this type
        @event_handler("user.*")            # one word after "user."
        @event_handler("order.#")           # "order" and whatever follows

    Several may stand on one method; an event that two of them want is handled once. The method
    gets the :class:`~nexus_actors.events.Event`; what it returns is ignored.

    ``on_error`` says what an exception does: ``"restart"`` (the rule for events) crashes the
    plugin, which its supervisor starts afresh; ``"reply"`` lets it live on. An event has nobody to
    reply to, so either way the event goes to dead letters with its report.
    ``timeout`` is in seconds (default 60, ``math.inf`` for none); at its end the handler is
    cancelled, which counts as a crash. ``alone=True`` runs it with nothing beside it,
    ``together=True`` beside anything.

    Raises:
        ValueError: for a bad pattern or option, naming the method, the value and the fix.
    """
    if inspect.isfunction(pattern):
        raise ValueError(
            f"@event_handler on {pattern.__qualname__} lacks its pattern: "
            'write @event_handler("user.created")'
        )
    wrong = check_pattern(pattern) or _check_options(on_error, timeout, alone, together, durable)
    mark = EventMark(pattern, on_error, timeout, alone, together)

    def decorate(function: F) -> F:
        name = getattr(function, "__qualname__", repr(function))
        trouble = wrong or _check_function(function)
        if trouble:
            raise ValueError(f"@event_handler on {name}: {trouble}")
        marks: tuple[EventMark, ...] = getattr(function, "__nexus_event__", ())
        # decorators apply from the lowest up; the marks stand in the order in which they are read
        function.__nexus_event__ = (mark, *marks)  # type: ignore[attr-defined]
        return function

    return decorate


def _check_options(
    on_error: object, timeout: object, alone: object, together: object, durable: object
) -> str:
    if durable:
        return "durable events are not built yet: leave durable out"
    if on_error is not None and on_error not in _ON_ERROR:
        return f'on_error is "restart" or "reply", not {on_error!r}'
    if timeout is not None and not _is_seconds(timeout):
        return f"timeout is a number of seconds above 0, not {timeout!r}"
    for name, value in (("alone", alone), ("together", together)):
        if not isinstance(value, bool):
            return f"{name} is True or False, not {value!r}"
    if alone and together:
        return "alone and together exclude each other: keep one"
    return ""


def _is_seconds(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value > 0  # not so for nan


def _check_function(function: object) -> str:
    if isinstance(function, staticmethod | classmethod):
        kind = with_article(type(function).__name__)
        return f"it stands on {kind}: it belongs on a method with self"
    if not callable(function) or inspect.isclass(function):
        return "it belongs on a method"
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return "a handler returns, it does not yield: emit further events with emit_event"
    return ""
