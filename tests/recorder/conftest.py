"""Tests of the recorder share page_changes.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
