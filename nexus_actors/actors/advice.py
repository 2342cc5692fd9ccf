"""Advice to an author: when one-at-a-time costs more than it gives, say so, once an incarnation.

A handler that waits (for the database, for another plugin) holds up those behind it although
nobody works. When that has gone on for :data:`ENOUGH` seconds, most of the time, the actor would
answer sooner with ``concurrency``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from nexus_actors.actors.message import Message

__all__ = ["ENOUGH", "IdleWatch"]

ENOUGH = 5.0
"""Seconds that messages waited behind handlers that were themselves waiting, before it is said."""
_MOSTLY = 0.5
_PLUGIN = (
    'if the plugin keeps no state between its awaits, set "concurrency" in its plugin.json, or '
    "together=True on the handler"
)
_ACTOR = (
    "if the actor keeps no state between its awaits, let its messages interleave there: "
    "class Worker(Actor, concurrency=10)"
)


class IdleWatch:
    """Adds up how long handlers that ran alone held up others while nobody worked."""

    __slots__ = ("_began", "_cpu", "_fix", "_held_up", "_idle", "_said", "_say", "_worst")

    def __init__(self, say: Callable[[str], object], is_plugin: bool) -> None:
        self._say = say
        self._fix = _PLUGIN if is_plugin else _ACTOR
        self._said = False
        self._held_up = 0.0
        self._idle = 0.0
        self._worst: dict[str, float] = {}
        self._began = self._cpu = 0.0

    def begin(self) -> None:
        """A handler that runs alone begins."""
        self._began = trio.current_time()
        self._cpu = time.thread_time()

    def end(self, message: Message, others_wait: bool) -> None:
        """That of ``message`` ended; ``others_wait`` tells whether messages had to wait for it."""
        if self._said or not others_wait:
            return
        took = trio.current_time() - self._began
        # other tasks' work is in it too: what is called idle was idle, not all that was idle is
        idle = max(0.0, took - (time.thread_time() - self._cpu))
        self._held_up += took
        self._idle += idle
        handler = message.handler or message.about or type(message.payload).__name__
        self._worst[handler] = self._worst.get(handler, 0.0) + idle
        if self._idle >= ENOUGH and self._idle >= _MOSTLY * self._held_up:
            self._said = True
            worst = max(self._worst, key=self._worst.__getitem__)
            self._say(
                f"messages waited {self._held_up:.1f} s for handlers that were themselves waiting "
                f"{self._idle:.1f} s of it (most in {worst}); {self._fix}"
            )
