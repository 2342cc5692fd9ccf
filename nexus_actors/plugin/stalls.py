"""Whose code is running: what the watchdog asks when something holds the event loop.

Wherever the node lets a plugin's code run - its import, ``__init__``, handlers, services, node
middleware, background tasks - it says so in this context. Contexts are inherited by tasks and
callbacks, so the answer is right for whatever that code begins, under Trio and under asyncio.
"""

from __future__ import annotations

import contextvars
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

STUBBORN = 3
"""Interrupts after which an incarnation that is still there is not merely restarted."""


class StallInterrupt(BaseException):
    """Raised by the node in code that has held the event loop for longer than ``stall_limit``.

    Not an ``Exception``, so that ``except Exception`` does not keep it. Let it pass: the plugin is
    restarted.
    """


class Owner:
    """Whom a task belongs to: one incarnation of the plugin, or one of a service.

    ``crash`` is called with the exception of a task that died unseen.
    """

    def __init__(
        self, name: str, crash: Callable[[BaseException], None], *, plugin: str = ""
    ) -> None:
        self.name = name
        self.crash = crash
        self.plugin = plugin or name
        """The plugin it is part of; the same where it is the plugin itself."""
        self.ended = False
        """Set when its incarnation is over, clean-up apart: what dies now crashes nobody."""
        self.interrupts = 0
        """How often its code was interrupted because it held the loop; the first should do."""

    @property
    def is_stubborn(self) -> bool:
        """Whether it was interrupted so often that a restart would be no help."""
        return self.interrupts >= STUBBORN

    @property
    def words(self) -> str:
        """Its name for people: ``shop``, ``Rates of shop``."""
        return self.name if self.name == self.plugin else f"{self.name} of {self.plugin}"


owner_here: contextvars.ContextVar[Owner | None] = contextvars.ContextVar(
    "nexus_owner", default=None
)
"""Whose code runs in this context; copied into every task and callback by whoever starts it."""


@contextmanager
def owned_by(owner: Owner) -> Iterator[None]:
    """While it is open, code in this context is ``owner``'s."""
    token = owner_here.set(owner)
    try:
        yield
    finally:
        owner_here.reset(token)


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
