"""The mailbox: a bounded queue that accounts for every message it ever accepted.

It is made with the child spec, not by the actor, so messages outlive a restart. At any moment

    accepted = handled + faulted + dead-lettered + abandoned + in hand + waiting

with every accepted message in exactly one of them. A refused message was never accepted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Literal

import attrs
import trio

from nexus_actors.actors.message import Fate, Message
from nexus_actors.errors import MailboxFull

__all__ = ["Mailbox", "MailboxStatistics", "Overflow"]

Overflow = Literal["refuse", "wait", "drop_oldest", "drop_newest"]
"""What becomes of a message for a full mailbox: its sender gets ``MailboxFull``; or waits for room
within its deadline; or the oldest waiting message goes to dead letters in its favour; or it goes
there itself, counted as refused (somebody who asks gets ``MailboxFull``)."""


@attrs.frozen
class MailboxStatistics:
    """The account of a mailbox at one moment; counts are since it was made."""

    accepted: int
    refused: int
    handled: int
    faulted: int
    dead_lettered: int
    abandoned: int
    expired: int
    """Of the abandoned, those whose callers gave up while they waited: nobody began them."""
    in_hand: int
    waiting: int
    most_waiting: int
    """As many as ever waited at once."""
    oldest_waiting: float
    """Seconds since the acceptance of the oldest that waits; 0 where none does."""
    capacity: int


class Mailbox:
    """The waiting messages of the actor called ``owner``, at most ``capacity`` of them."""

    def __init__(self, owner: str, capacity: int = 1000) -> None:
        if capacity < 1:
            raise ValueError(f"the mailbox of {owner} wants a capacity of at least 1")
        self.owner = owner
        self.capacity = capacity
        self.paused = False
        """Whether only system messages are handed out: the actor is suspended by hand."""
        self._queue: deque[Message] = deque()
        """Waiting messages in order, among them some that were settled while they waited."""
        self._system: deque[Message] = deque()
        """System messages, which go first and have no bound. They are settled waiting
        only at the end of their incarnation or actor."""
        self._stashed: deque[Message] = deque()
        """Messages the actor has put aside, in order; they wait until it wants them back."""
        self._stale = 0
        """How many in the three were settled already: waiting = all their lengths - stale."""
        self._room = trio.lowlevel.ParkingLot()
        """Senders that wait for room, the first first."""
        self._turned_away = 0
        """How many times all of those were sent away; who sees it change no longer waits."""
        self._in_hand = 0
        self._accepted = 0
        self._most_waiting = 0
        self._expired = 0
        self._refused = 0
        self._fates: dict[Fate, int] = {
            "handled": 0, "faulted": 0, "dead-lettered": 0, "abandoned": 0
        }  # fmt: skip
        self._sleeper: trio.lowlevel.Task | None = None
        """The actor's task while it waits for something to do."""

    @property
    def waiting(self) -> int:
        """How many accepted messages nobody has taken yet."""
        return len(self._queue) + len(self._system) + len(self._stashed) - self._stale

    @property
    def put_aside(self) -> int:
        """How many of those that wait were stashed."""
        return sum(message.fate is None for message in self._stashed)

    @property
    def is_full(self) -> bool:
        """Whether no message but a system message fits."""
        return self.waiting - len(self._system) >= self.capacity

    def put(self, message: Message) -> None:
        """Accept ``message`` or refuse it.

        Raises:
            MailboxFull: as many wait as fit; the message is still the sender's.
        """
        waiting = self.waiting
        if message.system:
            self._system.append(message)
        elif waiting - len(self._system) >= self.capacity:
            self._refused += 1
            raise MailboxFull(self.owner, self.capacity)
        else:
            self._queue.append(message)
        if waiting >= self._most_waiting:
            self._most_waiting = waiting + 1
        message.accepted_at = trio.current_time()
        self._accepted += 1
        self.wake()

    async def wait_for_room(self, deadline: float) -> None:
        """Return when a message fits, or at ``deadline`` (Trio's clock) or the end of the actor
        without that; those who came first go first."""
        await trio.lowlevel.checkpoint()
        turned_away, came_first = self._turned_away, len(self._room)
        with trio.CancelScope(deadline=deadline):
            while (self.is_full or came_first) and self._turned_away == turned_away:
                came_first = 0
                await self._room.park()

    def turn_away_waiters(self) -> None:
        """Let all who wait for room go on, full or not: they will be refused."""
        self._turned_away += 1
        self._room.unpark_all()

    def refuse(self) -> None:
        """Count a message that was refused before it came to the queue."""
        self._refused += 1

    def take(self, admit: Callable[[Message], bool]) -> Message | None:
        """Take the next waiting message in hand if ``admit`` lets it in now, else return None.

        Order is kept: a message that is not admitted holds up those behind it.
        """
        queue = self._system or self._queue
        while queue:
            message = queue[0]
            if message.fate is not None:
                queue.popleft()
                self._stale -= 1
                queue = queue or self._queue
                continue
            if (self.paused and queue is self._queue) or not admit(message):
                return None
            queue.popleft()
            message.taken = True
            self._in_hand += 1
            if self._room:
                self._room.unpark()
            return message
        return None

    def stash(self, message: Message) -> None:
        """Put a message that is in hand aside: it waits until :meth:`unstash`."""
        assert message.taken, f"{message} is in nobody's hand"
        message.taken = message.begun = False
        self._in_hand -= 1
        self._stashed.append(message)

    def unstash(self) -> int:
        """Put all that was put aside before what waits, in its order; return how many."""
        alive = [message for message in self._stashed if message.fate is None]
        self._stale -= len(self._stashed) - len(alive)
        self._stashed.clear()
        self._queue.extendleft(reversed(alive))
        if alive:
            self.wake()
        return len(alive)

    def forget_system(self) -> None:
        """Settle the system messages that wait: the incarnation that they are for has ended."""
        while self._system:
            message = self._system.popleft()
            if message.fate is None:
                message.fate = "abandoned"
                self._fates["abandoned"] += 1
            else:
                self._stale -= 1

    def in_turn(self) -> Iterator[Message]:
        """The messages that are to be taken, the next one first; to be read at once."""
        return (m for m in chain(self._system, self._queue) if m.fate is None)

    def oldest(self) -> Message | None:
        """The message that has waited longest, system messages apart."""
        return next(
            (m for m in chain(self._stashed, self._queue) if m.fate is None),
            None,
        )

    def put_back(self, messages: Iterable[Message]) -> None:
        """Put messages that were taken in hand, and not begun, back before those that wait."""
        for message in sorted(messages, key=lambda message: message.number, reverse=True):
            assert message.taken, f"{message} is in nobody's hand"
            assert not message.begun, f"{message} cannot be as if untouched"
            message.taken = False
            self._in_hand -= 1
            (self._system if message.system else self._queue).appendleft(message)

    def settle(self, message: Message, fate: Fate) -> bool:
        """Give a message taken in hand its end; False where it had one already."""
        if message.fate is not None:
            return False
        message.fate = fate
        self._fates[fate] += 1
        self._in_hand -= 1
        return True

    def settle_waiting(self, message: Message, fate: Fate) -> bool:
        """Give a message that still waits its end; False where it had one already."""
        if message.fate is not None:
            return False
        message.fate = fate
        self._fates[fate] += 1
        if fate == "abandoned":
            self._expired += 1
        self._stale += 1
        if self._stale > self.capacity:
            # callers that gave up must not make the queue of a stuck actor grow without bound
            self._queue = deque(m for m in self._queue if m.fate is None)
            self._system = deque(m for m in self._system if m.fate is None)
            self._stashed = deque(m for m in self._stashed if m.fate is None)
            self._stale = 0
        if self._room:
            self._room.unpark()
        return True

    def waiting_messages(self) -> Iterator[Message]:
        """The messages nobody has taken yet, oldest first, as they are now."""
        every = chain(self._stashed, self._system, self._queue)
        return iter([message for message in every if message.fate is None])

    def wake(self) -> None:
        """Wake the actor's task if it sleeps in :meth:`sleep`."""
        if self._sleeper is not None:
            trio.lowlevel.reschedule(self._sleeper)
            self._sleeper = None

    async def sleep(self) -> None:
        """Wait until :meth:`wake` is called; only the one task of the actor may do so."""
        assert self._sleeper is None, f"two tasks wait for the mailbox of {self.owner}"
        self._sleeper = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._sleeper = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _oldest_waiting(self) -> float:
        queues = (self._stashed, self._system, self._queue)
        # one that was retried or put back need not be the first of them all, but is of its own
        firsts = (next((m for m in queue if m.fate is None), None) for queue in queues)
        accepted = [message.accepted_at for message in firsts if message is not None]
        return trio.current_time() - min(accepted) if accepted else 0.0

    def statistics(self) -> MailboxStatistics:
        """The account as it stands."""
        return MailboxStatistics(
            accepted=self._accepted,
            refused=self._refused,
            handled=self._fates["handled"],
            faulted=self._fates["faulted"],
            dead_lettered=self._fates["dead-lettered"],
            abandoned=self._fates["abandoned"],
            expired=self._expired,
            in_hand=self._in_hand,
            waiting=self.waiting,
            most_waiting=self._most_waiting,
            oldest_waiting=self._oldest_waiting(),
            capacity=self.capacity,
        )
