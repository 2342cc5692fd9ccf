"""The event bus: gives each event to every mailbox that wants it, and never waits for any of them.

It knows nothing of actors but the one method of :class:`Subscriber`. What a mailbox does not take
is told to ``on_undelivered``, never lost in silence and never the emitter's trouble.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

import attrs

from nexus_actors.errors import ActorStopped, MailboxFull, MessageTooLarge, Unanswered
from nexus_actors.events.event import Event
from nexus_actors.events.topics import Topics

__all__ = ["BusStatistics", "EventBus", "Subscriber", "Undelivered"]


class Subscriber(Protocol):
    """Where events go: a mailbox, as the bus sees it."""

    @property
    def name(self) -> str:
        """The actor's name; one subscriber has one name, and no two share it."""

    def take(self, event: Event, handler: Hashable) -> None:
        """Accept ``event`` for ``handler`` (what was given to :meth:`EventBus.subscribe`) now.

        Raises:
            Unanswered: MailboxFull, ActorStopped and the like, where it was not accepted.
            MessageTooLarge: nor was this, and the next try is as vain.
        """


@attrs.frozen
class Undelivered:
    """One subscriber's copy of an event that its mailbox did not take."""

    event: Event
    """The copy that was refused, fit to be offered again."""
    subscriber: Subscriber
    handler: Hashable
    """For which of the subscriber's handlers it was."""
    error: Unanswered | MessageTooLarge
    """The refusal itself."""

    @property
    def reason(self) -> str:
        """``"mailbox full"``, ``"too large"``, ``"stopped"`` (or the other state it is in), or the
        error's words."""
        if isinstance(self.error, MailboxFull):
            return "mailbox full"
        if isinstance(self.error, MessageTooLarge):
            return "too large"
        if isinstance(self.error, ActorStopped):
            return self.error.state
        return str(self.error)


@attrs.frozen
class BusStatistics:
    """What the bus has done since it was made, counted."""

    emitted: int
    """Events given to :meth:`EventBus.emit`."""
    delivered: int
    """Copies a mailbox took; one event may have many, also for two handlers of one plugin."""
    undelivered: int
    """Copies a mailbox refused."""
    subscriptions: int
    """How many patterns are subscribed to now, each counted per handler."""


@attrs.frozen
class _Subscription:
    subscriber: Subscriber = attrs.field(eq=id)
    handler: Hashable


class EventBus:
    """Publish and subscribe inside one node. All of it is synchronous and belongs to Trio's thread.

    Events of one emitter reach one subscriber in the order of emitting. Handlers that an event
    wants are served in the order of subscribing, each once, however many of its patterns match.
    """

    def __init__(self, on_undelivered: Callable[[Undelivered], None]) -> None:
        """``on_undelivered`` is called for each copy refused, and must not raise: it is where the
        dead letters begin."""
        self._on_undelivered = on_undelivered
        self._topics: Topics[_Subscription] = Topics()
        self._by_name: dict[str, list[tuple[str, _Subscription]]] = {}
        """What each subscriber is subscribed to; the same pairs as in the topics."""
        self._emitted = self._delivered = self._undelivered = 0

    def subscribe(self, pattern: str, subscriber: Subscriber, handler: Hashable) -> None:
        """Give ``subscriber`` the events that ``pattern`` wants, for its ``handler``.

        Subscribing the same again changes nothing.

        Raises:
            ValueError: for a bad pattern.
        """
        subscription = _Subscription(subscriber, handler)
        self._topics.add(pattern, subscription)
        pairs = self._by_name.setdefault(subscriber.name, [])
        if (pattern, subscription) not in pairs:
            pairs.append((pattern, subscription))

    def unsubscribe(self, name: str) -> int:
        """End all subscriptions of the subscriber called ``name``; say how many there were."""
        pairs = self._by_name.pop(name, [])
        for pattern, subscription in pairs:
            self._topics.remove(pattern, subscription)
        return len(pairs)

    def emit(self, event: Event) -> int:
        """Offer ``event`` to everyone who wants it; return how many mailboxes took it.

        A subscriber that does not take it costs the others nothing, nor the emitter.
        """
        self._emitted += 1
        taken: set[str] = set()
        for subscription in self._topics.match(event.type):
            subscriber, copy = subscription.subscriber, event.for_receiver()
            try:
                subscriber.take(copy, subscription.handler)
            except (Unanswered, MessageTooLarge) as error:
                self._undelivered += 1
                self._on_undelivered(Undelivered(copy, subscriber, subscription.handler, error))
            else:
                self._delivered += 1
                taken.add(subscriber.name)
        return len(taken)

    def subscriptions(self) -> tuple[tuple[str, str, Hashable], ...]:
        """Every (pattern, subscriber's name, handler), in the order of subscribing."""
        return tuple((pattern, s.subscriber.name, s.handler) for pattern, s in self._topics)

    def statistics(self) -> BusStatistics:
        """The counters as they stand."""
        return BusStatistics(
            self._emitted,
            self._delivered,
            self._undelivered,
            sum(map(len, self._by_name.values())),
        )
