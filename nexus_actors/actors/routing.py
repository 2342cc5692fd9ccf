"""Pools: several actors alike behind one address, and how messages are shared among them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

from nexus_actors.actors.address import ASK_TIMEOUT, Address
from nexus_actors.errors import NexusError

__all__ = ["Pool", "Route", "check_route"]

Route = Literal["round_robin", "least_busy"] | Callable[[Any], Hashable]
"""``round_robin``: one after the other; ``least_busy``: the one with the fewest messages, waiting
and in hand; a function: by the key it makes of the message, the same key to the same actor."""


def check_route(route: object) -> None:
    """Raises ValueError where it is no :data:`Route`."""
    if route not in ("round_robin", "least_busy") and not callable(route):
        raise ValueError(
            "a pool routes by 'round_robin', 'least_busy' or a function of the message that "
            f"gives its key, not by {route!r}"
        )


class Pool:
    """Some actors alike. ``tell`` and ``ask`` are those of an address.

    A member that does not run is passed over, except by key: what belongs to it waits for its
    return, as with any address.
    """

    def __init__(self, members: Sequence[Address], route: Route = "round_robin") -> None:
        if not members:
            raise ValueError("a pool wants at least one actor")
        check_route(route)
        self.members = tuple(members)
        self._route = route
        self._next = 0

    async def tell(self, payload: Any, *, timeout: float = ASK_TIMEOUT) -> None:
        """Give it to one of them and go on; see :meth:`.Address.tell`."""
        await self.member_for(payload).tell(payload, timeout=timeout)

    async def ask(self, payload: Any, *, timeout: float = ASK_TIMEOUT) -> Any:
        """Give it to one of them and wait for the answer; see :meth:`.Address.ask`."""
        return await self.member_for(payload).ask(payload, timeout=timeout)

    def member_for(self, payload: Any) -> Address:
        """The member whose turn it is, or that has the key of ``payload``."""
        if callable(self._route):
            key = self._key(payload)
            number = key if isinstance(key, int) else zlib.crc32(repr(key).encode())
            return self.members[number % len(self.members)]
        # from the one whose turn it is: equals take turns
        turned = self.members[self._next :] + self.members[: self._next]
        self._next = (self._next + 1) % len(self.members)
        running = [member for member in turned if member.is_running] or [*turned]
        if self._route == "round_robin":
            return running[0]
        return min(running, key=lambda member: member.load)

    def _key(self, payload: Any) -> Hashable:
        assert callable(self._route)
        try:
            return self._route(payload)
        except Exception as error:
            first = self.members[0].name
            raise NexusError(
                f"the route of the pool of {first} made no key of a {type(payload).__name__}, and "
                f"nothing was sent: {type(error).__name__}: {error}"
            ) from error
