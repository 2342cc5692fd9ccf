"""The socket of one client: written with deadlines, closed so that our last words arrive."""

from __future__ import annotations

import contextlib
import logging
import os
import socket as stdlib_socket
import struct

import trio

__all__ = ["Wire"]

LINGER = 2.0
"""Seconds that a client gets to read our last words and close, before we do."""
LINGER_BYTES = 2**20
"""Bytes of an unwanted body that are thrown away meanwhile."""
STOPPING_WRITE = 2.0
"""Seconds without progress that a write gets once the node is stopping."""

_log = logging.getLogger("nexus.http")


class Wire:
    """A client's socket. One task at a time writes, see :meth:`write`; one reads.

    A client that stops reading holds up nobody for ever: every write has a deadline, which each
    byte taken sets anew, and none is shielded. Where a write fails, sticks or is cancelled, it is
    the last: what followed would be garbage to the client.
    """

    def __init__(self, stream: trio.SocketStream, write_timeout: float) -> None:
        self.stream = stream
        self.socket = stream.socket
        self.broken = False
        """Whether nothing can be written any more."""
        self.stopping = False
        """Whether the node is stopping."""
        self._fd = stream.socket.fileno()
        """-1 once it is closed: its number may be another's then."""
        self._write_timeout = write_timeout
        self._writing: trio.CancelScope | None = None
        self._lock = trio.Lock()

    def read_now(self, size: int) -> bytes | None:
        """What has arrived, at most ``size`` bytes; ``b""`` where the client sends no more, also
        because it is gone; None where nothing is there."""
        try:
            return os.read(self._fd, size)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return b""

    def write_now(self, data: bytes | memoryview) -> int:
        """Write as much of ``data`` as the kernel takes at once; how many bytes that was."""
        if self.broken:
            return 0
        try:
            return os.write(self._fd, data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self.break_off()
            return 0

    async def write(self, data: bytes | memoryview) -> None:
        """Write all of ``data``; see :attr:`broken` for whether it went."""
        async with self._lock:  # a checkpoint, also where the client takes everything at once
            view = memoryview(data)[self.write_now(data) :]
            try:
                while view and not self.broken:
                    limit = self._write_timeout
                    if self.stopping:
                        limit = min(limit, STOPPING_WRITE)
                    with trio.move_on_after(limit) as self._writing:
                        await trio.lowlevel.wait_writable(self.socket)
                    if self._writing.cancelled_caught:
                        _log.info("a client stopped reading; its connection is closed")
                        self.break_off()
                    else:
                        view = view[self.write_now(view) :]
            except trio.ClosedResourceError:
                self.break_off()
            except BaseException:  # cancelled between two bytes
                self.break_off()
                raise
            finally:
                self._writing = None

    def hurry(self) -> None:
        """The node is stopping: a write that sticks gets little more time."""
        self.stopping = True
        if self._writing is not None:
            self._writing.deadline = min(
                self._writing.deadline, trio.current_time() + STOPPING_WRITE
            )

    def break_off(self) -> None:
        """Write no more, and reset the connection at its close, so that the kernel does not keep
        what nobody reads."""
        self.broken = True
        with contextlib.suppress(OSError):
            self.socket.setsockopt(
                stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, struct.pack("ii", 1, 0)
            )

    def shut_down(self) -> float:
        """End our side and let the client read on: closing now could take back what was sent.

        Returns how long (seconds) to wait for its end, see :data:`LINGER`.
        """
        with contextlib.suppress(OSError):
            self.socket.shutdown(stdlib_socket.SHUT_WR)
        return LINGER / 4 if self.stopping else LINGER

    def close(self) -> None:
        """Close it. What was sent still goes out."""
        self._fd = -1
        with contextlib.suppress(OSError):
            if not self.broken:
                self.socket.shutdown(stdlib_socket.SHUT_WR)
        self.socket.close()
