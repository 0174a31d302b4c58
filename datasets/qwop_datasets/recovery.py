"""Recover from a crash: finish an interrupted append, and store the episodes of the journal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qwop_datasets import portable, storage
from qwop_datasets.episode import Episode
from qwop_datasets.errors import DatasetError
from qwop_datasets.journal import journal_paths, read_journal
from qwop_datasets.verify import verify_episode
from qwop_datasets.writer import DatasetWriter


@dataclass(frozen=True)
class Recovery:
    """The result of `recover_dataset`."""

    finished_append: bool
    """Whether an append was interrupted; it is complete now."""
    episodes: tuple[Episode, ...]
    """Episodes of the journal that are now in the dataset."""
    already_stored: int
    """Episodes of the journal that the dataset already had: the crash came before the journal marked them."""
    damaged_bytes: int
    """Damaged bytes in the middle of a journal, which is then kept as `damaged_copy`."""
    damaged_copy: Path | None


def needs_recovery(path: str | os.PathLike[str]) -> bool:
    """Return whether a crash left something to recover for this dataset."""
    path = Path(path)
    return storage.redo_path(path).exists() or bool(journal_paths(path))


def recover_dataset(path: str | os.PathLike[str]) -> Recovery:
    """Finish what a crash interrupted. It is safe to call it twice, or to kill it.

    Episodes of the journals are verified by replay before they are stored. A journal is removed once all its
    episodes are in the dataset.

    Args:
        path: The dataset; it may be missing.

    Returns:
        What was recovered.

    Raises:
        DatasetError: A recording is running, or the disk refuses.
    """
    path = Path(path)
    finished = path.exists() and storage.finish_interrupted_change(path)
    taken: list[Episode] = []
    already_stored = damaged_bytes = 0
    copy = None
    for journal in journal_paths(path):
        episodes, damaged = read_journal(journal)
        new = _stored(path, episodes)
        taken += new
        already_stored += len(episodes) - len(new)
        damaged_bytes += damaged
        copy = _put_away(journal, bool(damaged)) or copy
    return Recovery(finished, tuple(taken), already_stored, damaged_bytes, copy)


def _stored(path: Path, episodes: Sequence[Episode]) -> list[Episode]:
    """Verify and store those episodes that the dataset lacks; returns them."""
    taken: list[Episode] = []
    if episodes:
        writer = DatasetWriter(path)
        for episode in episodes:
            if episode.id in writer:
                continue
            episode = _verified(episode)
            try:
                writer.append(episode)
            except DatasetError:
                if episode.id in DatasetWriter(path):
                    continue  # the recorder's own process was still about to store it
                raise
            taken.append(episode)
    return taken


def _put_away(journal: Path, damaged: bool) -> Path | None:
    """Remove a journal whose episodes are in the dataset; a damaged one is kept under the name returned."""
    copy = None
    try:
        if damaged:
            copy = _free_name(journal.with_name(journal.name + ".damaged"))
            portable.replace(journal, copy)
        else:
            portable.remove(journal)
        portable.sync_directory(journal.parent)
    except OSError as error:
        raise DatasetError(f"{journal}: {storage.describe(error)}") from None
    return copy


def _verified(episode: Episode) -> Episode:
    try:
        return episode.replace(verified=verify_episode(episode).text)
    except ImportError:  # no engine here: store the episode without verification
        return episode


def _free_name(path: Path) -> Path:
    number, name = 1, path
    while name.exists():
        number += 1
        name = path.with_name(f"{path.name}-{number}")
    return name
