"""What an earlier session left behind when it broke off."""

from pathlib import Path

from qwop_datasets import DatasetError, Recovery, journal_paths, needs_recovery, read_journal, recover_dataset
from qwop_recorder.errors import RecorderError


def unsaved_runs(path: Path) -> int | None:
    """Count the runs of an earlier session that are not in the file.

    Returns:
        Their number; None where that session ended in order.

    Raises:
        RecorderError: A session is under way.
    """
    if not needs_recovery(path):
        return None
    try:
        return sum(len(read_journal(journal)[0]) for journal in journal_paths(path))
    except DatasetError as error:
        raise RecorderError(str(error)) from None


def recover(path: Path) -> Recovery:
    """Put what an earlier session left behind into the file.

    Raises:
        RecorderError: A session is under way, or the disk refuses.
    """
    try:
        return recover_dataset(path)
    except DatasetError as error:
        raise RecorderError(str(error)) from None
