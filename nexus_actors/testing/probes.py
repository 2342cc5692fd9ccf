"""Probes: actors that keep what they get, answer as they are told, and can be waited with."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar, overload

import attrs
import trio

from nexus_actors.actors import (
    Actor,
    ActorSystem,
    Address,
    Call,
    Registry,
    Watch,
    bridged,
    cross,
    handles,
)
from nexus_actors.events.event import Event
from nexus_actors.events.topics import Topics, check_pattern
from nexus_actors.plugin.host import EventCall
from nexus_actors.testing.clock import frozen_clock, within
from nexus_actors.testing.settling import registry_of, settle_all
from nexus_actors.words import counted

__all__ = ["Probe", "spawn_probe"]

T = TypeVar("T")

What = Any
"""What an expectation or an answer is about: a class; a function of the message that returns a
bool; a string, which is the name of a called method or a pattern of event types; None for
anything; any other value for a message that is equal to it."""

_LISTED = 10
"""How many messages a failed expectation shows."""


@attrs.frozen
class _Rule:
    """An answer that a probe was told to give."""

    wants: Callable[[Any], bool]
    answer: Any


class Probe:
    """An actor of a test.

    ::

        probe = await spawn_probe(system)               # in an actor system
        billing = await app.probe("billing", methods={"charge": {"ok": True}})   # in a node

        probe.answer(Balance, 5)
        await transfer.tell(Start(to=probe.address))
        deposit = await probe.expect(Deposit)
        await probe.expect_nothing()

    What it gets is in :attr:`messages`, in order: what was told or asked as it came, events as
    :class:`.Event`, calls of its methods as :class:`.Call` (``method``, ``args``, ``kwargs``).
    """

    def __init__(self, name: str, registry: Registry) -> None:
        self.name = name
        """Its own name, among actors."""
        self.messages: list[Any] = []
        """All it ever got, in order."""
        self._registry = registry
        self._unseen: list[Any] = []
        """What no expectation has taken yet, in order."""
        self._rules: list[_Rule] = []
        """The newest first."""
        self._more = trio.Event()
        """Set at the next message, and then replaced."""
        self._actor: _ProbeActor | None = None

    @property
    def address(self) -> Address:
        """Where to send to it."""
        return self._registry.address(self.name)

    @property
    def events(self) -> list[Event]:
        """The events it got, in order."""
        return [message for message in self.messages if isinstance(message, Event)]

    @property
    def calls(self) -> list[Call]:
        """The calls of its methods, in order."""
        return [message for message in self.messages if isinstance(message, Call)]

    # -- what it answers -------------------------------------------------------------------------

    def answer(self, what: What, answer: Any) -> None:
        """Answer messages like ``what`` so from now on; what was said last counts.

        ``what`` is a class, the name of a method (which it then has), a function of the message,
        or None for all. ``answer`` is the answer; or an error (object or class), which is raised;
        or a function that is called with the message (for a method: with its arguments), may be
        async, and returns the answer. Without any, the answer is None.
        """
        if isinstance(what, str) and what.isidentifier():
            self._has_method(what)
        self._rules.insert(0, _Rule(_matcher(what), answer))

    def _has_method(self, method: str) -> None:
        cell = self.address._cell
        if method not in cell.methods:
            cell.methods = (*cell.methods, method)

    async def _take(self, payload: Any) -> Any:
        message = payload.event if isinstance(payload, EventCall) else payload
        self.messages.append(message)
        self._unseen.append(message)
        self._more.set()
        self._more = trio.Event()
        answer = await self._answer_to(message)
        return cross(answer, f"the answer to {message.about}") if _is_call(message) else answer

    async def _answer_to(self, message: Any) -> Any:
        rule = next((rule for rule in self._rules if rule.wants(message)), None)
        if rule is None:
            return None
        answer = rule.answer
        if isinstance(answer, BaseException) or (
            isinstance(answer, type) and issubclass(answer, BaseException)
        ):
            raise answer
        if callable(answer):
            if isinstance(message, Call):
                answer = answer(*message.args, **message.kwargs)
            else:
                answer = answer(message)
            if isinstance(answer, Awaitable):
                answer = await answer
        return answer

    # -- what is expected ------------------------------------------------------------------------

    @overload
    async def expect(self, what: type[T], timeout: float = 5.0) -> T: ...
    @overload
    async def expect(self, what: What = None, timeout: float = 5.0) -> Any: ...
    async def expect(self, what: What = None, timeout: float = 5.0) -> Any:
        """Wait for a message like ``what`` and return it; each is returned once.

        ``what`` is a class, a function of the message that says whether it is the one, the name of
        a called method, a pattern of event types (``order.*``), another value to which the message
        is equal, or None for any. Messages that came before and that no expectation has taken count
        too; those of another kind stay for later expectations.

        ``timeout`` is in seconds of Trio's clock; of real time where that stands still.

        Raises:
            AssertionError: it did not come; the message shows what did.
        """
        return await self._expect(what, timeout)

    @bridged
    async def _expect(self, what: What, timeout: float) -> Any:
        await trio.lowlevel.checkpoint()
        wants = _matcher(what)
        with within(timeout):
            while True:
                for number, message in enumerate(self._unseen):
                    if wants(message):
                        del self._unseen[number]
                        return message
                await self._more.wait()
        still = " (the clock stands still)" if frozen_clock() else ""
        raise AssertionError(
            f"{self.name} got nothing like {_words(what)} within {timeout:g} s{still}; "
            f"{self._listed()}"
        )

    @bridged
    async def expect_nothing(self, what: What = None, timeout: float = 5.0) -> None:
        """Wait until all actors are at rest, and see that no message like ``what`` has come that no
        expectation has taken. It takes no time where nothing goes on.

        Raises:
            AssertionError: one has.
            TimeoutError: somebody was still at work after ``timeout`` seconds (see ``settle``).
        """
        await settle_all(self._registry, timeout)
        if any(map(_matcher(what), self._unseen)):
            raise AssertionError(
                f"{self.name} was to get nothing like {_words(what)}; {self._listed()}"
            )

    def forget(self) -> None:
        """Forget all that came: :attr:`messages` is empty, nothing is left to be expected."""
        self.messages.clear()
        self._unseen.clear()

    def _listed(self) -> str:
        if not self._unseen:
            return f"it got nothing{' else' if self.messages else ' at all'}"
        shown = "".join(f"\n  {_shown(message)}" for message in self._unseen[:_LISTED])
        more = len(self._unseen) - _LISTED
        return f"it got{shown}" + (f"\n  and {more} more" if more > 0 else "")

    # -- what it does itself -----------------------------------------------------------------------

    def monitor(self, other: Address) -> Watch:
        """Get a :class:`.Down` when the present incarnation of ``other`` ends."""
        assert self._actor is not None
        return self._actor.monitor(other)

    def __repr__(self) -> str:
        return f"<Probe {self.name}: {counted(len(self.messages), 'message')}>"


class _ProbeActor(Actor):
    """The actor behind a probe, which outlives each of its incarnations."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    async def initialize(self) -> None:
        """Let the probe know of it."""
        self._probe._actor = self

    @handles
    async def take(self, message: object) -> Any:
        """Whatever comes."""
        return await self._probe._take(message)


