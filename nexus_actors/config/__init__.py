"""What a node can be told: its settings, where each may be said, how they are read and checked."""

from nexus_actors.config.load import load_settings
from nexus_actors.config.settings import (
    DatabaseSettings,
    HttpSettings,
    NodeSettings,
    PluginTable,
    SettingRow,
    Settings,
    describe_settings,
)

__all__ = [
    "DatabaseSettings",
    "HttpSettings",
    "NodeSettings",
    "PluginTable",
    "SettingRow",
    "Settings",
    "describe_settings",
    "load_settings",
]
