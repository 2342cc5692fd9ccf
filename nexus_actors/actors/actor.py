"""One incarnation of an actor: it takes messages from the cell's mailbox and runs their handlers.

What a handler is, is said by a :class:`Behaviour`; how handlers are run is :mod:`.taking`'s, what
their endings mean :mod:`.settling`'s. Here are its start, its end and its clean-up.

An incarnation is a function for a child spec::

    async def start(child):
        await run_incarnation(child, cell, behaviour, limits)

It ends when its supervisor asks it to (messages in hand are finished first) or by a crash.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

import trio

from nexus_actors import log
from nexus_actors.actors.cell import ActorCell, HeldUp
from nexus_actors.actors.faults import HandlerTimeout, collapse, failure_of, has_cancelled
from nexus_actors.actors.history import CleanedUpBadly, StartedLate
from nexus_actors.actors.message import Message, Mode
from nexus_actors.actors.owner import Owner
from nexus_actors.actors.run_queue import RunQueue
from nexus_actors.actors.settling import Limits, PluginFault, Settler, words_of
from nexus_actors.actors.starting import beginning
from nexus_actors.actors.taking import Taker
from supervisors import KILLED, NORMAL, SHUTDOWN, Child, ExitReason
from supervisors import error as exit_error

__all__ = ["Behaviour", "Incarnation", "Limits", "PluginFault", "run_incarnation"]


class Behaviour(Protocol):
    """What an actor does. Every method runs in the incarnation's tasks."""

    async def start(self, nursery: trio.Nursery) -> None:
        """Get ready. ``nursery`` belongs to this incarnation; a crash in it is the actor's."""

    methods: dict[type, Callable[[Any], Any]]
    """What handles a payload of that type which lies bare in the mailbox; empty where none does."""

    def method_for(self, payload: Any) -> Callable[[Any], Any]:
        """The one for ``payload``, put into :attr:`methods` as well."""

    async def handle(self, message: Message) -> Any:
        """Handle one message and return the answer (ignored where nobody waits for one)."""

    async def drain(self) -> None:
        """End open sessions; called once no message is in hand, before the nursery ends."""

    async def stop(self) -> None:
        """Clean up; called once when the nursery is empty, also after a crash."""


async def run_incarnation(
    child: Child,
    cell: ActorCell,
    behaviour: Behaviour,
    limits: Limits,
    on_running: Callable[[], None] = lambda: None,
    queue: RunQueue | None = None,
    owner: Owner | None = None,
) -> None:
    """Run one incarnation until it is asked to stop or crashes; raises the crash.

    ``child.started()`` is called once :meth:`Behaviour.start` has returned, then ``on_running``.
    Handlers run in ``queue``, which must outlive it; without one it has its own. ``owner`` is told
    how to crash it, and when it has ended.
    """
    await Incarnation(child, cell, behaviour, limits, on_running, queue, owner).run()


