"""The peer's application: the endpoints of the plugin my-first-plugin, by FastAPI and asyncpg.

It runs in an environment of its own: ``uvicorn fastapi_app:app``. ``DSN`` names the database.
"""

import os
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field


@asynccontextmanager
async def lifespan(app):
    dsn = os.environ.get("DSN")
    if dsn:
        app.state.pool = await asyncpg.create_pool(dsn, min_size=10, max_size=10)
        await app.state.pool.execute(
            """
            CREATE TABLE IF NOT EXISTS my_plugin_data (
                id SERIAL PRIMARY KEY,
                name VARCHAR(100) NOT NULL,
                value TEXT,
                created_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP
            )
            """
        )
    yield


app = FastAPI(lifespan=lifespan)


class NewEntry(BaseModel):
    name: str | None = Field(default=None, max_length=100)
    value: str = ""


@app.get("/my-plugin/status")
async def get_status():
    return {"plugin": "my-first-plugin", "version": "1.0.0", "status": "running"}


@app.post("/my-plugin/data")
async def create_data(entry: NewEntry):
    if not entry.name:
        return JSONResponse({"error": "Name is required"}, 400)
    row = await app.state.pool.fetchrow(
        """
        INSERT INTO my_plugin_data (name, value)
        SELECT $1, $2 WHERE (SELECT count(*) FROM my_plugin_data) < $3
        RETURNING id, created_at
        """,
        entry.name,
        entry.value,
        100_000,
    )
    if row is None:
        return JSONResponse({"error": "There are too many entries already"}, 409)
    return {
        "id": row["id"],
        "name": entry.name,
        "value": entry.value,
        "created_at": row["created_at"],
    }


@app.get("/my-plugin/data")
async def list_data():
    rows = await app.state.pool.fetch(
        """
        SELECT id, name, value, created_at FROM my_plugin_data
        ORDER BY created_at DESC, id DESC
        """
    )
    return {"data": [dict(row) for row in rows]}
