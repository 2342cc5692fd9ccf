"""The registry: names to addresses. Each part of a node asks it, none keeps a list of its own."""

from __future__ import annotations

from nexus_actors.actors.address import Address
from nexus_actors.actors.cell import ActorCell
from nexus_actors.errors import NoSuchActor

__all__ = ["Registry"]


class Registry:
    """Every actor of a node that has a name, running or not."""

    def __init__(self) -> None:
        self._cells: dict[str, ActorCell] = {}

    def register(self, cell: ActorCell) -> Address:
        """Let ``cell`` answer to its name and return its address.

        Raises:
            ValueError: another actor has the name.
        """
        if cell.name in self._cells:
            raise ValueError(f"an actor called {cell.name!r} is registered already")
        self._cells[cell.name] = cell
        return Address(cell)

    def unregister(self, name: str) -> None:
        """Let nobody answer to ``name``; where nobody does, nothing happens."""
        self._cells.pop(name, None)

    def address(self, name: str) -> Address:
        """The address of the actor called ``name``.

        Raises:
            NoSuchActor: nobody has that name; the message suggests the nearest.
        """
        return Address(self.cell(name))

    def cell(self, name: str) -> ActorCell:
        """The cell of the actor called ``name``; raises as :meth:`address` does."""
        try:
            return self._cells[name]
        except KeyError:
            raise NoSuchActor(name, self._cells) from None

    def cells(self) -> list[ActorCell]:
        """All that are nobody's children, in the order in which they were registered."""
        return [cell for cell in self._cells.values() if not cell.is_child]

    def addresses(self) -> list[Address]:
        """Every actor there is, children too, in the order in which they were registered."""
        return [Address(cell) for cell in self._cells.values()]

    def __contains__(self, name: object) -> bool:
        return name in self._cells
