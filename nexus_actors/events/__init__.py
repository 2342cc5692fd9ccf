"""Events: what happened, told to whoever subscribed."""

from nexus_actors.events.event import Event
from nexus_actors.events.handler import event_handler

__all__ = ["Event", "event_handler"]
