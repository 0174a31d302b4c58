"""Errors that a user can fix."""

from __future__ import annotations

import os


class DatasetError(Exception):
    """One line: what is wrong, in which file, and what to do. Commands print it and exit with code 2."""


class NameTakenError(DatasetError):
    """The file to write exists already."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(f"{path}: already exists; choose another name or remove it")
