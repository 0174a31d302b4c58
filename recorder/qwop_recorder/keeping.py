"""Which runs are kept, and when they enter the file.

A kept run is held back until the next one is kept, so that it can still be thrown away. The journal has it
from its first frame on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import Change, Recording
from qwop_game.gait import gait_metrics


class StoreError(Exception):
    """The disk refuses something; one line. Nothing is lost: the same call may be tried again."""


class Store(Protocol):
    """Where runs go. What a call has stored survives a crash.

    All methods raise StoreError where the disk refuses. What was given to `begin` and `write` then stays in
    memory, and is written first at the next call, or by `flush`.
    """

    @property
    def fields(self) -> Mapping[str, Any]:
        """What is known of every run before it is played, see `Recording`."""
        ...

    def begin(self, run: Recording) -> None:
        """Store the start of a run."""

    def write(self, run: Recording, changes: Sequence[Change]) -> None:
        """Store changes that were added to the latest run."""

    def drop(self, run: Recording) -> None:
        """Throw the run away for good."""

    def commit(self, run: Recording) -> str:
        """Put the run into the file; returns a line about it and its exact replay."""
        ...

    def flush(self) -> None:
        """Write what the disk refused before."""


class Keeper:
    """Hands runs to the store, and remembers what the store refuses.

    Methods that return a bool return False where the disk refuses; `problem` then says why.

    Args:
        store: Where runs go; None: practice, nothing is kept.
        tell: Takes a line about what the disk refuses.

    kept: Runs kept so far. log: A line about each run that is in the file. previous: The run that is held
    back. unsaved: Kept runs that are due in the file, oldest first. problem: Why the disk refused the latest
    call, or None.
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

    def recording(self, raw_observation: NDArray[np.float32], time: float) -> Recording:
        """Make the recording of a run that starts in this state (float32 [60], s)."""
        return Recording(raw_observation, time, **(self._store.fields if self._store else {}))

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
        """Throw away a run that is not kept."""
        if self.has_begun(run):
            self._attempt(lambda store: store.drop(run))

    def keep(self, run: Recording) -> None:
        """Keep a run: hold it back, and put the one that was held back into the file."""
        if self.practice:
            return
        self.kept += 1
        previous, self.previous = self.previous, run
        if previous is not None:
            self.unsaved.append(previous)
        self._save()

    def discard_previous(self) -> Recording | None:
        """Throw away the run that is held back; returns it, or None where there is none."""
        run, self.previous = self.previous, None
        if run is not None:
            self._attempt(lambda store: store.drop(run))
            self.kept -= 1
        return run

    def finish(self) -> None:
        """Put all kept runs into the file."""
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
            self._tell(f"not saved yet: {error}; make room, then press SPACE")
            return False
        self.problem = None
        return True


def reason_to_reject(
    run: Recording, min_distance: float | None = None, max_knee_share: float | None = None
) -> str | None:
    """Say why a run is not kept, or None.

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
