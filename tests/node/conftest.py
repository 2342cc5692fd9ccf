"""Lets the tests of this folder import the helpers they share with ``tests/system``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "system" / "support"))
