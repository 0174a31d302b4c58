"""Recover the runs of an earlier session that was interrupted."""

from pathlib import Path

from qwop_datasets import DatasetError, Recovery, journal_paths, needs_recovery, read_journal, recover_dataset
from qwop_recorder.errors import RecorderError


def unsaved_runs(path: Path) -> int | None:
    """Count the runs of an earlier session that are not in the file.

    Returns:
        Their number; None if that session ended normally.

    Raises:
        RecorderError: A session is running.
    """
    if not needs_recovery(path):
        return None
    try:
        return sum(len(read_journal(journal)[0]) for journal in journal_paths(path))
    except DatasetError as error:
        raise RecorderError(str(error)) from None


def recover(path: Path) -> Recovery:
    """Store the unsaved runs of an earlier session in the file.

    Raises:
        RecorderError: A session is running, or the disk refuses.
    """
    try:
        return recover_dataset(path)
    except DatasetError as error:
        raise RecorderError(str(error)) from None
