"""Links and monitors: how one actor learns that an incarnation of another has ended.

After Erlang's: a monitor is a question answered once, by a message; a link is shared fate. Both
belong to incarnations: a restarted actor has none of those of the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from nexus_actors.errors import NexusError
from supervisors import ExitReason, error

if TYPE_CHECKING:
    from nexus_actors.actors.address import Address

__all__ = ["NO_PROC", "Down", "Exited", "LinkedExit", "Watch"]

NO_PROC = error("noproc")
"""The reason of a :class:`Down` for an actor that had no incarnation when it was asked for."""


@attrs.frozen
class Down:
    """The incarnation of an actor that was monitored has ended."""

    address: Address
    """Whose it was. A restart gives the same address a new incarnation, to be monitored anew."""
    reason: ExitReason


@attrs.frozen
class Exited:
    """An incarnation that this actor was linked to has ended; sent with ``trap_exits=True``."""

    address: Address
    reason: ExitReason


class LinkedExit(NexusError):
    """An actor ended abnormally, and so does the one that was linked to it."""

    def __init__(self, actor: str, reason: ExitReason) -> None:
        super().__init__(f"{actor}, which it is linked to, ended: {reason}")
        self.actor = actor
        self.reason = reason


class Watch:
    """One actor's interest in the end of another's incarnation."""

    __slots__ = ("_forget", "address", "on_end")

    def __init__(
        self,
        address: Address,
        on_end: Callable[[ExitReason], None],
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        self.address = address
        """Whose end it is about."""
        self.on_end = on_end
        """Called once, in the task of the one that ends: it must be quick and not raise."""
        self._forget = forget

    def cancel(self) -> None:
        """Be no longer interested; nothing comes of it afterwards. More than once is no error."""
        self._forget()
