"""The plugins level: a keeper for each plugin, stopped wave by wave in reverse."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from nexus_actors.plugin.keeper import Keeper
from supervisors import Child, ChildSpec, Report, Supervisor, SupervisorRef

__all__ = ["PluginsLevel"]


class PluginsLevel:
    """Starts all keepers at once (each waits for what its plugin requires) and stops them in waves:
    no plugin stops before those that require it have."""

    def __init__(
        self,
        keepers: dict[str, Keeper],
        waves: Callable[[], Sequence[Sequence[str]]],
        on_report: Callable[[Report], None],
    ) -> None:
        """``waves`` says, when the stop comes, in which order the plugins started."""
        self._keepers = keepers
        self._waves = waves
        self._on_report = on_report
        self.ref: SupervisorRef | None = None
        """The supervisor of the keepers while it runs."""

    async def run(self, child: Child) -> None:
        """The function of its child spec."""
        supervisor = Supervisor(
            [_spec(name, keeper) for name, keeper in self._keepers.items()],
            name="node/plugins",
            on_report=self._on_report,
        )
        async with trio.open_nursery() as nursery:
            self.ref = await nursery.start(supervisor.run)
            assert self.ref is not None
            child.runs(self.ref)
            child.started()
            nursery.start_soon(self._watch, self.ref)
            await child.wait_stop()
            for wave in reversed(self._waves()):
                async with trio.open_nursery() as stopping:
                    for name in wave:
                        stopping.start_soon(self._keepers[name].stop)
            nursery.cancel_scope.cancel()

    async def add(self, name: str, keeper: Keeper) -> None:
        """Start one more plugin while the level runs."""
        self._keepers[name] = keeper
        assert self.ref is not None, "plugins are added to a level that runs"
        await self.ref.start_child(_spec(name, keeper))

    async def _watch(self, ref: SupervisorRef) -> None:
        reason = await ref.wait()
        raise RuntimeError(f"the supervisor of the plugins ended: {reason}")


def _spec(name: str, keeper: Keeper) -> ChildSpec:
    # transient: a keeper that was asked to stop returns, and that is its end
    return ChildSpec(
        id=name, start=keeper.run, restart="transient", shutdown="infinity", type="supervisor"
    )
