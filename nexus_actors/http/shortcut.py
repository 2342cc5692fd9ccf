"""The shortcut: HTTP/1.1 from the socket to the router and back, in one task a connection.

Hypercorn's protocols, its scope, its events and its queues are left out, and with them most of what
a request costs. What the shortcut does not do itself it hands on, so that it stays small:

* the node's own pages, unknown paths, streams, bodies that have not arrived: still here, through
  :meth:`.frontend.FrontEnd.serve`, with ASGI's messages;
* websockets, HTTP/2, and every head that is not plain (see :mod:`.heads`): what the client sent
  goes to Hypercorn's protocols, which have the connection from there on. All that is to be refused
  as bad HTTP is refused there.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

import trio

from nexus_actors.config.settings import HttpSettings
from nexus_actors.http.asgi import scope_of
from nexus_actors.http.exchange import Exchange
from nexus_actors.http.fields import Headers
from nexus_actors.http.heads import HEAD_END, Head, read_head
from nexus_actors.http.reader import Reader
from nexus_actors.http.reply import Sender, whole_reply
from nexus_actors.http.request import Request, request_id_of
from nexus_actors.http.response import Response
from nexus_actors.http.router import Match
from nexus_actors.http.sweeper import SOON, Sweeper
from nexus_actors.http.upload import Upload
from nexus_actors.http.wire import LINGER_BYTES, Wire

if TYPE_CHECKING:
    from nexus_actors.http.frontend import FrontEnd

__all__ = ["Shortcut"]

TURN = 0.0002
"""Seconds that pipelined requests of one client are answered before others have their turn."""

LOOKS = 10
"""Looks of the sweeper after which a task watches for the client's end instead: a look costs a
system call, but the sweeper must not tick for a request that hangs."""

Phase = Literal["request", "head", "answer", "apart"]
"""What a connection waits for: a request, the rest of a head, the answer of a route that is asked
the short way; ``apart`` is everything else, which has deadlines of its own."""
_Step = Callable[[], Awaitable[None]]


class Shortcut:
    """One connection, as long as it is served the short way.

    All of its waiting is done in one cancel scope, entered anew only when it was cancelled: by the
    :class:`Sweeper`, when :attr:`_limit` is over; when the client is gone; when the node stops.
    """

    def __init__(
        self,
        front: FrontEnd,
        settings: HttpSettings,
        wire: Wire,
        nursery: trio.Nursery,
        sweeper: Sweeper,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
    ) -> None:
        self._front = front
        self._settings = settings
        self._wire = wire
        self._reader = Reader(wire, nursery, self._be_looked_at)
        self._sweeper = sweeper
        self._client = client
        self._server = server
        self._phase: Phase = "request"
        self._limit = math.inf
        """Time of Trio's clock by which the phase must be over."""
        self._idle_since = trio.current_time()
        self.head_since = math.inf
        """When the first byte of a head came that is not whole yet."""
        self._searched = 0
        """Up to where the buffer holds no end of a head."""
        self._scope = trio.CancelScope()
        self._cut = False
        """Whether the scope was cancelled; to ask the scope itself costs more."""
        self._gone = False
        """Whether the request in hand was cancelled because its client is gone."""
        self._asked: tuple[Head, Match, Request, float] | None = None
        """The request in hand in the phase ``answer``, and when it came."""
        self._number = 0
        """Counts requests, so that the sweeper can tell an old one."""
        self._sighted = -1
        self._looks = 0
        """How often the sweeper has looked since whether the client is still there."""
        self._turn_ends = 0.0
        self._step: _Step | None = None
        """What is to be done outside the scope, for it must not be cut short by it."""
        self._over = False
        self._left: bytes | None = None

    @property
    def ahead(self) -> int:
        """Bytes that have been read and not been looked at."""
        return len(self._reader.buffer)

    async def run(self) -> bytes | None:
        """Serve until the connection is over; the bytes for Hypercorn's protocols to go on with,
        None where there is nothing to go on with."""
        self._sweeper.add(self)
        try:
            while not self._over:
                self._cut = False
                with trio.CancelScope() as self._scope:
                    await self._serve()
                self._limit = math.inf
                if self._scope.cancelled_caught:
                    await self._after_cut()
                step, self._step = self._step, None
                if step is not None:
                    await step()
                self._over = self._over or self._wire.broken
            if self._left is None:
                await self._linger()
        finally:
            self._sweeper.discard(self)
            self._reader.close()
        return self._left

    # -- told from outside -------------------------------------------------------------------------

    def wind_down(self) -> None:
        """The node is stopping: end now if idle, else after the reply in hand."""
        if self._phase == "request" and not self._reader.buffer:
            self._cut_short()

    def cancel(self) -> None:
        """Wait no more for the answer in hand; the front end says so when its drain is over."""
        if self._phase == "answer":
            self._cut_short()

    def _cut_short(self) -> None:
        self._cut = True
        self._scope.cancel()

    def sweep(self, now: float) -> float:
        """See :class:`.sweeper.Swept`."""
        if now >= self._limit:
            self._limit = math.inf
            self._cut_short()
        elif self._phase in ("answer", "apart") and not self._reader.watched:
            # quick answers are not worth it; of others the client's end is to be noticed
            if self._sighted != self._number:
                self._sighted, self._looks = self._number, 0
                return SOON
            self._looks += 1
            if self._looks < LOOKS:
                self._reader.look()
                return SOON
            self._reader.watch()
        return self._limit

    def _be_looked_at(self) -> None:
        """Nobody reads any more, though the request is still in hand."""
        self._number += 1
        self._sweeper.wake()

    def _be_swept_by(self, limit: float) -> None:
        self._limit = limit
        if limit < self._sweeper.wakes_at:
            self._sweeper.wake()

    def _lose_client(self) -> None:
        if self._phase == "answer":
            self._gone = True
            self._cut_short()

    # -- heads -------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Serve requests the short way, until one has to be gone about otherwise."""
        reader, settings = self._reader, self._settings
        buffer = reader.buffer
        while True:
            end = buffer.find(HEAD_END, self._searched)
            if end >= 0:
                end += len(HEAD_END)
                raw = bytes(buffer[:end])
                head = read_head(raw, settings.max_url) if end <= settings.max_head else None
                if head is None:
                    self._hand_over()
                    return
                del buffer[:end]
                self._searched = 0
                self.head_since = math.inf
                if not await self._exchange(head):
                    return
                continue
            held = len(buffer)
            if reader.ended or held > settings.max_head or (held and not _may_begin(buffer)):
                if held:
                    self._hand_over()
                self._over = True
                return
            if held:
                self._searched = max(0, held - 3)
                if self.head_since == math.inf:
                    self.head_since = trio.current_time()
                self._phase = "head"
                self._be_swept_by(self.head_since + settings.head_timeout)
            else:
                if self._wire.stopping:
                    if not reader.take_now():
                        self._over = True
                        return
                    continue
                self._phase = "request"
                self._be_swept_by(self._idle_since + settings.keep_alive)
            await reader.fill()
            if self._cut:
                return

    def _hand_over(self) -> None:
        self._over = True
        self._left = bytes(self._reader.buffer)

    async def _after_cut(self) -> None:
        """The scope was cancelled while something was waited for."""
        if self._phase == "answer":
            await self._answer_unanswered()
        elif self._phase == "head":
            if trio.current_time() >= self.head_since + self._settings.head_timeout:
                self._hand_over()  # who says 408 there
        elif not self._reader.take_now() or not self._reader.buffer:
            self._over = True  # idle, and what arrived in the last moment was looked for

    # -- requests, the short way -------------------------------------------------------------------

    async def _exchange(self, head: Head) -> bool:
        """Answer one request; False where there is a :attr:`_step`, or nothing more to come."""
        front, reader = self._front, self._reader
        buffer = reader.buffer
        started = trio.current_time()
        path, _, query = head.target.decode("latin-1").partition("?")
        found = front.plain_route(head.method, path)
        if (
            found is None
            or head.chunked
            or head.length > len(buffer)
            or found.route.options.stream
            or "%00" in query
        ):
            self._step = partial(self._go_apart, head)
            return False
        options = found.route.options
        max_body = self._settings.max_body if options.max_body is None else options.max_body
        if head.length > max_body:
            self._step = partial(self._go_apart, head)
            return False
        body = b""
        if head.length:
            body = bytes(buffer[: head.length])
            del buffer[: head.length]
        request = self._request(head, path, query, body, max_body)
        request.path_params = found.params.copy()
        timeout = self._settings.reply_timeout if options.timeout is None else options.timeout
        self._limit = deadline = started + timeout
        self._asked = head, found, request, started
        self._number += 1
        self._gone = False
        self._phase = "answer"
        if front.ends_with_client(request.method, found):
            reader.on_end = self._lose_client
        sweeper = self._sweeper
        sweeper.busy.add(self)
        if sweeper.wakes_at > started:
            sweeper.wake()
        front.hold(self)
        try:
            response = await front.reply_plain(found, request, deadline)
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - becomes the reply
            response = front.fault(error, request)
        finally:
            sweeper.busy.discard(self)
            front.release(self)
            reader.on_end = None
            if reader.watched:
                reader.leave()
        self._limit = math.inf
        return self._reply(response)

    def _reply(self, response: Response) -> bool:
        """Send the response to the request in hand; see :meth:`_exchange`."""
        assert self._asked is not None, "there is a request in hand"
        head, found, request, started = self._asked
        self._phase = "request"
        if response.stream is not None:
            self._step = partial(self._stream, response)
            return False
        data, close = whole_reply(
            response,
            request.id,
            method=head.method,
            close=not head.keep_alive or self._wire.stopping,
        )
        written = self._wire.write_now(data)
        self._idle_since = self._front.tell(request, response.status, started, found.route.owner)
        self._over = close
        if written < len(data):
            self._step = partial(self._wire.write, memoryview(data)[written:])
            return False
        return not (close or self._cut) and self._keeps_turn()

    def _keeps_turn(self) -> bool:
        """Whether the next request may be served at once: one that waits already must not keep
        other connections waiting for ever."""
        if not self._reader.buffer:
            self._turn_ends = self._idle_since + TURN
        elif self._idle_since >= self._turn_ends:
            self._step = self._yield
            return False
        return True

    async def _yield(self) -> None:
        await trio.lowlevel.checkpoint()
        self._turn_ends = trio.current_time() + TURN

    async def _answer_unanswered(self) -> None:
        """The request in hand was cancelled: say why, where somebody is there to hear it."""
        assert self._asked is not None, "there is a request in hand"
        _head, found, request, started = self._asked
        self._phase = "request"
        if self._gone:
            self._front.tell(request, 0, started, found.route.owner)
            self._over = True
            return
        self._reply(self._front.unanswered(request))

    # -- requests, at length -----------------------------------------------------------------------

    async def _stream(self, response: Response) -> None:
        """Send a streamed response to the request in hand."""
        assert self._asked is not None, "there is a request in hand"
        head, found, request, started = self._asked
        upload = Upload(head, self._reader, self._wire)
        upload.body_complete = True
        sender = Sender(head, upload, self._wire, close=not head.keep_alive)
        exchange = Exchange(request, upload, sender.send)
        timeout = found.route.options.timeout or self._settings.reply_timeout
        with self._apart(upload):
            await self._front.send(exchange, response, started + timeout)
        self._idle_since = self._front.tell(request, exchange.status, started, found.route.owner)
        self._over = sender.close or not sender.finished

    async def _go_apart(self, head: Head) -> None:
        """Answer a request in the general way, its body read as it is wanted."""
        upload = Upload(head, self._reader, self._wire)
        path, _, query = head.target.decode("latin-1").partition("?")
        request = self._request(head, path, query, upload, self._settings.max_body)
        sender = Sender(head, upload, self._wire, close=not head.keep_alive)
        with self._apart(upload):
            scope = partial(scope_of, head, request, self._client, self._server)
            await self._front.serve(request, path, upload, sender.send, scope)
        self._idle_since = trio.current_time()
        self._over = sender.close or not sender.finished or not upload.body_complete

    def _apart(self, upload: Upload) -> _Apart:
        self._phase = "apart"
        return _Apart(self, upload)

    def _request(
        self, head: Head, path: str, query: str, body: bytes | Upload, max_body: int
    ) -> Request:
        return Request.arrived(
            head.method,
            unquote(path),
            Headers.from_head(head.raw),
            query,
            body,
            client=self._client,
            id=request_id_of(head.request_id.decode("latin-1")),
            max_body=max_body,
        )

    async def _linger(self) -> None:
        """Let the client read our last words before the connection is closed."""
        if self._wire.broken:
            return
        patience = self._wire.shut_down()
        thrown_away = 0
        with trio.move_on_after(patience):
            while not self._reader.ended and thrown_away < LINGER_BYTES:
                await self._reader.fill()
                thrown_away += len(self._reader.buffer)
                self._reader.buffer.clear()


def _may_begin(buffer: bytearray) -> bool:
    """Whether a head may begin so: the hello of TLS, for one, has no end to wait for."""
    return 0x41 <= buffer[0] <= 0x5A


class _Apart:
    """While it is open, the end of the client is noticed on behalf of an upload."""

    def __init__(self, shortcut: Shortcut, upload: Upload) -> None:
        self._shortcut = shortcut
        self._upload = upload

    def __enter__(self) -> None:
        shortcut = self._shortcut
        shortcut._reader.on_end = self._upload.lose
        shortcut._sweeper.busy.add(shortcut)
        shortcut._be_looked_at()

    def __exit__(self, *_details: object) -> None:
        shortcut = self._shortcut
        shortcut._sweeper.busy.discard(shortcut)
        shortcut._reader.on_end = None
        shortcut._reader.leave()
        shortcut._phase = "request"
        self._upload.close()
