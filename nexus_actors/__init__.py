"""Nexus Actors: a Trio actor runtime with supervision trees that serves plugins."""

__all__ = ["PLUGIN_API", "__version__"]

__version__ = "0.1.0"

PLUGIN_API = "1.0.0"
"""The version of what an author may use; a manifest's ``nexus_version`` is compared with it."""
