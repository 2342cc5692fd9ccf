"""For tests of plugins: a real node, a client for it, and a plugin on its own."""

import nexus_actors.actors.bridge  # noqa: F401 - first: it imports trio_asyncio without a warning
from nexus_actors.testing.alone import Alone, alone
from nexus_actors.testing.application import NodeFailed, PluginFailed, TestApplication
from nexus_actors.testing.client import TestClient

__all__ = ["Alone", "NodeFailed", "PluginFailed", "TestApplication", "TestClient", "alone"]
