"""Delete, relabel, merge, split, migrate. The new file is checked before it replaces the old one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import storage
from qwop_datasets.checks import check_open_file
from qwop_datasets.episode import SOURCES, Episode, first_difference, name_problem
from qwop_datasets.errors import DatasetError
from qwop_datasets.format import (
    FORMAT_VERSION,
    INDEX_DTYPE,
    OLDEST_READABLE,
    check_root,
    create_index,
    damage_as_errors,
    episode_name,
    file_version,
    index_row,
    put_attribute,
    read_environment,
    read_episode,
    read_index,
    read_masks,
    stored_episode,
    write_mask,
)
from qwop_datasets.migration import migrate, upgrade_attributes
from qwop_datasets.storage import H5, open_h5
from qwop_datasets.untrusted import allocating_at_most, check_before_copying, memory_limit
from qwop_datasets.writer import new_file, output_file, set_masks

_LABELS = ("player", "source")  # what `relabel` may set
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Relabel:
    """A change of an episode's labels. Its frames stay.

    Raises:
        DatasetError: A label can't be stored.
    """

    set: Mapping[str, str]
    """New values of player and source."""
    tag: tuple[str, ...] = ()
    untag: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.set:
            if name not in _LABELS:
                raise DatasetError(f"--set {name}: only {' and '.join(_LABELS)} can be set")
        for what, name in (("--set player", self.set.get("player", "")), *(("--tag", t) for t in self.tag)):
            if problem := name_problem(name, 256):
                raise DatasetError(f"{what}: {problem}")
        if self.set.get("source", SOURCES[0]) not in SOURCES:
            raise DatasetError(f"--set source={self.set['source']}: choose one of {', '.join(SOURCES)}")

    def __call__(self, episode: Episode) -> Episode:
        kept = [tag for tag in episode.tags if tag not in self.untag]
        new = [tag for tag in self.tag if tag not in kept]
        try:
            return episode.replace(**self.set, tags=(*kept, *new))
        except ValueError as error:
            raise DatasetError(str(error)) from None


@contextmanager
def _locked_for_rewrite(path: Path) -> Generator[H5]:
    """Open the file for reading under an exclusive lock, so that no program appends to it."""
    storage.finish_interrupted_change(path)
    with storage.locked(path, exclusive=True) as descriptor, damage_as_errors(path):
        try:
            file = storage.open_for_reading(descriptor)
        except OSError as error:
            raise DatasetError(f"{path}: {storage.open_failure(descriptor, error)}") from None
        with file:
            check_root(file, path, OLDEST_READABLE)
            yield file


def _copy(
    source: H5, target: H5, number: int, row: NDArray[np.void], change: Callable[[Episode], Episode] | None
) -> NDArray[np.void]:
    """Append an episode to another file, byte for byte except labels and old names; returns its row."""
    name = episode_name(len(target["episodes"]))
    with allocating_at_most(memory_limit(source.id.get_filesize())):
        source.copy(stored_episode(source, number), target["episodes"], name)
    target.raise_failure()
    copied = target["episodes"][name]
    upgrade_attributes(copied)
    if change is None:
        return row
    new = change(read_episode(copied))
    for label in _LABELS:
        put_attribute(copied.attrs, label, getattr(new, label))
    put_attribute(copied.attrs, "tags", " ".join(new.tags))
    return index_row(new)


def _write_index(target: H5, rows: NDArray[np.void]) -> None:
    del target["index"]
    create_index(target, rows)


def _same(source: H5, number: int, target: H5, position: int, change: Any) -> bool:
    old = read_episode(stored_episode(source, number))
    new = read_episode(stored_episode(target, position))
    return first_difference(change(old) if change else old, new) is None


def _checked(path: Path, target: H5) -> None:
    for problem in check_open_file(target, path):
        raise DatasetError(f"{path}: the new file failed its check ({problem}); nothing was changed")


def rewrite(
    path: Path,
    ids: NDArray[Any],
    keep: NDArray[Any],
    *,
    change: Callable[[Episode], Episode] | None = None,
    changed: NDArray[Any] | None = None,
    output: Path | None = None,
) -> None:
    """Write a file again with some episodes deleted and labels changed.

    It writes a temporary file, checks all of it, and compares it with the old one episode by episode. Then
    the new file replaces the old one, or is renamed to `output`.

    Args:
        path: The dataset.
        ids: The ids of the file's episodes as the caller read them, S32 [N]. If they differ, nothing is
            changed.
        keep: Which episodes to keep, bool [N].
        change: How to change labels.
        changed: Episodes whose labels to change, bool [N]; None: all.
        output: The file to make; None: replace `path`.

    Raises:
        DatasetError: The file is damaged, has changed, or can't be written. It is then as before.
    """
    numbers = np.flatnonzero(keep)
    changed = np.ones(len(keep), bool) if changed is None else changed
    with _locked_for_rewrite(path) as source:
        if not np.array_equal(read_index(source)["id"], ids):
            raise DatasetError(f"{path}: another program has changed it; try again")
        changes = [change if changed[n] else None for n in numbers]

        def check(target: H5) -> None:
            _checked(path, target)
            for position, number in enumerate(numbers):
                if not _same(source, int(number), target, position, changes[position]):
                    raise DatasetError(f"{path}: episode {number} did not copy exactly; nothing was changed")

        destination = output or path
        with new_file(destination, read_environment(source), replace=output is None, check=check) as target:
            rows = read_index(source)[numbers]
            check_before_copying(path)
            for i, number in enumerate(numbers):
                rows[i] = _copy(source, target, int(number), rows[i], changes[i])
            _write_index(target, rows)
            for name, mask in read_masks(source, len(keep)).items():
                write_mask(target, name, mask[numbers])


def merge(output: Path, paths: Sequence[Path], *, any_settings: bool = False) -> tuple[int, int]:
    """Write all episodes of several datasets into a new one, each id once. Masks of the same name become one.

    Args:
        output: The file to make.
        paths: The datasets.
        any_settings: Whether their settings may differ.

    Returns:
        Number of episodes stored, and of duplicates that were omitted.

    Raises:
        DatasetError: The settings differ, a file is damaged, or `output` exists or can't be written.
    """
    environments: list[dict[str, Any]] = []
    for path in paths:
        with damage_as_errors(path), storage.reading(path) as file:
            check_root(file, path, OLDEST_READABLE)
            environments.append(read_environment(file))
    for path, environment in zip(paths, environments, strict=True):
        if environment != environments[0] and not any_settings:
            raise DatasetError(
                f"{path}: other settings than {paths[0]} ({environment} and {environments[0]}); "
                "add --any-settings to merge them anyway"
            )
    shared = environments[0] if all(e == environments[0] for e in environments) else {}
    seen: set[bytes] = set()
    duplicates = 0

    with new_file(output, shared, check=lambda target: _checked(output, target)) as target:
        rows: list[NDArray[np.void]] = []
        masks: dict[str, list[NDArray[np.bool_]]] = {}
        for path in paths:
            with damage_as_errors(path), storage.reading(path) as source:
                index = read_index(source)
                fresh = [n for n, i in enumerate(index["id"].tolist()) if not (i in seen or seen.add(i))]
                duplicates += len(index) - len(fresh)
                check_before_copying(path)
                before = sum(len(r) for r in rows)
                for number in fresh:
                    _copy(source, target, number, index[number], None)
                rows.append(index[fresh])
                for name, mask in read_masks(source, len(index)).items():
                    masks.setdefault(name, []).append(np.concatenate([np.zeros(before, bool), mask[fresh]]))
        total = sum(len(r) for r in rows)
        _write_index(target, np.concatenate(rows) if rows else np.empty(0, INDEX_DTYPE))
        for name, parts in masks.items():
            mask = np.zeros(total, bool)
            for part in parts:
                mask[: len(part)] |= part
            write_mask(target, name, mask)
    return total, duplicates


def split_masks(
    index: NDArray[np.void], fraction: float, seed: int, names: Sequence[str]
) -> dict[str, NDArray[np.bool_]]:
    """Split episodes at random into two masks.

    Episodes are ranked by a hash of seed and id. So the split is the same on every machine, and most episodes
    stay where they are when others are added.

    Args:
        index: INDEX_DTYPE [N].
        fraction: Share of the second mask: it gets round(fraction * N) episodes, at least 1, at most N - 1.
        seed: Seed of the split.
        names: Names of the two masks.

    Returns:
        Name -> bool [N].

    Raises:
        DatasetError: The fraction is out of range, or there are fewer than two episodes.
    """
    if not 0 < fraction < 1:
        raise DatasetError(f"--fraction {fraction}: expected a number between 0 and 1")
    if len(index) < 2:
        raise DatasetError(f"{len(index)} episode(s) can't be split: two or more are necessary")
    ranks = [hashlib.sha256(f"{seed}:".encode() + i).digest() for i in index["id"].tolist()]
    order = sorted(range(len(index)), key=ranks.__getitem__)
    count = min(max(1, round(fraction * len(index))), len(index) - 1)
    held_out = np.zeros(len(index), bool)
    held_out[order[:count]] = True
    return {names[0]: ~held_out, names[1]: held_out}


def store_split(path: Path, chosen: NDArray[Any], masks: Mapping[str, NDArray[np.bool_]]) -> None:
    """Store masks over some episodes as masks over the whole file.

    Args:
        path: The dataset.
        chosen: Numbers of the episodes, int [M].
        masks: Name -> bool [M].

    Raises:
        DatasetError: The file can't be written. It is then as before.
    """
    with damage_as_errors(path), storage.reading(path) as file:
        count = len(read_index(file))
    full = {name: np.zeros(count, bool) for name in masks}
    for name, mask in masks.items():
        full[name][chosen] = mask
    set_masks(path, full)


def migrate_file(path: str | os.PathLike[str], *, dry_run: bool = False) -> int:
    """Upgrade a file of an older format version. A checked copy replaces the file.

    Args:
        path: The dataset.
        dry_run: Only read the version.

    Returns:
        The version that the file had.

    Raises:
        DatasetError: The file is not a dataset, is damaged, or can't be written. It is then as before.
    """
    path = Path(path)
    storage.finish_interrupted_change(path)
    with storage.locked(path, exclusive=True) as descriptor, damage_as_errors(path):
        with storage.open_for_reading(descriptor) as file:
            version = _version(file, path)
        if version == FORMAT_VERSION or dry_run:
            return version
        with output_file(path, replace=True) as aside:
            storage.copy_out(descriptor, aside)
            with storage.new_h5(aside, "r+", libver=storage.LIBVER) as file:
                migrate(file, path)
            with open_h5(aside, "r") as file:
                _checked(path, file)
    return version


def _version(file: H5, path: Path) -> int:
    try:
        version = file_version(file)
    except (KeyError, ValueError):
        raise DatasetError(f"{path}: an HDF5 file, but not a QWOP dataset (see qwop-data convert)") from None
    if version > FORMAT_VERSION:
        check_root(file, path)
    return version
