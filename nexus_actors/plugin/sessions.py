"""Sessions: streamed replies and websockets, which go on after their message has ended.

Each runs in a task of the incarnation's nursery, outside ``concurrency``. A fault in a session ends
that session alone; all of them end with their incarnation, streams cleanly, websockets with 1012.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any

import trio

from nexus_actors import log
from nexus_actors.actors import ActorCell
from nexus_actors.actors.faults import collapse, first_of, has_cancelled, judge
from nexus_actors.errors import HTTPError
from nexus_actors.http.response import Response
from nexus_actors.http.websockets import WebSocket, WebSocketClosed
from nexus_actors.plugin.compartment import Compartment

__all__ = ["BrokenStream", "Sessions"]

_BUFFER = 8
"""Items of a stream that may wait for the client to read on."""
_LAST_WORDS = 1.0
"""Seconds a handler may go on after its websocket was closed."""
_REFUSED = 1008
_FAILED = 1011
_RESTARTING = 1012
_TRY_LATER = 1013
_LONGEST_REASON = 40
"""Characters of a close reason; a frame has room for 123 bytes."""


class BrokenStream(Exception):
    """The plugin failed in the midst of a streamed reply: what was sent is not the whole."""


class Sessions:
    """The open sessions of one incarnation, at most ``limit`` of them."""

    def __init__(self, cell: ActorCell, compartment: Compartment, limit: int) -> None:
        self._cell = cell
        self._compartment = compartment
        self._limit = limit
        self._scopes: dict[trio.CancelScope, None] = {}
        self._none_left = trio.Event()
        self._nursery: trio.Nursery

    def use_nursery(self, nursery: trio.Nursery) -> None:
        """Say in which nursery the sessions run."""
        self._nursery = nursery

    def carry(self, response: Response) -> Response:
        """Return ``response``; where it is a stream, the plugin's iterator runs on in a session and
        the response reads from there.

        Raises:
            HTTPError: 503, as many sessions are open as may be.
        """
        items = response.stream
        if items is None:
            return response
        self._check_room()
        send, receive = trio.open_memory_channel[Any](_BUFFER)
        stream = _SessionStream(receive)
        session = self._session(stream.scope)
        self._nursery.start_soon(self._pump, items, send, stream, session)
        response.stream = stream
        return response

    async def open_websocket(
        self, socket: WebSocket, converse: Callable[[], Awaitable[None]]
    ) -> None:
        """Run ``converse`` in a session; return once it accepted the socket or ended.

        Raises what ``converse`` raises before it accepts.
        """
        self._check_room()
        opening = _Opening()
        socket.on_accept = opening.settled.set
        socket.on_close = opening.closed
        session = self._session(opening.scope)
        self._nursery.start_soon(self._converse, socket, converse, opening, session)
        try:
            await opening.settled.wait()
        except trio.Cancelled:
            opening.scope.cancel()
            with trio.CancelScope(shield=True):  # the next message is not handled beside this one
                await opening.settled.wait()
            raise
        if opening.error is not None:
            raise opening.error

    async def end(self) -> None:
        """End all sessions and wait until they have."""
        for scope in self._scopes:
            scope.cancel()
        if self._scopes:
            await self._none_left.wait()

    def _check_room(self) -> None:
        if len(self._scopes) >= self._limit:
            raise HTTPError(
                503,
                f"{self._cell.name} has as many sessions open as it may, {self._limit:,}",
                headers={"Retry-After": "1"},
            )

    async def _pump(
        self,
        items: AsyncIterable[Any],
        send: trio.MemorySendChannel[Any],
        stream: _SessionStream,
        session: _Counted,
    ) -> None:
        with session:
            with send:
                try:
                    await self._compartment.pump(items, send.send)
                except BaseException as error:  # noqa: BLE001 - _deal_with lets the rest pass
                    fault = _fault_in(error, trio.BrokenResourceError, GeneratorExit)
                    if fault is not None and not session.ended:
                        # before the channel is closed, so that the end shows it
                        stream.broken = True
                    self._deal_with(error, fault, session, "a streamed reply")

    async def _converse(
        self,
        socket: WebSocket,
        converse: Callable[[], Awaitable[None]],
        opening: _Opening,
        session: _Counted,
    ) -> None:
        with session:
            try:
                await self._compartment.call(converse)
            except BaseException as error:  # noqa: BLE001 - _deal_with lets the rest pass
                fault = _fault_in(error, WebSocketClosed)
                if has_cancelled(error):
                    socket.end(_RESTARTING, "the plugin is restarting or stopping")
                elif not socket.accepted and fault is not None:
                    opening.error = collapse(fault)
                    return
                elif fault is None:
                    socket.end()
                else:
                    socket.end(*_close_of(fault))
                self._deal_with(error, fault, session, "a websocket")
            else:
                socket.end()
            finally:
                opening.settled.set()

    def _deal_with(
        self, error: BaseException, fault: BaseException | None, session: _Counted, what: str
    ) -> None:
        """Let a cancellation pass; log a fault, which ends this session and nothing else."""
        if fault is not None:
            fault = collapse(fault)
            verdict = judge(fault, has_caller=True)
            if verdict.fault:
                self._cell.faults += 1
                log.plugin_logger(self._cell.name).error(
                    f"{what} failed: {type(fault).__name__}: {fault}",
                    exc_info=(type(fault), fault, fault.__traceback__),
                )
            # what is raised while a session is being ended is never a crash
            if verdict.crash and not session.ended:
                raise fault
        if has_cancelled(error):
            raise _cancellation_in(error)

    def _session(self, scope: trio.CancelScope) -> _Counted:
        return _Counted(self, scope)


class _Opening:
    """How far the opening of a websocket has come."""

    def __init__(self) -> None:
        self.settled = trio.Event()
        """Set when the handler accepted or ended."""
        self.error: BaseException | None = None
        self.scope = trio.CancelScope()

    def closed(self) -> None:
        """The socket is closed, so the session is over: its handler has a moment to see it."""
        self.scope.deadline = min(self.scope.deadline, trio.current_time() + _LAST_WORDS)


class _Counted:
    """Counts a session from its making on, before its task has begun, to the end of its scope."""

    def __init__(self, sessions: Sessions, scope: trio.CancelScope) -> None:
        self._sessions = sessions
        self._scope = scope
        sessions._scopes[scope] = None
        sessions._cell.sessions += 1

    @property
    def ended(self) -> bool:
        """Whether it was told to end."""
        return self._scope.cancel_called

    def __enter__(self) -> None:
        self._scope.__enter__()

    def __exit__(self, *details: Any) -> bool:
        sessions = self._sessions
        del sessions._scopes[self._scope]
        sessions._cell.sessions -= 1
        if not sessions._scopes:
            sessions._none_left.set()
            sessions._none_left = trio.Event()
        return bool(self._scope.__exit__(*details))


class _SessionStream:
    """What the front end reads of a streamed reply."""

    def __init__(self, receive: trio.MemoryReceiveChannel[Any]) -> None:
        self._receive = receive
        self.scope = trio.CancelScope()
        """The scope of the session."""
        self.broken = False
        """Whether it ended by a fault of the plugin; set before the channel is closed."""

    def __aiter__(self) -> _SessionStream:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            if self.broken:
                raise BrokenStream("the plugin failed in the midst of its reply") from None
            raise StopAsyncIteration from None

    def drop(self) -> None:
        """Read no more: the session ends, also one that waits for something to tell."""
        self._receive.close()
        self.scope.cancel()

    async def aclose(self) -> None:
        """The same, as iterators have it."""
        self.drop()


def drop_stream(response: Any) -> None:
    """End the session of a streamed response that nobody will read."""
    stream = getattr(response, "stream", None)
    if isinstance(stream, _SessionStream):
        stream.drop()


def _fault_in(error: BaseException, *ends: type[BaseException]) -> BaseException | None:
    """``error`` without cancellations and without the ``ends`` that are no fault; None where
    nothing is left of it."""
    if isinstance(error, BaseExceptionGroup):
        kinds: Any = (trio.Cancelled, *ends)
        left: BaseException | None = error.split(kinds)[1]
        return left
    return None if isinstance(error, (trio.Cancelled, *ends)) else error


def _cancellation_in(error: BaseException) -> BaseException:
    """The cancellations that ``error`` is or holds, without what was raised beside them."""
    if isinstance(error, BaseExceptionGroup):
        found = error.split(trio.Cancelled)[0]
        assert found is not None, "asked only where there is one"
        return found
    return error


def _close_of(fault: BaseException) -> tuple[int, str]:
    """Close code and reason for a handler that ended by ``fault`` after it had accepted."""
    refusal = first_of(fault, HTTPError)
    if isinstance(refusal, HTTPError):
        return _REFUSED, refusal.detail[:_LONGEST_REASON]
    if judge(fault, has_caller=True).fault:
        return _FAILED, "the plugin failed"
    return _TRY_LATER, "what the plugin needs is not available"
