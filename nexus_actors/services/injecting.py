"""``inject``: how a plugin names in ``__init__`` what it needs."""

from __future__ import annotations

import contextvars
from typing import Any, TypeVar, cast

from nexus_actors.errors import NotInNode
from nexus_actors.services.container import Container

__all__ = ["StandIn", "building", "inject"]

T = TypeVar("T")

building: contextvars.ContextVar[Container | None] = contextvars.ContextVar(
    "nexus_building", default=None
)
"""The container of the plugin that is being built in this context; None outside a node."""


def inject(kind: type[T]) -> T:
    """Give the plugin that is being built its ``kind``: a service of its own, or the database.

    Use it in ``__init__``. For a :class:`.Service` the answer stands for the running instance, of
    which there is one a plugin; the node starts it before ``initialize``. In an object that is in
    no node (a unit test) the answer is a stand-in that says so when it is used.

    Raises:
        TypeError: ``kind`` is neither a service nor something the node gives.
    """
    container = building.get()
    if container is None:
        return cast(T, StandIn(kind.__name__))
    return container.get(kind)


class StandIn:
    """Stands where a node would put something; any use of it raises :class:`NotInNode`."""

    def __init__(self, name: str) -> None:
        self.__name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") and attribute.endswith("__"):
            raise AttributeError(attribute)
        raise NotInNode(
            f"{self.__name}.{attribute}: this object is in no node. In a unit test put your own in "
            "its place (plugin.db = AsyncMock()); for the real thing use "
            "nexus_actors.testing.TestApplication"
        )

    def __repr__(self) -> str:
        return f"<stand-in for {self.__name}: not in a node>"
