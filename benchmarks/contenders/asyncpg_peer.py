"""asyncpg on asyncio's loop or uvloop's: with its own pool, that without its reset, and with none.

``python -m benchmarks.contenders.asyncpg_peer DSN asyncio|uvloop reset|bare|none``,
a scale on each line of its input
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg

from benchmarks.contenders import database_tasks as work


class Held:
    """No pool at all: the task that asks has a connection for itself."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.execute, self.fetchrow = connection.execute, connection.fetchrow
        self.fetch = connection.fetch

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        """The connection."""
        yield self._connection


async def transaction(pool: Any, task: int) -> None:
    """Three statements in one."""
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(work.ROW_BY_KEY, task + 1)
        await connection.execute(work.INSERT, row["name"], {"of": task})
        await connection.execute(work.UPDATE, task + 1)


STATEMENTS: dict[str, Callable[[Any, int], Awaitable[object]]] = {
    "row by key": lambda pool, task: pool.fetchrow(work.ROW_BY_KEY, task + 1),
    "insert": lambda pool, task: pool.execute(work.INSERT, "a few words", {"of": task}),
    "100 rows": lambda pool, task: pool.fetch(work.ROWS, task + 1),
    "transaction of 3": transaction,
}


async def speak_json(connection: Any) -> None:
    """A dict is JSONB, as it is for a plugin."""
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
    )


async def leave(connection: Any) -> None:
    """In place of the pool's reset."""


async def main(dsn: str, how: str) -> None:
    """For each line do all of it and print the figures."""
    options: dict[str, Any] = {} if how == "reset" else {"reset": leave}
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            asyncpg.create_pool(dsn, min_size=10, max_size=10, init=speak_json, **options)
        )
        await pool.execute(work.CREATE)
        await pool.execute(work.FILL)
        pools: list[Any] = [pool] * max(work.TASKS)
        if how == "none":
            pools = [Held(await stack.enter_async_context(pool.acquire())) for _ in pools]

        async def repeat(name: str, task: int, count: int) -> None:
            function = STATEMENTS[name]
            for _ in range(count):
                await function(pools[task], task)

        async def together(name: str, tasks: int, count: int) -> None:
            async with asyncio.TaskGroup() as group:
                for task in range(tasks):
                    group.create_task(repeat(name, task, count))

        for turn in sys.stdin:  # between two turns there is nothing to do
            for name, tasks, count in work.plan(float(turn)):
                await together(name, tasks, work.WARM)
                began, before = time.perf_counter(), time.process_time()
                await together(name, tasks, count)
                seconds, used = time.perf_counter() - began, time.process_time() - before
                work.tell(name, tasks, count, seconds, used)
            print(flush=True)


if __name__ == "__main__":
    dsn, loop, how = sys.argv[1:]
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(dsn, how))
