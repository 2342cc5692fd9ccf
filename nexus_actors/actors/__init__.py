"""Actors: mailboxes, addresses, tell and ask, and the running of one incarnation after another."""

from nexus_actors.actors.actor import Behaviour, Limits, PluginFault, run_incarnation
from nexus_actors.actors.address import ASK_TIMEOUT, Address
from nexus_actors.actors.bridge import bridged, in_asyncio
from nexus_actors.actors.cell import ActorCell, ActorState
from nexus_actors.actors.crossing import check, cross
from nexus_actors.actors.dead_letters import DeadLetter, DeadLetters
from nexus_actors.actors.mailbox import Mailbox, MailboxStatistics
from nexus_actors.actors.message import Message, current_message, in_hand
from nexus_actors.actors.proxy import Call, Proxy
from nexus_actors.actors.registry import Registry

__all__ = [
    "ASK_TIMEOUT",
    "ActorCell",
    "ActorState",
    "Address",
    "Behaviour",
    "Call",
    "DeadLetter",
    "DeadLetters",
    "Limits",
    "Mailbox",
    "MailboxStatistics",
    "Message",
    "PluginFault",
    "Proxy",
    "Registry",
    "bridged",
    "check",
    "cross",
    "current_message",
    "in_asyncio",
    "in_hand",
    "run_incarnation",
]
