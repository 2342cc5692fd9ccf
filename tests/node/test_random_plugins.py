"""Random nodes of plugins under random treatment: what a node promises holds, whatever happens."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "support"))
sys.path.append(str(Path(__file__).parents[1] / "actors" / "support"))
sys.path.append(str(Path(__file__).parents[1] / "support"))
import random_programs
from plugin_world import PluginWorld
from random_plugins import program, smaller

MACHINE = random_programs.Machine(
    "tests/node/test_random_plugins.py",
    program,
    PluginWorld,
    smaller,
    share=0.5,
    expected={
        "call": 500,
        "http": 500,
        "event": 300,
        "flood": 150,
        "give up": 200,
        "sleep": 250,
        "stream": 150,
        "talk": 150,
        "retry": 150,
        "discard": 40,
        "stop plugin": 40,
        "add plugin": 40,
        "restart node": 20,
        "hurry node": 10,
        "asks: answered": 800,
        "asks: ActorStopped": 300,
        "asks: MailboxFull": 200,
        "asks: AskTimeout": 100,
        "asks: AskCycle": 50,
        "asks: RemoteError": 50,
        "asks: ActorRestarted": 10,
        "asks: given up": 100,
        "dead letters": 500,
        "letters sent again": 30,
        "quarantined": 5,
        "crashes": 300,
        "a plugin ended: Oops": 100,
        "a plugin ended: Fatal": 20,
        "a plugin ended: HandlerTimeout": 30,
        "streams: whole": 40,
        "streams: broken": 20,
        "websockets: 1000": 10,
        "websockets: 1011": 10,
        "websockets: 1012": 10,
        "service: fail": 8,
        "service: task dies": 8,
        "pools": 20,
        "seen suspended": 50,
        "seen waiting": 50,
        "nodes: exit code 0": 150,
        "nodes: exit code 1": 10,
        **{
            f"{library}: {kind} handled": 100
            for library in ("trio", "asyncio")
            for kind in ("call", "http", "event", "timer")
        },
    },
)


@random_programs.limit(MACHINE.examples)
def test_whatever_happens_to_plugins_every_promise_holds(monkeypatch):
    MACHINE.run(monkeypatch)
