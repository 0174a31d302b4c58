"""Check a dataset against the format: structure, values, and that the index repeats the episodes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from qwop_datasets import storage
from qwop_datasets.episode import Episode
from qwop_datasets.errors import DatasetError
from qwop_datasets.format import (
    INDEX_DTYPE,
    OLDEST_READABLE,
    check_root,
    damage_as_errors,
    episode_name,
    index_row,
    read_environment,
    read_episode,
    read_index,
    read_masks,
    stored_episode,
)
from qwop_datasets.storage import H5
from qwop_datasets.untrusted import group
from qwop_game import FRAME_SECONDS

# Far beyond any value of the game: 1e4 units are a kilometer.
_LARGEST = 1e4
_CLOCK_SLACK = 1e-6  # s


_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Problem:
    """A violation of the format."""

    number: int | None
    """Number of the episode; None: the problem is of the whole file."""
    text: str

    def __str__(self) -> str:
        return self.text if self.number is None else f"episode {self.number}: {self.text}"


def check_file(path: str | os.PathLike[str], each: Callable[[int, int], None] | None = None) -> list[Problem]:
    """Read every byte of a dataset and list all its problems.

    Args:
        path: The dataset.
        each: Called as each(done, total) after each episode.

    Raises:
        DatasetError: The file is not a dataset.
    """
    path = Path(path)
    with damage_as_errors(path), storage.reading(path) as file:
        check_root(file, path, OLDEST_READABLE)
        return check_open_file(file, path, each)


def check_open_file(file: H5, path: Path, each: Callable[[int, int], None] | None = None) -> list[Problem]:
    """Do what `check_file` does, on an open file."""
    problems: list[Problem] = []

    def attempt(number: int | None, what: Callable[[], _Result]) -> _Result | None:
        try:
            with damage_as_errors(path):
                return what()
        except DatasetError as error:
            problems.append(Problem(number, str(error).removeprefix(f"{path}: ")))
            return None

    attempt(None, lambda: read_environment(file))
    index = attempt(None, lambda: read_index(file))
    names = attempt(None, lambda: sorted(group(file, "episodes")))
    if index is None or names is None:
        return problems
    if names != [episode_name(i) for i in range(len(index))]:
        problems.append(Problem(None, f"{len(names)} episode groups, but {len(index)} rows in /index"))
    if len(set(index["id"].tolist())) != len(index):
        problems.append(Problem(None, "two episodes have the same id"))
    attempt(None, lambda: read_masks(file, len(index)))
    for number in range(len(index)):
        episode = attempt(number, lambda n=number: read_episode(stored_episode(file, n)))
        if episode is not None:
            problems += [Problem(number, text) for text in _check_episode(episode, index[number])]
        if each:
            each(number + 1, len(index))
    return problems


def _check_episode(episode: Episode, row: np.void) -> list[str]:
    problems: list[str] = []
    expected = index_row(episode)[()]
    columns = [c for c in INDEX_DTYPE.names or () if row[c].tobytes() != expected[c].tobytes()]
    if columns:
        problems.append(f"its row of /index differs in {', '.join(columns)}")
    if float(np.abs(episode.raw_observations).max()) > _LARGEST:
        problems.append(f"a raw observation is beyond {_LARGEST:g}")
    if float(np.diff(episode.times).max()) > FRAME_SECONDS + _CLOCK_SLACK:
        problems.append("the clock advances faster than 1/30 s per frame")
    return problems
