"""Turns: how long a busy actor goes on before it lets other tasks run.

Trio's scheduler works in passes: in each, every task that is ready runs once, until it waits. So
what the turns of all actors take together in one pass is what every other task waits for its own.
They share :data:`PASS` seconds, each as much as the others, and none takes more than :data:`TURN`.
However many there are, each handles one message a pass.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import trio

__all__ = ["PASS", "TURN", "Turns", "turns_of_this_run"]

TURN = 0.0002
"""Seconds that one actor handles messages at a time, at most: beyond that, others wait for little
gain."""
PASS = 0.0004
"""Seconds for the turns of all actors in one pass: a second task gets its turn within 1 ms."""


class Turns(trio.abc.Instrument):
    """Shares out the time of each pass of one run of Trio."""

    def __init__(self) -> None:
        self.clock: Callable[[], float] = trio.current_time
        """What tells the time of turns: Trio's clock, or the counter below it, which is read in a
        third of the time."""
        if type(trio.lowlevel.current_clock()).__module__.startswith("trio._core._run"):
            self.clock = perf_counter
        self.number = 0
        """Of the present pass. While it does not change, the task that asks has not waited."""
        self._shared = 0
        """The pass whose time was shared out last."""
        self._turns = 0
        """How many turns that one had so far."""
        self._share = TURN
        self._ends = 0.0
        """When its time is up."""

    def after_io_wait(self, timeout: float) -> None:
        """Trio begins a pass."""
        self.number += 1

    def begin(self, now: float) -> tuple[int, float]:
        """A turn begins: the pass it is in, and when it ends (by :attr:`clock`)."""
        if self._shared != self.number:
            # as many will want a turn as did before; if there are more, the last have less
            self._share = min(TURN, PASS / (self._turns or 1))
            self._shared, self._turns, self._ends = self.number, 0, now + PASS
        self._turns += 1
        return self.number, min(now + self._share, self._ends)


_turns: trio.lowlevel.RunVar[Turns] = trio.lowlevel.RunVar("nexus_turns")


def turns_of_this_run() -> Turns:
    """The same for all actors of one run of Trio; made for the first of them."""
    try:
        return _turns.get()
    except LookupError:
        turns = Turns()
        _turns.set(turns)
        trio.lowlevel.add_instrument(turns)
        return turns
