"""The order in which plugins start: what each one requires comes first, the rest side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping

__all__ = ["circle", "waves"]


def waves(requires: Mapping[str, Collection[str]]) -> list[list[str]]:
    """The plugins in waves, each wave sorted by name: all that one requires is in waves before it.

    ``requires`` has each plugin and the names it requires. One that cannot be placed, for it
    requires a plugin that is not there, is in a circle, or requires one of these, is in no wave.
    They stop in reverse.
    """
    placed: set[str] = set()
    result: list[list[str]] = []
    while True:
        ready = sorted(
            name
            for name, needs in requires.items()
            if name not in placed and all(need in placed for need in needs)
        )
        if not ready:
            return result
        result.append(ready)
        placed.update(ready)


def circle(start: str, requires: Mapping[str, Collection[str]]) -> list[str]:
    """The shortest way by which ``start`` requires itself: ``["a", "b", "a"]``, or nothing."""
    ways = [[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        for need in requires.get(way[-1], ()):
            if need == start:
                return [*way, start]
            if need not in seen:
                seen.add(need)
                ways.append([*way, need])
    return []
