"""Append whole episodes to a dataset; make a new one aside and put it in place when it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from qwop_datasets import portable, storage
from qwop_datasets.episode import Episode, first_difference, new_id, with_gait
from qwop_datasets.errors import DatasetError, NameTakenError
from qwop_datasets.format import (
    add_episode,
    check_root,
    explained,
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
    """Appends episodes to a dataset file, which is made if it is missing.

    path: the file.
    environment: settings that all episodes of the file share (plain JSON values). An existing file must have
        the same ones; None takes whatever it has.
    gait: fill in the gait figures of episodes that have none.

    The file is open during an append only. An append is durable and all or nothing (see storage.py): killed
    at any moment, the file holds the episodes that it held before, or those and the new ones.

    Raises DatasetError (one line) for a file that is no dataset of this version, other settings, a full disk,
    a directory that can't be written.
    """

    def __init__(
        self, path: str | os.PathLike, environment: Mapping[str, Any] | None = None, *, gait: bool = True
    ) -> None:
        self.path = Path(path)
        self.gait = gait
        if not self.path.exists():
            try:
                with new_file(self.path, environment, replace=False):
                    pass
            except NameTakenError:
                pass  # another program has made it meanwhile: it is an existing file like any other
        with explained(self.path), storage.reading(self.path) as file:
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
        """Store one episode; returns its number. Raises DatasetError; the file is then as before."""
        return self.append_all([episode])[0]

    def append_all(self, episodes: Sequence[Episode]) -> list[int]:
        """Store several episodes, all or none of them, for the price of one append; returns their numbers."""
        if self.gait:
            episodes = [episode if episode.gait else with_gait(episode) for episode in episodes]
        numbers: list[int] = []
        new: list[bytes] = []

        def read_back(file: H5) -> None:
            for number, episode in zip(numbers, episodes, strict=True):
                stored = read_episode(stored_episode(file, number))
                if differs := first_difference(stored, episode):
                    raise DatasetError(f"{self.path}: {differs} did not read back; nothing was changed")

        with explained(self.path), storage.transaction(self.path, read_back) as file:
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
        """Take in what other writers have stored, without reading the whole index at every append."""
        index, count = dataset(file, "index"), len(self._known)
        if len(index) < count or (count and index[count - 1]["id"] != self._known[-1]):
            self._known, self._ids = [], set()  # the file was edited
        fresh = index[len(self._known) :]["id"].tolist()
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
    """Store verification results: episode number -> Episode.verified. All of them or none."""
    with explained(path), storage.transaction(path) as file:
        check_root(file, path)
        index = dataset(file, "index")
        for number, text in verified.items():
            put_attribute(stored_episode(file, number).attrs, "verified", text)
            row = index[number]
            row["verified"] = {"exact": 1, "unknown": 0}.get(text, -1)
            index[number] = row


def set_masks(path: Path, masks: Mapping[str, np.ndarray]) -> None:
    """Store masks, name -> bool [N], in place of those of the same names. All of them or none."""
    with explained(path), storage.transaction(path) as file:
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
) -> Iterator[H5]:
    """An open new dataset that takes its place at `path` on leaving the block, whole or not at all.

    check: looks at the complete file first; what it raises leaves `path` as it was. replace: see output_file.
    """
    with output_file(path, replace=replace) as aside:
        with storage.new_h5(aside, libver=storage.LIBVER) as file:
            write_root(file, environment)
            yield file
        if check:
            with open_h5(aside, "r") as file:
                check(file)


@contextmanager
def output_file(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A name beside `path` to write to. On leaving the block that file becomes `path`, synced to the disk.

    The folder of `path` is made if it is missing. On any failure the new file and folder are removed. Raises
    DatasetError where `path` can't be written, NameTakenError where it exists (unless `replace`).

    replace: `path` exists, and the caller has it under an exclusive lock (storage.locked).
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
                    _rename_to_free_name(aside, path)
            finally:
                portable.remove(aside)
        portable.sync_directory(path.parent)
    except OSError as error:
        raise DatasetError(f"{path}: {storage.describe(error)}; nothing was written") from None


def _rename_to_free_name(aside: Path, path: Path) -> None:
    try:
        try:
            os.link(aside, path)  # unlike a rename, this fails where the name has been taken meanwhile
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links: take the name first, then put the file there
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | portable.BINARY, 0o666))
            portable.replace(aside, path)
    except FileExistsError:
        raise NameTakenError(path) from None


def write_dataset(
    path: str | os.PathLike,
    episodes: Iterable[Episode],
    environment: Mapping[str, Any] | None = None,
    *,
    gait: bool = True,
) -> int:
    """Make a new dataset of many episodes at once, faster than appending; returns how many.

    Raises DatasetError if `path` exists or can't be written; nothing is left behind then.
    """
    count = 0
    with explained(path), new_file(Path(path), environment) as file:
        for episode in episodes:
            add_episode(file, with_gait(episode) if gait and not episode.gait else episode)
            file.raise_failure()
            count += 1
    return count
