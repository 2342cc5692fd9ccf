"""Fault switches: a running plugin or actor crashes, fails, hangs, is slow or flooded, and its code
does not know."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, cast

import trio

from nexus_actors.actors import ActorCell, Address, Behaviour, Message, bridged, in_hand
from nexus_actors.actors.base import ActorBehaviour
from nexus_actors.actors.given import check_seconds
from nexus_actors.errors import NexusError
from nexus_actors.plugin.host import PluginHost
from nexus_actors.testing.clock import within
from nexus_actors.words import nearest

__all__ = ["Faults", "InjectedCrash", "Switch", "faults"]

_ONLY_BY_NAME = ("initialize", "cleanup")
"""What is no handler, and is met by a switch that names it alone."""


class InjectedCrash(Exception):
    """The crash that a test has switched on."""


def faults(address: Address) -> Faults:
    """The switches of the actor at ``address``; for a plugin in a node: ``app.faults(name)``."""
    return Faults(address._cell)


class Faults:
    """Lets one plugin or actor fail from outside.

    ::

        with app.faults("billing").hang("charge") as hung:
            response = await client.post("/orders", json=order)
            assert hung.hits == 1

    Each switch is a context manager, and off again at the end of its block. ``handler`` is the name
    of a method: a route's, an event handler's, a public one, one that a timer calls, one that
    ``@handles``; without it all of them are meant. Naming ``initialize`` or ``cleanup`` is possible
    too. ``times`` says how many messages are met; None: all. Switches outlive restarts.
    """

    def __init__(self, cell: ActorCell) -> None:
        self._cell = cell

    def crash(
        self, handler: str = "", *, times: int | None = 1, error: BaseException | None = None
    ) -> Switch:
        """Let it crash as soon as a handler begins: its callers get ``ActorRestarted`` (over HTTP a
        503), an event goes to dead letters, and its supervisor starts it again."""

        async def act() -> None:
            message = in_hand()
            if message is None or (message.reply is None and message.on_error != "reply"):
                raise self._crash(error)
            self._cell.crash(self._crash(error))  # raised here it would be a fault in answering
            await _forever()

        return self._switch("crash", handler, times, act)

    def fail(
        self,
        error: BaseException | type[BaseException],
        handler: str = "",
        *,
        times: int | None = None,
    ) -> Switch:
        """Let handlers raise ``error`` in place of doing anything."""

        async def act() -> None:
            raise error

        return self._switch("fail", handler, times, act)

    def hang(self, handler: str = "", *, times: int | None = None) -> Switch:
        """Let handlers hang before they do anything: until :meth:`Switch.release` or the end of the
        block, after which they go on, or until they are cancelled by their deadline."""
        released = trio.Event()

        async def act() -> None:
            await _wait(released)

        return self._switch("hang", handler, times, act, released.set)

    def slow(self, seconds: float, handler: str = "", *, times: int | None = None) -> Switch:
        """Let handlers take ``seconds`` of Trio's clock more."""
        check_seconds("slow(seconds)", seconds, least=0)

        async def act() -> None:
            await _sleep(seconds)

        return self._switch("slow", handler, times, act)

    @contextlib.contextmanager
    def flood(self, messages: int | None = None) -> Iterator[int]:
        """Fill its mailbox: with so many messages, or as many as fit. They stay before all that
        comes later, and nothing is handled until the end of the block, when they are taken back.

        Gives the number of messages that there were room for.
        """
        if messages is not None and messages < 0:
            raise ValueError(f"flood() wants a number of messages, or None, not {messages!r}")
        cell = self._cell
        sent: list[Message] = []
        was_paused = cell.mailbox.paused
        cell.pause(True)
        try:
            while not cell.mailbox.is_full and (messages is None or len(sent) < messages):
                message = Message("tell", _Flood(), handler="flood", sender="test")
                cell.mailbox.put(message)
                message.receiver = cell.name
                sent.append(message)
            yield len(sent)
        finally:
            for message in sent:
                if not message.taken:
                    cell.mailbox.settle_waiting(message, "abandoned")
            cell.pause(was_paused)

    def crash_now(self, error: BaseException | None = None) -> None:
        """Crash it now, whatever it is at; ``await settle()`` returns when it is back.

        Raises:
            NexusError: it is not up.
        """
        if not self._cell.crash(self._crash(error)):
            raise NexusError(f"{self._cell.name} is {self._cell.state}: there is nothing to crash")

    def _crash(self, error: BaseException | None) -> BaseException:
        return error or InjectedCrash(f"a test lets {self._cell.name} crash")

    def _switch(
        self,
        kind: str,
        handler: str,
        times: int | None,
        act: Callable[[], Any],
        on_off: Callable[[], None] = lambda: None,
    ) -> Switch:
        self._check(handler)
        return Switch(_board_of(self._cell), kind, handler, times, act, on_off)

    def _check(self, handler: str) -> None:
        """Raises ValueError where it has no handler of that name."""
        thing = _board_of(self._cell).thing
        if not handler or thing is None or handler in self._cell.methods:
            return
        if not callable(getattr(type(thing), handler, None)):
            known = [name for name in vars(type(thing)) if callable(getattr(type(thing), name))]
            raise ValueError(
                f"{self._cell.name} ({type(thing).__name__}) has no handler {handler!r}"
                f"{nearest(handler, known)}"
            )


