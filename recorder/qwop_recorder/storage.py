"""Store every change in the journal, and every kept run, verified by replay, in the dataset."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qwop_datasets import (
    Change,
    DatasetError,
    DatasetWriter,
    Episode,
    Journal,
    Recording,
    journal_path,
    verify_episode,
)
from qwop_game import DEFAULT_TRIG
from qwop_recorder.errors import RecorderError
from qwop_recorder.keeping import StoreError
from qwop_recorder.personal_best import REWOUND_TAG


class EpisodeStore:
    """A `Store` (see keeping.py) on a dataset file and its journal.

    Args:
        path: The dataset. It is created with the first kept run.
        player: The person's name.
        clock_offset: Unix time minus the session's clock, s.
        provenance: `Episode.provenance` of the runs.
        game: "embedded" or "real".
        trig: The variant of sine and cosine that the game computes with.

    Raises:
        RecorderError: The file is not a dataset of this version and these settings, another recorder uses it,
            or its folder can't be written.
    """

    def __init__(
        self,
        path: Path,
        player: str,
        clock_offset: float,
        provenance: Mapping[str, str | int | float | bool],
        game: str = "embedded",
        trig: str = DEFAULT_TRIG,
    ) -> None:
        self.path = path
        self.fields: Mapping[str, Any] = {
            "source": "human",
            "player": player,
            "game": game,
            "trig": trig,
            "provenance": dict(provenance),
            "wall_clock_offset": clock_offset,
        }
        self._environment = {"game": game}
        try:
            self._writer = _open_existing(path, self._environment)
            self._journal = Journal(journal_path(path))
        except DatasetError as error:
            raise RecorderError(str(error)) from None

    @property
    def journal_file(self) -> Path:
        """FILE.journal."""
        return self._journal.path

    def close(self) -> None:
        """Close the journal. Its file stays if it has a run that the dataset lacks."""
        self._journal.close()

    def begin(self, run: Recording) -> None:
        """Store the start of a run in the journal."""
        with _store_errors():
            self._journal.begin(run)

    def write(self, run: Recording, changes: Sequence[Change]) -> None:
        """Store changes of the latest run in the journal."""
        with _store_errors():
            self._journal.write(*changes)

    def drop(self, run: Recording) -> None:
        """Discard the run permanently."""
        with _store_errors():
            self._journal.done(run)

    def commit(self, run: Recording) -> str:
        """Verify the run by exact replay and append it to the dataset. Returns a line about it."""
        episode = run.episode()
        verification = verify_episode(episode)
        tags = (*episode.tags, REWOUND_TAG) if run.rewinds else episode.tags
        with _store_errors():
            self._append(episode.replace(verified=verification.text, tags=tags))
            self._journal.done(run)
        end = "finished" if run.success else "fell" if run.terminated else "cut short"
        return f"{run.distance:6.1f} m  {run.time:6.1f} s  {end}, replay {verification.text}"

    def flush(self) -> None:
        """Write the data that the disk refused before."""
        with _store_errors():
            self._journal.flush()

    def _append(self, episode: Episode) -> None:
        if self._writer is None:
            # Another program may have created the file since the last check.
            existing = _open_existing(self.path, self._environment)
            self._writer = existing or DatasetWriter(self.path, self._environment)
        # It is already there if the last attempt stored it and only the journal's record of that failed.
        if episode.id not in self._writer:
            self._writer.append(episode)


@contextmanager
def _store_errors() -> Generator[None]:
    try:
        yield
    except DatasetError as error:
        raise StoreError(str(error)) from None


def _open_existing(path: Path, environment: dict[str, Any]) -> DatasetWriter | None:
    """Return a writer for an existing dataset, or None. Raises DatasetError if its settings differ."""
    if not path.exists():
        return None
    writer = DatasetWriter(path)
    # A file without settings accepts any; one with settings must have the same.
    if writer.environment:
        writer = DatasetWriter(path, environment)
    return writer
