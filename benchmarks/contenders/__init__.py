"""Those that are compared: each file is a program that does one task and prints its figures."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import ROOT, Contender, Figures, in_process

__all__ = ["CHANNEL", "ERLANG", "OURS", "messages"]

OURS = "nexus_actors"
CHANNEL = "Trio memory channel"
ERLANG = "Erlang/OTP gen_server"

_HERE = Path(__file__).parent
_COMPILED = ROOT / ".bench" / "erlang"


def messages(task: str, *, erlang: bool = True) -> list[Contender]:
    """Those that do ``task`` with messages: ours, Trio's channels, and Erlang where it is."""
    found = [
        Contender(OURS, in_process([sys.executable, "-m", "benchmarks.contenders.actors", task])),
        Contender(
            CHANNEL, in_process([sys.executable, "-m", "benchmarks.contenders.trio_channel", task])
        ),
    ]
    if erlang:
        missing = "" if shutil.which("erl") else "no erl here; Debian's package is erlang-base"
        found.append(Contender(ERLANG, _Erlang(task), missing))
    return found


class _Erlang:
    """Compiles the peer once, then runs it."""

    def __init__(self, task: str) -> None:
        self._task = task

    def __call__(self, scale: float) -> Figures:
        beam = _COMPILED / "bench.beam"
        source = _HERE / "bench.erl"
        if not beam.exists() or beam.stat().st_mtime < source.stat().st_mtime:
            _COMPILED.mkdir(parents=True, exist_ok=True)
            subprocess.run(["erlc", "-o", str(_COMPILED), str(source)], check=True)
        return in_process(_command(self._task))(scale)


def _command(task: str) -> Sequence[str]:
    begin = ["erl", "-noshell", "-pa", str(_COMPILED), "-run", "bench", "main"]
    return [*begin, task]
