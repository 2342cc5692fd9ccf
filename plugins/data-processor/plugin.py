"""Data processor: raw records come as events, are transformed in batches, stored and announced."""

from collections import deque
from itertools import islice
from typing import Any
from uuid import uuid4

import trio

from nexus_actors.database import (
    DatabaseError,
    DatabaseUnavailable,
    StatementError,
    TransactionConflict,
)
from nexus_actors.events import Event, event_handler
from nexus_actors.http import HTTPError, get, post
from nexus_actors.plugin import Plugin

from .records import RawRecord, Waiting, record_of_event, transform

PATIENCE = 5.0
"""Seconds that whoever brings a record waits for room in the queue."""


class QueueFull(Exception):
    """The queue had no room for ``PATIENCE`` seconds: the database takes less than comes in."""


class DataProcessorPlugin(Plugin):
    """Records go from the queue into the batch, and leave the batch once they are stored.

    A batch is stored and announced as a whole, in one transaction, when it is full or
    ``flush_after`` seconds old. While the database is away it waits, the queue behind it fills, and
    then those who bring records have to wait. At a stop, and after a crash, what is in batch and
    queue is stored before the plugin is gone.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.batch_size: int = config.get("batch_size", 100)
        self.flush_after: float = config.get("flush_after", 1.0)
        self.queue_size: int = config.get("queue_size", 1000)
        self.how: str = config.get("transform", "upper")
        self._entrance: trio.MemorySendChannel[Waiting]
        self._queue: trio.MemoryReceiveChannel[Waiting]
        self._entrance, self._queue = trio.open_memory_channel(self.queue_size)
        # A record is in here from the moment it leaves the queue until it is stored (or given up,
        # in the log): a cancellation anywhere between finds it here, and cleanup() stores it.
        self._batch: deque[Waiting] = deque()
        self._queued = 0
        """Records that were brought and are not done with, wherever they are just now."""
        self._processed = 0
        self._failed = 0

    async def initialize(self) -> None:
        """Make the table and start the background task."""
        await self.db.execute(
            """
            CREATE TABLE IF NOT EXISTS processed_data (
                id BIGSERIAL PRIMARY KEY,
                event_id TEXT NOT NULL UNIQUE,
                original_id TEXT,
                processed_value TEXT NOT NULL,
                metadata JSONB NOT NULL
            )
            """
        )
        self.nursery.start_soon(self._process_data_loop)
        self.logger.info("ready", batch_size=self.batch_size, flush_after=self.flush_after)

    async def cleanup(self) -> None:
        """Store what is still here. The background task has ended by now, its batch is left."""
        while self._queue.statistics().current_buffer_used:
            self._batch.append(self._queue.receive_nowait())
        why = "the time for stopping was up"
        try:
            while self._batch:
                await self._process_batch()
        except (DatabaseError, DatabaseUnavailable) as error:
            why = str(error)
        finally:
            if self._batch:
                ids = [waiting.record.id for waiting in islice(self._batch, 100)]
                self.logger.error(f"records are lost: {why}", lost=len(self._batch), ids=ids)

    # on_error="reply": an event that holds no record, or finds no room, goes to dead letters with
    # its report; the records that wait here stay where they are.
    @event_handler("data.raw.created", on_error="reply")
    async def on_raw_data_created(self, event: Event) -> None:
        """Queue raw data for processing."""
        await self._put(Waiting(event.id, record_of_event(event.data)))

    @post("/data-processor/records", status=202)
    async def add_record(self, record: RawRecord) -> dict[str, Any]:
        """Queue one record by hand, as an event ``data.raw.created`` does."""
        try:
            await self._put(Waiting(uuid4().hex, record))
        except QueueFull as error:
            raise HTTPError(503, str(error), headers={"Retry-After": "5"}) from None
        return {"queued": self._queued}

    @get("/data-processor/status")
    async def get_status(self) -> dict[str, Any]:
        """What waits and what was done since the plugin started; answered without the database."""
        return {
            "plugin": self.name,
            "version": self.version,
            "status": "running",
            "transform": self.how,
            "batch_size": self.batch_size,
            "queued": self._queued,
            "processed": self._processed,
            "failed": self._failed,
        }

    @get("/data-processor/results")
    async def list_results(self, limit: int = 20) -> dict[str, Any]:
        """The last ``limit`` results (1 to 1000), the newest first."""
        if not 1 <= limit <= 1000:
            raise HTTPError(422, f"limit is from 1 to 1000, not {limit}")
        rows = await self.db.fetch_all(
            """
            SELECT id, original_id, processed_value, metadata FROM processed_data
            ORDER BY id DESC LIMIT $1
            """,
            limit,
        )
        return {"results": [dict(row) for row in rows]}

    async def _put(self, waiting: Waiting) -> None:
        self._queued += 1
        try:
            with trio.fail_after(PATIENCE):
                await self._entrance.send(waiting)
        except BaseException as error:
            self._queued -= 1
            if isinstance(error, trio.TooSlowError):
                words = f"{self._queued} records wait and none was stored in {PATIENCE:g} s"
                raise QueueFull(words) from None
            raise

    async def _process_data_loop(self) -> None:
        """Collect a batch, store it, for ever. What it does not expect crashes the plugin."""
        while True:
            await self._collect()
            try:
                await self._process_batch()
            except DatabaseUnavailable as error:
                self.logger.warning(f"{error}; the batch waits", waiting=len(self._batch))
                await trio.sleep(error.retry_after or 1.0)

    async def _collect(self) -> None:
        """Fill the batch: until it is full, or ``flush_after`` after its first record came."""
        if not self._batch:
            self._batch.append(await self._queue.receive())
        with trio.move_on_after(self.flush_after):
            while len(self._batch) < self.batch_size:
                self._batch.append(await self._queue.receive())

    async def _process_batch(self) -> None:
        """Store and announce the first ``batch_size`` records of the batch and take them out of it.

        One that PostgreSQL refuses must not hold up the others: then each goes alone.
        """
        batch = [*islice(self._batch, self.batch_size)]
        try:
            await self._store(batch)
        except DatabaseError as error:
            if not _is_about_a_record(error):
                raise
            self.logger.warning(f"{error}; its records go one by one", batch=len(batch))
            for waiting in batch:
                await self._process_alone(waiting)

    async def _process_alone(self, waiting: Waiting) -> None:
        try:
            await self._store([waiting])
        except DatabaseError as error:
            if not _is_about_a_record(error):
                raise
            self.logger.error(f"not stored: {error}", id=waiting.record.id, event_id=waiting.key)
            self._failed += 1
            self._leave(1)

    async def _store(self, batch: list[Waiting]) -> None:
        """Store and announce ``batch``, the first of ``self._batch``: all of it or nothing.

        Events that are emitted inside a transaction go out after its commit, and not without it.
        """
        made = [transform(waiting.record, self.how) for waiting in batch]
        async with self.db.transaction():
            await self.db.executemany(
                """
                INSERT INTO processed_data (event_id, original_id, processed_value, metadata)
                VALUES ($1, $2, $3, $4) ON CONFLICT (event_id) DO NOTHING
                """,
                [_row(waiting, processed) for waiting, processed in zip(batch, made, strict=True)],
            )
            for processed in made:
                await self.emit_event({"type": "data.processed", "data": processed})
        # No await between the commit and this, so none is stored and still counted as waiting.
        self._processed += len(batch)
        self._leave(len(batch))

    def _leave(self, count: int) -> None:
        """Take the first ``count`` records out of the batch: they are done with."""
        self._queued -= count
        for _ in range(count):
            self._batch.popleft()


def _row(waiting: Waiting, processed: dict[str, Any]) -> tuple[Any, ...]:
    original = processed["original_id"]
    return (
        waiting.key,
        None if original is None else str(original),
        processed["processed_value"],
        processed["metadata"],
    )


def _is_about_a_record(error: DatabaseError) -> bool:
    """Whether it can be one record's fault: not so for a table that is gone, or a deadlock."""
    return not isinstance(error, StatementError | TransactionConflict)
