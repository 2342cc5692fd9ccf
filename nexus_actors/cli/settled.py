"""When a start is over: which plugins are still on their way up, as a pure question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["on_the_way"]


def on_the_way(
    states: Mapping[str, str],
    requires: Mapping[str, Iterable[str]],
    *,
    database_ready: bool,
) -> set[str]:
    """The plugins that may still come up by themselves, without anything being mended.

    ``states`` has the state of each plugin, ``requires`` what each needs. One that waits for the
    database is on its way, as is one that waits for such a plugin; one that waits for a plugin
    that failed is not.
    """
    coming = {name for name, state in states.items() if state in ("starting", "restarting")}
    waiting = {name for name, state in states.items() if state == "waiting"}
    for name in waiting:
        held = any(states.get(other) != "running" for other in requires.get(name, ()))
        if not held and not database_ready:
            coming.add(name)
    while True:
        more = {
            name
            for name in waiting - coming
            if any(other in coming for other in requires.get(name, ()))
            and all(
                other in coming or states.get(other) == "running"
                for other in requires.get(name, ())
            )
        }
        if not more:
            return coming
        coming |= more
