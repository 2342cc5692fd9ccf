"""What every question shares: contenders in turns, medians, spread, ratios, and what is owed.

A contender is a function that does the work once and returns one figure (or several, by name). In
each round every contender has its turn, so that a machine that slows down slows all of them. Where
possible a contender runs in a process of its own (:func:`in_process`): what one leaves behind -
heap, timers, caches - is not the next one's burden.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

__all__ = ["Contender", "Owed", "Question", "emit", "in_process", "main", "options"]

Figures = Mapping[str, float]
"""What one turn found, by the name of the metric."""

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 300.0
"""Seconds one turn may take."""


@attrs.frozen
class Contender:
    """One of those that are compared. ``run`` does the work, ``scale`` times as much of it."""

    name: str
    run: Callable[[float], Figures]
    missing: str = ""
    """Why it cannot run here; empty where it can."""


@attrs.frozen
class Owed:
    """One figure that is owed: ours must be ``ratio`` times that of ``peer`` in ``metric``; with no
    peer, ``bound`` at most (at least, where ``more_is_better``)."""

    metric: str
    peer: str = ""
    ratio: float = 0.0
    bound: float = 0.0
    more_is_better: bool = True


@attrs.frozen
class Question:
    """A question: its contenders, ours the first, and what is owed."""

    name: str
    asks: str
    contenders: Sequence[Contender]
    owed: Sequence[Owed] = ()
    units: Mapping[str, str] = attrs.field(factory=dict)


def options(question: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options that every question has: ``--rounds``, ``--scale``, ``--smoke``."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{question}")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender (5)")
    parser.add_argument("--scale", type=float, default=1.0, help="how much work (1.0)")
    parser.add_argument(
        "--smoke", action="store_true", help="one round of little work: only whether it runs"
    )
    parser.add_argument("--only", default="", help="contenders whose name has this in it")
    given = parser.parse_args(argv)
    if given.smoke:
        given.rounds, given.scale = 1, 0.02
    return given


def main(question: Question, given: argparse.Namespace) -> int:
    """Let all have their turns, print the table and a line of JSON; return the exit code.

    It is 0 however fast or slow they were, and 1 where one of ours broke.
    """
    found: dict[str, dict[str, list[float]]] = {}
    broken: dict[str, str] = {}
    present = [
        each
        for each in question.contenders
        if not each.missing and (not given.only or given.only in each.name)
    ]
    print(f"{question.name}: {question.asks}", flush=True)
    for each in question.contenders:
        if each.missing:
            print(f"  without {each.name}: {each.missing}", flush=True)
    for number in range(given.rounds):
        # the order turns as well: nobody is always the first after the pause
        for each in present[number % len(present) :] + present[: number % len(present)]:
            if each.name in broken:
                continue
            try:
                figures = each.run(given.scale)
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                broken[each.name] = str(error)
                print(f"  {each.name} broke: {error}", file=sys.stderr, flush=True)
                continue
            for metric, figure in figures.items():
                found.setdefault(metric, {}).setdefault(each.name, []).append(figure)
    ours = question.contenders[0].name
    for metric, by_name in found.items():
        _table(metric, question.units.get(metric, ""), by_name, ours)
    verdicts = [_verdict(each, found, ours) for each in question.owed]
    for words, _ in verdicts:
        print(f"  {words}")
    print(json.dumps(_machine_line(question, found, broken, verdicts)), flush=True)
    return 1 if ours in broken else 0


def in_process(
    code: Sequence[str], *, env: Mapping[str, str] | None = None
) -> Callable[[float], Figures]:
    """A contender that is a command: the scale is its last argument, and it prints its figures as
    lines of JSON, each with ``metric`` and ``value``."""

    def run(scale: float) -> Figures:
        done = subprocess.run(
            [*code, str(scale)],
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"exit code {done.returncode}: {done.stderr.strip()[-2000:]}")
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return {line["metric"]: float(line["value"]) for line in lines}

    return run


def emit(metric: str, value: float) -> None:
    """Print one figure for :func:`in_process`."""
    print(json.dumps({"metric": metric, "value": value}), flush=True)


def _table(metric: str, unit: str, by_name: Mapping[str, list[float]], ours: str) -> None:
    print(f"\n  {metric}{f' ({unit})' if unit else ''}")
    base = statistics.median(by_name[ours]) if ours in by_name else None
    for name, figures in by_name.items():
        middle = statistics.median(figures)
        spread = f"{min(figures):.4g} to {max(figures):.4g}"
        ratio = ""
        if base is not None and name != ours and middle:
            ratio = f"  ours is {base / middle:.2f}x"
        print(f"    {name:<42} {middle:>12.5g}   ({spread}){ratio}")
    sys.stdout.flush()


def _verdict(
    owed: Owed, found: Mapping[str, Mapping[str, list[float]]], ours: str
) -> tuple[str, bool]:
    by_name = found.get(owed.metric, {})
    if ours not in by_name:
        return f"{owed.metric}: ours gave no figure", False
    mine = statistics.median(by_name[ours])
    if not owed.peer:
        reached = mine >= owed.bound if owed.more_is_better else mine <= owed.bound
        word = "at least" if owed.more_is_better else "at most"
        said = f"{owed.metric}: {mine:.4g}, owed {word} {owed.bound:g}"
    elif owed.peer not in by_name:
        return f"{owed.metric}: nothing to compare with, {owed.peer} is not here", True
    else:
        peers = statistics.median(by_name[owed.peer])
        ratio = mine / peers if peers else float("inf")
        reached = ratio >= owed.ratio if owed.more_is_better else ratio <= owed.ratio
        word = "at least" if owed.more_is_better else "at most"
        said = f"{owed.metric}: {ratio:.2f}x {owed.peer}, owed {word} {owed.ratio:g}x"
    return f"{'reached' if reached else 'NOT REACHED'}: {said}", reached


def _machine_line(
    question: Question,
    found: Mapping[str, Mapping[str, list[float]]],
    broken: Mapping[str, str],
    verdicts: Sequence[tuple[str, bool]],
) -> dict[str, object]:
    return {
        "question": question.name,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "figures": {
            metric: {
                name: {"median": statistics.median(all_), "min": min(all_), "max": max(all_)}
                for name, all_ in by_name.items()
            }
            for metric, by_name in found.items()
        },
        "broken": dict(broken),
        "reached": [words for words, reached in verdicts if reached],
        "missed": [words for words, reached in verdicts if not reached],
    }
