"""Where things are in a node's data folder, for the node and for those who speak to it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["control_path"]


def control_path(data: Path) -> Path:
    """Where the control socket of the node with this data folder is."""
    return data.resolve() / "nexus.sock"