@bridged
async def spawn_probe(system: ActorSystem, name: str = "") -> Probe:
    """Start a probe among the actors of ``system``; see :class:`Probe`.

    Raises:
        ValueError: another actor has the name.
    """
    return await start_probe(system.spawn, registry_of(system), name)


async def start_probe(
    spawn: Callable[..., Awaitable[Address]], registry: Registry, name: str
) -> Probe:
    """Start one by ``spawn``, which is that of :class:`.ActorSystem`."""
    probe = Probe(name, registry)
    address = await spawn(_ProbeActor, probe, name=name or f"probe-{_free(registry)}")
    probe.name = address.name
    return probe


def _free(registry: Registry) -> int:
    number = 1
    while f"probe-{number}" in registry:
        number += 1
    return number


def be_plugin(probe: Probe, methods: Mapping[str, Any] | Iterable[str]) -> None:
    """Let others call ``methods`` of it: names, or names with the answers."""
    answers = (
        methods.items() if isinstance(methods, Mapping) else [(name, None) for name in methods]
    )
    for name, answer in answers:
        probe.answer(name, answer)


def _is_call(message: Any) -> bool:
    return isinstance(message, Call)


def _matcher(what: What) -> Callable[[Any], bool]:
    """A function that says of a message whether it is like ``what``."""
    if what is None:
        return lambda message: True
    if isinstance(what, type):
        return lambda message: isinstance(message, what)
    if isinstance(what, str):
        return _named(what)
    if callable(what):
        return lambda message: bool(what(message))
    return lambda message: bool(message == what)


def _named(name: str) -> Callable[[Any], bool]:
    topics: Topics[str] = Topics()
    if not check_pattern(name):
        topics.add(name, "it")

    def wants(message: Any) -> bool:
        if isinstance(message, Event):
            return bool(topics.match(message.type))
        if isinstance(message, Call):
            return message.method == name
        return bool(message == name)

    return wants


def _words(what: What) -> str:
    if what is None:
        return "a message"
    if isinstance(what, type):
        return what.__name__
    if callable(what):
        return str(getattr(what, "__name__", what))
    return repr(what)


def _shown(message: Any) -> str:
    if isinstance(message, Event):
        return f"event {message.type} {message.data!r}"
    if isinstance(message, Call):
        given = [*map(repr, message.args), *(f"{k}={v!r}" for k, v in message.kwargs.items())]
        return f"call {message.method}({', '.join(given)})"
    with contextlib.suppress(Exception):  # a repr may raise
        return repr(message)
    return f"a {type(message).__name__}"
