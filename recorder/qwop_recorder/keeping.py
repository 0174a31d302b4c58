"""Decide which runs are kept, and when they are stored in the file.

A kept run is stored only when the next one is kept, so that the player can still discard it. The journal has
it from its first frame on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import Change, Recording
from qwop_game.gait import gait_metrics


class StoreError(Exception):
    """The disk refused a write; the message is one line. Nothing is lost: the same call may be repeated."""


class Store(Protocol):
    """Storage of runs. Data that a call has stored survives a crash.

    All methods raise StoreError if the disk refuses a write. Data of `begin` and `write` then stays in
    memory, and the next call or `flush` writes it first.
    """

    @property
    def fields(self) -> Mapping[str, Any]:
        """Fields of every run that are known before it is played, see `Recording`."""
        ...

    def begin(self, run: Recording) -> None:
        """Store the start of a run."""

    def write(self, run: Recording, changes: Sequence[Change]) -> None:
        """Store changes that were added to the latest run."""

    def drop(self, run: Recording) -> None:
        """Discard the run permanently."""

    def commit(self, run: Recording) -> str:
        """Store the run in the file. Returns a line about it and its exact replay."""
        ...

    def flush(self) -> None:
        """Write what the disk refused before."""


class Keeper:
    """Passes runs to the store, and keeps those that the disk refuses.

    Methods that return a bool return False if the disk refuses a write; `problem` then says why.

    Args:
        store: Storage of the runs; None: practice, nothing is kept.
        tell: Called with a line when the disk refuses a write.

    kept: Runs kept so far. log: A line about each run that is in the file. previous: The kept run that is not
    yet stored. unsaved: Kept runs that should be in the file, oldest first. problem: Why the disk refused the
    latest call, or None.
    """

    def __init__(self, store: Store | None, tell: Callable[[str], None]) -> None:
        self._store = store
        self._tell = tell
        self._begun: Recording | None = None
        self.kept = 0
        self.log: list[str] = []
        self.previous: Recording | None = None
        self.unsaved: list[Recording] = []
        self.problem: str | None = None

    @property
    def practice(self) -> bool:
        """Whether nothing is kept."""
        return self._store is None

    def recording(
        self, raw_observation: NDArray[np.float32], time: float, start: NDArray[np.uint32] | None = None
    ) -> Recording:
        """Make the recording of a run that starts in this state (float32 [60], s; Episode.start)."""
        fields = dict(self._store.fields) if self._store else {}
        if start is not None:
            fields["start"] = start
        return Recording(raw_observation, time, **fields)

    def has_begun(self, run: Recording) -> bool:
        """Whether `begin` was called for the run."""
        return self._begun is run

    def begin(self, run: Recording) -> bool:
        """Store the start of a run."""
        self._begun = run
        return self._attempt(lambda store: store.begin(run))

    def write(self, run: Recording, *changes: Change) -> bool:
        """Store changes that were added to the run."""
        return self._attempt(lambda store: store.write(run, changes))

    def flush(self) -> bool:
        """Write what the disk refused before."""
        return self._attempt(lambda store: store.flush())

    def drop(self, run: Recording) -> None:
        """Discard a run that is not kept."""
        if self.has_begun(run):
            self._attempt(lambda store: store.drop(run))

    def keep(self, run: Recording) -> None:
        """Keep a run, and store the previous kept run in the file."""
        if self.practice:
            return
        self.kept += 1
        previous, self.previous = self.previous, run
        if previous is not None:
            self.unsaved.append(previous)
        self._save()

    def discard_previous(self) -> Recording | None:
        """Discard the kept run that is not yet stored. Returns it, or None if there is none."""
        run, self.previous = self.previous, None
        if run is not None:
            self._attempt(lambda store: store.drop(run))
            self.kept -= 1
        return run

    def finish(self) -> None:
        """Store all kept runs in the file."""
        if self.previous is not None:
            self.unsaved.append(self.previous)
            self.previous = None
        self._save()

    def _save(self) -> None:
        while self.unsaved:
            run = self.unsaved[0]
            if not self._attempt(lambda store, run=run: self.log.append(store.commit(run))):
                return
            self.unsaved.pop(0)

    def _attempt(self, action: Callable[[Store], None]) -> bool:
        if self._store is None:
            return True
        try:
            action(self._store)
        except StoreError as error:
            self.problem = str(error)
            self._tell(f"not saved yet: {error}; free disk space, then press SPACE")
            return False
        self.problem = None
        return True


def reason_to_reject(
    run: Recording, min_distance: float | None = None, max_knee_share: float | None = None
) -> str | None:
    """Return why a run is not kept, or None.

    Args:
        run: The run.
        min_distance: --min-distance, m.
        max_knee_share: --max-knee-share, 0 to 1.
    """
    if min_distance is not None and run.distance < min_distance:
        return f"{run.distance:.1f} m is under --min-distance {min_distance:g}"
    if max_knee_share is not None:
        share = gait_metrics(np.array(run.raw_observations)).knee_near
        if share > max_knee_share:
            return (
                f"a knee near the track {share:.1%} of the time is over --max-knee-share {max_knee_share:g}"
            )
    return None
