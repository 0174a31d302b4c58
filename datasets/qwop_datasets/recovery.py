"""After a crash: finish an interrupted append, and take in what the journal still holds."""

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
    """What `recover_dataset` did."""

    finished_append: bool
    """An append that was under way is complete now."""
    episodes: tuple[Episode, ...]
    """Taken from the journal into the dataset."""
    already_stored: int
    """In the journal and in the dataset: the crash came between the append and the journal's note of it."""
    damaged_bytes: int
    """Of the journal, in its middle. The journal is then kept under `damaged_copy`."""
    damaged_copy: Path | None


def needs_recovery(path: str | os.PathLike) -> bool:
    """Whether a crash left something to recover for this dataset."""
    path = Path(path)
    return storage.redo_path(path).exists() or journal_path(path).exists()


def recover_dataset(path: str | os.PathLike) -> Recovery:
    """Finish what a crash interrupted; doing it twice, or being killed meanwhile, does no harm.

    Episodes from the journal are replayed, and marked, before they are stored. The journal is removed once
    all are in the dataset. Raises DatasetError where a recording is under way, or the disk refuses.
    """
    path = Path(path)
    journal = journal_path(path)
    finished = path.exists() and storage.settle(path)
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
    except ImportError:  # no engine here: saving comes first
        return episode


def _free_name(path: Path) -> Path:
    number, name = 1, path
    while name.exists():
        number += 1
        name = path.with_name(f"{path.name}-{number}")
    return name
