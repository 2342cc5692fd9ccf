"""The mailbox: a bounded queue that accounts for every message it ever accepted.

It is made with the child spec, not by the actor, so messages outlive a restart. At any moment

    accepted = handled + faulted + dead-lettered + abandoned + in hand + waiting

with every accepted message in exactly one of them. A refused message was never accepted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import attrs
import trio

from nexus_actors.actors.message import Fate, Message
from nexus_actors.errors import MailboxFull

__all__ = ["Mailbox", "MailboxStatistics"]


@attrs.frozen
class MailboxStatistics:
    """The account of a mailbox at one moment; counts are since it was made."""

    accepted: int
    refused: int
    handled: int
    faulted: int
    dead_lettered: int
    abandoned: int
    in_hand: int
    waiting: int
    capacity: int


class Mailbox:
    """The waiting messages of the actor called ``owner``, at most ``capacity`` of them."""

    def __init__(self, owner: str, capacity: int = 1000) -> None:
        if capacity < 1:
            raise ValueError(f"the mailbox of {owner} wants a capacity of at least 1")
        self.owner = owner
        self.capacity = capacity
        self._queue: deque[Message] = deque()
        """Waiting messages in order, among them some that were settled while they waited."""
        self._stale = 0
        """How many in the queue were settled already: waiting = len(queue) - stale."""
        self._in_hand = 0
        self._accepted = 0
        self._refused = 0
        self._fates: dict[Fate, int] = {
            "handled": 0, "faulted": 0, "dead-lettered": 0, "abandoned": 0
        }  # fmt: skip
        self._sleeper: trio.lowlevel.Task | None = None
        """The actor's task while it waits for something to do."""

    @property
    def waiting(self) -> int:
        """How many accepted messages nobody has taken yet."""
        return len(self._queue) - self._stale

    def put(self, message: Message) -> None:
        """Accept ``message`` or refuse it.

        Raises:
            MailboxFull: as many wait as fit; the message is still the sender's.
        """
        if self.waiting >= self.capacity:
            self._refused += 1
            raise MailboxFull(self.owner, self.capacity)
        self._accepted += 1
        self._queue.append(message)
        self.wake()

    def refuse(self) -> None:
        """Count a message that was refused before it came to the queue."""
        self._refused += 1

    def take(self, admit: Callable[[Message], bool]) -> Message | None:
        """Take the next waiting message in hand if ``admit`` lets it in now, else return None.

        Order is kept: a message that is not admitted holds up those behind it.
        """
        queue = self._queue
        while queue:
            message = queue[0]
            if message.fate is not None:
                queue.popleft()
                self._stale -= 1
                continue
            if not admit(message):
                return None
            queue.popleft()
            message.taken = True
            self._in_hand += 1
            return message
        return None

    def put_back(self, messages: Iterable[Message]) -> None:
        """Put messages that were taken in hand, and not begun, back before those that wait."""
        for message in sorted(messages, key=lambda message: message.number, reverse=True):
            assert message.taken, f"{message} is in nobody's hand"
            assert not message.begun, f"{message} cannot be as if untouched"
            message.taken = False
            self._in_hand -= 1
            self._queue.appendleft(message)

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
        self._stale += 1
        if self._stale > self.capacity:
            # callers that gave up must not make the queue of a stuck actor grow without bound
            self._queue = deque(m for m in self._queue if m.fate is None)
            self._stale = 0
        return True

    def waiting_messages(self) -> Iterator[Message]:
        """The messages nobody has taken yet, oldest first, as they are now."""
        return iter([m for m in self._queue if m.fate is None])

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

    def statistics(self) -> MailboxStatistics:
        """The account as it stands."""
        return MailboxStatistics(
            accepted=self._accepted,
            refused=self._refused,
            handled=self._fates["handled"],
            faulted=self._fates["faulted"],
            dead_lettered=self._fates["dead-lettered"],
            abandoned=self._fates["abandoned"],
            in_hand=self._in_hand,
            waiting=self.waiting,
            capacity=self.capacity,
        )
