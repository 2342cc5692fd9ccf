"""The command line: ``nexus run`` and the commands that look at a running node."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import httpx
import trio
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from nexus_actors import __version__, log
from nexus_actors.config import Settings, load_settings
from nexus_actors.errors import Fault, Invalid
from nexus_actors.node import CannotStart, Node
from nexus_actors.node.control import control_path
from nexus_actors.node.signals import run_until_signalled
from nexus_actors.plugin.loader import load_plugins

__all__ = ["main"]

app = App(
    name="nexus",
    help="Runs plugins as supervised actors, and serves them over HTTP.",
    version=__version__,
)


def main() -> None:
    """The console script ``nexus``."""
    app()


Plugins = Annotated[
    list[Path] | None,
    Parameter(name="--plugins", help="A folder of plugin folders; may be given several times."),
]
Config = Annotated[Path | None, Parameter(help="The settings file; nexus.toml where there is one.")]
Data = Annotated[Path | None, Parameter(help="The node's own folder; .nexus by default.")]


@app.command
def run(
    *,
    plugins: Plugins = None,
    bind: Annotated[str | None, Parameter(help="Where to serve: 127.0.0.1:8000.")] = None,
    database_url: Annotated[
        str | None, Parameter(help="postgresql://... of a server; without it one is embedded.")
    ] = None,
    config: Config = None,
    data: Data = None,
) -> int:
    """Run a node until Ctrl-C or SIGTERM."""
    try:
        settings = load_settings(
            {
                "plugins": plugins,
                "bind": bind,
                "database_url": database_url,
                "config": config,
                "data": data,
            }
        )
        log.configure(
            json={"json": True, "console": False}.get(settings.node.log_format),
            level=settings.node.log_level,
        )
        plan = load_plugins(settings)
    except Invalid as invalid:
        _show_faults(invalid.faults)
        return 2
    for warning in settings.warnings:
        log.get_logger("nexus.node").warning(str(warning))
    _show_faults(plan.faults())
    try:
        return trio.run(run_until_signalled, Node(settings, plan), _show_node)
    except CannotStart as error:
        _errors().print(f"[red]cannot start:[/] {error}", highlight=False)
        return 1


@app.command(name="plugins")
def list_plugins(*, config: Config = None, data: Data = None) -> int:
    """Show the plugins of the node that runs on this data folder."""
    try:
        settings = load_settings({"config": config, "data": data})
        answer = _ask(settings, "/v1/plugins")
    except Invalid as invalid:
        _show_faults(invalid.faults)
        return 1
    Console().print(_plugin_table(answer["plugins"]))
    return 0


def _ask(settings: Settings, path: str) -> Any:
    """What the running node answers on its control socket."""
    socket = control_path(settings.data_dir)
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket))) as client:
            return client.get(f"http://node{path}").raise_for_status().json()
    except httpx.HTTPError as error:
        raise Invalid(
            [
                Fault(
                    str(socket),
                    f"no node answers there: {error}",
                    "start one with `nexus run`, or name its data folder with --data",
                )
            ]
        ) from None


async def _show_node(node: Node) -> None:
    """Say what runs and where, once the plugins have settled."""
    with trio.move_on_after(node.settings.node.initialize_timeout):
        await node.wait_settled()
    plugins = [
        {
            "name": cell.name,
            "state": cell.state,
            "reason": cell.reason,
            "routes": [
                {"method": route.method, "path": route.path}
                for route in node.router.routes(cell.name)
            ],
        }
        for cell in node.cells()
    ]
    console = Console()
    console.print(_plugin_table(plugins))
    address = node.server.url if node.server else "nowhere"
    console.print(f"Serving on {address} - Ctrl-C stops it.", highlight=False)


def _plugin_table(plugins: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("plugin", "state", "routes"):
        table.add_column(column, overflow="fold")
    for plugin in plugins:
        state = plugin["state"]
        if plugin.get("reason"):
            state = f"{state}: {plugin['reason']}"
        routes = "\n".join(f"{route['method']} {route['path']}" for route in plugin["routes"])
        table.add_row(plugin["name"], state, routes)
    return table


def _show_faults(faults: Any) -> None:
    console = _errors()
    for fault in faults:
        console.print(f"[red]fault[/] {fault}", highlight=False, markup=True, soft_wrap=True)


def _errors() -> Console:
    return Console(stderr=True)


if __name__ == "__main__":
    sys.exit(main())
