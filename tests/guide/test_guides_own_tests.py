"""The guide's unit and integration tests, run by pytest as an author would run them."""

import ast
import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from guide_blocks import FORMS
from guide_world import write_block

FILES = {"unit-tests": "test_plugin.py", "integration-tests": "test_integration.py"}


def names_of_tests(code: str) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("form", FORMS)
def test_they_pass(guide, tmp_path, form):
    """In a folder of plugins, without any configuration of pytest. As they stand, the integration
    tests are written for asyncio and the unit tests for nothing in particular."""
    plugin = write_block(tmp_path / "plugins", guide, "my-first-plugin", form)
    (plugin / "tests").mkdir()
    expected = set()
    for name, file in FILES.items():
        (plugin / "tests" / file).write_text(guide.source(name, form))
        expected |= names_of_tests(guide.source(name, form))
    assert len(expected) == 7
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "plugins/my-first-plugin", "--junit-xml=report.xml"],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    cases = ElementTree.parse(tmp_path / "report.xml").iter("testcase")
    assert {case.get("name") for case in cases if len(case) == 0} == expected
