"""How much work each task is, and how its figures are printed: the same for every contender.

The sizes: a tell 200,000 times one to one; a ring of 100 actors, 200,000 hops; 1 to 1,000 actors,
100 messages each; 50,000 asks in sequence; 1,000 crashes.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import trio

from benchmarks.harness import emit

TELLS = 200_000
RING, HOPS = 100, 200_000
FAN, ROUNDS = 1_000, 100
ASKS = 50_000
CRASHES = 1_000
IDLE = 100_000
BUSY, BUSY_SECONDS = 100, 1.0

now = time.perf_counter


def rate(metric: str, count: int, began: float) -> None:
    """Print how many a second that was."""
    emit(metric, count / (now() - began))


def middle(metric: str, seconds: list[float]) -> None:
    """Print the median and the 99th of a hundred, in µs."""
    ordered = sorted(seconds)
    emit(metric, ordered[len(ordered) // 2] * 1e6)
    emit(f"{metric} p99", ordered[int(len(ordered) * 0.99)] * 1e6)


def memory() -> int:
    """Bytes of memory this process has now."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run(tasks: Mapping[str, Callable[[float], Coroutine[Any, Any, None]]]) -> None:
    """Do the task that the command line names, with the scale that stands behind it."""
    trio.run(tasks[sys.argv[1]], float(sys.argv[2]))
