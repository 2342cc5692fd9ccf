"""How many questions a second one can ask, each after the answer to the last.

``python -m benchmarks.ask``
"""

from __future__ import annotations

import sys

from benchmarks.contenders import CHANNEL, messages
from benchmarks.harness import Owed, Question, main, options

QUESTION = Question(
    "ask",
    "50,000 questions in sequence, by address.ask",
    messages("ask"),
    [Owed("ask", CHANNEL, 2)],
    {"ask": "answers/s"},
)

if __name__ == "__main__":
    sys.exit(main(QUESTION, options("ask")))
