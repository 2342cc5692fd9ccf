"""What of Quart answers the node's own pages: its connection with a fault mended, its refusals."""

from __future__ import annotations

from typing import Any

import trio
from quart import Response as QuartResponse
from quart import request as quart_request
from quart_trio.asgi import TrioASGIHTTPConnection
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WerkzeugMethodNotAllowed
from werkzeug.routing import RequestRedirect

from nexus_actors.http.errors import problem
from nexus_actors.http.response import Response

__all__ = ["NodePage", "quart_refusal", "to_quart"]


class NodePage(TrioASGIHTTPConnection):
    """Quart-Trio's connection without fault B (and its share in A).

    It cancels its nursery as soon as the client's disconnect event comes, and the server sends that
    event from within the very ``send`` of the last body message: so that send was cut before the
    server could make the connection ready for the next request. Here nothing is cancelled once the
    last body message went out.
    """

    async def __call__(self, receive: Any, send: Any) -> None:
        request = self._create_request_from_scope(send)
        async with trio.open_nursery() as nursery:
            disconnect: Any = _Disconnect(nursery)

            async def sending(message: Any) -> None:
                if message["type"] == "http.response.body":
                    disconnect.matters = bool(message.get("more_body", False))
                await send(message)

            nursery.start_soon(self.handle_messages, disconnect, request, receive)
            await self.handle_request(nursery, request, sending)


class _Disconnect:
    """Takes the nursery's place for the task that waits for the client's disconnect."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.matters = True
        """Whether there is still something to be cut short."""

    @property
    def cancel_scope(self) -> _Disconnect:
        return self

    def cancel(self) -> None:
        if self.matters:
            self._nursery.cancel_scope.cancel()


def to_quart(response: Response) -> QuartResponse:
    return QuartResponse(response.body, response.status, dict(response.headers.multi_items()))


async def quart_refusal(error: HTTPException) -> Any:
    """Quart's own 404, 405 and the like, as problem JSON."""
    if isinstance(error, RequestRedirect) or error.response is not None:
        return error
    request_id = quart_request.scope.get("state", {}).get("request_id", "")
    headers = {}
    if isinstance(error, WerkzeugMethodNotAllowed) and error.valid_methods:
        headers["Allow"] = ", ".join(sorted(error.valid_methods))
    response = problem(
        error.code or 500,
        error.description or "",
        headers=headers,
        request_id=request_id,
        instance=quart_request.path,
    )
    return to_quart(response)
