"""Which method of an actor handles which type of message: read once, when the class is made."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar, overload

from nexus_actors.errors import NexusError

__all__ = ["Handlers", "NotHandled", "handlers_of", "handles"]

Method = TypeVar("Method", bound=Callable[..., Any])
_MARK = "__nexus_handles__"


class NotHandled(NexusError, TypeError):
    """An actor was sent a message of a type it has no handler for; nothing was accepted."""

    def __init__(self, actor: str, payload: object, handlers: Handlers) -> None:
        super().__init__(f"{actor} does not handle {type(payload).__name__}; {handlers}")
        self.actor = actor
        self.handled = handlers.types


@overload
def handles(function: Method, /) -> Method: ...
@overload
def handles(*kinds: type) -> Callable[[Method], Method]: ...
def handles(*kinds: Any) -> Any:
    """Say that a method of an :class:`.Actor` handles messages of a type, and of its subclasses.

    ::

        @handles                      # the annotation says which: Deposit
        async def deposit(self, message: Deposit) -> int: ...

        @handles(Open, Closed)        # or the decorator does
        def noted(self, message): ...

    What it returns is the answer to an ``ask``. A type is handled by the method whose type is the
    nearest of its base classes.
    """
    if len(kinds) == 1 and inspect.isfunction(kinds[0]):
        setattr(kinds[0], _MARK, ())
        return kinds[0]

    def mark(function: Method) -> Method:
        setattr(function, _MARK, kinds)
        return function

    return mark


class Handlers:
    """The table of one class: type to the name of its method."""

    def __init__(self, table: dict[type, str], words: str = "") -> None:
        """``words`` say to a sender what is handled, where that is more than types."""
        self._table = table
        self._words = words
        self._found: dict[type, str | None] = {}
        """What was looked up already, for types that are handled by way of a base class too."""
        self.known: dict[type, str] = {}
        """Types that were looked up and are handled, each with its method."""
        self.types = tuple(table)

    def method_for(self, payload: object) -> str | None:
        """The name of the method for ``payload``; None where there is none."""
        kind = type(payload)
        try:
            return self._found[kind]
        except KeyError:
            found = next((self._table[base] for base in kind.__mro__ if base in self._table), None)
            self._found[kind] = found
            if found is not None:
                self.known[kind] = found
            return found

    def __str__(self) -> str:
        """What is handled, for whoever sent something else."""
        names = ", ".join(sorted(kind.__name__ for kind in self.types)) or "nothing"
        return self._words or f"it handles {names}"

    def __contains__(self, kind: type) -> bool:
        return any(base in self._table for base in kind.__mro__)


def handlers_of(cls: type, faults: list[str]) -> Handlers:
    """Read the table of ``cls``; what is wrong with it is added to ``faults``."""
    table: dict[type, str] = {}
    for name, function in _marked(cls):
        for kind in _kinds(cls, name, function, faults):
            if kind in table and table[kind] != name:
                faults.append(
                    f"{table[kind]} and {name} both handle {kind.__name__}: take one away"
                )
            table[kind] = name
    return Handlers(table)


def _marked(cls: type) -> list[tuple[str, Any]]:
    """The methods that handle something, each name once, as the class has them."""
    names = [name for base in reversed(cls.__mro__) for name in vars(base)]
    found = [(name, inspect.getattr_static(cls, name)) for name in dict.fromkeys(names)]
    return [(name, each) for name, each in found if hasattr(each, _MARK)]


def _kinds(cls: type, name: str, function: Any, faults: list[str]) -> tuple[type, ...]:
    given: tuple[Any, ...] = getattr(function, _MARK)
    parameters = [*inspect.signature(function).parameters.values()][1:]
    required = [each for each in parameters if each.default is each.empty]
    if not parameters or len(required) > 1:
        faults.append(f"{name} is called with the message alone: write {name}(self, message)")
        return ()
    if not given:
        given = _annotated(cls, name, function, parameters[0].name, faults)
    for kind in given:
        if not isinstance(kind, type):
            faults.append(f"{name} handles {kind!r}, which is no class: write @handles(TheClass)")
    return tuple(kind for kind in given if isinstance(kind, type))


def _annotated(
    cls: type, name: str, function: Any, parameter: str, faults: list[str]
) -> tuple[Any, ...]:
    try:
        hints = typing.get_type_hints(function, localns=dict(vars(cls)))
    except (NameError, TypeError) as error:
        faults.append(f"the annotations of {name} cannot be read ({error}): write @handles(...)")
        return ()
    hint = hints.get(parameter)
    if hint is None:
        faults.append(f"{name} does not say what it handles: annotate {parameter!r}")
        return ()
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return typing.get_args(hint)
    return (hint,)
