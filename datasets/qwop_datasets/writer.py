"""Append episodes to a dataset, or write a new one atomically."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import portable, storage
from qwop_datasets.episode import Episode, first_difference, new_id, with_gait
from qwop_datasets.errors import DatasetError, NameTakenError
from qwop_datasets.format import (
    add_episode,
    check_root,
    damage_as_errors,
    put_attribute,
    read_environment,
    read_episode,
    read_index,
    stored_episode,
    write_mask,
    write_root,
)
from qwop_datasets.storage import H5, open_h5
from qwop_datasets.untrusted import dataset


class DatasetWriter:
    """Appends episodes to a dataset, and creates it if it is missing.

    The file is open only during an append. An append is durable and atomic (see storage.py): after a kill at
    any moment, the file has either the old episodes, or the old and the new ones.

    Args:
        path: The file.
        environment: Settings that all episodes of the file share (plain JSON values). An existing file must
            have the same; None accepts any.
        gait: Whether to compute the gait figures of episodes that have none.

    Raises:
        DatasetError: The file is not a dataset of this version, has other settings, or can't be written.
    """

    def __init__(
        self, path: str | os.PathLike[str], environment: Mapping[str, Any] | None = None, *, gait: bool = True
    ) -> None:
        self.path = Path(path)
        self.gait = gait
        if not self.path.exists():
            try:
                with new_file(self.path, environment, replace=False):
                    pass
            except NameTakenError:
                pass  # another program has just made it: treat it as an existing file
        with damage_as_errors(self.path), storage.reading(self.path) as file:
            check_root(file, self.path)
            stored = read_environment(file)
            self._known = read_index(file)["id"].tolist()
        self._ids = set(self._known)
        if environment is not None:
            _compare(self.path, stored, dict(environment))
        self.environment = stored

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, episode_id: str) -> bool:
        return episode_id.encode() in self._ids

    def append(self, episode: Episode) -> int:
        """Store one episode; returns its number.

        Raises:
            DatasetError: The file can't be written, or has the episode. It is then as before.
        """
        return self.append_all([episode])[0]

    def append_all(self, episodes: Sequence[Episode]) -> list[int]:
        """Store several episodes, all or none, at the cost of one append; returns their numbers.

        Raises:
            DatasetError: The file can't be written, or has one of them. It is then as before.
        """
        if self.gait:
            episodes = [episode if episode.gait else with_gait(episode) for episode in episodes]
        numbers: list[int] = []
        new: list[bytes] = []

        def read_back(file: H5) -> None:
            for number, episode in zip(numbers, episodes, strict=True):
                stored = read_episode(stored_episode(file, number))
                if differs := first_difference(stored, episode):
                    raise DatasetError(f"{self.path}: {differs} did not read back; nothing was changed")

        with damage_as_errors(self.path), storage.transaction(self.path, read_back) as file:
            check_root(file, self.path)
            self._catch_up(file)
            for episode in episodes:
                if episode.id in self or episode.id.encode() in new:
                    raise DatasetError(f"{self.path}: episode {episode.id} is already there")
                numbers.append(add_episode(file, episode))
                new.append(episode.id.encode())
        self._known += new
        self._ids.update(new)
        return numbers

    def _catch_up(self, file: H5) -> None:
        """Read the rows that other writers have added, without reading the whole index at every append."""
        index, count = dataset(file, "index"), len(self._known)
        if len(index) < count or (count and index[count - 1]["id"] != self._known[-1]):
            self._known, self._ids = list[bytes](), set[bytes]()  # the file was edited
        fresh: list[bytes] = index[len(self._known) :]["id"].tolist()
        self._known += fresh
        self._ids.update(fresh)


def _compare(path: Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    missing = object()
    names = sorted(stored.keys() | wanted.keys())
    differ = [name for name in names if stored.get(name, missing) != wanted.get(name, missing)]
    if differ:
        said = ", ".join(
            f"{n}: {stored.get(n, 'not set')} there, {wanted.get(n, 'not set')} here" for n in differ
        )
        raise DatasetError(f"{path}: was recorded with other settings ({said}); choose another file")


def set_verified(path: Path, verified: Mapping[int, str]) -> None:
    """Store results of verification, all or none.

    Args:
        path: The dataset.
        verified: Episode number -> Episode.verified.

    Raises:
        DatasetError: The file can't be written. It is then as before.
    """
    with damage_as_errors(path), storage.transaction(path) as file:
        check_root(file, path)
        index = dataset(file, "index")
        for number, text in verified.items():
            put_attribute(stored_episode(file, number).attrs, "verified", text)
            row = index[number]
            row["verified"] = {"exact": 1, "unknown": 0}.get(text, -1)
            index[number] = row


def set_masks(path: Path, masks: Mapping[str, NDArray[np.bool_]]) -> None:
    """Store masks, all or none. They replace those of the same names.

    Args:
        path: The dataset.
        masks: Name -> bool [N].

    Raises:
        DatasetError: The file can't be written. It is then as before.
    """
    with damage_as_errors(path), storage.transaction(path) as file:
        check_root(file, path)
        for name, mask in masks.items():
            write_mask(file, name, mask)


@contextmanager
def new_file(
    path: Path,
    environment: Mapping[str, Any] | None = None,
    *,
    replace: bool = False,
    check: Callable[[H5], None] | None = None,
) -> Generator[H5]:
    """Open a new dataset. At the end of the block it is renamed to `path`, or removed on failure.

    Args:
        path: The file to make.
        environment: See DatasetWriter.
        replace: See `output_file`.
        check: Called with the complete file first. If it raises, `path` stays as it was.
    """
    with output_file(path, replace=replace) as aside:
        with storage.new_h5(aside, libver=storage.LIBVER) as file:
            write_root(file, environment)
            yield file
        if check:
            with open_h5(aside, "r") as file:
                check(file)


@contextmanager
def output_file(path: Path, *, replace: bool = False) -> Generator[Path]:
    """Yield a temporary path to write to. At the end of the block that file is synced and renamed to `path`.

    It makes the folder of `path` if it is missing. On any failure it removes the new file and folder.

    Args:
        path: The file to make.
        replace: `path` exists, and the caller has it under an exclusive lock (storage.locked).

    Raises:
        DatasetError: `path` can't be written.
        NameTakenError: `path` exists, and `replace` is False.
    """
    aside = path.with_name(f"{path.name}.new-{os.getpid()}-{new_id()[:8]}")
    try:
        if path.exists() and not replace:
            raise NameTakenError(path)
        with storage.made_folder(path.parent):
            try:
                yield aside
                with open(aside, "rb+") as handle:
                    portable.sync(handle.fileno())
                if replace:
                    shutil.copymode(path, aside)
                    storage.put_in_place(aside, path)
                else:
                    with storage.interrupts_wait():
                        _rename_to_free_name(aside, path)
                        portable.remove(aside)
            finally:
                portable.remove(aside)
        portable.sync_directory(path.parent)
    except OSError as error:
        raise DatasetError(f"{path}: {storage.describe(error)}; nothing was written") from None


def _rename_to_free_name(aside: Path, path: Path) -> None:
    try:
        try:
            os.link(aside, path)  # unlike a rename, this fails if the name exists by now
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links: create an empty file first, then replace it
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | portable.BINARY, 0o666))
            portable.replace(aside, path)
    except FileExistsError:
        raise NameTakenError(path) from None


def write_dataset(
    path: str | os.PathLike[str],
    episodes: Iterable[Episode],
    environment: Mapping[str, Any] | None = None,
    *,
    gait: bool = True,
) -> int:
    """Make a new dataset of many episodes, faster than by appending them.

    Args:
        path: The file to make.
        episodes: The episodes; taken one by one.
        environment: Settings that all of them share.
        gait: Whether to compute the gait figures of episodes that have none.

    Returns:
        The number of episodes.

    Raises:
        DatasetError: `path` exists or can't be written. Then no file is left.
    """
    count = 0
    with damage_as_errors(path), new_file(Path(path), environment) as file:
        for episode in file.interruptible(episodes):
            add_episode(file, with_gait(episode) if gait and not episode.gait else episode)
            file.raise_failure()
            count += 1
    return count
