"""What the watchdog asks when something holds the event loop: whose code runs (see
:mod:`nexus_actors.actors.owner`), or what is being imported."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from nexus_actors.actors.owner import STUBBORN, Owner, StallInterrupt, owned_by, owner_here

__all__ = [
    "STUBBORN",
    "Importing",
    "Owner",
    "StallInterrupt",
    "importing",
    "importing_now",
    "owned_by",
    "owner_here",
    "stall_in",
]


class Importing:
    """One import of a plugin's modules that is under way."""

    _numbers = itertools.count(1)

    def __init__(self, plugin: str) -> None:
        self.plugin = plugin
        self.number = next(self._numbers)


_imports: list[Importing] = []


@contextmanager
def importing(plugin: str) -> Iterator[None]:
    """While it is open, code of ``plugin`` runs although it has no incarnation: an import."""
    _imports.append(Importing(plugin))
    try:
        with owned_by(Owner(plugin, lambda error: None)):
            yield
    finally:
        _imports.pop()


def importing_now() -> Importing | None:
    """The innermost import that is under way."""
    return _imports[-1] if _imports else None


def stall_in(error: BaseException) -> StallInterrupt | None:
    """The interrupt that ``error`` is, or that lies in its groups."""
    if isinstance(error, StallInterrupt):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(stall_in, error.exceptions)), None)
    return None
