"""How many messages a second: one to one, round a ring, one to many; and how fair it is meanwhile.

``python -m benchmarks.mailbox``
"""

from __future__ import annotations

import sys

from benchmarks.contenders import CHANNEL, ERLANG, OURS, messages
from benchmarks.harness import Contender, Owed, Question, in_process, main, options

QUESTIONS = [
    Question(
        "tell",
        "200,000 messages from one to one, by address.tell",
        messages("tell"),
        [Owed("tell", CHANNEL, 15), Owed("tell", ERLANG, 0.4)],
        {"tell": "messages/s"},
    ),
    Question(
        "ring",
        "a message goes round 100 actors, 200,000 hops",
        messages("ring"),
        [Owed("ring", CHANNEL, 1.5)],
        {"ring": "hops/s"},
    ),
    Question(
        "fan-out",
        "one to 1,000 actors, 100 messages each",
        messages("fan"),
        [Owed("fan", CHANNEL, 3)],
        {"fan": "messages/s"},
    ),
    Question(
        "fairness",
        "100 busy actors with 10 µs handlers: how long does a task beside them wait?",
        [
            Contender(
                OURS, in_process([sys.executable, "-m", "benchmarks.contenders.actors", "fairness"])
            )
        ],
        [Owed("worst gap", bound=2.0, more_is_better=False)],
        {"worst gap": "ms", "p99 gap": "ms"},
    ),
]

if __name__ == "__main__":
    given = options("mailbox")
    sys.exit(max(main(each, given) for each in QUESTIONS))
