"""What a client sends, on its way from the socket into the buffer of its connection."""

from __future__ import annotations

from collections.abc import Callable

import trio

from nexus_actors.http.wire import Wire

__all__ = ["AHEAD", "Reader"]

READ = 2**14
"""Bytes of one read while heads are waited for."""
READ_BODY = 2**16
"""Bytes of one read of a body."""
AHEAD = 2**16
"""Bytes that are read ahead while a request is being answered."""


class Reader:
    """Reads one connection's socket, on behalf of one task at a time.

    Between requests that is the connection's own task, by :meth:`fill`. While a request is being
    answered it is whoever wants the body, by :meth:`fill_aside`; or nobody, and then
    :meth:`watch` reads ahead, up to a bound, so that the client's end is noticed. Nothing is read
    from the socket that nobody asked for or has room for: that is the client's backpressure.
    """

    def __init__(self, wire: Wire, nursery: trio.Nursery, left_alone: Callable[[], None]) -> None:
        self.buffer = bytearray()
        """What has arrived and nobody has taken yet."""
        self.ended = False
        """Whether the client sends no more: it shut its side down, or is gone."""
        self.on_end: Callable[[], None] | None = None
        """Called once, synchronously, when that is noticed."""
        self._left_alone = left_alone
        """Told when nobody reads aside any more, so that somebody may :meth:`watch`."""
        self._wire = wire
        self._fd = wire.socket.fileno()
        self._nursery = nursery
        self._aside: trio.CancelScope | None = None
        """The scope of whoever waits for the socket besides the connection's own task."""

    @property
    def watched(self) -> bool:
        """Whether somebody reads while a request is being answered."""
        return self._aside is not None

    def take_now(self, size: int = READ) -> bool:
        """Read what has arrived; False where nothing has."""
        data = self._wire.read_now(size)
        if data is None:
            return False
        if data:
            self.buffer += data
        elif not self.ended:
            self.ended = True
            if self.on_end is not None:
                self.on_end()
        return True

    async def fill(self) -> None:
        """Wait until more has arrived, or the end. For the connection's own task."""
        await trio.lowlevel.wait_readable(self._fd)
        self.take_now()

    async def fill_aside(self, patience: float) -> bool:
        """The same for whoever reads the body; False where nothing came in ``patience`` seconds, or
        :meth:`leave` was called."""
        self.leave()
        with trio.CancelScope() as self._aside:
            self._aside.deadline = trio.current_time() + patience
            scope = self._aside
            try:
                await trio.lowlevel.wait_readable(self._fd)
                if not scope.cancel_called:
                    self.take_now(READ_BODY)
                    return True
            finally:
                if self._aside is scope:
                    self._aside = None
                    self._left_alone()
        return False

    def look(self) -> None:
        """Read ahead what has arrived, without waiting."""
        if self._aside is None and not self.ended and len(self.buffer) < AHEAD:
            self.take_now()

    def watch(self) -> None:
        """Read ahead in a task of its own until :meth:`leave`, or the buffer is full."""
        if self._aside is None and not self.ended and len(self.buffer) < AHEAD:
            self._aside = trio.CancelScope()
            self._nursery.start_soon(self._watch, self._aside)

    def leave(self) -> None:
        """Whoever reads aside stops at once: from here on another may."""
        if self._aside is not None:
            self._aside.cancel()
            self._aside = None

    async def _watch(self, scope: trio.CancelScope) -> None:
        with scope:
            while not (scope.cancel_called or self.ended or len(self.buffer) >= AHEAD):
                await trio.lowlevel.wait_readable(self._fd)
                # what came in the same moment as `leave` is the next reader's
                if not scope.cancel_called:
                    self.take_now()
        if self._aside is scope:
            self._aside = None

    def close(self) -> None:
        """Nobody reads any more."""
        self.leave()
        self.on_end = None
