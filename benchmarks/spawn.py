"""How fast actors are spawned, and what an idle one weighs.

``python -m benchmarks.spawn``
"""

from __future__ import annotations

import sys

from benchmarks.contenders import messages
from benchmarks.harness import Owed, Question, main, options

QUESTION = Question(
    "spawn",
    "100,000 idle actors, supervised, in one process",
    messages("spawn"),
    [Owed("spawn", bound=30_000), Owed("bytes each", bound=4096, more_is_better=False)],
    {"spawn": "a second", "bytes each": "bytes of memory"},
)

if __name__ == "__main__":
    sys.exit(main(QUESTION, options("spawn")))
