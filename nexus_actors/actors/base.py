"""Actor: the class one writes for an actor that is no plugin."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

import attrs

from nexus_actors.actors.address import Address
from nexus_actors.actors.belongings import Belongings, Timer, Watch
from nexus_actors.actors.children import Options, Plan
from nexus_actors.actors.given import given_cell
from nexus_actors.actors.groups import Group
from nexus_actors.actors.handling import Handlers, handlers_of
from nexus_actors.actors.links import Down, Exited
from nexus_actors.actors.mailbox import Overflow
from nexus_actors.actors.message import Message, in_hand
from nexus_actors.actors.routing import Pool, Route
from nexus_actors.errors import Fault, Invalid, NotInNode
from nexus_actors.words import nearest

__all__ = ["Actor", "ActorBehaviour"]


class Actor:
    """The base of every actor. One object is one incarnation: after a crash there is a fresh one.

    ::

        @attrs.frozen
        class Add:
            number: int

        class Counter(Actor, restart="transient"):
            def __init__(self, start: int = 0) -> None:
                self.count = start

            @handles
            def add(self, message: Add) -> int:
                self.count += message.number
                return self.count

    A handler is a method marked by :func:`.handles`, ``async`` or not; it has one message at a time
    (``concurrency=N`` lets N interleave at their awaits). A fault in answering an ``ask`` goes to
    its caller, a fault in anything else is the actor's crash.

    Options of the class, each with its default: ``restart="permanent"`` (or ``transient``,
    ``temporary``), ``shutdown=5.0`` (seconds, ``"infinity"`` or ``"brutal_kill"``),
    ``capacity=1000`` messages, ``overflow="refuse"`` (or ``wait``, ``drop_oldest``,
    ``drop_newest``), ``max_size=None`` (bytes of one message), ``concurrency=1``,
    ``trap_exits=False``. Wrong ones are refused when the
    class is made, by ``Invalid``.
    """

    _handlers: ClassVar[Handlers] = Handlers({})
    _options: ClassVar[Options] = Options()
    _belongings: Belongings | None = None
    """What this incarnation owns; None for an object that is no actor's."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__()
        wrong: list[str] = []
        cls._handlers = handlers_of(cls, wrong)
        cls._options = _with(cls, options, wrong)
        if wrong:
            raise Invalid(Fault(f"class {cls.__qualname__}", each) for each in wrong)

    @classmethod
    def _plan(cls, args: tuple[Any, ...], given: dict[str, Any]) -> Plan:
        """What to spawn; raises Invalid with all that is wrong with the options ``given``."""
        wrong: list[str] = []
        options = _with(cls, given, wrong)
        if wrong:
            raise Invalid(Fault(f"spawn({cls.__qualname__})", each) for each in wrong)

        def make(belongings: Belongings) -> ActorBehaviour:
            return ActorBehaviour(cls(*args), belongings)

        return Plan(cls.__name__, cls._handlers, options, make)

    async def initialize(self) -> None:
        """Get ready. It ends before the first message comes, within 30 s."""

    async def cleanup(self) -> None:
        """Give back what was taken; called also after a crash."""

    # -- what it is ------------------------------------------------------------------------------

    @property
    def _own(self) -> Belongings:
        if self._belongings is None:
            raise NotInNode(
                f"this {type(self).__name__} is an ordinary object: it is an actor when an "
                "ActorSystem or another actor spawns it"
            )
        return self._belongings

    @property
    def address(self) -> Address:
        """Its own address."""
        return self._own.address

    @property
    def nursery(self) -> Any:
        """For background tasks: they end with this incarnation, and a crash in one is its crash."""
        return self._own.nursery

    def stop(self) -> None:
        """End normally once the messages in hand are handled. Its restart type says what then."""
        self._own.finish()

    # -- others ----------------------------------------------------------------------------------

    async def spawn(self, kind: type[Actor], *args: Any, name: str = "", **options: Any) -> Address:
        """Start a child actor, supervised by this incarnation, and return its address.

        It ends with this incarnation. ``args`` are for ``kind``; ``options`` are those of the
        class, for this one alone. Without a name it gets one.

        Raises:
            TypeError: ``kind`` is no class of actors.
            ValueError: another child has the name.
            StartFailed: its ``__init__`` or ``initialize`` raised.
        """
        return await self._own.spawn(kind, *args, name=name, **options)

    async def spawn_pool(
        self,
        kind: type[Actor],
        *args: Any,
        size: int,
        route: Route = "round_robin",
        name: str = "",
        **options: Any,
    ) -> Pool:
        """Start ``size`` alike and return the :class:`.Pool` that shares messages among them."""
        return await self._own.spawn_pool(kind, *args, size=size, route=route, name=name, **options)

    async def stop_child(self, child: Address) -> None:
        """Stop a child for good and wait until it has ended.

        Raises:
            TypeError: it is no address.
            ValueError: it is another actor's child.
        """
        await self._own.stop_child(child)

    def monitor(self, other: Address) -> Watch:
        """Be sent a :class:`.Down` when the present incarnation of ``other`` ends, or at once where
        it has none. The watch ends with this incarnation, or by its ``cancel()``.

        Raises:
            TypeError: this class has no handler for Down.
        """
        if Down not in self._handlers:
            name = given_cell("monitor", other).name
            raise TypeError(f"{type(self).__name__} monitors {name} and does not handle Down")
        return self._own.monitor(other)

    def link(self, other: Address) -> Watch:
        """Share fate: when either incarnation ends otherwise than normally, the other crashes. With
        ``trap_exits=True`` this one is sent an :class:`.Exited` instead. Of one that is gone
        already it learns at once."""
        return self._own.link(other)

    def join(self, group: str) -> Group:
        """Be a member of the group of that name as long as this incarnation lives."""
        return self._own.join(group)

    # -- time ------------------------------------------------------------------------------------

    def send_after(self, seconds: float, message: Any) -> Timer:
        """Send itself ``message`` after ``seconds``; ``cancel()`` of the timer takes it back. It
        dies with this incarnation."""
        return self._own.send_after(seconds, message)

    def every(self, seconds: float, message: Any) -> Timer:
        """Send itself ``message`` every ``seconds``, until the timer is cancelled or this
        incarnation ends. A tick that finds the one before still waiting is left out."""
        return self._own.every(seconds, message)

    # -- stash -----------------------------------------------------------------------------------

    def stash(self) -> None:
        """Put the message in hand aside when its handler returns: it waits for
        :meth:`unstash_all`, and is answered by whoever handles it then."""
        message = in_hand()
        if message is None or message.receiver != self._own.address.name:
            raise RuntimeError("stash() puts the message in hand aside, and there is none")
        message.stashed = True

    def unstash_all(self) -> int:
        """Put what was stashed before all that waits, in its order; return how many."""
        return self._own.unstash()


