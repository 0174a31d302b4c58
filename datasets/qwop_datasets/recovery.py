"""Recover from a crash: finish an interrupted append, and store the episodes of the journal."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from qwop_datasets import portable, storage
from qwop_datasets.episode import Episode
from qwop_datasets.errors import DatasetError
from qwop_datasets.journal import journal_path, read_journal
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
    """Damaged bytes in the middle of the journal, which is then kept as `damaged_copy`."""
    damaged_copy: Path | None


def needs_recovery(path: str | os.PathLike[str]) -> bool:
    """Return whether a crash left something to recover for this dataset."""
    path = Path(path)
    return storage.redo_path(path).exists() or journal_path(path).exists()


def recover_dataset(path: str | os.PathLike[str]) -> Recovery:
    """Finish what a crash interrupted. It is safe to call it twice, or to kill it.

    Episodes of the journal are verified by replay before they are stored. The journal is removed once all are
    in the dataset.

    Args:
        path: The dataset; it may be missing.

    Returns:
        What was recovered.

    Raises:
        DatasetError: A recording is running, or the disk refuses.
    """
    path = Path(path)
    journal = journal_path(path)
    finished = path.exists() and storage.finish_interrupted_change(path)
    if not journal.exists():
        return Recovery(finished, (), 0, 0, None)
    episodes, damaged = read_journal(journal)
    taken: list[Episode] = []
    if episodes:
        writer = DatasetWriter(path)
        for episode in episodes:
            if episode.id not in writer:
                episode = _verified(episode)
                writer.append(episode)
                taken.append(episode)
    copy = None
    try:
        if damaged:
            copy = _free_name(journal.with_name(journal.name + ".damaged"))
            portable.replace(journal, copy)
        else:
            portable.remove(journal)
        portable.sync_directory(path.parent)
    except OSError as error:
        raise DatasetError(f"{journal}: {storage.describe(error)}") from None
    return Recovery(finished, tuple(taken), len(episodes) - len(taken), damaged, copy)


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
