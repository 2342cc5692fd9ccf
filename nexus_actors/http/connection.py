"""One client's connection: Hypercorn's, with the faults mended that make it useless to others.

What is mended here, by the letters of the canary tests in ``tests/http/test_stock_faults.py``:

* **A**: a connection that idles after its first request was never closed. Here keep-alive is a
  deadline of the reading itself, set anew by each step of the protocol: there is no timer task
  that somebody must restart.
* **C**: a client that stopped reading held the shutdown for ever, in a shielded write without end.
  Here every write has a deadline, which each byte taken sets anew, and none is shielded.
* **E**: while a pipelined request waited, nobody read from the socket, so the client's end went
  unnoticed. Here reading goes on, up to a bound, ahead.
* **F**: there is no read timeout on a connection that owes us nothing (an event stream, a
  websocket): only heads and bodies that have begun must go on.

(**B** is in :mod:`.frontend`, **D** in :mod:`.server`.)
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.events import Event as WireEvent
from hypercorn.trio.task_group import TaskGroup, _handle
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import parse_socket_addr

from nexus_actors.config.settings import HttpSettings
from nexus_actors.http import upload
from nexus_actors.http.incoming import INCOMING, Incoming
from nexus_actors.http.protocols import Http1, Protocols
from nexus_actors.http.shortcut import Shortcut
from nexus_actors.http.sweeper import Sweeper
from nexus_actors.http.wire import LINGER_BYTES, Wire

if TYPE_CHECKING:
    from nexus_actors.http.frontend import FrontEnd

__all__ = ["Connection"]

MAX_RECV = 2**16

_log = logging.getLogger("nexus.http")


_Peer = tuple[str, int]


class _Exchanges(TaskGroup):
    """Runs the app for each request: a task of the connection's nursery, fed by an Incoming."""

    async def spawn_app(
        self, app: Any, config: Config, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        incoming = Incoming(config.max_app_queue_size)
        scope["extensions"][INCOMING] = incoming
        assert self._nursery is not None
        run: Any = _handle
        self._nursery.start_soon(
            run,
            app,
            config,
            scope,
            incoming.receive,
            send,
            trio.to_thread.run_sync,
            trio.from_thread.run,
        )
        return incoming.put


class Connection(TCPServer):
    """One connection, from its accept to its close. :meth:`run` raises nothing but Cancelled."""

    protocol: Protocols

    def __init__(
        self,
        app: Any,
        config: Config,
        context: WorkerContext,
        stream: trio.SocketStream,
        settings: HttpSettings,
        *,
        front: FrontEnd | None,
        sweeper: Sweeper,
    ) -> None:
        super().__init__(app, config, context, {}, stream)  # type: ignore[arg-type]
        self._settings = settings
        self._front = front
        """What the shortcut leads to; None where all of it goes Hypercorn's way."""
        self._sweeper = sweeper
        self._wire = Wire(stream, settings.write_timeout)
        self._shortcut: Shortcut | None = None
        """Set while the connection is served the short way."""
        self._reading: trio.CancelScope | None = None
        self._idle = True
        """Whether no request is in hand. Written by the protocol's Updated events alone."""
        self._idle_since = trio.current_time()
        self._head_since = math.inf
        self._closing_until: float | None = None
        """Once our side is shut: the time until which the client's last bytes are thrown away."""

    async def run(self) -> None:
        socket = self.stream.socket
        try:
            client = parse_socket_addr(socket.family, socket.getpeername())
            server = parse_socket_addr(socket.family, socket.getsockname())
            async with _Exchanges() as task_group:
                self._task_group = task_group
                begun: bytes | None = b""
                if self._front is not None:
                    begun = await self._take_shortcut(self._front, client, server)
                if begun is not None:
                    await self._go_hypercorns_way(begun, client, server)
        except* OSError:
            pass  # the client has gone; nobody is left to tell
        except* Exception as faults:  # noqa: BLE001 - one client's fault must not end the others
            _log.error("a connection ended by a fault of the server", exc_info=faults)
        finally:
            self._wire.close()

    @property
    def ahead(self) -> int:
        """Bytes that have been read of requests that come after the one in hand."""
        if self._shortcut is not None:
            return self._shortcut.ahead
        protocol = self.protocol.protocol
        return len(protocol.connection.trailing_data[0]) if isinstance(protocol, Http1) else 0

    def wind_down(self) -> None:
        """The node is stopping: close now if idle, hurry up stuck writes, finish the rest."""
        self._wire.hurry()
        self._rearm()
        if self._shortcut is not None:
            self._shortcut.wind_down()

    async def _take_shortcut(
        self, front: FrontEnd, client: _Peer | None, server: _Peer | None
    ) -> bytes | None:
        """Serve it the short way; what is left for Hypercorn's way, None where that is nothing."""
        assert self._task_group._nursery is not None, "it is open"
        self._shortcut = Shortcut(
            front,
            self._settings,
            self._wire,
            self._task_group._nursery,
            self._sweeper,
            client,
            server,
        )
        left = await self._shortcut.run()
        self._head_since = self._shortcut.head_since
        self._idle_since = trio.current_time()
        self._shortcut = None
        return left

    async def _go_hypercorns_way(
        self, begun: bytes, client: _Peer | None, server: _Peer | None
    ) -> None:
        """Serve it by Hypercorn's protocols, from ``begun`` on, which was read already."""
        self.protocol = Protocols(
            self.app,
            self.config,
            self.context,
            self._task_group,
            {},
            False,
            client,
            server,
            self.protocol_send,
            "http/1.1",
            settings=self._settings,
        )
        if begun:
            await self.protocol.handle(RawData(begun))
        await self._read_data()

    # -- reading ---------------------------------------------------------------------------------

    async def _read_data(self) -> None:
        thrown_away = 0
        while True:
            expects = self._expects
            if expects != "head":
                self._head_since = math.inf
            elif self._head_since == math.inf:
                self._head_since = trio.current_time()
            with trio.CancelScope() as self._reading:
                # set inside: a scope entered after its deadline would not even try, and what has
                # arrived already is to be read
                self._reading.deadline = self._read_deadline()
                try:
                    data = await self.stream.receive_some(MAX_RECV)
                except (trio.ClosedResourceError, trio.BrokenResourceError):
                    break
            if self._reading.cancelled_caught:
                if self._closing_until is None:
                    await self._give_up_reading()
                    if self._closing_until is not None:
                        continue
                break
            if self._closing_until is None:
                await self.protocol.handle(RawData(bytes(data)))
            else:
                thrown_away += len(data)
            if not data or thrown_away > LINGER_BYTES:
                break
        await self.protocol.handle(Closed())

    @property
    def _expects(self) -> Literal["request", "head", "body", "nothing"]:
        protocol = self.protocol.protocol
        if isinstance(protocol, Http1):
            return protocol.expects
        return "request" if protocol.idle else "nothing"

    def _read_deadline(self) -> float:
        """Until when the next byte must come."""
        if self._closing_until is not None:
            return self._closing_until
        expects = self._expects
        if expects == "request" and self._idle:
            if self._wire.stopping:
                return trio.current_time()  # what has arrived already is still read
            return self._idle_since + self._settings.keep_alive
        if expects == "head":
            return self._head_since + self._settings.head_timeout
        if expects == "body":
            return trio.current_time() + upload.BODY_TIMEOUT
        return math.inf

    def _rearm(self) -> None:
        if self._reading is not None:
            self._reading.deadline = self._read_deadline()

    async def _give_up_reading(self) -> None:
        """The client owed us bytes and did not send them."""
        protocol = self.protocol.protocol
        if isinstance(protocol, Http1) and self._expects in {"head", "body"}:
            await protocol.refuse(408, f"the {self._expects} of the request did not arrive in time")

    # -- writing ---------------------------------------------------------------------------------

    async def protocol_send(self, event: WireEvent) -> None:
        if isinstance(event, RawData):
            await self._wire.write(event.data)
            if self._wire.broken:
                self._closing_until = -math.inf
                self._rearm()
                await self.protocol.handle(Closed())
        elif isinstance(event, Closed):
            self._shut_down()
            await self.protocol.handle(Closed())
        elif isinstance(event, Updated):
            self._idle = event.idle
            if event.idle:
                self._idle_since = trio.current_time()
                self._rearm()

    def _shut_down(self) -> None:
        """End our side and let the client read on: closing now could take back what was sent."""
        if self._closing_until is None:
            self._closing_until = trio.current_time() + self._wire.shut_down()
            self._rearm()
