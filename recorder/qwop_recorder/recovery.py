"""Recover the runs of an earlier session that was interrupted."""

from pathlib import Path

from qwop_datasets import DatasetError, Recovery, journal_path, needs_recovery, read_journal, recover_dataset
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
    journal = journal_path(path)
    try:
        return len(read_journal(journal)[0]) if journal.exists() else 0
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
