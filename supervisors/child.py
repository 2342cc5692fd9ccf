"""One incarnation of a child: the task it runs in, its stop request, and how it ended."""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Literal

import trio

from .exits import (
    IGNORE,
    KILLED,
    NORMAL,
    SHUTDOWN,
    BadReturn,
    ExitReason,
    error,
    from_exception,
)

if TYPE_CHECKING:
    from .reports import Reporter
    from .spec import ChildSpec
    from .tree import SupervisorRef

__all__ = ["Child"]

Ended = Callable[["Child"], None]
State = Literal["starting", "running", "ignored", "failed", "ended"]


class Child:
    """A running child, seen from its start function and by whoever holds its handle.

    The start function gets it as its first argument. It is one incarnation: a restart makes
    another. It is compared by identity.
    """

    __slots__ = (
        "_changed",
        "_ended_event",
        "_fault",
        "_on_stop",
        "_scope",
        "_stop_event",
        "exit_reason",
        "extra",
        "incarnation",
        "name",
        "reporter",
        "spec",
        "started_at",
        "state",
        "stop_deadline",
        "stop_requested",
        "supervisor",
    )

    def __init__(
        self, spec: ChildSpec, name: str, incarnation: int, reporter: Reporter, changed: Ended
    ) -> None:
        self.spec = spec
        """The spec it was started from."""
        self.name = name
        """Where it is in the tree: ``root/shop/cache``."""
        self.incarnation = incarnation
        """How many times this spec was started under this supervisor, from 1."""
        self.state: State = "starting"
        """``starting`` until started() or the failure of it; ``running``; then ``ended``."""
        self.started_at = math.nan
        """When it called started(), in Trio's time; nan before."""
        self.extra: object = None
        """What it gave to started()."""
        self.exit_reason: ExitReason | None = None
        """How it ended; None while it runs. Written once, by the child's own task."""
        self.stop_requested = False
        """Whether the supervisor has asked it to stop."""
        self.stop_deadline = math.inf
        """When it will be cancelled, in Trio's time; inf before a request and for ``infinity``."""
        self.supervisor: SupervisorRef | None = None
        """The handle to talk to, where this child is itself a supervisor."""
        self.reporter = reporter
        """Where its supervisor's reports go; a nested supervisor sends its own there too."""
        self._scope = trio.CancelScope()
        self._stop_event: trio.Event | None = None
        self._on_stop: list[Callable[[], None]] = []
        self._ended_event: trio.Event | None = None
        self._fault: ExitReason | None = None  # what an on_stop callback raised
        self._changed = changed

    def __repr__(self) -> str:
        return f"<Child {self.name}#{self.incarnation} {self.state}>"

    @property
    def id(self) -> Any:
        """The id of its spec: what it is called in its supervisor."""
        return self.spec.id

    @property
    def restart(self) -> str:
        """When it is started again: ``permanent``, ``transient`` or ``temporary``."""
        return self.spec.restart

    @property
    def shutdown(self) -> float | str:
        """How it is stopped: seconds it has to end, ``infinity`` or ``brutal_kill``."""
        assert self.spec.shutdown is not None
        return self.spec.shutdown

    @property
    def is_alive(self) -> bool:
        """True from started() until it has ended."""
        return self.state == "running"

    # What the start function calls

    def started(self, extra: object = None) -> None:
        """Say that the child is up: its supervisor goes on to the next one. Called once.

        `extra` is handed to whoever asked for the start, as ``child.extra``.
        """
        if self.state != "starting":
            raise RuntimeError(f"{self.name}: started() was called when it was {self.state}")
        self.extra = extra
        self.started_at = trio.current_time()
        self.state = "running"
        self._changed(self)

    async def wait_stop(self) -> None:
        """Wait until the supervisor asks the child to stop; at once if it already has.

        What is left to do must be done by :attr:`stop_deadline`.
        """
        if self._stop_event is None:
            self._stop_event = trio.Event()
            if self.stop_requested:
                self._stop_event.set()
        await self._stop_event.wait()

    async def wait_ended(self) -> ExitReason:
        """Wait until the child has ended; give its exit reason. For others than the child."""
        if self._ended_event is None:
            self._ended_event = trio.Event()
        while self.exit_reason is None:
            await self._ended_event.wait()
        return self.exit_reason

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the child is asked to stop; now, if it already was.

        For children that have a queue of their own and would need a task just to wait. It runs in
        the supervisor's task and must be quick. If it raises, the child ends with that error.
        """
        if self.stop_requested:
            callback()
        else:
            self._on_stop.append(callback)

    def runs(self, supervisor: SupervisorRef) -> None:
        """Say that this child is that supervisor, so that which_children() can lead to it."""
        self.supervisor = supervisor

    # What the supervisor calls

    def _request_stop(self, deadline: float) -> None:
        if self.stop_requested or self.exit_reason is not None:
            return
        self.stop_requested = True
        self.stop_deadline = deadline
        if self._stop_event is not None:
            self._stop_event.set()
        for callback in self._on_stop:
            try:
                callback()
            except Exception as exc:  # noqa: BLE001 - a boundary: it is the child's fault, and its end
                self._fault = from_exception(exc)
                self._kill()

    def _kill(self) -> None:
        self._scope.cancel()

    async def _live(self, args: tuple[Any, ...]) -> None:
        """The child's task: run the start function and put its ending down as a reason."""
        reason: ExitReason | None = None  # as long as it is None, the task was cancelled
        outcome: object = None
        try:
            with self._scope:
                life = self.spec.start(self, *args)
                if isawaitable(life):
                    outcome = await life
                    reason = self._reason_of(outcome)
                else:
                    words = f"its start function is not async: it returned {life!r} at once"
                    reason = error(BadReturn(repr(life), words))
        except trio.Cancelled:
            raise
        except GeneratorExit:  # the coroutine is being thrown away, not running
            raise
        except BaseExceptionGroup as group:
            cancelled, faults = group.split(trio.Cancelled)
            if faults is not None:
                reason = from_exception(faults)
            if cancelled is not None:
                raise cancelled from None
        except BaseException as exc:  # noqa: BLE001 - every ending becomes a reason, SystemExit too
            reason = from_exception(exc)
        finally:
            self._end(reason or self._fault or KILLED, ignored=outcome is IGNORE)

    def _reason_of(self, outcome: object) -> ExitReason:
        if isinstance(outcome, ExitReason):
            return outcome
        if self.state == "starting":
            if outcome is IGNORE:
                return NORMAL
            if outcome is None:
                return error(BadReturn(None, "it returned before it called started()"))
        elif outcome is None:
            return SHUTDOWN if self.stop_requested else NORMAL
        plain = outcome if isinstance(outcome, str | int | float | bool) else repr(outcome)
        return error(BadReturn(plain, f"it returned {outcome!r}, which is not an ExitReason"))

    def _end(self, reason: ExitReason, ignored: bool) -> None:
        if self.state == "starting":
            self.state = "ignored" if ignored else "failed"
        else:
            self.state = "ended"
        self.exit_reason = reason
        self._on_stop.clear()
        if self._ended_event is not None:
            self._ended_event.set()
        self._changed(self)
