"""Supervision as exact as OTP's: each scenario recorded there gives the same trace here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def replay(*files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.semantics.replay", *map(str, files)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_every_recorded_scenario_agrees():
    done = replay(HERE / "scenarios.jsonl")
    assert done.stdout == "558 of 558 agree\n"
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("field", ["r", "ev", "root", "tree"])
def test_a_trace_that_differs_is_printed_and_counted(tmp_path, field):
    scenarios = (HERE / "scenarios.jsonl").read_text().splitlines()[:3]
    wrong = json.loads(scenarios[1])
    wrong["trace"][1][field] = {"r": "other", "ev": [], "root": "not_started", "tree": {}}[field]
    file = tmp_path / "some.jsonl"
    file.write_text("\n".join([scenarios[0], json.dumps(wrong), scenarios[2]]))
    done = replay(file)
    assert "scenario 2, step 1" in done.stdout
    assert f", {field}\n" in done.stdout
    assert done.stdout.endswith("2 of 3 agree\n")
    assert done.returncode == 1


def test_the_table_in_the_docs_has_every_family_with_its_count():
    families = [
        json.loads(line)["family"] for line in (HERE / "scenarios.jsonl").read_text().splitlines()
    ]
    page = (ROOT / "docs" / "supervision.md").read_text("utf-8")
    rows = re.findall(r"^\| (\w+) \| .+ \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    counted = {family: str(families.count(family)) for family in {*families}}
    assert {family: (of, agree) for family, of, agree in rows} == {
        family: (count, count) for family, count in counted.items()
    }
