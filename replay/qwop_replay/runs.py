"""Stored runs, made ready to be shown: checked against the simulator, with the hurdle that only it knows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import Episode, Verification, verify_episode
from qwop_evaluation import SPLIT_METERS, split_times
from qwop_game import Simulator
from qwop_game.render import STANDING_HURDLE, HurdlePose, hurdle_pose

_STANDING = np.array(STANDING_HURDLE, np.float32)


@dataclass(frozen=True, eq=False)
class ReplayedRun:
    """An episode and what a picture of it needs besides. Pictures show the recorded states."""

    name: str
    episode: Episode

    @cached_property
    def verification(self) -> Verification:
        """Whether its keys give the recorded states again."""
        return verify_episode(self.episode)

    @cached_property
    def hurdle(self) -> NDArray[np.float32]:
        """x, y, angle of the hurdle's base and top in every frame, [T + 1, 2, 3].

        Observations do not hold it. It comes from playing the keys again, and stands where it was put up
        if that gives other states than the recorded ones.
        """
        poses = np.tile(_STANDING, (self.last_frame + 1, 1, 1))
        if self.verification.exact:
            stop_at_end = self.episode.game == "embedded"
            simulator = Simulator(1, stop_at_end=stop_at_end, trig=self.episode.trig)
            for frame, keys in enumerate(self.episode.keys):
                simulator.step(np.array([keys], np.uint8))
                poses[frame + 1] = hurdle_pose(simulator.state[0])
            simulator.close()
        return poses

    @cached_property
    def splits(self) -> dict[int, float]:
        """Distance, m -> when the torso was first there, s; NaN if never."""
        return dict(
            zip(SPLIT_METERS, split_times(self.episode.raw_observations, self.episode.times), strict=True)
        )

    @property
    def last_frame(self) -> int:
        """T: frames 0 to T can be shown."""
        return self.episode.num_frames

    @property
    def ending(self) -> str:
        """How it ended, in a word or two."""
        if self.episode.success:
            return "finish"
        return "fall" if self.episode.terminated else "cut short"

    def raw_at(self, frame: int) -> NDArray[np.float32]:
        """Raw observation [60] of a frame; the last one stays for later frames."""
        return self.episode.raw_observations[min(frame, self.last_frame)]

    def seconds_at(self, frame: int) -> float:
        """scoreTime there, s."""
        return float(self.episode.times[min(frame, self.last_frame)])

    def keys_at(self, frame: int) -> int:
        """Key mask held from that frame to the next; none once the run is over."""
        return int(self.episode.keys[frame]) if frame < self.last_frame else 0

    def hurdle_at(self, frame: int) -> HurdlePose:
        """The hurdle's pose there."""
        base, top = self.hurdle[min(frame, self.last_frame)].tolist()
        return tuple(base), tuple(top)
