"""Plugin: the one class an author writes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from nexus_actors.actors import Actor, ActorStatistics, Address, Call, Pool, Timer
from nexus_actors.actors.bridge import bridged
from nexus_actors.actors.routing import Route
from nexus_actors.events.event import MISSING
from nexus_actors.middleware.base import MiddlewareLike, check_middleware
from nexus_actors.plugin.context import Context, Detached, building

__all__ = ["Plugin"]


class Plugin:
    """The base of every plugin. One object is one incarnation: after a crash there is a fresh one.

    ::

        class Hello(Plugin):
            @get("/hello/{name}")
            async def hello(self, name: str):
                return {"hello": name}

    A node builds it with its configuration, starts the services it named with ``inject``, awaits
    :meth:`initialize`, and then gives it one message at a time: HTTP requests for its routes,
    events for its handlers, calls from other plugins to its public coroutine methods.
    :meth:`cleanup` runs when it stops, also after a crash.

    Outside a node it is an ordinary object: build it with a dict, put your own ``db`` in place,
    call its methods.
    """

    name: str
    """From plugin.json. ``__init__`` may set it, to the same."""
    version: str
    """From plugin.json, such as ``"1.2.0"``."""
    description: str
    """From plugin.json; empty where it has none."""
    config: Mapping[str, Any]
    """The plugin's options: the manifest's defaults, and what the settings say in their place."""
    logger: Any
    """Logs under the plugin's name: ``self.logger.info("sent", to=address)``."""
    db: Any
    """The plugin's own schema in PostgreSQL, where its manifest has a database permission."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self._context: Context = building.get() or Detached(type(self))
        self.config = {} if config is None else config
        self.name = self._context.name
        self.version = self._context.version
        self.description = self._context.description
        self.db = self._context.db
        self.logger = self._context.logger
        self._middleware: list[MiddlewareLike] = []

    async def initialize(self) -> None:
        """Get ready. It ends before the first message comes, within 30 s."""

    async def cleanup(self) -> None:
        """Give back what was taken. It has the plugin's stop deadline (5 s) to end."""

    @property
    def nursery(self) -> trio.Nursery:
        """For background tasks: they end with this incarnation, and a crash in one is its crash.

        Raises:
            NotInNode: the plugin is in no node (see :func:`nexus_actors.testing.alone`).
        """
        nursery: trio.Nursery = self._context.nursery
        return nursery

    @bridged
    async def spawn(self, kind: type[Actor], *args: Any, name: str = "", **options: Any) -> Address:
        """Start a child actor, supervised by this incarnation, and return its address.

        It ends with this incarnation; it runs under Trio, also in a plugin written for asyncio.
        ``args`` are for ``kind``, ``options`` those of its class, for this one alone. Between a
        plugin and its children messages are not copied. See :class:`nexus_actors.actors.Actor`.

        Raises:
            NotInNode: the plugin is in no node.
            ValueError: another child has the name.
            StartFailed: its ``__init__`` or ``initialize`` raised.
        """
        return await self._context.belongings.spawn(kind, *args, name=name, **options)

    @bridged
    async def spawn_pool(
        self,
        kind: type[Actor],
        *args: Any,
        size: int,
        route: Route = "round_robin",
        name: str = "",
        **options: Any,
    ) -> Pool:
        """Start ``size`` children alike, and return the pool that shares messages among them."""
        return await self._context.belongings.spawn_pool(
            kind, *args, size=size, route=route, name=name, **options
        )

    @bridged
    async def stop_child(self, child: Address) -> None:
        """Stop a child for good and wait until it has ended."""
        await self._context.belongings.stop_child(child)

    def send_after(
        self, seconds: float, method: Callable[..., Awaitable[Any]], *args: Any
    ) -> Timer:
        """Call ``method``, a coroutine method of this plugin, after ``seconds``: as a message, so
        never beside another one. Its fault is the plugin's crash. The timer can be cancelled, and
        dies with this incarnation.

        Raises:
            NotInNode: the plugin is in no node.
            TypeError: that is no method of this plugin.
        """
        return self._context.belongings.send_after(seconds, self._call(method, args))

    def every(self, seconds: float, method: Callable[..., Awaitable[Any]], *args: Any) -> Timer:
        """The same every ``seconds``, until the timer is cancelled or this incarnation ends. A tick
        that finds the one before still waiting is left out. Raises as :meth:`send_after` does, and
        ValueError for no time at all."""
        return self._context.belongings.every(seconds, self._call(method, args))

    def _call(self, method: Any, args: tuple[Any, ...]) -> Call:
        name = getattr(method, "__name__", "")
        if getattr(method, "__self__", None) is not self or not hasattr(type(self), name):
            raise TypeError(
                f"a timer of {self.name} calls one of its own methods: write self.every(60, "
                f"self.refresh), not {method!r}"
            )
        return Call(name, args, {})

    @bridged
    async def emit_event(self, event: str | Mapping[str, Any], data: Any = MISSING) -> int | None:
        """Publish an event: ``emit_event("user.created", {...})`` or
        ``emit_event({"type": "user.created", "data": {...}})``.

        Returns how many mailboxes took it; None inside a transaction, where it goes out after the
        commit. Never waits for a subscriber, nor fails by one.

        Raises:
            Invalid: the event is not well-formed.
            CannotCross: its data holds something that may not leave the plugin.
            PermissionDenied: the manifest does not ask for ``events:emit`` of that type.
        """
        return await self._context.emit(event, data)

    def get_plugin(self, name: str) -> Any:
        """Another plugin, to call its public coroutine methods; None where there is none.

        Each call is a message with a deadline of 5 s; see :class:`nexus_actors.actors.Proxy`.

        Raises:
            PermissionDenied: the manifest does not ask for ``plugins:call``.
        """
        return self._context.get_plugin(name)

    def node_statistics(self, plugin: str = "") -> ActorStatistics:
        """The numbers of this plugin, or of another: the account of its mailbox, handlers' times,
        crashes, restarts. Nothing waits for it, and the other notices nothing.

        Raises:
            NotInNode: the plugin is in no node.
            NoSuchActor: there is no plugin of that name; the nearest are suggested.
            PermissionDenied: of another, the manifest does not ask for ``node:observe``.
        """
        return self._context.statistics(plugin)

    def add_middleware(self, middleware: MiddlewareLike) -> None:
        """Wrap this plugin's routes in ``middleware``; the first one added is the outermost.

        See :class:`nexus_actors.middleware.Middleware`.

        Raises:
            TypeError: it is no Middleware object and no async function of (request, call_next).
        """
        self._middleware.append(check_middleware(middleware))

    @classmethod
    def node_middleware(cls, plugin: Any) -> MiddlewareLike | None:
        """Override it to wrap every request to every plugin of the node (``http:middleware``).

        It is called once, when the node is put together, and returns the middleware. That runs
        under Trio in the front end, outside every mailbox: it does not see the plugin's object, and
        has 5 s of its own before and after what it wraps. ``plugin`` is a proxy of this plugin,
        whose public coroutine methods it may call. What it raises answers the request with a 500.
        """
        return None
