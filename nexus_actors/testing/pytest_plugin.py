"""The pytest plugin: makes a plugin folder's tests run as they are written.

* Coroutine tests and fixtures below a folder with a ``plugin.json`` run under Trio.
* ``from my_first_plugin.plugin import MyFirstPlugin`` works there.
* Test modules written for asyncio run on a trio-asyncio loop, one for each test.
* The PostgreSQL that a TestApplication needed is stopped when the session ends.

Where pytest-trio is switched off it does nothing: it is there for whoever has our package
installed, and must not disturb their other tests.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from _pytest.fixtures import FixtureDef, SubRequest

_ASYNCIO = "_nexus_asyncio"
_UP = 6


def plugin_folder(path: Path) -> Path | None:
    """The plugin folder that ``path`` lies in, if any."""
    for folder in [*path.parents][:_UP]:
        if (folder / "plugin.json").is_file():
            return folder
    return None


def has_trio(config: pytest.Config) -> bool:
    """Whether pytest-trio is at work in this run."""
    try:
        config.getini("trio_mode")
    except ValueError:
        return False
    return True


class _PluginModule(pytest.Module):
    """A test module of a plugin: every plugin may call its own ``tests/test_plugin.py``."""

    def _getobj(self) -> Any:
        # pytest's default way to import allows each file name once in a whole run
        options = self.config.option
        before, options.importmode = options.importmode, "importlib"
        try:
            return super()._getobj()  # type: ignore[no-untyped-call]
        finally:
            options.importmode = before


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> _PluginModule | None:
    """Make the plugin importable by its short name before its tests are imported."""
    folder = plugin_folder(module_path)
    if folder is None or not has_trio(parent.config):
        return None
    from nexus_actors.plugin.importing import open_folder

    open_folder(folder.name.replace("_", "-"), folder)
    module: _PluginModule = _PluginModule.from_parent(parent, path=module_path)
    return module


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have coroutine tests of plugin folders run by Trio, and asyncio's on a loop."""
    if not has_trio(config):
        return
    for item in items:
        if not isinstance(item, pytest.Function) or not inspect.iscoroutinefunction(item.obj):
            continue
        is_asyncio = is_written_for_asyncio(sys.modules.get(item.obj.__module__))
        if plugin_folder(item.path) is None and not is_asyncio:
            continue
        if is_asyncio and not config.getini("trio_mode") and plugin_folder(item.path) is None:
            continue  # somebody else's asyncio tests, for somebody else's plugin
        if is_asyncio:
            item.obj = _on_the_loop(item.obj)
            item.add_marker(pytest.mark.trio(run=_run_with_loop), append=False)
        elif item.get_closest_marker("trio") is None:
            item.add_marker("trio")


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: FixtureDef[Any], request: SubRequest) -> None:
    """Step the coroutine fixtures of an asyncio test module on the test's loop."""
    function = fixturedef.func
    if getattr(function, _ASYNCIO, False):
        return
    module = sys.modules.get(getattr(function, "__module__", ""))
    if not is_written_for_asyncio(module):
        return
    if not has_trio(request.config) or request.node.get_closest_marker("trio") is None:
        return
    if inspect.isasyncgenfunction(function):
        wrapped: Any = _generator_on_the_loop(function)
    elif inspect.iscoroutinefunction(function):
        wrapped = _on_the_loop(function)
    else:
        return
    fixturedef.func = wrapped  # type: ignore[misc]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let a TestApplication know where to look for plugins."""
    module = sys.modules.get("nexus_actors.testing.application")
    if module is None:
        return (yield)
    token = module.searched_from.set(item.path.parent)
    try:
        return (yield)
    finally:
        module.searched_from.reset(token)


def pytest_sessionfinish() -> None:
    """Stop the session's PostgreSQL."""
    module = sys.modules.get("nexus_actors.testing.postgres")
    if module is not None:
        module.stop()


@functools.cache
def is_written_for_asyncio(module: Any) -> bool:
    """Whether the source of ``module`` says so."""
    if module is None:
        return False
    from nexus_actors.plugin.library import library_of_source

    try:
        return library_of_source(inspect.getsource(module)) == "asyncio"
    except (OSError, TypeError):
        return False


def _run_with_loop(main: Callable[[], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    """In place of ``trio.run``: the test and its fixtures share one loop, a node runs beside it."""
    import trio
    import trio_asyncio

    from nexus_actors.testing.application import node_nursery

    async def with_loop() -> Any:
        async with trio.open_nursery() as nursery:
            node_nursery.set(nursery)
            async with trio_asyncio.open_loop():
                result = await main()
            nursery.cancel_scope.cancel()
        return result

    return trio.run(with_loop, **options)


def _on_the_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    import trio_asyncio

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await trio_asyncio.aio_as_trio(function)(*args, **kwargs)

    setattr(wrapper, _ASYNCIO, True)
    return wrapper


def _generator_on_the_loop(function: Callable[..., AsyncIterator[Any]]) -> Callable[..., Any]:
    import trio_asyncio

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        generator = function(*args, **kwargs)
        step = trio_asyncio.aio_as_trio(_next_of)
        yield (await step(generator))[0]
        while (item := await step(generator)) is not None:
            yield item[0]  # pytest says that it yielded too often

    setattr(wrapper, _ASYNCIO, True)
    return wrapper


async def _next_of(generator: AsyncIterator[Any]) -> tuple[Any] | None:
    """The next item in a tuple, None at the end: StopAsyncIteration cannot cross a task."""
    try:
        return (await generator.__anext__(),)
    except StopAsyncIteration:
        return None
