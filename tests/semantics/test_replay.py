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


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda file: None, "cannot be read: [Errno 2] No such file"),
        (lambda file: file.mkdir(), "cannot be read: [Errno 21] Is a directory"),
        (lambda file: file.write_bytes(b"\xff\xfe"), "cannot be read: 'utf-8' codec can't decode"),
        (lambda file: file.write_bytes(b"{"), "is no JSON: "),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_the_others_are_replayed(tmp_path, make, words):
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text((HERE / "scenarios.jsonl").read_text().splitlines()[0])
    make(bad)
    done = replay(bad, good)
    first, last = done.stdout.splitlines()
    assert first.startswith((f"{bad} {words}", f"scenario 1 {words}"))
    assert last == ("1 of 2 agree" if "JSON" in words else "1 of 1 agree")
    assert (done.returncode, done.stderr) == (1, "")


def test_without_a_file_it_says_how_it_is_used():
    done = replay()
    assert done.stderr == "usage: python -m tests.semantics.replay FILE...\n"
    assert (done.returncode, done.stdout) == (2, "")
