"""Where the pages are, and a shell that does what they show."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# `support/` is for these tests alone, and nothing under tests/ is a package
sys.path.insert(0, str(Path(__file__).parent / "support"))

from doc_session import Session


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A terminal in an empty folder; a node left running in it is stopped at the end."""
    if shutil.which("curl") is None:
        pytest.skip("the pages use curl, and there is none here")
    session = Session(tmp_path)
    yield session
    session.close()
