"""Where the pages are, and a shell that does what they show."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from nexus_actors.testing import postgres

# `support/` is for these tests alone, and nothing under tests/ is a package
sys.path.insert(0, str(Path(__file__).parent / "support"))

from doc_session import Session


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A terminal in an empty folder; a node left running in it is stopped at the end."""
    with _closing(Session(tmp_path)) as session:
        yield session


@pytest.fixture
def session_with_database(tmp_path: Path) -> Iterator[Session]:
    """The same with a database on the server of the test run, which saves the time to make one."""
    with _closing(Session(tmp_path, trio.run(postgres.new_database))) as session:
        yield session


@contextmanager
def _closing(session: Session) -> Iterator[Session]:
    if shutil.which("curl") is None:
        pytest.skip("the pages use curl, and there is none here")
    yield session
    session.close()
