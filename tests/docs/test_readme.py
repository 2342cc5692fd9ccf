"""The README, word by word."""

import re
import subprocess

from doc_blocks import ROOT, blocks_of

README = ROOT / "README.md"


def test_what_the_readme_shows_happens(session):
    """Its files are written, its commands typed, and what they print is what is shown."""
    session.follow(blocks_of(README))


def test_the_first_plugin_has_twenty_lines():
    plugin = next(block for block in blocks_of(README) if block.file == "plugins/hello/plugin.py")
    assert len([line for line in plugin.text.splitlines() if line.strip()]) <= 20


def test_the_make_targets_it_names_are_there():
    named = set(re.findall(r"`?make (\w+)", README.read_text("utf-8")))
    assert {"run", "test", "check", "help"} <= named
    subprocess.run(["make", "-n", *named], cwd=ROOT, check=True, capture_output=True)
