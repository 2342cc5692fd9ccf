"""The connection's side of one websocket, between the server and what a handler holds."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from nexus_actors.errors import ActorRestarted, ActorStopped, HTTPError, Unanswered
from nexus_actors.http.errors import response_for_exception
from nexus_actors.http.response import Response
from nexus_actors.http.router import Match
from nexus_actors.http.websockets import WebSocket, WebSocketClosed

__all__ = ["OnRequest", "Session"]

OnRequest = Callable[[str, str, int, float, str, str], None]
"""Told of each request when its reply is out: method, path, status, seconds, request id, plugin.
A websocket's method is ``WEBSOCKET``, its status 101 when it was opened."""

SESSION_GRACE = 2.0
"""Seconds that a handler gets to end by itself once its websocket is closed."""
CLOSE_GRACE = 1.0
"""Seconds that a client gets to answer our close."""

_LONGEST_REASON = 123  # bytes; a close frame holds no more


class Session:
    """One websocket from its opening handshake to the end of its handler."""

    def __init__(
        self,
        ws: WebSocket,
        incoming: Any,
        send: Callable[[Any], Awaitable[None]],
        *,
        stopping: trio.Event,
        refuse: Callable[[BaseException], Response],
        on_request: OnRequest | None,
    ) -> None:
        self._ws = ws
        self._incoming = incoming
        self._send = send
        self._stopping = stopping
        self._refuse = refuse
        self._on_request = on_request
        self._started = trio.current_time()
        self._owner = ""
        self._opened = False
        self._gone = trio.Event()
        """Set once the client is away, or has answered our close."""
        self._written = trio.Event()
        """Set once nothing more is sent: our close went out, or the client is gone."""
        self._handler = trio.CancelScope()

    async def serve(self, found: Match, reply_timeout: float) -> None:
        """Have the route's endpoint serve the websocket, until both its ends are done with it."""
        ws = self._ws
        self._owner = found.route.owner
        ws.path_params = dict(found.params)
        ws.deadline = self._started + (found.route.options.timeout or reply_timeout)
        self._incoming.on_disconnect = self._lose_client
        async with trio.open_nursery() as nursery:
            for task in (self._read, self._write, self._end_with_node, self._limit_handler):
                nursery.start_soon(task)
            refusal = await self._run_handler(found)
            await self._written.wait()
            if self._opened:
                with trio.move_on_after(CLOSE_GRACE):
                    await self._gone.wait()
            nursery.cancel_scope.cancel()
        if not self._opened and not self._gone.is_set():
            await self.refuse(refusal)

    async def refuse(self, response: Response) -> None:
        """Answer the opening with a response, instead of opening."""
        response.headers["X-Request-ID"] = self._ws.id
        headers = [*response.to_wire(), (b"connection", b"close")]
        await self._send(
            {
                "type": "websocket.http.response.start",
                "status": response.status,
                "headers": headers,
            }
        )
        await self._send({"type": "websocket.http.response.body", "body": response.body})
        self._tell(response.status)

    async def _run_handler(self, found: Match) -> Response:
        """Run the endpoint; the answer to the opening, should it not have accepted."""
        ws = self._ws
        refusal: Exception = HTTPError(403, "the websocket was refused")
        code, reason = 1000, ""
        self._handler.deadline = ws.deadline
        try:
            with self._handler:
                await found.route.target.websocket(ws)
            if self._handler.cancelled_caught and not ws.accepted:
                refusal = HTTPError(504, "the websocket was not accepted in time")
        except WebSocketClosed:
            pass  # it went on with a websocket that was closed: the close has been said already
        except Exception as error:  # noqa: BLE001 - a fault in a session ends that session
            response = self._refuse(error)
            code, reason = _close_words(error)
            ws.end(code, reason)
            return response
        ws.end(code, reason)
        return response_for_exception(refusal, ws.id, instance=ws.path)

    async def _limit_handler(self) -> None:
        await self._ws.wait_closed()
        grace = trio.current_time() + SESSION_GRACE
        self._handler.deadline = min(self._handler.deadline, grace)

    async def _end_with_node(self) -> None:
        await self._stopping.wait()
        self._ws.end(1001, "the node is stopping")

    async def _read(self) -> None:
        while True:
            event = await self._incoming.receive()
            if event["type"] == "websocket.receive":
                text = event.get("text")
                await self._ws.deliver(event["bytes"] if text is None else text)
            elif event["type"] == "websocket.disconnect":
                self._lose_client()
                self._ws.deliver_no_more()
                return

    def _lose_client(self) -> None:
        """The client is away, or has answered our close. What it sent before is still delivered."""
        event = self._incoming.disconnected
        self._gone.set()
        self._written.set()
        self._ws.lost(event.get("code", 1006), event.get("reason") or "")

    async def _write(self) -> None:
        while True:
            command = await self._ws.next_command()
            if command.kind == "accept":
                await self._open(command.subprotocol, command.headers)
            elif command.kind == "send":
                kind = "text" if isinstance(command.data, str) else "bytes"
                await self._send({"type": "websocket.send", kind: command.data})
            else:
                if self._opened:
                    await self._send(
                        {
                            "type": "websocket.close",
                            "code": command.code,
                            "reason": command.reason,
                        }
                    )
                self._written.set()
                return

    async def _open(
        self, subprotocol: str | None, headers: tuple[tuple[bytes, bytes], ...]
    ) -> None:
        self._opened = True
        if self._ws.closed is None:
            self._handler.deadline = math.inf
        await self._send(
            {
                "type": "websocket.accept",
                "subprotocol": subprotocol,
                "headers": [*headers, (b"x-request-id", self._ws.id.encode())],
            }
        )
        self._tell(101)

    def _tell(self, status: int) -> None:
        if self._on_request is not None:
            seconds = trio.current_time() - self._started
            ws = self._ws
            self._on_request("WEBSOCKET", ws.path, status, seconds, ws.id, self._owner)


def _close_words(error: Exception) -> tuple[int, str]:
    """Code and reason for an error that left the handler of an open websocket."""
    if isinstance(error, HTTPError):
        code, reason = 1008, error.detail
    elif isinstance(error, Unanswered):
        code = 1012 if isinstance(error, (ActorRestarted, ActorStopped)) else 1013
        reason = error.for_clients
    else:
        code, reason = 1011, "the handler failed"
    return code, reason.encode()[:_LONGEST_REASON].decode("utf-8", "ignore")
