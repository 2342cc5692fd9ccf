"""The ports of a plugin: where a request or an event becomes a message for its mailbox.

They hold the plugin's address, not its object, so they outlive every restart.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Literal

import trio

from nexus_actors.actors import ActorCell, Address, Message, PluginFault, in_hand
from nexus_actors.errors import HTTPError, MessageTooLarge, NexusError
from nexus_actors.events.event import Event
from nexus_actors.events.handler import DEFAULT_TIMEOUT
from nexus_actors.http.request import Request
from nexus_actors.http.response import Response
from nexus_actors.http.websockets import WebSocket
from nexus_actors.plugin.catalogue import EventEntry, RouteEntry
from nexus_actors.plugin.host import EventCall, HttpCall, SocketCall
from nexus_actors.plugin.sessions import drop_stream
from nexus_actors.words import with_article

__all__ = ["PluginEndpoint", "PluginSubscriber"]

OnError = Literal["restart", "reply"] | None


class PluginEndpoint:
    """One route of a plugin, as the router and the front end see it."""

    def __init__(self, address: Address, entry: RouteEntry, on_error: OnError = None) -> None:
        self._address = address
        self._entry = entry
        self._on_error = entry.mark.on_error or on_error

    async def request(self, request: Request, deadline: float) -> Response:
        """Let the plugin answer ``request`` by ``deadline`` (Trio's clock).

        Raises what :meth:`nexus_actors.actors.Address.ask` does, and ``HTTPError``.
        """
        try:
            response = await self._address.request(
                "http",
                HttpCall(self._entry, request),
                handler=self._entry.handler,
                mode=self._entry.mode,
                on_error=self._on_error,
                deadline=deadline,
                handle_timeout=self._entry.mark.timeout or math.inf,
                request_id=request.id,
                discard=drop_stream,
            )
        except PluginFault:
            # logged where it happened, with its traceback; the client learns where to look
            raise _internal(request.id) from None
        except MessageTooLarge as error:
            raise _too_large(error) from None
        if not isinstance(response, Response):
            raise NexusError(
                f"{self._address.name} answered with {with_article(type(response).__name__)}"
            )
        return response

    async def websocket(self, socket: WebSocket) -> None:
        """Let the plugin converse over ``socket`` until that is closed.

        Raises as :meth:`request` does; then it was not accepted.
        """
        try:
            await self._open(socket)
        except PluginFault:
            raise _internal(socket.id) from None
        await socket.wait_closed()

    async def _open(self, socket: WebSocket) -> None:
        await self._address.request(
            "http",
            SocketCall(self._entry, socket),
            handler=self._entry.handler,
            mode=self._entry.mode,
            on_error=self._on_error,
            deadline=min(
                socket.deadline, trio.current_time() + (self._entry.mark.timeout or math.inf)
            ),
            request_id=socket.id,
        )


def _too_large(error: MessageTooLarge) -> HTTPError:
    return HTTPError(413, f"the request is longer than the {error.limit:,} bytes taken here")


def _internal(request_id: str) -> HTTPError:
    return HTTPError(
        500,
        f"the plugin failed while answering; the log has it under request id {request_id}",
    )


class PluginSubscriber:
    """A plugin's mailbox, as the event bus sees it."""

    def __init__(
        self,
        cell: ActorCell,
        on_error: OnError = None,
        handle_timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        """``handle_timeout`` (seconds) is for handlers that say nothing of their own."""
        self._cell = cell
        self._on_error = on_error
        self._handle_timeout = handle_timeout

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self._cell.name

    def message(self, event: Event, handler: Hashable) -> Message:
        """The message for ``event`` to the handler that was subscribed.

        Called by whoever emits, so the message in hand is the emitter's: its request id goes on.
        """
        assert isinstance(handler, EventEntry)
        mark = handler.mark
        cause = in_hand()
        return Message(
            "event",
            EventCall(handler, event),
            handler=handler.handler,
            sender=event.source,
            mode=handler.mode,
            on_error=mark.on_error or self._on_error,
            handle_timeout=mark.timeout or self._handle_timeout,
            request_id="" if cause is None else cause.request_id,
        )

    def take(self, event: Event, handler: Hashable) -> None:
        """See :class:`nexus_actors.events.bus.Subscriber`."""
        self._cell.offer(self.message(event, handler))
