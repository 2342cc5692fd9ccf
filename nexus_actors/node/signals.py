"""Signals: SIGTERM and Ctrl-C stop a node in good order; the second one stops it at once."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable

import trio

from nexus_actors.node.node import Node

__all__ = ["run_until_signalled"]


async def run_until_signalled(
    node: Node, when_up: Callable[[Node], Awaitable[None]] | None = None
) -> int:
    """Run ``node`` until it is signalled or gives up; return the process's exit code.

    ``when_up`` is awaited beside it once its front end listens.
    """
    code = 0
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                async for _ in signals:
                    node.stop()

            async def run(*, task_status: trio.TaskStatus[Node]) -> None:
                nonlocal code
                code = await node.run(task_status=task_status)
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            await nursery.start(run)
            if when_up is not None:
                nursery.start_soon(when_up, node)
    return code
