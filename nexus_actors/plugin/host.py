"""The host: runs one plugin object as an actor - its routes, its event handlers, its methods.

It lets every exception out; what one means is :mod:`nexus_actors.actors.faults`' to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs
import trio

from nexus_actors.actors import ActorCell, Call, Message, cross
from nexus_actors.actors.belongings import Belongings
from nexus_actors.actors.handling import Handlers
from nexus_actors.errors import HTTPError, Invalid
from nexus_actors.http.errors import response_for_exception
from nexus_actors.http.request import Request
from nexus_actors.http.response import Response, to_response
from nexus_actors.http.websockets import WebSocket
from nexus_actors.middleware.chain import compose
from nexus_actors.plugin.base import Plugin
from nexus_actors.plugin.catalogue import Catalogue, EventEntry, RouteEntry
from nexus_actors.plugin.compartment import Compartment, Owner
from nexus_actors.plugin.sessions import Sessions
from nexus_actors.words import with_article

__all__ = ["EventCall", "HttpCall", "PluginHost", "SocketCall", "handlers_of_plugin"]

_LISTED = 8
"""Names of a kind that a refusal lists."""


@attrs.frozen
class HttpCall:
    """The payload of an ``http`` message for a route."""

    entry: RouteEntry
    request: Request

    @property
    def about(self) -> str:
        """In a word, for reports: the route, not the path, which a client chose."""
        return f"{self.entry.mark.method} {self.entry.mark.path}"

    def __nexus_carried__(self) -> Any:
        """What counts for its size; a body that is streamed does not wait with it."""
        request = self.request
        head = {"path": request.path, "query": request.query_string, **request.headers}
        return head | {"body": request.loaded_body}


@attrs.frozen
class SocketCall:
    """The payload of an ``http`` message that opens a websocket."""

    entry: RouteEntry
    socket: WebSocket

    @property
    def about(self) -> str:
        """In a word, for reports."""
        return f"websocket {self.entry.mark.path}"

    def __nexus_carried__(self) -> Any:
        """What counts for its size: nothing that waits with it."""
        return ()


@attrs.frozen
class EventCall:
    """The payload of an ``event`` message."""

    entry: EventEntry
    event: Any

    @property
    def about(self) -> str:
        """In a word, for reports."""
        return str(self.event.type)

    @property
    def content(self) -> dict[str, Any]:
        """What it says, for whoever looks at it as a dead letter."""
        event = self.event.for_receiver()
        return {
            "type": event.type,
            "id": event.id,
            "source": event.source,
            "time": event.time.isoformat(),
            "data": event.data,
        }

    def __nexus_carried__(self) -> Any:
        """What counts for its size."""
        return self.event

    def afresh(self) -> EventCall:
        """The same as it came: its handler may have changed the data it read."""
        return attrs.evolve(self, event=self.event.for_receiver())


def handlers_of_plugin(name: str, catalogue: Catalogue) -> Handlers:
    """What a plugin takes by ``tell`` and ``ask``: calls of its own timers. For whoever sends
    something else it says what the plugin handles, and how that is sent."""

    def listed(what: str, names: Iterable[str]) -> str:
        every = [*dict.fromkeys(names)]
        more = ", ..." if len(every) > _LISTED else ""
        return f"{what} {', '.join(every[:_LISTED])}{more}" if every else ""

    handled = [
        listed("calls of", (f"{method}()" for method in catalogue.methods)),
        listed("the events", (entry.mark.pattern for entry in catalogue.events)),
        listed(
            "requests for", (f"{each.mark.method} {each.mark.path}" for each in catalogue.routes)
        ),
    ]
    words = "; ".join(filter(None, handled)) or "nothing yet"
    call = f'get_plugin("{name}").{catalogue.methods[0] if catalogue.methods else "method"}(...)'
    return Handlers(
        {Call: "call"},
        f"it is a plugin and handles {words} "
        f"(call it by {call}, or emit an event it subscribes to)",
    )


class PluginHost:
    """The behaviour (:class:`nexus_actors.actors.Behaviour`) of one incarnation of a plugin."""

    def __init__(
        self,
        plugin: Plugin,
        cell: ActorCell,
        compartment: Compartment,
        use_nursery: Callable[[trio.Nursery], None],
        owner: Owner,
        max_sessions: int,
        belongings: Belongings,
    ) -> None:
        self._plugin = plugin
        self._compartment = compartment
        self._use_nursery = use_nursery
        self._owner = owner
        self._sessions = Sessions(cell, compartment, max_sessions)
        self._belongings = belongings
        self.methods: dict[type, Any] = {}
        """See :class:`nexus_actors.actors.Behaviour`: nothing for a plugin lies bare."""

    def method_for(self, payload: Any) -> Any:
        """See :class:`nexus_actors.actors.Behaviour`."""
        raise TypeError(f"{self._plugin.name} was sent {with_article(type(payload).__name__)} bare")

    async def start(self, nursery: trio.Nursery) -> None:
        """Run ``initialize``."""
        self._use_nursery(nursery)
        self._sessions.use_nursery(nursery)
        self._belongings.open(nursery, lambda: vars(self._plugin))
        await self._compartment.call(self._plugin.initialize)

    async def handle(self, message: Message) -> Any:
        """Run the handler that the message is for."""
        payload = message.payload
        match payload:
            case HttpCall():
                return await self._http(payload)
            case EventCall():
                handler = getattr(self._plugin, payload.entry.handler)
                return await self._compartment.call(handler, payload.event)
            case Call():
                method = getattr(self._plugin, payload.method)
                result = await self._compartment.call(method, *payload.args, **payload.kwargs)
                if message.kind == "timer":
                    return None  # nobody waits for it
                return cross(result, f"the result of {payload.method}()")
            case SocketCall():
                return await self._websocket(payload)
        raise TypeError(
            f"{self._plugin.name} was sent {with_article(type(payload).__name__)}: "
            "a plugin takes requests for its routes, events, and calls of its public coroutine "
            "methods"
        )

    async def drain(self) -> None:
        """End streams and websockets, in good order."""
        await self._sessions.end()
        await self._belongings.drain()

    async def stop(self) -> None:
        """Run ``cleanup``."""
        self._owner.ended = True
        self._belongings.close()
        try:
            await self._compartment.call(self._plugin.cleanup)
        finally:
            self._belongings.close()  # what it has joined and watched meanwhile

    async def _http(self, call: HttpCall) -> Response:
        response: Response = await self._compartment.call(self._answer, call)
        return self._sessions.carry(response)

    async def _answer(self, call: HttpCall) -> Response:
        """Middleware, binding, handler, normalizing: all of it in the plugin's own library."""

        async def endpoint(request: Request) -> Response:
            try:
                arguments = call.entry.binder.bind(request)
            except Invalid as invalid:  # the client's fault, not the plugin's: 422 with all of it
                return response_for_exception(invalid, request.id, instance=request.path)
            result = getattr(self._plugin, call.entry.handler)(**arguments)
            if hasattr(result, "__await__"):
                result = await result
            return to_response(result, status=call.entry.mark.status)

        middleware = self._plugin._middleware
        if not middleware:
            return await endpoint(call.request)
        return await compose(middleware, endpoint)(call.request)

    async def _websocket(self, call: SocketCall) -> None:
        async def converse() -> None:
            try:
                arguments = call.entry.binder.bind(call.socket)
            except Invalid as invalid:
                raise HTTPError(422, str(invalid)) from None
            result = getattr(self._plugin, call.entry.handler)(**arguments)
            if hasattr(result, "__await__"):
                await result

        await self._sessions.open_websocket(call.socket, converse)
