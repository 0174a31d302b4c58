"""Step back in a run, and restore the game at any of its frames."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import Recording
from qwop_game import Simulator

if TYPE_CHECKING:
    from qwop_game.real import RealGame

SNAPSHOT_FRAMES = 30
"""Frames between two snapshots of a run. A rewind replays at most this many, in less than a millisecond."""
HURDLE_IN_SIGHT = 45.0
"""Meters. From here on the picture needs the hurdle's pose, because the runner may have hit it."""


class Rewinder:
    """Snapshots of the game along one run, and the frame that is shown.

    cursor: The frame that is shown, 0 to T.
    """

    def __init__(self, game: "Simulator | RealGame") -> None:
        self._game = game
        self._snapshots: dict[int, NDArray[np.uint8]] = {}  # frame -> the game's exact state before it
        self._states: dict[int, NDArray[np.float64]] = {}  # frame -> Simulator.state's row, float64 [92]
        self.cursor = 0

    @property
    def state(self) -> NDArray[np.float64] | None:
        """`Simulator.state` of the frame that is shown, float64 [92]; None if the hurdle is out of sight."""
        return self._states.get(self.cursor)

    def before_frame(self, run: Recording) -> None:
        """Take a snapshot if one is due. Call it before the game plays the run's next frame."""
        if run.num_frames % SNAPSHOT_FRAMES == 0:
            self._snapshots[run.num_frames] = self._game.snapshot()

    def after_frame(self, run: Recording) -> None:
        """Show the frame that was played last."""
        self.cursor = run.num_frames
        if run.distance > HURDLE_IN_SIGHT:
            self._states[run.num_frames] = self._game.state[0]

    def move(self, run: Recording, frames: int) -> None:
        """Move the cursor by some frames, within the frames played."""
        self.cursor = min(max(self.cursor + frames, 0), run.num_frames)

    def restore(self, run: Recording) -> None:
        """Restore the game at the end of the run, after it was cut off at the cursor.

        It restores the nearest earlier snapshot and plays the keys since then, which is exact.

        Raises:
            AssertionError: The game reaches another state than the run has.
        """
        end = run.num_frames
        self._snapshots = {frame: state for frame, state in self._snapshots.items() if frame <= end}
        self._states = {frame: state for frame, state in self._states.items() if frame <= end}
        nearest = max(self._snapshots)
        self._game.restore(self._snapshots[nearest])
        for keys in run.keys[nearest:]:
            self._game.step(np.array([keys], np.uint8))
        if self._game.raw_observation[0].tobytes() != run.raw_observations[end].tobytes():
            raise AssertionError(f"the game did not come back to frame {end} exactly")
