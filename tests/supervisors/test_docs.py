"""The page about supervision runs, and names what there is."""

import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

import supervisors
from supervisors import Backoff, ChildSpec, Flags, Report

PAGE = Path(__file__).parents[2] / "docs" / "supervision.md"
TEXT = PAGE.read_text()


def test_the_opening_program_does_what_the_page_says():
    program, output = re.findall(r"```(?:python)?\n(.*?)```", TEXT, re.S)[:2]
    assert len(program.splitlines()) < 40
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert ran.stderr == ""
    assert ran.stdout == output


@pytest.mark.parametrize("field", [*attrs.fields_dict(ChildSpec), *attrs.fields_dict(Flags)])
def test_every_field_is_on_the_page(field):
    assert f"| `{field}` |" in TEXT


def test_every_report_is_on_the_page():
    for report in Report.__subclasses__():
        assert f"| `{report.__name__}` |" in TEXT


def test_every_error_is_on_the_page():
    def below(cls):
        return {cls, *(one for sub in cls.__subclasses__() for one in below(sub))}

    public = {one for one in below(supervisors.SupervisorError) if one.__name__[0] != "_"}
    missing = {one.__name__ for one in public if f"`{one.__name__}" not in TEXT}
    assert missing <= {"SupervisorDied"}  # a NoProc


def test_the_defaults_of_the_backoff_are_those_on_the_page():
    given = ", ".join(f"{name}={value:g}" for name, value in attrs.asdict(Backoff()).items())
    assert f"Backoff({given})" in TEXT
