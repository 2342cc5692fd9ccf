"""Every benchmark still runs. How fast it is, no test says: the machine is not always quiet."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUESTIONS = ["ask", "database", "events", "http", "mailbox", "restart", "scale", "spawn"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_benchmark_gives_a_figure_of_ours_for_each_question(question):
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{question}", "--smoke"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=230,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stdout
    for line in lines:
        assert line["broken"] == {}
        assert line["figures"], "a line for machines has the figures"


def test_every_benchmark_there_is_is_tried():
    files = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert files - {"__init__", "harness", "load"} == set(QUESTIONS)
