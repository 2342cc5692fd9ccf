"""A proxy: another actor's public methods as if one had the object; every call is a message.

Which methods there are is answered from the catalogue registered with the address, so ``hasattr``
is synchronous and never touches the other's object. Arguments and results cross as copies.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from difflib import get_close_matches
from typing import Any

import attrs
import trio

from nexus_actors.actors.address import ASK_TIMEOUT, Address
from nexus_actors.actors.bridge import bridged
from nexus_actors.actors.crossing import cross
from nexus_actors.actors.message import remaining
from nexus_actors.errors import did_you_mean

__all__ = ["ANY_METHOD", "Call", "Proxy"]


class _AnyMethod(tuple[str, ...]):
    """Says of every public name that it is there."""

    __slots__ = ()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and not name.startswith("_")


ANY_METHOD: tuple[str, ...] = _AnyMethod()
"""The methods of an actor whose class could not be read: whoever asks for one learns by the call
that the actor does not run, rather than by an AttributeError that it is another actor."""


@attrs.frozen
class Call:
    """The payload of a ``call`` message."""

    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def about(self) -> str:
        """In a word, for reports."""
        return f"{self.method}()"


class Proxy:
    """Calls the public coroutine methods of the actor at ``address``.

    ::

        billing = self.get_plugin("billing")
        if billing and hasattr(billing, "total"):
            total = await billing.total(order_id)

    A call waits at most 5 s (less where the message in hand has an earlier deadline) and raises as
    :meth:`.Address.ask` does, and :class:`CannotCross` for what may not cross. A plugin that was
    refused at load has every public method, and each call raises :class:`ActorStopped`.
    """

    def __init__(self, address: Address, caller: str = "", timeout: float = ASK_TIMEOUT) -> None:
        self.__address = address
        self.__caller = caller
        self.__timeout = timeout

    def __getattr__(self, method: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        methods = self.__address.methods
        if method not in methods:
            near = get_close_matches(method, methods, n=2)
            raise AttributeError(
                f"{self.__address.name} has no public coroutine method {method!r}"
                f"{did_you_mean(near)}"
            )
        address, caller, timeout = self.__address, self.__caller, self.__timeout

        async def call(*args: Any, **kwargs: Any) -> Any:
            payload = Call(
                method,
                cross(args, f"{method}() argument"),
                cross(kwargs, f"{method}() argument"),
            )
            return await address.request(
                "call",
                payload,
                handler=method,
                sender=caller,
                deadline=remaining(timeout, trio.current_time()),
            )

        call.__name__ = call.__qualname__ = method
        return bridged(call)

    def __dir__(self) -> list[str]:
        return [*self.__address.methods]

    def __repr__(self) -> str:
        return f"<Proxy {self.__address.name}>"
