"""Service: a part of a plugin with a life of its own.

It is started before the plugin and kept while that restarts.

A plugin names its services with :func:`.inject` in ``__init__``. Each is started in the order in
which they were named, once a plugin, under the plugin's own supervisor::

    class Rates(Service):
        async def initialize(self):
            self.table = await load_table()

        def rate(self, currency):
            return self.table[currency]

    class Shop(Plugin):
        def __init__(self, config):
            super().__init__(config)
            self.rates = inject(Rates)

A service's methods run in the task that calls them, and what they raise is the caller's. A service
*crashes* when a task of its :attr:`Service.nursery` does, or by :meth:`Service.fail`: then it, the
services named after it and the plugin are started anew.

A service that a plugin builds itself is an ordinary object; the plugin initializes and cleans it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from nexus_actors import log
from nexus_actors.errors import NotInNode

__all__ = ["Service"]


class Service:
    """The base of every service. ``config`` is the configuration of the plugin it belongs to."""

    _nursery: trio.Nursery | None = None
    _fail: Callable[[BaseException], None] | None = None
    _owner: str = ""

    def __init__(self, config: Any = None) -> None:
        self.config = config

    async def initialize(self) -> None:
        """Get ready; ends before the plugin's own ``initialize`` begins."""

    async def cleanup(self) -> None:
        """Give back what :meth:`initialize` took; runs after the plugin's ``cleanup``."""

    @property
    def nursery(self) -> trio.Nursery:
        """For background tasks of this service; they end with it. A crash in it is the service's.

        Raises:
            NotInNode: the service is not run by a node.
        """
        if self._nursery is None:
            raise NotInNode(
                f"{type(self).__name__} has no nursery: a node gives it one before initialize; a "
                "service that a plugin builds itself has none (name it with inject instead)"
            )
        return self._nursery

    @property
    def logger(self) -> Any:
        """Logs under the name of the plugin and of this class."""
        return log.plugin_logger(self._owner or type(self).__name__)

    def fail(self, error: BaseException) -> None:
        """Crash this service with ``error``: it, those after it and the plugin start anew.

        Raises:
            NotInNode: the service is not run by a node.
        """
        if self._fail is None:
            raise NotInNode(f"{type(self).__name__} is not run by a node, so nobody can restart it")
        self._fail(error)
