"""The server: accepts connections, serves them, and stops without losing a request."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket as stdlib_socket
import stat
from typing import Any, Protocol

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext

from nexus_actors.config.settings import HttpSettings
from nexus_actors.errors import Fault, Invalid
from nexus_actors.http.connection import Connection
from nexus_actors.http.errors import problem
from nexus_actors.http.frontend import FrontEnd
from nexus_actors.http.sweeper import Sweeper

__all__ = ["Application", "Server", "check_bind", "serve"]

BACKLOG = 512
"""Connections that the kernel keeps until we accept them."""
CUT_OFF_GRACE = 1.0
"""Seconds to send the 503s of requests that did not end within the drain."""
REFUSALS = 64
"""Connections over the limit that are told so side by side; beyond that they are just closed."""

_log = logging.getLogger("nexus.http")


class Application(Protocol):
    """What is served: an ASGI app that can be told to stop. :class:`~.frontend.FrontEnd` is one."""

    stopping: trio.Event
    """Set by the server when it stops, before anything else: sessions end, nothing new begins."""

    def begin(self) -> None:
        """The server begins: take back what an earlier stop has set."""
        ...

    def cut_off(self) -> None:
        """The drain is over: answer what is still in hand with 503, at once."""
        ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI 3."""
        ...


class Server:
    """A running server, as :func:`serve` hands it to who started it."""

    def __init__(self, app: Application, settings: HttpSettings, address: str) -> None:
        self.app = app
        self.settings = settings
        self.address = address
        """Where it listens: ``127.0.0.1:8000`` (with the real port) or ``unix:/path``."""
        self.refused = 0
        """Connections that were refused because ``max_connections`` were open."""
        self._config = _hypercorn_config(settings)
        self._context = WorkerContext(None)
        self._connections: set[Connection] = set()
        self._front = app if settings.path == "shortcut" and isinstance(app, FrontEnd) else None
        self._sweeper = Sweeper()
        self._refusing = 0
        self._stop_asked = trio.Event()
        self._empty = trio.Event()
        self._stopped = trio.Event()
        self._drain = settings.drain

    @property
    def url(self) -> str:
        """The address for a client: ``http://127.0.0.1:8000``, or ``unix:/path``."""
        return self.address if self.address.startswith("unix:") else f"http://{self.address}"

    @property
    def port(self) -> int:
        """The real port; 0 for a Unix socket."""
        return 0 if self.address.startswith("unix:") else int(self.address.rpartition(":")[2])

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def stop_soon(self, drain: float | None = None) -> None:
        """Ask for the stop, without waiting. ``drain`` (seconds) replaces the setting's."""
        if drain is not None:
            self._drain = drain
        self._stop_asked.set()

    async def stop(self, drain: float | None = None) -> None:
        """Stop gracefully and return when the last connection is closed.

        1. No new connection is accepted, the app's ``stopping`` is set, idle ones are closed.
        2. Requests in hand, and those already sent, get ``drain`` seconds.
        3. What is left is answered 503 where no reply has begun, then cut.
        """
        self.stop_soon(drain)
        await self._stopped.wait()

    # -- inside ----------------------------------------------------------------------------------

    async def _serve(
        self, listeners: list[trio.SocketListener], task_status: trio.TaskStatus[Server]
    ) -> None:
        async with trio.open_nursery() as connections:
            connections.start_soon(self._sweeper.run)
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(self._accept, listener, connections)
                task_status.started(self)
                await self._stop_asked.wait()
                accepting.cancel_scope.cancel()
            for listener in listeners:
                self._accept_what_waits(listener, connections)
                await listener.aclose()
            self.app.stopping.set()
            await self._context.terminated.set()
            for connection in list(self._connections):
                connection.wind_down()
            with trio.move_on_after(self._drain):
                await self._wait_empty()
            if self._connections:
                _log.warning("%d connections are cut after the drain", len(self._connections))
                self.app.cut_off()
                with trio.move_on_after(CUT_OFF_GRACE):
                    await self._wait_empty()
            connections.cancel_scope.cancel()

    async def _wait_empty(self) -> None:
        while self._connections:
            self._empty = trio.Event()
            await self._empty.wait()

    async def _accept(self, listener: trio.SocketListener, connections: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}:
                    raise
                _log.error("no connection can be accepted just now: %s", error)
                await trio.sleep(0.1)
            else:
                connections.start_soon(self._run, stream)

    def _accept_what_waits(self, listener: trio.SocketListener, connections: trio.Nursery) -> None:
        """Take in the connections that clients have made and we had not accepted yet.

        In one stretch and no more than the backlog holds: a client that connects again and again
        must not keep the node from stopping.
        """
        with stdlib_socket.socket(fileno=os.dup(listener.socket.fileno())) as waiting:
            waiting.setblocking(False)
            for _ in range(BACKLOG):
                try:
                    accepted, _address = waiting.accept()
                except BlockingIOError:
                    return
                except OSError:
                    continue  # that client has gone again
                stream = trio.SocketStream(trio.socket.from_stdlib_socket(accepted))
                connections.start_soon(self._run, stream)

    async def _run(self, stream: trio.SocketStream) -> None:
        if len(self._connections) >= self.settings.max_connections:
            await self._refuse(stream)
            return
        _keep_alive(stream.socket)
        connection = Connection(
            ASGIWrapper(self.app),
            self._config,
            self._context,
            stream,
            self.settings,
            front=self._front,
            sweeper=self._sweeper,
        )
        self._connections.add(connection)
        if self._stop_asked.is_set():
            connection.wind_down()
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            if not self._connections:
                self._empty.set()

    async def _refuse(self, stream: trio.SocketStream) -> None:
        """Fault D: Hypercorn accepts without limit. Say 503 and close, without parsing anything."""
        self.refused += 1
        limit = self.settings.max_connections
        try:
            if self._refusing >= REFUSALS:
                return
            self._refusing += 1
            try:
                with trio.move_on_after(1):
                    await stream.send_all(_refusal(limit))
                    await stream.send_eof()
                    while await stream.receive_some(2**16):
                        pass
            finally:
                self._refusing -= 1
        except trio.BrokenResourceError:
            pass
        finally:
            stream.socket.close()


