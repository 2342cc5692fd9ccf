"""my-plugin: keeps a list of items in PostgreSQL."""

import attrs

from nexus_actors.events import event_handler
from nexus_actors.http import get, post
from nexus_actors.plugin import Plugin


@attrs.frozen
class NewItem:
    """The body of POST /my-plugin/items. Any other is refused with 422, all its faults named."""

    name: str = attrs.field()

    @name.validator
    def check_name(self, attribute, value):
        # Clients may send any text; PostgreSQL takes all but the null character.
        if not value.strip() or len(value) > 200 or "\0" in value:
            raise ValueError("'name' must be 1 to 200 characters, not blank, none of them null")


class MyPlugin(Plugin):
    """Keeps a list of items.

    After a crash there is a fresh object; what must last is in the database.
    """

    # How many messages it handles at a time. 1: one after the other, in order, so that nothing
    # changes under a handler while it awaits; only GET requests run beside each other. More is
    # right where you keep nothing in self between two awaits, as here: messages then take turns.
    concurrency = 1

    async def initialize(self):
        await self.db.execute("""
            CREATE TABLE IF NOT EXISTS items (
                id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                name text NOT NULL
            )
        """)

    @get("/my-plugin/items")
    async def list_items(self):
        rows = await self.db.fetch_all("SELECT id, name FROM items ORDER BY id")
        return {"items": [dict(row) for row in rows]}

    @post("/my-plugin/items")
    async def add_item(self, item: NewItem):
        return await self.add(item.name), 201

    @event_handler("user.created")
    async def on_user_created(self, event):
        await self.add(f"{self.config['greeting']}, {event.data['username']}!")

    async def add(self, name: str) -> dict:
        """Add an item and say so. Other plugins may call it, with get_plugin("my-plugin")."""
        row = await self.db.fetch_one(
            "INSERT INTO items (name) VALUES ($1) RETURNING id, name", name
        )
        await self.emit_event("my-plugin.added", dict(row))
        return dict(row)
