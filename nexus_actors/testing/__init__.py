"""For tests of plugins: a real node, a client for it, and a plugin on its own."""

from nexus_actors.testing.alone import Alone, alone
from nexus_actors.testing.application import PluginFailed, TestApplication
from nexus_actors.testing.client import TestClient

__all__ = ["Alone", "PluginFailed", "TestApplication", "TestClient", "alone"]
