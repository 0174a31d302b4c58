"""Stored runs with the additional data for pictures: their verification, and the poses of the hurdle."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import Episode, Verification, verify_episode
from qwop_datasets.film import hurdle_poses, pose_at
from qwop_evaluation import SPLIT_METERS, split_times
from qwop_game.render import HurdlePose


@dataclass(frozen=True, eq=False)
class ReplayedRun:
    """An episode to show. Pictures show the recorded states."""

    name: str
    episode: Episode

    @cached_property
    def verification(self) -> Verification:
        """Whether a replay of its keys gives the recorded states."""
        return verify_episode(self.episode)

    @cached_property
    def hurdle(self) -> NDArray[np.float32]:
        """x, y, angle of the hurdle's base and top in every frame, [T + 1, 2, 3].

        See `qwop_datasets.film.hurdle_poses`.
        """
        return hurdle_poses(self.episode, exact=self.verification.exact)

    @cached_property
    def splits(self) -> dict[int, float]:
        """Distance, m -> time when the torso first got there, s; NaN if never."""
        return dict(
            zip(SPLIT_METERS, split_times(self.episode.raw_observations, self.episode.times), strict=True)
        )

    @property
    def last_frame(self) -> int:
        """T, the last of frames 0 to T."""
        return self.episode.num_frames

    @property
    def ending(self) -> str:
        """How it ended: finish, fall or cut short."""
        if self.episode.success:
            return "finish"
        return "fall" if self.episode.terminated else "cut short"

    def raw_at(self, frame: int) -> NDArray[np.float32]:
        """Return the raw observation [60] of a frame; after the end, that of the last frame."""
        return self.episode.raw_observations[min(frame, self.last_frame)]

    def seconds_at(self, frame: int) -> float:
        """Return the game's clock (scoreTime) at a frame, s."""
        return float(self.episode.times[min(frame, self.last_frame)])

    def keys_at(self, frame: int) -> int:
        """Return the key mask held from a frame to the next; 0 after the end."""
        return int(self.episode.keys[frame]) if frame < self.last_frame else 0

    def hurdle_at(self, frame: int) -> HurdlePose:
        """Return the pose of the hurdle at a frame."""
        return pose_at(self.hurdle, min(frame, self.last_frame))
