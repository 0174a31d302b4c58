"""Store every change in the journal, and every kept run, verified by replay, in the dataset."""

import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from qwop_datasets import (
    Change,
    DatasetError,
    DatasetReader,
    DatasetWriter,
    Episode,
    Journal,
    Recording,
    journal_path,
    verify_episodes,
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
        self._file = RunFile(path, game)
        try:
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
        """Verify the run by exact replay and append it to the dataset; returns a line about it."""
        (verified,) = self._file.add([run.episode()])
        with _store_errors():
            self._journal.done(run)
        return line_about(run, verified)

    def flush(self) -> None:
        """Write the data that the disk refused before."""
        with _store_errors():
            self._journal.flush()


class RunFile:
    """A dataset to which verified runs are appended; made with the first one.

    Args:
        path: The dataset.
        game: "embedded" or "real".

    Raises:
        RecorderError: The file is no dataset of this version and these settings.
    """

    def __init__(self, path: Path, game: str = "embedded") -> None:
        self.path = path
        self._environment = {"game": game}
        try:
            self._writer = _open_existing(path, self._environment)
        except DatasetError as error:
            raise RecorderError(str(error)) from None

    def add(self, episodes: Sequence[Episode]) -> list[str]:
        """Verify runs by exact replay and append them, all or none; those that the file has stay as they are.

        A run that has the id, but not the keys, of a stored one gets an id of its own: the stored one is what
        a crash left of it.

        Returns:
            `Episode.verified` of each.

        Raises:
            StoreError: The disk refuses.
        """
        new: list[Episode] = []
        texts: list[str] = []
        for episode, verification in zip(episodes, verify_episodes(episodes), strict=True):
            tags = episode.tags
            if episode.rewinds is not None and REWOUND_TAG not in tags:
                tags = (*tags, REWOUND_TAG)
            new.append(episode.replace(verified=verification.text, tags=tags))
            texts.append(verification.text)
        with _store_errors():
            if self._writer is None:
                # Another program may have made the file since this one looked.
                existing = _open_existing(self.path, self._environment)
                self._writer = existing or DatasetWriter(self.path, self._environment)
            # They are there already where the last attempt stored them, and only the answer was lost.
            new = [e for e in map(self._under_a_free_id, new) if e is not None]
            if new:
                self._writer.append_all(new)
        return texts

    def _under_a_free_id(self, episode: Episode) -> Episode | None:
        """The episode with an id that the file lacks; None where the file has the episode."""
        if self._writer is None or episode.id not in self._writer:
            return episode
        with DatasetReader(self.path) as reader:
            stored = reader[reader.index["id"].tolist().index(episode.id.encode())]
        if np.array_equal(stored.keys, episode.keys):
            return None
        return self._under_a_free_id(
            episode.replace(id=hashlib.sha256(episode.id.encode() + episode.keys.tobytes()).hexdigest()[:32])
        )


def line_about(run: Recording, verified: str) -> str:
    """A line about a run that is in the file."""
    end = "finished" if run.success else "fell" if run.terminated else "cut short"
    return f"{run.distance:6.1f} m  {run.time:6.1f} s  {end}, replay {verified}"


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
