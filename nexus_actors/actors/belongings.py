"""What one incarnation of an actor owns besides its messages: children, timers, monitors, links,
places in groups. All of it ends with the incarnation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from nexus_actors.actors.address import Address
from nexus_actors.actors.children import Children, check_own
from nexus_actors.actors.given import check_seconds, given_cell, given_plan
from nexus_actors.actors.links import NO_PROC, Down, Watch
from nexus_actors.actors.message import Message
from nexus_actors.actors.routing import Pool, Route
from nexus_actors.errors import MailboxFull, Unanswered
from supervisors import ExitReason

if TYPE_CHECKING:
    from nexus_actors.actors.cell import ActorCell
    from nexus_actors.actors.groups import Group
    from nexus_actors.actors.kernel import Kernel

__all__ = ["Belongings", "Timer", "Watch"]

HANDLE_TIMEOUT = 60.0
"""Seconds the handler of a timer's or a system message may take."""


class Timer:
    """A message that is planned."""

    __slots__ = ("_scope",)

    def __init__(self) -> None:
        self._scope = trio.CancelScope()

    def cancel(self) -> None:
        """Take it back; more than once, or too late, is no error."""
        self._scope.cancel()


class Belongings:
    """See the module. Opened with the incarnation's nursery, closed when that is empty."""

    def __init__(
        self, cell: ActorCell, kernel: Kernel, handle_timeout: float = HANDLE_TIMEOUT
    ) -> None:
        """``handle_timeout``: seconds that the handler of a timer may take."""
        self._handle_timeout = handle_timeout
        self._cell = cell
        self._kernel = kernel
        self.address = Address(cell)
        self.nursery: trio.Nursery
        """The incarnation's; set by :meth:`open`."""
        self._children: Children | None = None
        self._first_child = trio.Lock()
        """Held while the supervisor of the children is started, which is done once."""
        self._watches: set[Watch] = set()
        """Its interest in others, to be forgotten when it ends."""
        self._groups: set[Group] = set()

    def open(self, nursery: trio.Nursery, state: Callable[[], dict[str, Any]]) -> None:
        """The incarnation begins; ``state`` gives what :meth:`.Address.look` shows of it."""
        self.nursery = nursery
        self._cell.inside = state

    async def drain(self) -> None:
        """Stop the children in good order."""
        if self._children is not None:
            await self._children.close()

    def close(self) -> None:
        """The incarnation has ended: forget what it was interested in. More than once is no error:
        its clean-up may have been interested in more."""
        self._cell.inside = dict
        for watch in [*self._watches]:  # a link's other half stays: it tells the other of this end
            watch.address._cell.unwatch(watch)
        self._watches.clear()
        for group in self._groups:
            group.remove(self.address)
        self._groups.clear()

    def finish(self) -> None:
        """End normally once the messages in hand are handled."""
        self._cell.finish()

    def unstash(self) -> int:
        """Put what was stashed before what waits."""
        return self._cell.mailbox.unstash()

    # -- children --------------------------------------------------------------------------------

    async def spawn(self, kind: Any, *args: Any, name: str, **options: Any) -> Address:
        """Start a child; see :meth:`.Actor.spawn`."""
        plan = given_plan("spawn", kind, args, options)
        return await (await self._brood()).spawn(plan, name)

    async def spawn_pool(
        self, kind: Any, *args: Any, size: int, route: Route, name: str, **options: Any
    ) -> Pool:
        """Start a pool of children; see :meth:`.Actor.spawn_pool`."""
        plan = given_plan("spawn_pool", kind, args, options)
        return await (await self._brood()).spawn_pool(plan, size=size, route=route, name=name)

    async def stop_child(self, child: Address) -> None:
        """Stop a child for good."""
        cell = given_cell("stop_child", child)
        check_own(self._cell.name, cell)
        if self._children is not None:
            await self._children.stop(cell)

    async def _brood(self) -> Children:
        async with self._first_child:
            if self._children is None:
                children = Children(self._cell.name, self._kernel)
                await self.nursery.start(children.run)
                self._children = children  # not before: who spawns may be cancelled meanwhile
        return self._children

    # -- others ----------------------------------------------------------------------------------

    def monitor(self, other: Address) -> Watch:
        """See :meth:`.Actor.monitor`."""
        given_cell("monitor", other)
        return self._watch(other, lambda reason: self._cell.notify(Down(other, reason)))

    def link(self, other: Address) -> Watch:
        """See :meth:`.Actor.link`."""
        cell, own = given_cell("link", other), self._cell
        mine = Watch(self.address, lambda reason: cell.exit_signal(self.address, reason))
        if cell.is_up:
            own.watch(mine)

        def ended(reason: ExitReason) -> None:
            own.unwatch(mine)  # what comes after that end is another incarnation's
            own.exit_signal(other, reason)

        return self._watch(other, ended, lambda: own.unwatch(mine))

    def join(self, name: str) -> Group:
        """See :meth:`.Actor.join`."""
        group = self._kernel.groups.group(name)
        group.add(self.address)
        self._groups.add(group)
        return group

    def _watch(
        self,
        other: Address,
        on_end: Callable[[ExitReason], None],
        on_cancel: Callable[[], None] = lambda: None,
    ) -> Watch:
        cell = other._cell

        def ended(reason: ExitReason) -> None:
            self._watches.discard(watch)
            on_end(reason)

        def forget() -> None:
            cell.unwatch(watch)
            self._watches.discard(watch)
            on_cancel()

        watch = Watch(other, ended, forget)
        if cell.is_up:
            self._watches.add(watch)
            cell.watch(watch)
        else:
            ended(NO_PROC)
        return watch

    # -- time ------------------------------------------------------------------------------------

    def send_after(self, seconds: float, payload: Any) -> Timer:
        """See :meth:`.Actor.send_after`."""
        check_seconds(f"{self._cell.name}: the time of send_after()", seconds, least=0)
        return self._timer(seconds, payload, math.inf)

    def every(self, seconds: float, payload: Any) -> Timer:
        """See :meth:`.Actor.every`."""
        check_seconds(f"{self._cell.name}: the time of every()", seconds, above=0)
        return self._timer(seconds, payload, seconds)

    def _timer(self, first: float, payload: Any, period: float) -> Timer:
        timer = Timer()
        self._cell.check("timer", payload)
        self.nursery.start_soon(self._tick, timer, first, payload, period)
        return timer

    def _put(self, message: Message, *, again: bool) -> bool:
        """Put a timer's message into the mailbox; False where it did not take it. Where no tick
        comes ``again`` that tries anew, what a full one refuses goes to dead letters."""
        try:
            return self._cell.offer(message)
        except MailboxFull:
            if not again:
                self._cell.lose(message, "mailbox full")
        except Unanswered:
            pass  # it ends, and its timers with it
        return False

    async def _tick(self, timer: Timer, first: float, payload: Any, period: float) -> None:
        due, last = trio.current_time() + first, None
        with timer._scope:
            while True:
                await trio.sleep_until(due)
                if last is None or last.fate is not None:
                    last = Message(
                        "timer",
                        payload,
                        sender=self._cell.name,
                        handle_timeout=self._handle_timeout,
                    )
                    if not self._put(last, again=period != math.inf):
                        last = None  # the next tick tries anew
                if period == math.inf:
                    return
                # ticks that were missed are left out, the rhythm stays
                late = max(0.0, trio.current_time() - due)
                due += period * (1 + late // period)
