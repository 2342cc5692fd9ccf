"""Which async library a plugin is written for is read from its sources, not by running them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus_actors.plugin.library import library_of, library_of_source, library_of_sources


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", None),
        ("import json, httpx, anyio", None),
        ("import trio", "trio"),
        ("import trio.lowlevel", "trio"),
        ("from trio import sleep", "trio"),
        ("import trio as t", "trio"),
        ("import trio_asyncio", "trio"),
        ("import trio\nimport asyncio", "trio"),
        ("import asyncio", "asyncio"),
        ("import asyncio as aio", "asyncio"),
        ("from asyncio import Queue", "asyncio"),
        ("import asyncio.subprocess", "asyncio"),
        ("import aiohttp", "asyncio"),
        ("from aiohttp import web", "asyncio"),
        ("import aiosmtplib", "asyncio"),
        ("import aiofiles", "asyncio"),
        ("import asyncpg", "asyncio"),
        ("import websockets", "asyncio"),
        ("import uvloop", "asyncio"),
        ("import motor.motor_asyncio", "asyncio"),
        ("import redis", None),
        ("import redis.asyncio", "asyncio"),
        ("from redis import asyncio as redis", "asyncio"),
        ("from redis.asyncio.client import Redis", "asyncio"),
        ("import sqlalchemy.ext.asyncio", "asyncio"),
        ("from sqlalchemy.ext import asyncio", "asyncio"),
        ("import sqlalchemy.orm", None),
        ("def f():\n    import asyncio", "asyncio"),
        ("try:\n    import trio\nexcept ImportError:\n    trio = None", "trio"),
        ("if TYPE_CHECKING:\n    import asyncio", None),
        ("if typing.TYPE_CHECKING:\n    import asyncio", None),
        ("if TYPE_CHECKING:\n    import asyncio\nelse:\n    import trio", "trio"),
        ("from . import asyncio", None),
        ("from .aiohttp import x", None),
        ("from ..trio import x", None),
        ("# import asyncio", None),
        ("'import asyncio'", None),
        # what is used though nothing imports it, as the guide's notifications do
        ("async def f():\n    loop = asyncio.get_event_loop()", "asyncio"),
        ("async def f():\n    await trio.sleep(1)", "trio"),
        ("def f(asyncio):\n    asyncio.run()", None),
        ("trio = [1, 2, 3]\ntrio.append(4)", None),
        ("from music import trio\ntrio.play()", None),
        ("x.asyncio.y()", None),
        ("triosonata.play()", None),
        ("import aio", "asyncio"),
        ("import triton", None),
        ("def f(:", None),
        ("\0", None),
    ],
)
def test_a_source_says_what_it_is_written_for(source: str, expected: str | None) -> None:
    assert library_of_source(source) == expected


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ([], None),
        (["", "import json"], None),
        (["", "import asyncio"], "asyncio"),
        (["import asyncio", "import trio"], "trio"),
        (["def f(:", "import aiohttp"], "asyncio"),
    ],
)
def test_one_module_that_imports_trio_decides_for_all(
    sources: list[str], expected: str | None
) -> None:
    assert library_of_sources(sources) == expected


def test_a_plugin_that_says_nothing_is_run_by_trio(tmp_path: Path) -> None:
    path = tmp_path / "plugin.py"
    path.write_text("class P: pass")
    assert library_of([path]) == "trio"
    path.write_bytes(b"import aiohttp  # \xff")
    assert library_of([path]) == "asyncio"
    assert library_of([]) == "trio"
