"""Middleware: a plugin's own code around its routes."""

from nexus_actors.middleware.base import Middleware

__all__ = ["Middleware"]