class Switch:
    """One fault that is on within its ``with`` block."""

    def __init__(
        self,
        board: _Board,
        kind: str,
        handler: str,
        times: int | None,
        act: Callable[[], Any],
        on_off: Callable[[], None],
    ) -> None:
        self.kind = kind
        """``crash``, ``fail``, ``hang`` or ``slow``."""
        self.handler = handler
        """Whom it meets; empty for all handlers."""
        self.times = times
        """How often at most; None: without limit."""
        self.hits = 0
        """How often it has met one."""
        self._board = board
        self._act = act
        self._on_off = on_off
        self._hit = trio.Event()

    def __enter__(self) -> Switch:
        self._board.switches.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Switch it off before the end of the block: those who hang go on."""
        if self in self._board.switches:
            self._board.switches.remove(self)
        self._on_off()

    @bridged
    async def wait_hit(self, hits: int = 1, timeout: float = 5.0) -> None:
        """Wait until it has met ``hits`` handlers.

        Raises:
            TimeoutError: it had not after ``timeout`` seconds of Trio's clock (of real time where
                that stands still).
        """
        await trio.lowlevel.checkpoint()
        with within(timeout):
            while self.hits < hits:
                await self._hit.wait()
            return
        raise TimeoutError(f"{self!r} after {timeout:g} s")

    def meets(self, name: str) -> bool:
        """Whether the method ``name``, which is called now, is to be met."""
        if self.times is not None and self.hits >= self.times:
            return False
        if not self.handler:
            return name not in _ONLY_BY_NAME
        message = in_hand()
        return self.handler in (name, "" if message is None else message.handler)

    async def act(self) -> None:
        """Meet a handler."""
        self.hits += 1
        self._hit.set()
        self._hit = trio.Event()
        await self._act()

    def __repr__(self) -> str:
        whom = self.handler or "any handler"
        return f"<{self.kind} of {whom} of {self._board.name}: met {self.hits}>"


class _Board:
    """The switches of one actor that are on."""

    def __init__(self, cell: ActorCell) -> None:
        self.name = cell.name
        self.switches: list[Switch] = []
        self.thing: Any = None
        """The plugin or actor object of the present or last incarnation."""
        cell.dress(self.fit)

    def fit(self, behaviour: Behaviour) -> None:
        """Let ``behaviour`` look up its handlers by way of this board."""
        match behaviour:
            case PluginHost():
                self.thing = behaviour._plugin
                behaviour._plugin = cast(Any, _StandIn(self.thing, self))
            case ActorBehaviour():
                self.thing = behaviour._actor
                behaviour._actor = cast(Any, _StandIn(self.thing, self))
            case _:
                raise TypeError(f"{self.name} is neither a plugin nor an Actor")

    def around(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """``method`` with the faults that are on before it."""

        async def handler(*args: Any, **kwargs: Any) -> Any:
            for switch in [*self.switches]:
                if switch.meets(name):
                    await switch.act()
            result = method(*args, **kwargs)
            return await result if hasattr(result, "__await__") else result

        return handler


def _board_of(cell: ActorCell) -> _Board:
    board = getattr(cell.outfit, "__self__", None)
    return board if isinstance(board, _Board) else _Board(cell)


class _StandIn:
    """What a behaviour has in place of its object: the same, but for the faults of its methods.

    The object itself is not touched, and what it calls of itself is not met.
    """

    def __init__(self, thing: Any, board: _Board) -> None:
        object.__setattr__(self, "_nexus_thing", thing)
        object.__setattr__(self, "_nexus_board", board)

    def __getattribute__(self, name: str) -> Any:
        thing = object.__getattribute__(self, "_nexus_thing")
        board = object.__getattribute__(self, "_nexus_board")
        value = getattr(thing, name)
        if not board.switches or name.startswith("__") or not callable(value):
            return value
        return board.around(name, value)


class _Flood:
    """The payload of a flood's messages."""

    about = "flood"


@bridged
async def _wait(event: trio.Event) -> None:
    await event.wait()


@bridged
async def _forever() -> None:
    await trio.sleep_forever()


@bridged
async def _sleep(seconds: float) -> None:
    await trio.sleep(seconds)
