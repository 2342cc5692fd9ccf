"""Which async library a plugin is written for, read from its sources without running them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

__all__ = ["library_hint", "library_of", "library_of_source", "library_of_sources"]

AsyncLibrary = Literal["trio", "asyncio"]

ASYNCIO = frozenset(
    {
        "asyncio", "asyncpg", "async_timeout", "beanie", "databases", "discord", "grpc.aio",
        "hypercorn.asyncio", "janus", "motor", "nats", "quart", "redis.asyncio",
        "sqlalchemy.ext.asyncio", "telegram", "tortoise", "uvloop", "websockets",
    }
)  # fmt: skip
"""Modules that need an asyncio loop; so does everything whose name begins with ``aio``."""

TRIO = frozenset({"trio", "trio_asyncio", "trio_websocket", "quart_trio", "asks"})
"""Modules that need Trio. httpx and anyio run on both and say nothing."""


def library_of(sources: Iterable[Path]) -> AsyncLibrary:
    """The library of a plugin whose Python files these are (:meth:`.Found.sources`), else Trio."""
    texts = (path.read_text("utf-8", errors="replace") for path in sources)
    return library_of_sources(texts) or "trio"


def library_hint(library: AsyncLibrary, failure: str) -> str:
    """What to do about ``failure`` (type and message of an exception) of a plugin that is run by
    ``library``, where it says that its code is written for the other one; else nothing."""
    other: AsyncLibrary = "asyncio" if library == "trio" else "trio"
    if not any(words in failure for words in _FOREIGN[library]):
        return ""
    return (
        f"it is run by {library}; if it is written for {other}, write "
        f'"async_library": "{other}" in its plugin.json'
    )


_FOREIGN = {
    "trio": (
        "no running event loop",
        "no current event loop",
        "received unrecognized yield message",  # a Future, most likely
        "Timeout should be used inside a task",
        "'NoneType' object has no attribute 'create_future'",
        "'NoneType' object has no attribute 'create_task'",
    ),
    "asyncio": ("Task got bad yield", "must be called from async context"),
}
"""What exceptions say in code that is run by that library and is written for the other."""


def library_of_sources(texts: Iterable[str]) -> AsyncLibrary | None:
    """The library of several modules together: one that imports Trio decides for all."""
    seen = {library_of_source(text) for text in texts}
    return "trio" if "trio" in seen else "asyncio" if "asyncio" in seen else None


def library_of_source(text: str) -> AsyncLibrary | None:
    """The library that one module's source is written for; None where nothing in it says so.

    Importing Trio means Trio; else importing asyncio, aiohttp and the like means asyncio. A module
    that uses ``asyncio.`` without having imported it counts as if it had. What stands under
    ``if TYPE_CHECKING:`` does not count, nor does a source that is not Python.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # the import will say what is wrong with it
    seen = {library for module in _modules(tree) if (library := _needs(module))}
    return "trio" if "trio" in seen else "asyncio" if "asyncio" in seen else None


def _needs(module: str) -> AsyncLibrary | None:
    """The library that a module, such as ``redis.asyncio.client``, needs."""
    parts = module.split(".")
    if parts[0] in TRIO:
        return "trio"
    above = {".".join(parts[: length + 1]) for length in range(len(parts))}
    return "asyncio" if parts[0].startswith("aio") or above & ASYNCIO else None


def _modules(tree: ast.Module) -> Iterator[str]:
    """Every module imported, anywhere in the source, and those used though nothing binds them."""
    bound: set[str] = set()
    used: set[str] = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        match node:
            case ast.If(test=test) if _is_type_checking(test):
                todo += node.orelse
                continue
            case ast.Import():
                bound.update((name.asname or name.name).split(".")[0] for name in node.names)
                yield from (name.name for name in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                bound.update(name.asname or name.name for name in node.names)
                yield module
                yield from (f"{module}.{name.name}" for name in node.names)
            case ast.Attribute(value=ast.Name(id=name)):
                used.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                bound.add(name)
        todo += ast.iter_child_nodes(node)
    yield from (used - bound) & {"asyncio", "trio"}


def _is_type_checking(test: ast.expr) -> bool:
    match test:
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
    return False
