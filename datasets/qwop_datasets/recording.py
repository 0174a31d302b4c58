"""Build an episode while it is played, for the recorder, the journal and the recovery of a journal.

Play is a sequence of changes, and only `Recording.add` applies them. The recorder adds each change, the
journal stores the same changes, and reading a journal adds them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from qwop_datasets.episode import (
    KEY_EVENT_DTYPE,
    KEY_SOURCES,
    OBSERVATION_SIZE,
    REWIND_DTYPE,
    Episode,
    new_id,
    now,
)
from qwop_game import DEFAULT_TRIG, UNITS_PER_METER

NOT_MEASURED = float("nan")


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """A key went down or up. It belongs to the next frame that is added."""

    time: float
    """Seconds on the player's monotonic clock, see `Recording.wall_clock_offset`."""
    key: int
    """The key's bit: Q = 1, W = 2, O = 4, P = 8."""
    pressed: bool
    """True for a press, False for a release."""
    source: str = "unknown"
    """Source of the event, one of KEY_SOURCES."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame was played."""

    keys: int
    """Key mask held during the frame."""
    raw_observation: NDArray[np.float32]
    """float32 [60]: the state after the frame."""
    time: float
    """The game's clock after the frame, s."""
    wall_time: float = NOT_MEASURED
    """Unix time at which the frame took its keys, s."""
    lateness: float = NOT_MEASURED
    """How long after its due time the frame began, s."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "raw_observation", _row(self.raw_observation))


@dataclass(frozen=True, slots=True)
class Rewind:
    """The player stepped back: play continues at `frame`, and the later frames are cut off."""

    frame: int
    wall_time: float
    """Unix time, s."""


@dataclass(frozen=True, slots=True)
class End:
    """Play is over, unless a rewind continues it. The fields are those of Episode."""

    terminated: bool = False
    truncated: bool = False
    success: bool = False


@dataclass(frozen=True, slots=True)
class About:
    """What is known of the run once it is over, such as who played it."""

    fields: Mapping[str, Any]
    """Fields of Episode, as those of `Recording`."""


Change = KeyEvent | Frame | Rewind | End | About
AnyChange = TypeVar("AnyChange", bound=Change)


class Recording:
    """An episode of T frames so far. A rewind removes frames.

    Args:
        raw_observation: float32 [60], the state before the first frame.
        time: The game's clock in that state, s.
        fields: The fields of Episode that are known when play begins: `source`, `player`, `game`, `trig`,
            `action_set`, `provenance`, `tags`, `wall_clock_offset`, `id`, `created`.
    """

    def __init__(self, raw_observation: NDArray[np.float32], time: float, **fields: Any) -> None:
        self.fields: dict[str, Any] = {"id": new_id(), "created": now(), "trig": DEFAULT_TRIG} | fields
        self.raw_observations: list[NDArray[np.float32]] = [_row(raw_observation)]
        """T + 1 of float32 [60]."""
        self.times: list[float] = [float(time)]
        """T + 1, s."""
        self.keys: list[int] = []
        """T key masks."""
        self.wall_times: list[float] = []
        """T, Unix time, s."""
        self.lateness: list[float] = []
        """T, s."""
        self.key_events: list[KeyEvent] = []
        self.rewinds: list[tuple[float, int, int]] = []
        """Wall time, frames before and frames after of each rewind."""
        self.discarded_keys: list[int] = []
        """Keys of the frames that the rewinds cut off, in the order of the rewinds."""
        self.end: End | None = None
        """How play ended; None while it continues."""
        self.num_changes = 0
        """Changes that were added, those that a rewind cut off included."""
        self._num_events: list[int] = []  # T: key events up to and with each frame

    @property
    def id(self) -> str:
        """Episode.id."""
        return self.fields["id"]

    @property
    def wall_clock_offset(self) -> float:
        """Unix time minus the clock of the key events, s."""
        return self.fields.get("wall_clock_offset", 0.0)

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.keys)

    @property
    def time(self) -> float:
        """The game's clock after the last frame, s."""
        return self.times[-1]

    @property
    def distance(self) -> float:
        """X of the torso after the last frame, m."""
        return float(self.raw_observations[-1][0]) / UNITS_PER_METER

    @property
    def terminated(self) -> bool:
        """Whether the game ended the run."""
        return self.end is not None and self.end.terminated

    @property
    def success(self) -> bool:
        """Whether the run was won."""
        return self.end is not None and self.end.success

    def add(self, change: AnyChange) -> AnyChange:
        """Apply a change.

        Returns:
            The change, for `Journal.write`.

        Raises:
            ValueError: The change is a rewind to a frame that has not been played.
        """
        if isinstance(change, KeyEvent):
            self.key_events.append(change)
        elif isinstance(change, Frame):
            self.keys.append(change.keys)
            self.raw_observations.append(change.raw_observation)
            self.times.append(change.time)
            self.wall_times.append(change.wall_time)
            self.lateness.append(change.lateness)
            self._num_events.append(len(self.key_events))
        elif isinstance(change, Rewind):
            self._rewind(change)
        elif isinstance(change, About):
            self.fields |= change.fields
        else:
            self.end = change
        self.num_changes += 1
        return change

    def _rewind(self, rewind: Rewind) -> None:
        frame = rewind.frame
        if not 0 <= frame < self.num_frames:
            raise ValueError(f"can't rewind to frame {frame} of {self.num_frames}")
        self.rewinds.append((rewind.wall_time, self.num_frames, frame))
        self.discarded_keys += self.keys[frame:]
        del self.key_events[self._num_events[frame - 1] if frame else 0 :]
        for per_frame in (self.keys, self.wall_times, self.lateness, self._num_events):
            del per_frame[frame:]
        for per_state in (self.raw_observations, self.times):
            del per_state[frame + 1 :]
        self.end = None

    def episode(self, **changes: Any) -> Episode:
        """Make an episode of the frames so far. Without an end it is `truncated`.

        Args:
            changes: Fields of Episode to set.

        Raises:
            ValueError: The fields are not a valid Episode.
        """
        end = self.end or End(truncated=True)
        events = [(e.time, e.key, e.pressed, KEY_SOURCES.index(e.source)) for e in self.key_events]
        measured = bool(np.isfinite(self.wall_times).all())
        values: dict[str, Any] = {
            "keys": np.array(self.keys, np.uint8),
            "raw_observations": np.array(self.raw_observations, np.float32),
            "times": np.array(self.times, np.float64),
            "terminated": end.terminated,
            "truncated": end.truncated,
            "success": end.success,
            "wall_times": np.array(self.wall_times, np.float64) if measured else None,
            "lateness": np.array(self.lateness, np.float32) if measured else None,
            "key_events": np.array(events, KEY_EVENT_DTYPE) if events else None,
            "rewinds": np.array(self.rewinds, REWIND_DTYPE) if self.rewinds else None,
            "discarded_keys": np.array(self.discarded_keys, np.uint8) if self.rewinds else None,
        }
        return Episode(**(values | self.fields | changes))


def _row(raw_observation: NDArray[np.float32]) -> NDArray[np.float32]:
    row = np.array(raw_observation, np.float32)
    if row.shape != (OBSERVATION_SIZE,):
        raise ValueError(f"a raw observation has shape {row.shape}, not ({OBSERVATION_SIZE},)")
    return row
