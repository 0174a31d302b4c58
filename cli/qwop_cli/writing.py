"""Write files so that a crash leaves the old one or the new one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file beside `path` and give it that name once all of it is on the disk.

    Args:
        path: file to write; an existing one is replaced.
        write: writes the file whose path it gets. The suffix is that of `path`.

    Raises:
        OSError: it can't be written. Nothing is left beside `path`.
    """
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    beside.unlink(missing_ok=True)
    try:
        write(beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
