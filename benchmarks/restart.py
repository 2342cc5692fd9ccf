"""How long it takes from a crash until the next message is handled.

``python -m benchmarks.restart``
"""

from __future__ import annotations

import sys

from benchmarks.contenders import messages
from benchmarks.harness import Owed, Question, main, options

QUESTION = Question(
    "restart",
    "a plain actor crashes, its one_for_one supervisor brings it back: 1,000 times",
    messages("restart"),
    [Owed("restart", bound=60.0, more_is_better=False)],
    {"restart": "µs, the median", "restart p99": "µs"},
)

if __name__ == "__main__":
    sys.exit(main(QUESTION, options("restart")))
