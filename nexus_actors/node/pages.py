"""The node's own pages: whether it lives and whether it is ready."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from quart import request

from nexus_actors.http.frontend import FrontEnd
from nexus_actors.node.health import describe_plugin, readiness

if TYPE_CHECKING:
    from nexus_actors.node.node import Node

__all__ = ["add_pages"]

_FORWARDING = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
"""Headers by which a proxy says that it asks for somebody else."""


def add_pages(frontend: FrontEnd, node: Node) -> None:
    """Add ``/livez`` and ``/readyz``."""

    @frontend.get("/livez")
    async def livez() -> dict[str, Any]:
        return {"status": "alive"}

    @frontend.get("/readyz")
    async def readyz() -> tuple[dict[str, Any], int]:
        cells = node.cells()
        found = readiness(cells, node.settings.node.required, node.phase)
        # why a plugin failed may name files and settings: for those on this machine only
        reasons = (
            _is_loopback(request.remote_addr)
            and not _is_forwarded(request.headers)
            and _names_loopback(request.host)
        )
        body: dict[str, Any] = {
            "status": "ready" if found.ready else "not ready",
            "plugins": [describe_plugin(cell, reasons=reasons) for cell in cells],
        }
        if found.why:
            body["why"] = found.why
        return body, 200 if found.ready else 503


def _is_loopback(address: str | None) -> bool:
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False


def _names_loopback(host: str) -> bool:
    """Whether the client meant this machine: one that a proxy speaks for has named another."""
    name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    return name in ("", "localhost") or _is_loopback(name.strip("[]"))


def _is_forwarded(headers: Any) -> bool:
    """Whether a proxy on this machine asks for somebody else."""
    return any(name in headers for name in _FORWARDING)
