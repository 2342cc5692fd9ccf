"""Lets the tests of this folder import their helpers, and those of ``tests/system``."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "support"), str(HERE.parent / "system" / "support")]
