"""The mailbox: a bounded queue that accounts for every message it ever accepted.

It is made with the child spec, not by the actor, so messages outlive a restart. At any moment

    accepted = handled + faulted + dead-lettered + abandoned + in hand + waiting

with every accepted message in exactly one of them. A refused message was never accepted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import attrs
import trio

from nexus_actors.actors.message import TELL_TIMEOUT, Fate, Message
from nexus_actors.errors import MailboxFull

if TYPE_CHECKING:
    from nexus_actors.actors.taking import Taker

__all__ = ["NOTHING", "Mailbox", "MailboxStatistics", "Overflow"]

Overflow = Literal["refuse", "wait", "drop_oldest", "drop_newest"]
"""What becomes of a message for a full mailbox: its sender gets ``MailboxFull``; or waits for room
within its deadline; or the oldest waiting message goes to dead letters in its favour; or it goes
there itself, counted as refused (somebody who asks gets ``MailboxFull``). A timer has no sender to
be told: what is refused of one that fires once goes to dead letters as well."""


NOTHING: Any = object()
"""Where nothing lies."""


MARKS = 100
"""Of how many bare messages it is kept when they came."""


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
    """Seconds since the acceptance of the oldest that waits; 0 where none does. Of messages that
    were told in quick succession it is known for some, and is theirs for those after them."""
    capacity: int


class Mailbox:
    """The waiting messages of the actor called ``owner``, at most ``capacity`` of them.

    What was told with nothing to say about it but its payload may wait *bare*, as that payload:
    a :class:`.Message` is made of it when somebody needs one.
    """

    def __init__(self, owner: str, capacity: int = 1000) -> None:
        if capacity < 1:
            raise ValueError(f"the mailbox of {owner} wants a capacity of at least 1")
        self.owner = owner
        self.capacity = capacity
        self.paused = False
        """Whether only system messages are handed out: the actor is suspended by hand; changed by
        :meth:`pause` alone."""
        self.queue: deque[Any] = deque()
        """Waiting messages in order, among them some that were settled while they waited, and
        payloads that lie bare. The object stays the same."""
        self.bare: Any = NOTHING
        """The payload in hand that was taken bare and not looked at yet."""
        self.bare_handled = 0
        """How many were handled without ever becoming a :class:`.Message`."""
        self.bare_room = 0
        """A payload may be put bare while fewer than that wait in the queue; 0: none may."""
        self.urgent = True
        """Whether something goes before what lies in the queue, or nothing may be taken of it."""
        self.senders_wait = 0
        """How many wait for room."""
        self.kinds: Collection[type] = ()
        """The types of which payloads may be put bare."""
        self._is_open = False
        self._is_left = True
        """Whether no incarnation takes messages."""
        self._takes_bare = False
        """Whether that handles what lies bare."""
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
        self.accepted = 0
        self._marks: deque[tuple[int, float]] = deque(maxlen=MARKS)
        """For some of what was put bare: the how manieth it was, and when (Trio's clock)."""
        self._most_waiting = 0
        self._expired = 0
        self._refused = 0
        self._fates: dict[Fate, int] = {
            "handled": 0, "faulted": 0, "dead-lettered": 0, "abandoned": 0
        }  # fmt: skip
        self.taker: Taker | None = None
        """What takes the messages, while an incarnation does."""
        self.stands_in_queue = True
        """Whether its actor will look into it without being woken, or there is none to do so."""

    @property
    def waiting(self) -> int:
        """How many accepted messages nobody has taken yet."""
        return len(self.queue) + len(self._system) + len(self._stashed) - self._stale

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
            self.urgent = True
        elif waiting - len(self._system) >= self.capacity:
            self._refused += 1
            raise MailboxFull(self.owner, self.capacity)
        else:
            self.queue.append(message)
        if waiting >= self._most_waiting:
            self._most_waiting = waiting + 1
        message.accepted_at = trio.current_time()
        self.accepted += 1
        self.wake()

    def mark(self) -> None:
        """Note that the last one was put now, which was put bare."""
        self._marks.append((self.accepted, trio.current_time()))

    def waited_since(self, position: int = 0) -> float:
        """When about what lies bare at ``position`` in the queue was accepted (Trio's clock)."""
        number = self.accepted - len(self.queue) + position + 1
        since = None
        for accepted, at in self._marks:
            if since is not None and accepted > number:
                break
            since = at
        return trio.current_time() if since is None else since

    def _count_waiting(self) -> None:
        # what is put bare is not counted then; but until a turn takes some, there are only more
        self._most_waiting = max(self._most_waiting, self.waiting)

    def look_at_turn(self, now: float) -> float:
        """A turn begins ``now``: see how many wait. Returns when the first was accepted, about."""
        waiting = len(self.queue)
        if waiting > self._most_waiting:
            self._count_waiting()
        marks, number = self._marks, self.accepted - waiting + 1
        while len(marks) > 1 and marks[1][0] <= number:
            marks.popleft()
        return marks[0][1] if marks else now

    async def wait_for_room(self, deadline: float) -> None:
        """Return when a message fits, or at ``deadline`` (Trio's clock) or the end of the actor
        without that; those who came first go first."""
        await trio.lowlevel.checkpoint()
        turned_away, came_first = self._turned_away, len(self._room)
        self.senders_wait += 1
        self._measure()
        try:
            with trio.CancelScope(deadline=deadline):
                while (self.is_full or came_first) and self._turned_away == turned_away:
                    came_first = 0
                    await self._room.park()
        finally:
            self.senders_wait -= 1
            self._measure()

    def turn_away_waiters(self) -> None:
        """Let all who wait for room go on, full or not: they will be refused."""
        self._turned_away += 1
        self._room.unpark_all()

    def refuse(self) -> None:
        """Count a message that was refused before it came to the queue."""
        self._refused += 1

    @property
    def anything(self) -> bool:
        """Whether anything is in it that might be taken."""
        return bool(self.queue or self._system)

    @property
    def is_bare(self) -> bool:
        """Whether what is to be taken next lies bare, and may be taken."""
        if not self.queue or self.urgent or not self._is_open:
            return False
        return self.queue[0].__class__ is not Message

    def take(self, admit: Callable[[Message], bool]) -> Message | None:
        """Take the next waiting message in hand if ``admit`` lets it in now, else return None.

        Order is kept: a message that is not admitted holds up those behind it.
        """
        queue = self._system or self.queue
        while queue:
            message = queue[0]
            if message.__class__ is not Message:
                message = queue[0] = self._dressed(message)
            if message.fate is not None:
                queue.popleft()
                self._stale -= 1
                queue = queue or self.queue
                continue
            if (self.paused and queue is self.queue) or not admit(message):
                return None
            queue.popleft()
            message.taken = True
            self._in_hand += 1
            if queue is not self.queue:
                self._look_around()
            if self.senders_wait:
                self.let_in()
            return message
        return None

    def hand_out(self, message: Message) -> None:
        """Accept a message that is in hand at once: nothing waits before it."""
        message.receiver = self.owner
        message.taken = True
        message.accepted_at = trio.current_time()
        self.accepted += 1
        self._in_hand += 1

    def take_up(self) -> Message:
        """Make a message of the payload in hand that was taken bare."""
        assert self.bare is not NOTHING, f"nothing bare is in hand of {self.owner}"
        message = self._dressed(self.bare)
        self.bare = NOTHING
        message.taken = True
        self._in_hand += 1
        return message

    def _dressed(self, payload: Any, position: int = 0) -> Message:
        message = Message("tell", payload, handle_timeout=TELL_TIMEOUT)
        message.receiver = self.owner
        message.accepted_at = self.waited_since(position)
        return message

    def _dress_all(self) -> None:
        for index, one in enumerate(self.queue):
            if one.__class__ is not Message:
                self.queue[index] = self._dressed(one, index)

    def let_in(self, count: int = 1) -> None:
        """There may be room for so many more: the first of those who wait for it see."""
        if self._room:
            self._room.unpark(count=count)

    def attend(self, taker: Taker, *, bare: bool) -> None:
        """An incarnation takes messages from now on; ``bare`` says whether also as they lie."""
        self.taker, self._takes_bare = taker, bare
        self._is_left = self.stands_in_queue = False
        self._look_around()
        self._measure()
        self.wake()

    def dismiss(self) -> None:
        """The incarnation looks into it no more."""
        self.taker, self.stands_in_queue = None, True

    def leave(self) -> None:
        """It takes no more: what waits is the next one's."""
        self._is_left = True
        self._look_around()
        self.wake()

    def open(self, kinds: Collection[type] | None) -> None:
        """The types of which the actor takes payloads as they are; None where of none just now."""
        self.kinds = () if kinds is None else kinds
        self._is_open = kinds is not None
        self._measure()

    def pause(self, paused: bool) -> None:
        """Hand out only system messages from now on, or all of them again."""
        self.paused = paused
        self._look_around()
        self.wake()

    def _look_around(self) -> None:
        self.urgent = bool(self._system) or self.paused or self._is_left

    def _measure(self) -> None:
        # those who wait for room go first, and what was put aside takes room too
        if not self._is_open or not self._takes_bare or self.senders_wait:
            self.bare_room = 0
        else:
            self.bare_room = self.capacity - len(self._stashed)

    def stash(self, message: Message) -> None:
        """Put a message that is in hand aside: it waits until :meth:`unstash`."""
        assert message.taken, f"{message} is in nobody's hand"
        message.taken = message.begun = False
        self._in_hand -= 1
        self._stashed.append(message)
        self._measure()

    def unstash(self) -> int:
        """Put all that was put aside before what waits, in its order; return how many."""
        alive = [message for message in self._stashed if message.fate is None]
        self._stale -= len(self._stashed) - len(alive)
        self._stashed.clear()
        self._measure()
        self.queue.extendleft(reversed(alive))
        if alive:
            self.wake()
        return len(alive)

    def forget_incarnation(self) -> None:
        """Settle the waiting messages that were for the incarnation that has ended: its system
        messages and its timers'. A timer's that was sent again from dead letters is for any."""
        while self._system:
            message = self._system.popleft()
            if message.fate is None:
                message.fate = "abandoned"
                self._fates["abandoned"] += 1
            else:
                self._stale -= 1
        for message in self.queue:
            if message.__class__ is not Message or message.kind != "timer":
                continue
            if message.fate is None and message.origin is None:
                message.fate = "abandoned"
                self._fates["abandoned"] += 1
                self._stale += 1
                self.let_in()
        self._look_around()

    def first(self) -> Message | None:
        """The message that is to be taken next."""
        return next((m for m in chain(self._system, self.queue) if m.fate is None), None)

    def in_turn(self) -> Iterator[Message]:
        """The messages that are to be taken, the next one first; to be read at once."""
        self._dress_all()
        return (m for m in chain(self._system, self.queue) if m.fate is None)

    def oldest(self) -> Message | None:
        """The message that has waited longest, system messages apart."""
        self._dress_all()
        return next(
            (m for m in chain(self._stashed, self.queue) if m.fate is None),
            None,
        )

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
            for queue in (self.queue, self._system, self._stashed):
                left = [m for m in queue if m.__class__ is not Message or m.fate is None]
                queue.clear()
                queue.extend(left)
            self._stale = 0
            self._look_around()
            self._measure()
        self.let_in()
        return True

    def waiting_messages(self) -> Iterator[Message]:
        """The messages nobody has taken yet, oldest first, as they are now."""
        self._dress_all()
        every = chain(self._stashed, self._system, self.queue)
        return iter([message for message in every if message.fate is None])

    def wake(self) -> None:
        """Have the actor look whether there is something to do."""
        if not self.stands_in_queue and self.taker is not None:
            self.stands_in_queue = True
            self.taker.stand_in_queue()

    def _oldest_waiting(self) -> float:
        self._dress_all()
        queues = (self._stashed, self._system, self.queue)
        # one that was retried or put back need not be the first of them all, but is of its own
        firsts = (next((m for m in queue if m.fate is None), None) for queue in queues)
        accepted = [message.accepted_at for message in firsts if message is not None]
        return trio.current_time() - min(accepted) if accepted else 0.0

    def statistics(self) -> MailboxStatistics:
        """The account as it stands."""
        self._count_waiting()
        return MailboxStatistics(
            accepted=self.accepted,
            refused=self._refused,
            handled=self._fates["handled"] + self.bare_handled,
            faulted=self._fates["faulted"],
            dead_lettered=self._fates["dead-lettered"],
            abandoned=self._fates["abandoned"],
            expired=self._expired,
            in_hand=self._in_hand + (self.bare is not NOTHING),
            waiting=self.waiting,
            most_waiting=self._most_waiting,
            oldest_waiting=self._oldest_waiting(),
            capacity=self.capacity,
        )
