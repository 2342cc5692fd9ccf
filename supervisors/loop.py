"""One running supervisor: a queue of messages, taken one at a time.

The messages are: a child has ended, somebody calls, a failed restart is to be tried again, the
parent wants it to stop. Whatever takes time (a start, a stop) is waited for inside the handling of
one message, so everything else keeps its place in the queue, as in OTP's gen_server. What to do is
decided by the pure functions of :mod:`supervisors.strategy` and :mod:`supervisors.intensity`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs
import trio

from .backoff import Backoff, pause
from .child import Child
from .errors import NoProc, SupervisorError
from .exits import KILLED, SHUTDOWN, ExitReason, FailedToStart, shutdown_with
from .inbox import Call, Inbox
from .intensity import RestartWindow
from .reports import (
    Action,
    ChildTerminated,
    GaveUp,
    ProgressReport,
    Report,
    Reporter,
    RetryScheduled,
    ShutdownError,
    StartError,
    SupervisorEnded,
    SupervisorStarted,
    deliver,
)
from .spec import ChildSpec, Flags
from .strategy import ends_supervisor, expected_ending, must_restart, vanishes
from .tree import SupervisorRef

__all__ = ["Loop", "Slot"]


@attrs.define(eq=False)
class Slot:
    """A child spec and what has become of it."""

    spec: ChildSpec
    args: tuple[Any, ...]
    child: Child | None = None
    """The incarnation that runs, or has ended without the loop having come to that yet."""
    restarting: bool = False
    """A restart has failed or is being waited for. Then `child` is None."""
    starts: int = 0
    """How many times it has started."""
    tries: int = 0
    """Restarts in a row, for the backoff."""
    due: float | None = None
    """When the paused restart that is planned is due; one for another time is no longer wanted."""


class Loop:
    """What every supervisor does; how its children are named and found is for the subclasses."""

    def __init__(
        self,
        flags: Flags,
        name: str,
        reporter: Reporter,
        backoff: Backoff | None,
        rng: random.Random,
    ) -> None:
        self.flags: Final = flags
        self.name: Final = name
        self.reason: ExitReason | None = None
        """How it ended. Written once, when all its tasks are gone."""
        self.has_started = False
        """Whether all first children have started. Written once, before `ready` is called."""
        self.ref: Final = SupervisorRef(self)
        self.reporter: Final = reporter
        self._backoff: Final = backoff
        self._rng: Final = rng
        self._inbox: Final = Inbox()
        self._restarts: Final = RestartWindow(flags.intensity, flags.period)
        self._tasks = 0  # children's tasks that have not ended
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._nursery: trio.Nursery  # set by live(), which alone opens and closes it

    # Its life

    async def live(self, ready: Callable[[], None]) -> ExitReason:
        """Start the children, call `ready`, serve until the end; give the exit reason.

        All tasks of the children are gone when this returns or raises. If a first child does not
        start, `ready` is not called and the reason tells which.
        """
        reason = KILLED
        try:
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    ending = await self._serve(ready)
                reason = ending
        finally:
            self._end(reason)
        return reason

    async def _serve(self, ready: Callable[[], None]) -> ExitReason:
        failed = await self._start_first_children()
        if failed is not None:
            await self._stop_all()
            return shutdown_with(failed)
        self.has_started = True
        self._report(SupervisorStarted)
        ready()
        while True:
            handler, argument = await self._inbox.take()
            reason = await handler(argument)
            if reason is not None:
                await self._stop_all()
                return reason

    def _end(self, reason: ExitReason) -> None:
        self.reason = reason
        self._inbox.close(self.name, reason)
        self._report(SupervisorEnded, reason=reason)
        self._ended.set()

    def _child_changed(self, child: Child) -> None:
        """Called by a child's own task, when it has started and as its last act."""
        if child.state not in ("starting", "running"):
            self._tasks -= 1
            if child.state == "ended":
                self._inbox.post(self._on_exit, child)
        self._inbox.wake()

    # Starting and stopping one child

    async def _start(self, slot: Slot) -> ExitReason | None:
        """Start the child of `slot` and wait until it has started or will not; give the failure.

        Afterwards ``slot.child`` is the new incarnation; None if it failed or said IGNORE.
        """
        slot.child, slot.restarting = None, False
        child = Child(
            slot.spec, self._path(slot), slot.starts + 1, self.reporter, self._child_changed
        )
        self._tasks += 1
        self._nursery.start_soon(child._live, slot.args, name=child.name)
        while child.state == "starting":
            await self._inbox.wait()
        if child.state == "failed":
            assert child.exit_reason is not None
            self._report(StartError, id=slot.spec.id, reason=child.exit_reason)
            return child.exit_reason
        if child.state != "ignored":
            slot.child = child
            slot.starts += 1
            self._report(ProgressReport, id=slot.spec.id, incarnation=slot.starts)
        return None

    def _path(self, slot: Slot) -> str:
        return f"{self.name}/{slot.spec.id}"

    async def _shut(self, child: Child) -> None:
        """Stop one child the way its spec says, and wait until it has ended."""
        if child.shutdown == "brutal_kill":
            child._kill()
        elif child.shutdown == "infinity":
            child._request_stop(float("inf"))
        else:
            deadline = trio.current_time() + float(child.shutdown)
            child._request_stop(deadline)
            with trio.CancelScope(deadline=deadline):
                while child.exit_reason is None:
                    await self._inbox.wait()
            if child.exit_reason is None:
                child._kill()
        while child.exit_reason is None:
            await self._inbox.wait()

    async def _stop(self, slots: Iterable[Slot]) -> None:
        """Stop these one after the other. Pending restarts are off; temporary ones vanish."""
        for slot in slots:
            child, slot.restarting, slot.due = slot.child, False, None
            if child is not None:
                await self._shut(child)
                slot.child = None
                self._report_stopped(child)
            if vanishes(slot.spec.restart):
                self._remove(slot)

    def _report_stopped(self, child: Child) -> None:
        reason, brutal = child.exit_reason, child.shutdown == "brutal_kill"
        assert reason is not None
        if not expected_ending(child.spec.restart, brutal, reason):
            self._report(ShutdownError, id=child.id, reason=reason, shutdown=child.shutdown)

    # What depends on how the children are named: see StaticLoop and PoolLoop

    async def _start_first_children(self) -> FailedToStart | None:
        """Start the children of the specs in order; stop at the first that does not start."""
        raise NotImplementedError

    async def _stop_all(self) -> None:
        """Stop every child."""
        raise NotImplementedError

    def _slot_of(self, child: Child) -> Slot | None:
        """The slot whose present incarnation this is."""
        raise NotImplementedError

    def _team(self, slot: Slot) -> list[Slot]:
        """The slots that are restarted when this one is, in start order."""
        raise NotImplementedError

    def _clear(self, slot: Slot) -> None:
        """The child has ended for good; so has its slot, if its restart type says so."""
        raise NotImplementedError

    def _remove(self, slot: Slot) -> None:
        """Forget the slot."""
        raise NotImplementedError

    def _significant_left(self) -> bool:
        """Whether a significant child still runs or is being restarted."""
        raise NotImplementedError

    def _retry_key(self, slot: Slot) -> object:
        """What a pending retry finds the slot by, if it is still there then."""
        raise NotImplementedError

    def _slot_to_retry(self, key: object) -> Slot | None:
        raise NotImplementedError

    # A child has ended on its own

    async def _on_exit(self, child: Child) -> ExitReason | None:
        slot = self._slot_of(child)
        if slot is None:  # the loop has stopped it itself, and knows
            return None
        reason = child.exit_reason
        assert reason is not None
        if must_restart(slot.spec.restart, reason):
            return await self._on_crash(slot, child, reason)
        self._clear(slot)
        ends = ends_supervisor(
            self.flags.auto_shutdown, slot.spec.significant, self._significant_left
        )
        gone: Action = "forget" if vanishes(slot.spec.restart) else "leave"
        self._report_terminated(slot, reason, "shut_down" if ends else gone)
        return SHUTDOWN if ends else None

    async def _on_crash(self, slot: Slot, child: Child, reason: ExitReason) -> ExitReason | None:
        now = trio.current_time()
        if self._backoff is not None and now - child.started_at >= self._backoff.reset_after:
            slot.tries = 0
        wait = self._pause(slot)
        if not wait:
            allowed = self._restarts.add(now)
            self._report_terminated(slot, reason, "restart" if allowed else "give_up")
            return await self._try(slot) if allowed else self._give_up(slot)
        self._restarts.prune(now)
        self._report_terminated(slot, reason, "restart", wait)
        self._mark_restarting(slot)
        await self._try_after(slot, wait)
        return None

    # Restarting

    def _pause(self, slot: Slot) -> float:
        wait = pause(self._backoff, slot.tries, self._rng)
        slot.tries += 1
        return wait

    def _give_up(self, slot: Slot) -> ExitReason:
        self._report(
            GaveUp,
            id=slot.spec.id,
            restarts=len(self._restarts),
            intensity=self.flags.intensity,
            period=self.flags.period,
        )
        self._clear(slot)
        return SHUTDOWN

    async def _try(self, slot: Slot) -> ExitReason | None:
        """Stop and start those that the strategy says. The first that fails is tried again later:
        behind what waits in the queue now, or after a pause where there is a backoff."""
        slot.child, slot.restarting, slot.due = None, False, None
        team = self._team(slot)
        await self._stop(one for one in reversed(team) if one is not slot)
        for one in team:
            if one is not slot and vanishes(one.spec.restart):
                continue
            if await self._start(one) is not None:
                return await self._failed(one)
        return None

    def _mark_restarting(self, slot: Slot) -> None:
        slot.child, slot.restarting = None, True

    async def _failed(self, slot: Slot) -> ExitReason | None:
        self._mark_restarting(slot)
        wait = self._pause(slot)
        self._report_retry(slot, wait)
        if wait:
            await self._try_after(slot, wait)
        else:
            self._inbox.post(self._on_retry, self._retry_key(slot))
        return None

    async def _on_retry(self, key: object) -> ExitReason | None:
        slot = self._slot_to_retry(key)
        if slot is None or not slot.restarting:  # terminated, or started by a sibling's restart
            return None
        return await self._try_if_allowed(slot)

    async def _try_after(self, slot: Slot, wait: float) -> None:
        """Plan a restart. Those that go with it are stopped now; it counts when it is made."""
        at = trio.current_time() + wait
        await self._stop(one for one in self._team(slot)[::-1] if one is not slot)
        slot.due = at
        self._inbox.post_at(at, self._on_due, (slot, at))

    async def _on_due(self, paused: tuple[Slot, float]) -> ExitReason | None:
        slot, at = paused
        return await self._try_if_allowed(slot) if slot.due == at else None

    async def _try_if_allowed(self, slot: Slot) -> ExitReason | None:
        allowed = self._restarts.add(trio.current_time())
        return await self._try(slot) if allowed else self._give_up(slot)

    # Calls

    @property
    def is_alive(self) -> bool:
        return self.reason is None

    def kill(self) -> None:
        self._scope.cancel()

    def request_stop(self) -> None:
        """Ask the supervisor to stop, as its parent does. The request waits in the queue."""
        if self.is_alive:
            self._inbox.post(self._on_stop, None)

    async def _on_stop(self, _: None) -> ExitReason:
        return SHUTDOWN

    async def wait_ended(self) -> ExitReason:
        await self._ended.wait()
        assert self.reason is not None
        return self.reason

    async def call(self, name: str, args: tuple[Any, ...]) -> object:
        """Put a call in the queue and wait for its answer."""
        if not self.is_alive:
            raise NoProc(self.name)
        return await self._inbox.call(self._on_call, name, args)

    async def _on_call(self, call: Call) -> None:
        if call.withdrawn:
            return
        call.begun = True
        try:
            call.result = await getattr(self, f"_call_{call.name}")(*call.args)
        except SupervisorError as answer:
            call.error = answer
        except BaseException:
            self._inbox.put_back(self._on_call, call)  # answered with the others when all is over
            raise
        self._inbox.answer(call)

    # Reports

    def _report(self, kind: type[Report], **fields: Any) -> None:
        report = kind(supervisor=self.name, time=trio.current_time(), **fields)
        deliver(self.reporter, report)

    def _report_retry(self, slot: Slot, wait: float) -> None:
        self._restarts.prune(trio.current_time())
        self._report(
            RetryScheduled,
            id=slot.spec.id,
            pause=wait,
            tries=slot.tries,
            restarts=len(self._restarts),
            intensity=self.flags.intensity,
            period=self.flags.period,
        )

    def _report_terminated(
        self, slot: Slot, reason: ExitReason, action: Action, wait: float = 0.0
    ) -> None:
        team = self._team(slot) if action == "restart" else []
        others = [one.spec for one in team if one is not slot]
        self._report(
            ChildTerminated,
            id=slot.spec.id,
            reason=reason,
            restart=slot.spec.restart,
            action=action,
            strategy=self.flags.strategy,
            others=tuple(spec.id for spec in others if not vanishes(spec.restart)),
            dropped=tuple(spec.id for spec in others if vanishes(spec.restart)),
            restarts=len(self._restarts),
            intensity=self.flags.intensity,
            period=self.flags.period,
            pause=wait,
        )
