"""``nexus run``: from settings to a running node, and what it says on the way."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping

import trio
from rich.text import Text

from nexus_actors import log
from nexus_actors.actors import ActorCell
from nexus_actors.actors.faults import collapse
from nexus_actors.cli.loading import Loaded, load
from nexus_actors.cli.output import FAILED, OK, counted, errors, out, plain_table, state_text, why
from nexus_actors.cli.settled import on_the_way
from nexus_actors.config import Settings, load_settings
from nexus_actors.node import CannotStart, Node
from nexus_actors.node.health import describe_plugin
from nexus_actors.node.signals import run_until_signalled
from nexus_actors.node.watchdog import guarding
from nexus_actors.plugin.loader import Plan
from nexus_actors.words import mask_url, shown_path

__all__ = ["run_node"]

_PATIENCE = 10.0
"""Seconds after which the table is shown though plugins are still on their way."""
_NOTICE = 0.7
"""Seconds after which a start that is not over says what it waits for."""

_DURING_START = (128 + signal.SIGINT, 128 + signal.SIGTERM)

_logger = log.get_logger("nexus.node")


def run_node(flags: Mapping[str, object]) -> int:
    """Run a node until it is told to stop; return the exit code.

    Raises:
        Invalid: a setting is wrong, or a plugin folder cannot be read.
    """
    settings = load_settings(flags)
    log.configure(
        json={"json": True, "console": False}.get(settings.node.log_format),
        level=settings.node.log_level,
    )
    with guarding(settings.node):
        return _run(settings)


def _run(settings: Settings) -> int:
    loaded = load(settings)
    for strange in (*settings.warnings, *loaded.strange):
        _logger.warning(str(strange))
    node = Node(settings, loaded.plan)  # it may refuse more of them
    _say_refused(node.plan)
    try:

        async def show(node: Node, over: Callable[[], None]) -> None:
            await _show_start(node, loaded, over)

        code = trio.run(run_until_signalled, node, show)
        if code == OK:
            out().print("Stopped.")
        elif code in _DURING_START:
            out().print("Stopped before it was up.")
        return code
    except* CannotStart as group:
        error = collapse(group)
        errors().print(Text.assemble(("cannot start: ", "bold red"), str(error)))
    return FAILED


def _say_refused(plan: Plan) -> None:
    """Every fault of every plugin that is not started; in the log, as all that goes wrong."""
    for refused in plan.refused:
        _logger.error(f"{refused.name} is not started: {counted(len(refused.faults), 'fault')}")
        for fault in refused.faults:
            _logger.error(f"  {fault}")


async def _show_start(node: Node, loaded: Loaded, over: Callable[[], None]) -> None:
    """Say what runs and where, once the plugins are up; again, if some came late. Nothing of that
    once the node stops."""
    with trio.move_on_after(_NOTICE) as quick:
        await _wait_up(node)
    if quick.cancelled_caught and node.phase == "running":
        for line in _waited_for(node):
            out().print(line)
        with trio.move_on_after(_PATIENCE):
            await _wait_up(node)
    if node.phase == "running":
        over()
        _show_table(node, loaded)
    if _coming(node):
        await _wait_up(node)
        if node.phase == "running":
            _show_table(node, loaded)


async def _wait_up(node: Node) -> None:
    while _coming(node):
        async with trio.open_nursery() as nursery:

            async def changed(wait: Callable[[], Awaitable[None]]) -> None:
                await wait()
                nursery.cancel_scope.cancel()

            for cell in node.cells():
                nursery.start_soon(changed, cell.wait_changed)


def _coming(node: Node) -> set[str]:
    return on_the_way(
        {cell.name: cell.state for cell in node.cells()},
        {plugin.name: plugin.manifest.requires for plugin in node.plan.plugins},
        database_ready=node.database is None or node.database.state == "ready",
    )


def _waited_for(node: Node) -> list[str]:
    """What the start is waiting for, in words."""
    lines = []
    database = node.database
    if database is not None and database.state != "ready":
        url = node.settings.database_url
        if url is not None:
            lines.append(f"Waiting for the database at {mask_url(url)}: {database.reason} ...")
        else:
            folder = shown_path(node.settings.data_dir)
            lines.append(f"Preparing the database in {folder} (longest at the first start) ...")
    starting = [cell.name for cell in node.cells() if cell.state == "starting"]
    if starting:
        lines.append(f"Starting {', '.join(starting)} ...")
    return lines


def _why(cell: ActorCell, plan: Plan) -> str:
    for refused in plan.refused:
        if refused.name == cell.name:
            faults = counted(len(refused.faults), "fault")
            return f"not started for {faults}, named above and by `nexus check`"
    return why(describe_plugin(cell, reasons=True)) or cell.state


def _show_table(node: Node, loaded: Loaded) -> None:
    console = out()
    cells = node.cells()
    if cells:
        table = plain_table("plugin", "state", "routes")
        for cell in cells:
            routes = node.router.routes(cell.name)
            table.add_row(
                cell.name,
                state_text(cell.state),
                Text("\n".join(f"{route.method} {route.path}" for route in routes)),
            )
        console.print(table)
        for cell in cells:
            if cell.state != "running":
                console.print(Text(f"{cell.name}: {_why(cell, node.plan)}"))
    else:
        where = ", ".join(map(shown_path, loaded.dirs))
        if node.plan.disabled:
            console.print(f"Every plugin in {where} is switched off.")
        else:
            console.print(f"No plugins in {where}. `nexus new NAME` makes one.")
    if node.plan.disabled:
        console.print(f"Switched off: {', '.join(node.plan.disabled)}")
    assert node.server is not None
    console.print(Text.assemble("Serving on ", (node.server.url, "bold"), ". Ctrl-C stops it."))
