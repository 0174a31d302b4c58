"""Read the episodes of a dataset one by one. The file may be larger than memory."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import storage
from qwop_datasets.episode import Episode
from qwop_datasets.errors import DatasetError
from qwop_datasets.filters import matching
from qwop_datasets.format import (
    OLDEST_READABLE,
    REPLAY_DIGEST,
    REPLAYED_ARRAYS,
    check_root,
    damage_as_errors,
    read_environment,
    read_episode,
    read_index,
    read_masks,
    stored_episode,
)
from qwop_datasets.storage import H5
from qwop_datasets.untrusted import dataset


class DatasetReader:
    """A sequence of episodes: len(reader), reader[i], iteration. Only the index (460 B each) is in memory.

    It is a map-style dataset for a torch DataLoader: in a worker process, it opens its own handle. If the
    file grows, the reader still has only the episodes that it found at first.

    index: INDEX_DTYPE [len(self)], one row per episode.
    numbers: int64 [len(self)], their numbers in the file.
    masks: Name -> bool [N] over all episodes of the file.
    environment: Settings that all episodes share.

    Args:
        path: A dataset of a format version from OLDEST_READABLE on.
        where: A filter (see filters.py), such as "source=human success time<60" or "mask=train".

    Raises:
        DatasetError: The file is missing, damaged, not a dataset, too old or too new, or the filter is wrong.
    """

    def __init__(self, path: str | os.PathLike[str], where: str = "") -> None:
        self.path = Path(path)
        self._file: H5 | None = None
        self._state: tuple[Any, ...] = ()
        with self._open() as file:
            self.environment: dict[str, Any] = read_environment(file)
            index = read_index(file)
            self.masks = read_masks(file, len(index))
        self.numbers = np.flatnonzero(matching(index, where, self.masks))
        self.index = index[self.numbers]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, i: int) -> Episode:
        number = int(self.numbers[i])
        with self._open() as file, damage_as_errors(f"{self.path}: episode {number}"):
            episode = read_episode(stored_episode(file, number))
        if episode.id.encode() != self.index["id"][i]:
            raise DatasetError(
                f"{self.path}: episode {number} has changed since the file was opened; open it again"
            )
        return episode

    def array(self, i: int, name: str) -> NDArray[Any]:
        """Read one array of episode i, such as "keys", without the cost of the others.

        Raises:
            DatasetError: The episode has no such array, or is damaged.
        """
        number = int(self.numbers[i])
        with self._open() as file, damage_as_errors(f"{self.path}: episode {number}"):
            stored = stored_episode(file, number)
            if name in REPLAYED_ARRAYS and REPLAY_DIGEST in stored.attrs:
                return getattr(read_episode(stored), name)
            if name not in set(stored):
                raise DatasetError(f"{self.path}: episode {number} has no {name}")
            return dataset(stored, name)[()]

    def __iter__(self) -> Iterator[Episode]:
        return (self[i] for i in range(len(self)))

    def __enter__(self) -> DatasetReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None, "_state": ()}

    def close(self) -> None:
        """Close the file. The next read opens it again."""
        if self._file is not None and self._state[:1] == (os.getpid(),):
            self._file.close()
        self._file, self._state = None, ()

    def select(self, where: str) -> DatasetReader:
        """Make a reader of the episodes of this one that a filter accepts."""
        return self.subset(np.flatnonzero(matching(self.index, where, self._own_masks())))

    def subset(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> DatasetReader:
        """Make a reader of some episodes of this one, in the order of `indices` (int [M])."""
        other = object.__new__(DatasetReader)
        other.__dict__ |= self.__getstate__()
        chosen = np.asarray(indices, np.int64)
        other.numbers, other.index = self.numbers[chosen], self.index[chosen]
        return other

    def _own_masks(self) -> dict[str, NDArray[np.bool_]]:
        return {name: mask[self.numbers] for name, mask in self.masks.items()}

    @contextmanager
    def _open(self) -> Generator[H5]:
        """Yield the open file under a shared lock. Reopen it in another process or after a change."""
        with storage.shared(self.path) as descriptor, damage_as_errors(self.path):
            info = os.fstat(descriptor)
            state = (os.getpid(), info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)
            if self._file is None or state != self._state:
                self.close()
                try:
                    file = storage.open_for_reading(descriptor)
                except OSError as error:
                    raise DatasetError(f"{self.path}: {storage.open_failure(descriptor, error)}") from None
                check_root(file, self.path, OLDEST_READABLE)
                self._file, self._state = file, state
            yield self._file


def split_episode_place(place: str) -> tuple[str, int]:
    """Split the place of an episode, "FILE", "FILE:N" or ":N", into path ("" for none) and number."""
    match = re.fullmatch(r"(.*?)(?::(-?\d{1,9}))?", place, re.DOTALL)
    assert match is not None  # Both parts are optional.
    return match[1], int(match[2] or 0)


def read_one_episode(path: str | os.PathLike[str], number: int = 0) -> tuple[str, Episode]:
    """Read one episode of a dataset.

    Args:
        path: The dataset.
        number: Number of the episode; -1: the last one.

    Returns:
        A name for it of file and number, such as "records 3", and the episode.

    Raises:
        DatasetError: There is no such episode, or the dataset can't be read.
    """
    with DatasetReader(path) as reader:
        count = len(reader)
        if not count:
            raise DatasetError(f"{path}: no episodes: record or merge some first")
        if not -count <= number < count:
            raise DatasetError(f"{path}: no episode {number}: it has {count}, numbered from 0")
        number %= count
        return f"{Path(path).stem} {number}", reader[number]
