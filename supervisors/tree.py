"""Handles on a running tree: talk to a supervisor, look at its children, kill, walk.

A handle is what other tasks hold. It stays valid after the supervisor has ended: its calls then
raise :class:`~supervisors.NoProc`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, cast, overload

import attrs

from .child import Child
from .errors import NoProc
from .exits import ExitReason
from .spec import ChildSpec, ChildType, Flags

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .loop import Loop

__all__ = ["ChildCounts", "ChildInfo", "SupervisorRef", "kill", "walk"]


@attrs.frozen
class ChildInfo:
    """One row of ``which_children()``."""

    id: object
    """Its id; None in a pool."""
    child: Child | Literal["restarting"] | None
    """The handle of the incarnation; ``"restarting"`` while a restart has failed and will be tried
    again; None if it does not run."""
    type: ChildType


@attrs.frozen
class ChildCounts:
    """What ``count_children()`` gives."""

    specs: int
    """All child specs, running or not; 1 for a pool."""
    active: int
    """Those that run."""
    supervisors: int
    """Those of type supervisor, running or not."""
    workers: int
    """Those of type worker, running or not."""


class SupervisorRef:
    """A handle on one running supervisor.

    Calls are answered by the supervisor in the order in which they come, between its other work:
    while it starts or stops a child they wait. A caller that is cancelled takes its call back,
    unless the supervisor has already begun with it.

    Raises:
        NoProc: from every call, when the supervisor does not run.
        SupervisorDied: a NoProc; the supervisor ended while the call waited, or was carried out.
    """

    __slots__ = ("_loop",)

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def __repr__(self) -> str:
        state = "running" if self.is_alive else f"ended: {self.reason}"
        return f"<SupervisorRef {self.name} {state}>"

    @property
    def name(self) -> str:
        """Its path in the tree: ``root/shop``."""
        return self._loop.name

    @property
    def flags(self) -> Flags:
        """Its strategy, intensity, period and auto_shutdown."""
        return self._loop.flags

    @property
    def is_alive(self) -> bool:
        """Whether it still takes calls."""
        return self._loop.is_alive

    @property
    def reason(self) -> ExitReason | None:
        """How it ended; None while it runs."""
        return self._loop.reason

    async def wait(self) -> ExitReason:
        """Wait until the supervisor has ended, its children before it; give its exit reason.

        A supervisor that gave up has ended with SHUTDOWN.
        """
        return await self._loop.wait_ended()

    async def stop(self) -> ExitReason:
        """Ask it to stop, and wait until it has. Children stop in the reverse of their start order.

        The request takes its place in the supervisor's queue. Stopping one that has ended is no
        error. A nested supervisor stopped so is restarted by its parent if it is permanent.
        """
        self._loop.request_stop()
        return await self._loop.wait_ended()

    @overload
    async def start_child(self, spec: ChildSpec | Mapping[str, object], /) -> Child | None: ...
    @overload
    async def start_child(self, *args: object) -> Child | None: ...
    async def start_child(self, *args: object) -> Child | None:
        """Add a child and start it; give its handle, or None if its start function said IGNORE.

        The argument is its spec. For a simple_one_for_one supervisor the arguments are further
        ones for the template's start function.

        Raises:
            InvalidSpec: the spec is wrong, or does not go with this supervisor.
            AlreadyStarted: a child with that id is running.
            AlreadyPresent: a spec with that id is there, not running.
            StartFailed: it did not start; nothing was added.
        """
        return cast("Child | None", await self._loop.call("start_child", args))

    async def terminate_child(self, child: object) -> None:
        """Stop a child by its id, or cancel its pending restart. Its spec stays unless temporary.

        In a pool the child is named by its handle and is gone afterwards.

        Raises:
            NotFound: there is no such child.
            NotForPools: the supervisor is a pool, and this is no handle.
        """
        await self._loop.call("terminate_child", (child,))

    async def restart_child(self, id: object) -> Child | None:
        """Start a child that does not run. It does not count as a restart.

        Raises:
            NotFound, Running, Restarting: there is nothing to start.
            StartFailed: it did not start; its spec is still there.
            NotForPools: the supervisor is a pool.
        """
        return cast("Child | None", await self._loop.call("restart_child", (id,)))

    async def delete_child(self, id: object) -> None:
        """Remove the spec of a child that does not run.

        Raises:
            NotFound, Running, Restarting: there is nothing to remove.
            NotForPools: the supervisor is a pool.
        """
        await self._loop.call("delete_child", (id,))

    async def get_childspec(self, child: object) -> ChildSpec:
        """The spec of a child, by its id; in a pool by a handle or the template's id.

        Raises:
            NotFound: there is no such child.
        """
        return cast("ChildSpec", await self._loop.call("get_childspec", (child,)))

    async def which_children(self) -> list[ChildInfo]:
        """Its children, the last started first, as in OTP."""
        return cast("list[ChildInfo]", await self._loop.call("which_children", ()))

    async def count_children(self) -> ChildCounts:
        """How many children it has, of which kind, and how many run."""
        return cast("ChildCounts", await self._loop.call("count_children", ()))


def kill(process: SupervisorRef | Child) -> None:
    """End a child or a supervisor at once: cancel its task, and all that lives in it.

    It ends with KILLED as soon as its clean-up has run; this does not wait for that. Its supervisor
    treats it like a crash. Killing what has ended does nothing.
    """
    if isinstance(process, SupervisorRef):
        process._loop.kill()
    else:
        process._kill()


async def walk(ref: SupervisorRef) -> list[tuple[SupervisorRef, list[ChildInfo]]]:
    """Every running supervisor from `ref` down, each with its children in start order.

    A supervisor that ends while the walk goes on is left out.
    """
    try:
        children = (await ref.which_children())[::-1]
    except NoProc:
        return []
    found = [(ref, children)]
    for nested in _supervisors(children):
        found += await walk(nested)
    return found


def _supervisors(children: list[ChildInfo]) -> Iterator[SupervisorRef]:
    for info in children:
        if isinstance(info.child, Child) and info.child.supervisor is not None:
            yield info.child.supervisor
