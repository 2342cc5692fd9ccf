"""The control socket: a Unix socket in the data folder that speaks HTTP and JSON, for commands.

Only the owner of the node may open it, so it asks for no token. Paths begin with their version.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quart import request

from nexus_actors.actors.dead_letters import NoSuchLetter
from nexus_actors.config.places import control_path
from nexus_actors.errors import Fault, Invalid, NoSuchActor
from nexus_actors.http.frontend import FrontEnd
from nexus_actors.node.explain import explain
from nexus_actors.node.health import describe_plugin
from nexus_actors.node.letters import Unclear, describe, discard, letters_of, retry
from nexus_actors.words import nearest

if TYPE_CHECKING:
    from nexus_actors.node.node import Node

__all__ = ["add_control_pages", "control_bind"]

Answer = dict[str, Any] | tuple[dict[str, Any], int]

_LONGEST = 100
"""Bytes that the path of a Unix socket may have everywhere."""


def control_bind(data: Path) -> str:
    """The same for the server, with the data folder made.

    Raises:
        Invalid: the path is longer than a socket's may be, the folder cannot be made, or another
            node runs on it.
    """
    path = control_path(data)
    if len(bytes(path)) > _LONGEST:
        raise Invalid(
            [
                Fault(
                    "node.data",
                    f"{path} is longer than the {_LONGEST} bytes a Unix socket's path may have",
                    "choose a data folder with a shorter path (--data)",
                )
            ]
        )
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Invalid(
            [Fault("node.data", f"{data} cannot be made: {error.strerror}", "use --data")]
        ) from None
    if _answers(path):
        raise Invalid(
            [
                Fault(
                    "node.data",
                    f"another node runs on {data}",
                    "stop that node, or give this one a folder of its own (--data)",
                )
            ]
        )
    return f"unix:{path}"


def _answers(path: Path) -> bool:
    """Whether somebody listens on the socket; connecting to a Unix socket does not block."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def add_control_pages(pages: FrontEnd, node: Node) -> None:
    """Add what the commands ask for."""

    @pages.get("/v1/why")
    async def why() -> Answer:
        name = request.args.get("plugin", "")
        try:
            return explain(name, node.plan, node.registry, node.database)
        except NoSuchActor:
            known = [*(cell.name for cell in node.cells()), *node.plan.disabled]
            return {"detail": f"there is no plugin {name}{nearest(name, known)}"}, 404

    @pages.get("/v1/plugins")
    async def plugins() -> dict[str, Any]:
        manifests = {plugin.name: plugin.manifest for plugin in node.plan.plugins}
        listed = []
        for cell in node.cells():
            about = describe_plugin(cell, reasons=True)
            manifest = manifests.get(cell.name)
            if manifest is not None:
                about["version"] = manifest.version
                about["description"] = manifest.description
            about["routes"] = [
                {"method": route.method, "path": route.path}
                for route in node.router.routes(cell.name)
            ]
            about["incarnation"] = cell.incarnation
            about["crashes"] = cell.crashes
            about["faults"] = cell.faults
            about["waiting"] = cell.mailbox.waiting
            listed.append(about)
        return {
            "node": {
                "phase": node.phase,
                "address": node.server.address if node.server else None,
            },
            "plugins": listed,
            "disabled": [*node.plan.disabled],
        }

    @pages.get("/v1/dead-letters")
    async def dead_letters() -> Answer:
        try:
            return letters_of(node, request.args.get("plugin"))
        except NoSuchActor as error:
            return {"detail": str(error)}, 404

    @pages.get("/v1/dead-letters/<int:number>")
    async def dead_letter(number: int) -> Answer:
        try:
            return describe(node, node.dead_letters.get(number))
        except NoSuchLetter as error:
            return {"detail": str(error)}, 404

    @pages.post("/v1/dead-letters/<any(retry, discard):what>")
    async def change_dead_letters(what: str) -> Answer:
        asked = await request.get_json(force=True, silent=True)
        try:
            return retry(node, asked) if what == "retry" else discard(node, asked)
        except Unclear as error:
            return {"detail": str(error)}, 400
        except NoSuchActor as error:
            return {"detail": str(error)}, 404
