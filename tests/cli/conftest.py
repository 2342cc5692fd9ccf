"""The command as a user has it: in a folder of its own, as a process of its own."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

from nexus_command import Here


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    """An empty working folder without settings of anybody else's."""
    for name in [name for name in os.environ if name.startswith("NEXUS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    here = Here(tmp_path)
    yield here
    here.close()
    # commands run in this process, and what they have loaded is not there for other tests
    for name, module in [*sys.modules.items()]:
        if getattr(module, "__name__", name).startswith("nexus_plugins."):
            del sys.modules[name]
