"""Signals: SIGTERM and Ctrl-C stop a node in good order; the second one stops it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import trio

from nexus_actors.node.limits import allow_open_files
from nexus_actors.node.node import Node

__all__ = ["run_until_signalled"]

KILL_GRACE = 1.0
"""Seconds that what was killed gets to be gone; then the process is ended with it inside."""


async def run_until_signalled(
    node: Node, when_up: Callable[[Node, Callable[[], None]], Awaitable[None]] | None = None
) -> int:
    """Run ``node`` until it is signalled or gives up; return the process's exit code.

    ``when_up`` is awaited beside it once its front end listens, with a function that it calls when
    the start is over. A stop in good order before that is 128 and the signal's number (130 after
    Ctrl-C), as shells have it.

    Once there was a signal the process ends, whatever its plugins do: where something ignores its
    cancellation or holds the loop, with exit code 1 a moment after ``stop_timeout``, or after a
    second signal.
    """
    code = 0
    allow_open_files(node.settings.http.max_connections)
    last_resort = _LastResort(node)
    start = _Start()
    with _signals_of(node, last_resort, start):
        async with trio.open_nursery() as nursery:

            async def run(*, task_status: trio.TaskStatus[Node]) -> None:
                nonlocal code
                code = await node.run(task_status=task_status)
                nursery.cancel_scope.cancel()

            await nursery.start(run)
            if when_up is None:
                start.over()
            else:
                nursery.start_soon(when_up, node, start.over)
    if code == 0 and start.ended_by is not None:
        return 128 + start.ended_by
    return code


class _Start:
    """Whether the start was over when the first signal came."""

    def __init__(self) -> None:
        self._is_over = False
        self.ended_by: int | None = None
        """The signal that came before it was over."""

    def over(self) -> None:
        self._is_over = True

    def signalled(self, number: int) -> None:
        if not self._is_over and self.ended_by is None:
            self.ended_by = number


@contextmanager
def _signals_of(node: Node, last_resort: _LastResort, start: _Start) -> Iterator[None]:
    """Within the block signals go to the node, and not by Trio's receiver: it needs the loop."""
    token = trio.lowlevel.current_trio_token()

    def handle(number: int, frame: Any) -> None:
        last_resort.signalled()
        start.signalled(number)
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(node.stop)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        last_resort.call_off()


class _LastResort:
    """A thread that ends the process where the stop of the node does not."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._changed = threading.Event()
        self._limit = 0.0
        self._over = False
        self._thread: threading.Thread | None = None

    def signalled(self) -> None:
        """A signal came: the first one leaves the node ``stop_timeout``, the second nothing."""
        if self._thread is None:
            self._limit = self._node.settings.node.stop_timeout + KILL_GRACE
            self._thread = threading.Thread(target=self._wait, name="nexus-stop", daemon=True)
            self._thread.start()
        else:
            self._limit = KILL_GRACE
            self._changed.set()

    def call_off(self) -> None:
        """The node has stopped."""
        self._over = True
        self._changed.set()

    def _wait(self) -> None:
        while self._changed.wait(self._limit):
            self._changed.clear()
            if self._over:
                return
        self._end()

    def _end(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            self._stop_database()
        # stderr may be what everything waits for
        speaking = threading.Thread(target=self._speak, daemon=True)
        speaking.start()
        speaking.join(0.5)
        os._exit(1)

    def _stop_database(self) -> None:
        """PostgreSQL of our own would be left running; told to stop, it does that by itself."""
        server = None if self._node.database is None else self._node.database.server
        if server is not None and server.pid is not None and server.exit_code() is None:
            os.kill(server.pid, signal.SIGINT)

    def _speak(self) -> None:
        left = ", ".join(self._node.not_stopped()) or "the node itself"
        sys.stderr.write(f"nexus: ended the process, for it ignored being killed: {left}\n")
        sys.stderr.flush()