class ActorBehaviour:
    """The behaviour (:class:`.Behaviour`) of one incarnation of an :class:`Actor`."""

    def __init__(self, actor: Actor, belongings: Belongings) -> None:
        self._actor = actor
        self._belongings = belongings
        self.methods: dict[type, Any] = {}
        """See :class:`.Behaviour`."""
        actor._belongings = belongings

    async def start(self, nursery: Any) -> None:
        """Run ``initialize``."""
        self._belongings.open(nursery, lambda: vars(self._actor))
        await self._actor.initialize()

    def method_for(self, payload: Any) -> Any:
        """See :class:`.Behaviour`."""
        name = self._actor._handlers.method_for(payload)
        assert name is not None, "what is not handled is refused to its sender"
        method = self.methods[payload.__class__] = getattr(self._actor, name)
        return method

    async def handle(self, message: Message) -> Any:
        """Run the handler for the type of the payload."""
        name = self._actor._handlers.method_for(message.payload)
        assert name is not None, "what is not handled is refused to its sender"
        result = getattr(self._actor, name)(message.payload)
        return await result if hasattr(result, "__await__") else result

    async def drain(self) -> None:
        """Stop the children, in good order."""
        await self._belongings.drain()

    async def stop(self) -> None:
        """Run ``cleanup``."""
        self._belongings.close()
        try:
            await self._actor.cleanup()
        finally:
            self._belongings.close()  # what it has joined and watched meanwhile


_WORDS: dict[str, tuple[Any, ...]] = {
    "restart": ("permanent", "transient", "temporary"),
    "overflow": get_args(Overflow),
    "trap_exits": (True, False),
}


def _with(cls: type[Actor], given: dict[str, Any], wrong: list[str]) -> Options:
    """The options of ``cls`` with those that are given; what is wrong is added to ``wrong``."""
    good: dict[str, Any] = {}
    for name, value in given.items():
        why = _wrong(name, value)
        if why:
            wrong.append(f"{name}: {why}, not {value!r}" if name in _NAMES else why)
        else:
            good[name] = value
    options = attrs.evolve(cls._options, **good)
    if options.trap_exits and Exited not in cls._handlers:
        wrong.append("trap_exits=True wants a handler for Exited")
    return options


def _wrong(name: str, value: Any) -> str:
    """What an option must be, where it is not; empty where it is right."""
    if name in _WORDS:
        return "" if value in _WORDS[name] else f"must be {' or '.join(map(repr, _WORDS[name]))}"
    if name == "max_size" and value is None:
        return ""
    if name in ("capacity", "concurrency", "max_size"):
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        or_none = " (bytes), or None for no limit" if name == "max_size" else ""
        return "" if whole else f"must be an integer of at least 1{or_none}"
    if name == "shutdown":
        number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        words = ("infinity", "brutal_kill")
        fits = number or value in words
        return "" if fits else "must be seconds, 'infinity' or 'brutal_kill'"
    return f"there is no option {name!r}{nearest(name, _NAMES)}; there are {', '.join(_NAMES)}"


_NAMES = tuple(field.name for field in attrs.fields(Options))
