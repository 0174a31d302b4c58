"""Where runs go: each frame to the journal; each run that is kept, replayed and verified, to the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qwop_datasets import (
    DatasetError,
    DatasetReader,
    DatasetWriter,
    Episode,
    Journal,
    Recovery,
    journal_path,
    needs_recovery,
    read_journal,
    recover_dataset,
    verify_episode,
)
from qwop_game import DEFAULT_TRIG
from qwop_recorder.errors import RecorderError
from qwop_recorder.key_events import KeyEvent
from qwop_recorder.session import PersonalBest, Run, StoreError

REWOUND_TAG = "rewound"


class EpisodeStore:
    """A `Store` (see session.py) on a dataset file and its journal.

    path: the dataset, made with the first run that is kept.
    player: the person's name.
    clock_offset: Unix time minus the session's clock, s.
    passport: what Episode.passport says about where the numbers come from.
    game: "embedded" or "real".
    trig: whose sine and cosine it computes with.

    Raises RecorderError where the file is no dataset of this version and these settings, where another
    recorder is at work on it, or where its directory can't be written.
    """

    def __init__(
        self,
        path: Path,
        player: str,
        clock_offset: float,
        passport: Mapping[str, str | int | float | bool],
        game: str = "embedded",
        trig: str = DEFAULT_TRIG,
    ) -> None:
        self.path = path
        self._fields = {
            "source": "human",
            "player": player,
            "game": game,
            "trig": trig,
            "passport": dict(passport),
            "wall_clock_offset": clock_offset,
        }
        self._environment = {"game": game}
        self._offset = clock_offset
        self._ids: dict[Run, str] = {}
        self._episodes: dict[Run, Episode] = {}
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
        """Let the journal go; it stays on the disk if it holds a run that the file has not."""
        self._journal.close()

    def begin(self, run: Run) -> None:
        try:
            self._call(lambda: self._journal.begin_episode(run.observations[0], run.times[0], **self._fields))
        finally:
            self._ids[run] = self._journal.current.id

    def event(self, run: Run, event: KeyEvent) -> None:
        self._call(lambda: self._journal.event(event.time, event.key, event.pressed, event.source))

    def frame(self, run: Run) -> None:
        self._call(
            lambda: self._journal.frame(
                run.keys[-1],
                run.observations[-1],
                run.times[-1],
                wall_time=run.sampled[-1] + self._offset,
                lateness=run.lateness[-1],
            )
        )

    def rewind(self, run: Run, time: float, frame: int) -> None:
        self._episodes.pop(run, None)
        self._call(lambda: self._journal.rewind(frame, time + self._offset))

    def end(self, run: Run) -> None:
        try:
            self._call(
                lambda: self._journal.end_episode(
                    terminated=run.ended, truncated=not run.ended, success=run.success
                )
            )
        finally:
            # The journal's own copy: what enters the file is what a recovery would have found.
            self._episodes[run] = self._journal.current.episode()

    def drop(self, run: Run) -> None:
        self._call(lambda: self._journal.done(self._ids[run]))
        self._forget(run)

    def commit(self, run: Run) -> str:
        episode = self._episodes[run]
        verification = verify_episode(episode)
        tags = (*episode.tags, REWOUND_TAG) if run.rewinds else episode.tags
        episode = episode.replace(verified=verification.text, tags=tags)
        self._call(lambda: self._append(episode))
        self._call(lambda: self._journal.done(self._ids[run]))
        self._forget(run)
        end = "finished" if run.success else "fell" if run.ended else "cut short"
        return f"{run.distance:6.1f} m  {run.time:6.1f} s  {end}, replay {verification.text}"

    def flush(self) -> None:
        self._call(self._journal.flush)

    def _append(self, episode: Episode) -> None:
        if self._writer is None:
            # Another program may have made it meanwhile.
            existing = _open_existing(self.path, self._environment)
            self._writer = existing or DatasetWriter(self.path, self._environment)
        # Not a second time, where only the journal's note of it was refused.
        if episode.id not in self._writer:
            self._writer.append(episode)

    def _forget(self, run: Run) -> None:
        self._ids.pop(run, None)
        self._episodes.pop(run, None)

    @staticmethod
    def _call(action: Any) -> None:
        try:
            action()
        except DatasetError as error:
            raise StoreError(str(error)) from None


def _open_existing(path: Path, environment: dict[str, Any]) -> DatasetWriter | None:
    """A writer for a dataset that is there, or None. Raises DatasetError where we may not append to it."""
    if not path.exists():
        return None
    writer = DatasetWriter(path)
    # A file that says nothing about its settings takes any; one that does has to say the same.
    if writer.environment:
        writer = DatasetWriter(path, environment)
    return writer


def personal_best(path: Path, player: str) -> PersonalBest:
    """The player's best in a dataset, without the runs that were rewound; empty where there is no file."""
    best = PersonalBest()
    if not path.exists():
        return best
    try:
        with DatasetReader(path) as reader:
            index = reader.index
    except DatasetError as error:
        raise RecorderError(str(error)) from None
    for row in index[(index["source"] == b"human") & (index["player"] == player.encode())]:
        if REWOUND_TAG.encode() not in row["tags"].split():
            best.update(float(row["distance"]), float(row["time"]), bool(row["success"]))
    return best


def unsaved(path: Path) -> int | None:
    """Runs of an earlier session that are not in the file; None where that session ended in order.

    Raises RecorderError where a session is under way.
    """
    if not needs_recovery(path):
        return None
    journal = journal_path(path)
    try:
        return len(read_journal(journal)[0]) if journal.exists() else 0
    except DatasetError as error:
        raise RecorderError(str(error)) from None


def recover(path: Path) -> Recovery:
    """Bring what an earlier session left into the file. Raises RecorderError where that can't be done."""
    try:
        return recover_dataset(path)
    except DatasetError as error:
        raise RecorderError(str(error)) from None
