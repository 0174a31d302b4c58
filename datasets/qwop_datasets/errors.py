"""The errors that readers and writers of datasets raise for what a user can cause."""

from __future__ import annotations

import os


class DatasetError(Exception):
    """One line: what is wrong, in which file, and how to fix it. Commands print it and exit with code 2."""


class NameTakenError(DatasetError):
    """A file that was to be made is there already."""

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__(f"{path}: exists already; choose another name or remove it")
