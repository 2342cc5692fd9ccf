"""Groups: actors by a common name, for messages to all of them. Members leave when they end."""

from __future__ import annotations

from typing import Any

import trio

from nexus_actors import log
from nexus_actors.actors.address import Address, sender_here
from nexus_actors.actors.handling import NotHandled
from nexus_actors.actors.message import TELL_TIMEOUT, Message
from nexus_actors.errors import MessageTooLarge, Unanswered

__all__ = ["Group", "Groups"]

_logger = log.get_logger("nexus.groups")


class Group:
    """The members of one group, in the order in which they joined."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._members: dict[str, Address] = {}

    @property
    def members(self) -> tuple[Address, ...]:
        """Those that are in it now."""
        return tuple(self._members.values())

    async def tell(self, payload: Any, *, sender: str = "") -> int:
        """Give every member ``payload``; return how many mailboxes took it. Left out are those that
        are full, do not run, take no message of its size, or do not handle its type: of these a
        line in the log names the first."""
        await trio.lowlevel.checkpoint()
        taken = 0
        sender = sender or sender_here()
        deaf: list[NotHandled] = []
        for member in self.members:
            try:
                taken += member.offer(
                    Message("tell", payload, sender=sender, handle_timeout=TELL_TIMEOUT)
                )
            except NotHandled as refusal:
                deaf.append(refusal)
            except (Unanswered, MessageTooLarge):
                continue
        if deaf:
            more = f", nor do {len(deaf) - 1} more of its members" if len(deaf) > 1 else ""
            _logger.warning(f"left out of what the group {self.name} was told: {deaf[0]}{more}")
        return taken

    def add(self, address: Address) -> None:
        """Let ``address`` be a member; twice is once."""
        self._members[address.name] = address

    def remove(self, address: Address) -> None:
        """Let it be none; where it is none, nothing happens."""
        self._members.pop(address.name, None)

    def __len__(self) -> int:
        return len(self._members)


class Groups:
    """All groups of a system; a name that nobody has joined is an empty group."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}

    def group(self, name: str) -> Group:
        """The group of that name."""
        if name not in self._groups:
            self._groups[name] = Group(name)
        return self._groups[name]