async def serve(
    app: Application,
    settings: HttpSettings,
    *,
    bind: str | None = None,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``app`` until it is stopped or cancelled.

    Start it with ``server = await nursery.start(serve, app, settings)``; ``await server.stop()``.

    Policy:
        * ``bind`` takes the place of ``settings.bind``: ``host:port`` (port 0: any free one) or
          ``unix:/path``, a socket that only its owner may open, removed at the end.
        * Nothing is kept in the lifespan of the app, which is not run (fault G).
        * A fault of one connection is logged and ends that connection only.

    Raises:
        Invalid: the address cannot be listened on, with the reason and what to do.
    """
    address = settings.bind if bind is None else bind
    listeners, real = await _open_listeners(address)
    server = Server(app, settings, real)
    app.begin()
    try:
        await server._serve(listeners, task_status)
    finally:
        for listener in listeners:
            listener.socket.close()
        if real.startswith("unix:"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(real.removeprefix("unix:"))
        server._stopped.set()


async def check_bind(bind: str) -> None:
    """Look whether ``host:port`` can be listened on just now, and leave it.

    Raises:
        Invalid: it cannot, with the reason and what to do.
    """
    listeners, _ = await _open_listeners(bind)
    for listener in listeners:
        listener.socket.close()


def _hypercorn_config(settings: HttpSettings) -> Config:
    config = Config()
    config.errorlog = _log
    config.accesslog = None
    config.include_server_header = False
    config.h11_max_incomplete_size = settings.max_head
    config.h2_max_header_list_size = settings.max_head
    config.keep_alive_max_requests = 100_000
    config.websocket_max_message_size = settings.max_body
    return config


def _refusal(limit: int) -> bytes:
    response = problem(
        503,
        f"as many connections are open as may be, {limit:,}",
        headers={"Retry-After": "1", "Connection": "close"},
    )
    lines = [b"HTTP/1.1 503 Service Unavailable"]
    lines += [name + b": " + value for name, value in response.to_wire()]
    return b"\r\n".join(lines) + b"\r\n\r\n" + response.body


def _keep_alive(socket: Any) -> None:
    """Have the kernel notice a peer that is gone without a word, also under a silent stream."""
    with contextlib.suppress(OSError):
        socket.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_KEEPALIVE, 1)
        if socket.family != stdlib_socket.AF_UNIX and hasattr(stdlib_socket, "TCP_KEEPIDLE"):
            for option, seconds in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20)):
                socket.setsockopt(
                    stdlib_socket.IPPROTO_TCP, getattr(stdlib_socket, option), seconds
                )


async def _open_listeners(address: str) -> tuple[list[trio.SocketListener], str]:
    """In: ``localhost:0``. Ret: its listeners, and the address with the real port."""
    try:
        if address.startswith("unix:"):
            path = address.removeprefix("unix:")
            return [trio.SocketListener(await _open_unix(path))], address
        host, _, port = address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        listeners = await trio.open_tcp_listeners(int(port), host=host or None, backlog=BACKLOG)
        if int(port) == 0:  # a host of two addresses would get two ports: one is meant
            for other in listeners[1:]:
                await other.aclose()
            del listeners[1:]
    except OSError as error:
        raise Invalid([_cannot_listen(address, error)]) from error
    real = listeners[0].socket.getsockname()
    shown = f"[{real[0]}]" if ":" in real[0] else real[0]
    return listeners, f"{shown}:{real[1]}"


def _cannot_listen(address: str, error: OSError) -> Fault:
    if error.errno == errno.EADDRINUSE:
        return Fault("http.bind", f"{address} is in use", "stop what listens there, or use --bind")
    if error.errno == errno.EACCES:
        return Fault("http.bind", f"{address} may not be used", "use a port above 1023")
    return Fault("http.bind", f"cannot listen on {address}: {error}", "use --bind HOST:PORT")


async def _open_unix(path: str) -> Any:
    """A listening Unix socket that only its owner may open. A dead one in its place is removed."""
    if stat.S_ISSOCK(_mode(path)):
        try:
            probe = await trio.open_unix_socket(path)
        except OSError:
            await trio.Path(path).unlink(missing_ok=True)
        else:
            await probe.aclose()
            raise OSError(errno.EADDRINUSE, "another node listens there")
    sock = stdlib_socket.socket(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)  # the mode must be right from the first moment on
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        sock.setblocking(False)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return trio.socket.from_stdlib_socket(sock)


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:
        return 0
