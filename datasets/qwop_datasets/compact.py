"""Compact datasets: a fiftieth of the size, for runs of the embedded game.

The game is deterministic, so the keys of an exact episode determine its observations and its clock. A compact
episode stores their SHA-256 instead. A reader replays the keys, which takes some ten milliseconds per run,
and compares. Other programs find no observations in such a file. To make a full file, pass the episodes of a
reader to `write_dataset`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from qwop_datasets.episode import VERIFIED_EXACT, Episode, with_gait
from qwop_datasets.errors import DatasetError
from qwop_datasets.format import add_episode, damage_as_errors
from qwop_datasets.verify import verify_episodes
from qwop_datasets.writer import new_file


def write_compact_dataset(path: str | os.PathLike[str], episodes: Iterable[Episode]) -> int:
    """Make a new compact dataset, and mark its episodes as verified.

    Args:
        path: The file to make.
        episodes: Episodes of the embedded game.

    Returns:
        The number of episodes.

    Raises:
        DatasetError: `path` exists or can't be written, or an episode does not replay bit for bit. Then no
            file is left.
    """
    episodes = list(episodes)
    with damage_as_errors(path), new_file(Path(path)) as file:
        checked = zip(episodes, verify_episodes(episodes), strict=True)
        for episode, verification in file.interruptible(checked):
            if episode.game != "embedded":
                raise DatasetError(
                    f"{path}: episode {episode.id} is of the {episode.game} game; a compact dataset stores "
                    "episodes of the embedded one: use DatasetWriter"
                )
            if not verification.exact:
                raise DatasetError(
                    f"{path}: episode {episode.id} does not replay bit for bit, as compact ones must"
                )
            add_episode(file, with_gait(episode.replace(verified=VERIFIED_EXACT)), compact=True)
    return len(episodes)
