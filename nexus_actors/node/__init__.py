"""The node: its parts put together, its tree, its health and its signals."""

from nexus_actors.node.node import CannotStart, Node

__all__ = ["CannotStart", "Node"]