class Incarnation:
    """The life of one incarnation: its start, its end, and the clean-up."""

    def __init__(
        self,
        child: Child,
        cell: ActorCell,
        behaviour: Behaviour,
        limits: Limits,
        on_running: Callable[[], None],
        queue: RunQueue | None,
        owner: Owner | None = None,
    ) -> None:
        self._child = child
        self._cell = cell
        self._behaviour = behaviour
        self._limits = limits
        self._on_running = on_running
        self._queue = queue
        self._settler = Settler(cell, limits, self._crashed)
        self._taker = Taker(cell, behaviour, limits, self._settler)
        self._finishing = False
        """Whether it ends by the actor's own wish."""
        self._crash: BaseException | None = None
        """The first crash; once set, the nursery is cancelled and it is raised at the end."""
        cell.equip(behaviour)
        self._owner = owner
        self._nursery: trio.Nursery

    async def run(self) -> None:
        """See :func:`run_incarnation`."""
        try:
            async with trio.open_nursery() as self._nursery:
                if self._owner is not None:
                    self._owner.crash = self._crash_unless_it_ends
                await self._start()
                self._child.on_stop(self._asked_to_stop)
                await self._taker.run(self._nursery, self._queue)
                await self._behaviour.drain()
                self._nursery.cancel_scope.cancel()
        except BaseException as error:
            if has_cancelled(error):
                raise
            error = collapse(error)
            if self._crash is None:
                self._crash = error
            else:
                self._cell.faults += 1
                self._logger().warning(
                    f"raised while it was being ended: {words_of(error)}", exc_info=error
                )
        finally:
            if self._owner is not None:
                self._owner.ended = True
            self._cut_off()
            try:
                await self._clean_up()
            finally:
                self._cell.end(self._ending())
                self._taker.forget()
        if self._crash is not None:
            self._cell.crashes += 1
            if isinstance(self._crash, GeneratorExit):
                # to every coroutine above it would mean that it is thrown away, not that it failed
                raise RuntimeError("it raised GeneratorExit") from self._crash
            raise self._crash

    def _ending(self) -> ExitReason:
        if self._crash is not None:
            return exit_error(self._crash)
        if self._finishing:
            return NORMAL
        return SHUTDOWN if self._taker.closing else KILLED

    def finish(self) -> None:
        """See :class:`.Control`."""
        self._finishing = True
        self._taker.close()

    def crash(self, error: BaseException) -> None:
        """See :class:`.Control`."""
        self._crashed(error)

    def _crash_unless_it_ends(self, error: BaseException) -> None:
        """For what its code did outside of its tasks."""
        if not self._nursery.cancel_scope.cancel_called:
            self._crashed(error)

    def held_up(self, mode: Mode) -> HeldUp | None:
        """See :class:`.Control`."""
        return self._taker.held_up(mode)

    async def _start(self) -> None:
        where: TracebackType | None = None
        """Where it was when its time was up: the place to look at."""
        began, allowed = trio.current_time(), self._limits.start_timeout
        with trio.CancelScope(deadline=began + allowed) as scope:
            try:
                with beginning(self._cell, self._nursery):
                    await self._behaviour.start(self._nursery)
            except BaseException as cut:
                where = cut.__traceback__
                raise
        if scope.cancelled_caught:
            late = HandlerTimeout(
                f"initialize of {self._cell.name} did not end within {allowed:g} s"
            )
            raise late.with_traceback(where)
        if scope.cancel_called:
            now = trio.current_time()
            report = StartedLate(time=now, took=now - began, allowed=allowed)
            self._logger().warning(str(report))
            self._cell.history.add(report)
        self._cell.incarnation += 1
        self._cell.crashed_on = ""
        self._cell.begin(self)
        self._cell.enter("running")
        self._child.started()
        self._on_running()

    def _asked_to_stop(self) -> None:
        self._cell.enter("stopping" if self._cell.ending else "restarting")
        self._taker.close()
        if self._cell.in_hand:
            self._nursery.start_soon(self._cut_late_ones)

    async def _cut_late_ones(self) -> None:
        # half of the time left is for the messages in hand, the other half for the clean-up
        await trio.sleep((self._child.stop_deadline - trio.current_time()) / 2)
        for message in [*self._cell.in_hand.values()]:
            message.cancel("stop")

    def _crashed(
        self, error: BaseException, message: Message | None = None, rule: str = ""
    ) -> None:
        if self._crash is None:
            self._crash = error
            self._cell.crashed_on = "" if message is None else message.words() + rule
            self._cell.mailbox.leave()
            self._nursery.cancel_scope.cancel()

    def _cut_off(self) -> None:
        """Settle what was in hand when the incarnation ended under it."""
        self._cell.mailbox.leave()
        self._settler.interrupt_all(crashed=self._crash is not None or not self._taker.closing)
        self._cell.in_hand.clear()
        if self._cell.state == "running":
            self._cell.enter("restarting")

    async def _clean_up(self) -> None:
        shutdown = self._child.shutdown
        limit = shutdown if isinstance(shutdown, float | int) else math.inf
        with trio.CancelScope(deadline=trio.current_time() + limit) as scope:
            try:
                await self._behaviour.stop()
            except BaseException as error:
                if has_cancelled(error):
                    raise
                error = collapse(error)
                self._cleaned_up_badly(f"failed: {words_of(error)}", error)
                if self._crash is None:
                    self._crash = error
        if scope.cancelled_caught:
            self._cleaned_up_badly(f"did not end within {limit:g} s", None)

    def _cleaned_up_badly(self, why: str, error: BaseException | None) -> None:
        self._logger().error(f"cleanup {why}", exc_info=error)
        self._cell.history.add(
            CleanedUpBadly(
                time=trio.current_time(),
                why=why,
                failure=None if error is None else failure_of(error),
            )
        )

    def _logger(self) -> Any:
        return log.plugin_logger(self._cell.name)
