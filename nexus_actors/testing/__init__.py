"""For tests of plugins and actors: a real node and a client for it, a plugin on its own, probes,
faults, and virtual time."""

import nexus_actors.actors.bridge  # noqa: F401 - first: it imports trio_asyncio without a warning
from nexus_actors.testing.alone import Alone, alone
from nexus_actors.testing.application import NodeFailed, PluginFailed, TestApplication
from nexus_actors.testing.client import TestClient
from nexus_actors.testing.clock import NoMockClock, advance, autojump
from nexus_actors.testing.faults import Faults, InjectedCrash, Switch, faults
from nexus_actors.testing.probes import Probe, spawn_probe
from nexus_actors.testing.settling import settle

__all__ = [
    "Alone",
    "Faults",
    "InjectedCrash",
    "NoMockClock",
    "NodeFailed",
    "PluginFailed",
    "Probe",
    "Switch",
    "TestApplication",
    "TestClient",
    "advance",
    "alone",
    "autojump",
    "faults",
    "settle",
    "spawn_probe",
]
