"""Delete, relabel, merge, split, migrate: into a new file, which replaces the old one once it is checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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
    episode_name,
    explained,
    file_version,
    index_row,
    migrate,
    put_attribute,
    read_environment,
    read_episode,
    read_index,
    read_masks,
    say_trig,
    stored_episode,
    write_mask,
)
from qwop_datasets.storage import H5, open_h5
from qwop_datasets.untrusted import allocating_at_most, check_before_copying, memory_limit
from qwop_datasets.writer import new_file, output_file, set_masks

_LABELS = ("player", "source")  # what `relabel` may set
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Relabel:
    """Changes to what is written on an episode; its frames are never touched. Raises DatasetError."""

    set: Mapping[str, str]
    """player and source."""
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
def _held(path: Path) -> Iterator[H5]:
    """The file open for reading under an exclusive lock, so that nothing is appended meanwhile."""
    storage.settle(path)
    with storage.locked(path, exclusive=True) as descriptor, explained(path):
        try:
            file = storage.open_for_reading(descriptor)
        except OSError as error:
            raise DatasetError(f"{path}: {storage.why_not(descriptor, error)}") from None
        with file:
            check_root(file, path, OLDEST_READABLE)
            yield file


def _copy(
    source: H5, target: H5, number: int, row: np.ndarray, change: Callable[[Episode], Episode] | None
) -> np.ndarray:
    """Copy an episode behind those of another file, byte for byte but for the labels; returns its new row."""
    name = episode_name(len(target["episodes"]))
    with allocating_at_most(memory_limit(source.id.get_filesize())):
        source.copy(stored_episode(source, number), target["episodes"], name)
    target.raise_failure()
    copied = target["episodes"][name]
    say_trig(copied.attrs)
    if change is None:
        return row
    new = change(read_episode(copied))
    for label in _LABELS:
        put_attribute(copied.attrs, label, getattr(new, label))
    put_attribute(copied.attrs, "tags", " ".join(new.tags))
    return index_row(new)


def _write_index(target: H5, rows: np.ndarray) -> None:
    del target["index"]
    create_index(target, rows)


def _same(source: H5, number: int, target: H5, position: int, change: Any) -> bool:
    old = read_episode(stored_episode(source, number))
    new = read_episode(stored_episode(target, position))
    return first_difference(change(old) if change else old, new) is None


def _checked(path: Path, target: H5) -> None:
    for problem in check_open_file(target, path):
        raise DatasetError(f"{path}: the new file does not check ({problem}); nothing was changed")


def rewrite(
    path: Path,
    ids: np.ndarray,
    keep: np.ndarray,
    *,
    change: Callable[[Episode], Episode] | None = None,
    changed: np.ndarray | None = None,
    output: Path | None = None,
) -> None:
    """Keep the episodes where `keep` is true; `change` the labels of those in `changed` (all). Both bool [N].

    ids: the file's episodes as the caller saw them, S32 [N]: others must not be touched by mistake.
    The new file is written aside, checked whole, and compared with the old one episode by episode; then it
    takes its place, or that of `output`. Raises DatasetError with the old file as it was.
    """
    numbers = np.flatnonzero(keep)
    changed = np.ones(len(keep), bool) if changed is None else changed
    with _held(path) as source:
        if not np.array_equal(read_index(source)["id"], ids):
            raise DatasetError(f"{path}: has changed meanwhile; try again")
        changes = [change if changed[n] else None for n in numbers]

        def check(target: H5) -> None:
            _checked(path, target)
            for position, number in enumerate(numbers):
                if not _same(source, number, target, position, changes[position]):
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
    """All episodes of several datasets in a new one, each id once; returns (stored, left out as duplicates).

    Masks of the same name become one. Raises DatasetError where settings differ (unless `any_settings`) or
    `output` exists.
    """
    environments = []
    for path in paths:
        with explained(path), storage.reading(path) as file:
            check_root(file, path, OLDEST_READABLE)
            environments.append(read_environment(file))
    for path, environment in zip(paths, environments, strict=True):
        if environment != environments[0] and not any_settings:
            raise DatasetError(
                f"{path}: other settings than {paths[0]} ({environment} and {environments[0]}); "
                "use --any-settings to merge all the same"
            )
    shared = environments[0] if all(e == environments[0] for e in environments) else {}
    seen: set[bytes] = set()
    duplicates = 0

    with new_file(output, shared, check=lambda target: _checked(output, target)) as target:
        rows: list[np.ndarray] = []
        masks: dict[str, list[np.ndarray]] = {}
        for path in paths:
            with explained(path), storage.reading(path) as source:
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


def split_masks(index: np.ndarray, fraction: float, seed: int, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Two masks over INDEX_DTYPE [N], by episode: the second holds round(fraction * N), at least one of each.

    Episodes are ranked by a hash of seed and id: the same episodes fall the same way on every machine, and
    most of them do after others have been added. Raises DatasetError.
    """
    if not 0 < fraction < 1:
        raise DatasetError(f"--fraction {fraction}: give a number between 0 and 1")
    if len(index) < 2:
        raise DatasetError(f"{len(index)} episode(s) can't be split")
    ranks = [hashlib.sha256(f"{seed}:".encode() + i).digest() for i in index["id"].tolist()]
    order = sorted(range(len(index)), key=ranks.__getitem__)
    count = min(max(1, round(fraction * len(index))), len(index) - 1)
    held_out = np.zeros(len(index), bool)
    held_out[order[:count]] = True
    return {names[0]: ~held_out, names[1]: held_out}


def store_split(path: Path, chosen: np.ndarray, masks: Mapping[str, np.ndarray]) -> None:
    """Store masks over the episodes `chosen` (their numbers) as masks over the whole file."""
    with explained(path), storage.reading(path) as file:
        count = len(read_index(file))
    full = {name: np.zeros(count, bool) for name in masks}
    for name, mask in masks.items():
        full[name][chosen] = mask
    set_masks(path, full)


def migrate_file(path: str | os.PathLike, *, dry_run: bool = False) -> int:
    """Bring a file of an older format version up to date, aside and checked; returns the version it had."""
    path = Path(path)
    storage.settle(path)
    with storage.locked(path, exclusive=True) as descriptor, explained(path):
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
