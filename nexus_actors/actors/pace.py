"""The pace of who sends: now and then it lets others run, or what it sends would never be handled.

A pass of Trio's scheduler costs as much as twenty messages, so it does not do so for each; how long
those who handle messages go on is :mod:`.turns`' to say.
"""

from __future__ import annotations

import trio

from nexus_actors.actors.turns import TURN, turns_of_this_run

__all__ = ["Pace", "pace"]

CREDIT = 32
"""Messages that may be sent before the clock is looked at: reading it costs as much as sending."""


class Pace:
    """What may still be sent before others run."""

    __slots__ = ("_ends", "credit")

    def __init__(self) -> None:
        self.credit = CREDIT
        """Messages that may still be sent before :meth:`breathe` is to be called."""
        self._ends = 0.0

    async def breathe(self) -> None:
        """Let others run if it is time to."""
        self.credit = CREDIT
        clock = turns_of_this_run().clock
        if clock() >= self._ends:
            await trio.lowlevel.checkpoint()
            self._ends = clock() + TURN


pace = Pace()
"""One for the process: with schedulers in several threads, who sends yields a little oftener."""
