"""Lets the tests of this folder import the helpers they share with ``tests/node``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))
