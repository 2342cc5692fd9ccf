"""How many events a second reach their handlers, one emitter and 1,000 plugins that subscribe.

``python -m benchmarks.events``
"""

from __future__ import annotations

import sys

from benchmarks.contenders import CHANNEL, OURS
from benchmarks.harness import Contender, Owed, Question, in_process, main, options

_PROGRAM = (sys.executable, "-m")

QUESTION = Question(
    "events",
    "one emitter, 1,000 subscribers, 100 events; beside a memory channel for each",
    [
        Contender(OURS, in_process([*_PROGRAM, "benchmarks.contenders.events_node", "events"])),
        Contender(CHANNEL, in_process([*_PROGRAM, "benchmarks.contenders.trio_channel", "events"])),
    ],
    [Owed("events", CHANNEL, 3)],
    {"events": "handled/s"},
)

if __name__ == "__main__":
    sys.exit(main(QUESTION, options("events")))
