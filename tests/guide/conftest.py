"""The guide for the tests of this folder, and the helpers they import."""

import os
import sys
from pathlib import Path

import pytest

# `support/` is for these tests alone, and nothing under tests/ is a package
sys.path.insert(0, str(Path(__file__).parent / "support"))

from guide_blocks import Guide, read_guide

BESIDE_THE_CLONE = Path(__file__).parents[3] / "shared" / "seed" / "plugin-development-guide.md"


@pytest.fixture(scope="session")
def guide() -> Guide:
    """The plugin guide, read anew: from NEXUS_GUIDE, else from where it lies beside a clone.

    Not there: the tests are skipped, and say so; with CI set they fail instead.
    """
    named = os.environ.get("NEXUS_GUIDE")
    path = Path(named) if named else BESIDE_THE_CLONE
    if path.is_file():
        return read_guide(path)
    words = f"the plugin guide is not at {path}: set NEXUS_GUIDE to the file"
    if named or os.environ.get("CI"):
        pytest.fail(words)
    pytest.skip(words)
