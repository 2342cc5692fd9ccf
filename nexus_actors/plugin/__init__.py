"""Plugins: the one class an author writes, and all that finds, checks, builds and runs it."""

from nexus_actors.plugin.base import Plugin

__all__ = ["Plugin"]
