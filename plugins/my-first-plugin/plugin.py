"""My first plugin: named entries in the database, and a welcome entry for each new user."""

from typing import Any

import attrs

from nexus_actors.database import DatabaseAdapter
from nexus_actors.events import Event, event_handler
from nexus_actors.http import get, post
from nexus_actors.plugin import Plugin
from nexus_actors.services import inject

LONGEST_NAME = 100
"""Characters; the column takes no more."""


def _storable(_instance: object, field: "attrs.Attribute[Any]", text: str | None) -> None:
    if text and "\0" in text:
        raise ValueError(f"'{field.name}' must be free of null characters: PostgreSQL has none")


def _short(_instance: object, field: "attrs.Attribute[Any]", text: str | None) -> None:
    if text and len(text) > LONGEST_NAME:
        raise ValueError(
            f"'{field.name}' must be at most {LONGEST_NAME} characters long, not {len(text)}"
        )


@attrs.frozen
class NewEntry:
    """The body of ``POST /my-plugin/data``. What does not fit is answered 422, with every fault."""

    # Optional here, so that a missing name gets the plugin's own answer: 400, "Name is required"
    name: str | None = attrs.field(default=None, validator=[_short, _storable])
    value: str = attrs.field(default="", validator=_storable)


class MyFirstPlugin(Plugin):
    """Entries with a name and a value, each with its time, newest first.

    It handles one message at a time (no ``concurrency`` in its manifest), so two requests never
    take the last free place of ``max_entries`` both.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.max_entries: int = config.get("max_entries", 1000)
        self.enable_notifications: bool = config.get("enable_notifications", True)
        self.db = inject(DatabaseAdapter)

    async def initialize(self) -> None:
        """Make the table, in the schema that belongs to this plugin alone."""
        await self.db.execute(
            f"""
            CREATE TABLE IF NOT EXISTS my_plugin_data (
                id SERIAL PRIMARY KEY,
                name VARCHAR({LONGEST_NAME}) NOT NULL,
                value TEXT,
                created_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP
            )
            """
        )
        self.logger.info("ready")

    async def cleanup(self) -> None:
        """Nothing is held open; the database belongs to the node."""
        self.logger.info("cleaned up")

    @get("/my-plugin/status")
    async def get_status(self) -> dict[str, Any]:
        """Name, version and state of the plugin."""
        return {"plugin": self.name, "version": self.version, "status": "running"}

    @post("/my-plugin/data")
    async def create_data(self, entry: NewEntry) -> Any:
        """Keep a new entry."""
        if not entry.name:
            return {"error": "Name is required"}, 400
        row = await self._insert(entry.name, entry.value)
        if row is None:
            return {"error": f"There are {self.max_entries} entries already (max_entries)"}, 409
        created = {
            "id": row["id"],
            "name": entry.name,
            "value": entry.value,
            "created_at": row["created_at"],
        }
        if self.enable_notifications:
            await self.emit_event("my-plugin.data.created", created)
        return created

    @get("/my-plugin/data")
    async def list_data(self) -> dict[str, Any]:
        """All entries, the newest first."""
        rows = await self.db.fetch_all(
            """
            SELECT id, name, value, created_at FROM my_plugin_data
            ORDER BY created_at DESC, id DESC
            """
        )
        return {"data": [dict(row) for row in rows]}

    # on_error="reply": an event that another plugin got wrong goes to dead letters with its report.
    # It is no reason to start this plugin anew, which has no state that it could have spoilt.
    @event_handler("user.created", on_error="reply")
    async def on_user_created(self, event: Event) -> None:
        """Welcome a new user."""
        if not self.enable_notifications:
            return
        username = event.data.get("username")
        if not isinstance(username, str) or not username:
            raise ValueError(f"user.created of {event.source} has no username: {event.data!r}")
        self.logger.info("new user", username=username, user_id=event.data.get("user_id"))
        # the username may be longer than what a name has room for
        name = f"welcome_{username}"[:LONGEST_NAME]
        if await self._insert(name, f"Welcome to Nexus, {username}!") is None:
            self.logger.warning(
                "no welcome entry: max_entries are there already", max_entries=self.max_entries
            )

    async def _insert(self, name: str, value: str) -> Any:
        """The new row's id and time; None where ``max_entries`` are there already."""
        return await self.db.fetch_one(
            """
            INSERT INTO my_plugin_data (name, value)
            SELECT $1, $2 WHERE (SELECT count(*) FROM my_plugin_data) < $3
            RETURNING id, created_at
            """,
            name,
            value,
            self.max_entries,
        )
