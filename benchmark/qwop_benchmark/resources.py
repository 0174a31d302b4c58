"""Files that come with the package."""

from __future__ import annotations

from pathlib import Path


def data_file(name: str) -> Path:
    """Return the path of a file of the package's folder data/."""
    return Path(__file__).with_name("data") / name
