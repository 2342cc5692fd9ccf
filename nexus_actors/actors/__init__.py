"""Actors: mailboxes, addresses, tell and ask, and the running of one incarnation after another."""

from nexus_actors.actors.actor import Behaviour, Limits, PluginFault, run_incarnation
from nexus_actors.actors.address import ASK_TIMEOUT, Address
from nexus_actors.actors.base import Actor
from nexus_actors.actors.belongings import Timer, Watch
from nexus_actors.actors.bridge import bridged, in_asyncio
from nexus_actors.actors.cell import ActorCell, ActorState
from nexus_actors.actors.children import ChildrenGaveUp
from nexus_actors.actors.crossing import check, cross
from nexus_actors.actors.dead_letters import DeadLetter, DeadLetters, NoSuchLetter, NotRetried
from nexus_actors.actors.groups import Group
from nexus_actors.actors.handling import NotHandled, handles
from nexus_actors.actors.kernel import Kernel
from nexus_actors.actors.links import Down, Exited, LinkedExit
from nexus_actors.actors.looking import Look
from nexus_actors.actors.mailbox import Mailbox, MailboxStatistics, Overflow
from nexus_actors.actors.message import Message, current_message, in_hand
from nexus_actors.actors.proxy import Call, Proxy
from nexus_actors.actors.registry import Registry
from nexus_actors.actors.routing import Pool
from nexus_actors.actors.statistics import ActorStatistics
from nexus_actors.actors.system import ActorSystem, open_system

__all__ = [
    "ASK_TIMEOUT",
    "Actor",
    "ActorCell",
    "ActorState",
    "ActorStatistics",
    "ActorSystem",
    "Address",
    "Behaviour",
    "Call",
    "ChildrenGaveUp",
    "DeadLetter",
    "DeadLetters",
    "Down",
    "Exited",
    "Group",
    "Kernel",
    "Limits",
    "LinkedExit",
    "Look",
    "Mailbox",
    "MailboxStatistics",
    "Message",
    "NoSuchLetter",
    "NotHandled",
    "NotRetried",
    "Overflow",
    "PluginFault",
    "Pool",
    "Proxy",
    "Registry",
    "Timer",
    "Watch",
    "bridged",
    "check",
    "cross",
    "current_message",
    "handles",
    "in_asyncio",
    "in_hand",
    "open_system",
    "run_incarnation",
]
