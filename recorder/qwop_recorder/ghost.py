"""A stored run to race against: it is drawn beside the player's runner, and no part of the recording."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import DatasetError, Episode, read_one_episode, split_episode_place
from qwop_recorder.errors import RecorderError


@dataclass(frozen=True, eq=False)
class Ghost:
    """A run to race against. It is drawn from its recorded states."""

    episode: Episode

    def observation(self, time: float) -> NDArray[np.float32]:
        """Return the raw observation [60] at a time of the game's clock, s; after the end, the last one."""
        return self.episode.raw_observations[self.episode.frame_at(time)]


def load_ghost(place: str, file: Path) -> Ghost:
    """Read the ghost of `--ghost`.

    Args:
        place: "FILE", "FILE:N", or ":N" of `file`.
        file: The dataset to record into.

    Raises:
        RecorderError: There is no such episode, or the dataset can't be read.
    """
    path, number = split_episode_place(place)
    try:
        return Ghost(read_one_episode(path or file, number)[1])
    except DatasetError as error:
        raise RecorderError(f"--ghost {place}: {error}") from None
