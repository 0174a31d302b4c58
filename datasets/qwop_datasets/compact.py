"""Datasets without what their keys say anyway: a fiftieth of the size, for runs of the embedded game.

The game is deterministic: the observations and the clock of an episode that replays bit for bit follow from
its keys. A compact episode stores their SHA-256 in their place; a reader replays the keys, some ten
milliseconds a run, and compares. Other programs that open the file see no observations: `write_dataset` with
the episodes of a reader makes a full one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from qwop_datasets.episode import VERIFIED_EXACT, Episode, with_gait
from qwop_datasets.errors import DatasetError
from qwop_datasets.format import add_episode, explained
from qwop_datasets.verify import verify_episodes
from qwop_datasets.writer import new_file


def write_compact_dataset(path: str | os.PathLike, episodes: Iterable[Episode]) -> int:
    """Make a new compact dataset; returns the number of its episodes, all of which it marks verified.

    Raises DatasetError if `path` exists or can't be written, or an episode does not replay bit for bit;
    nothing is left behind then.
    """
    episodes = list(episodes)
    with explained(path), new_file(Path(path)) as file:
        for episode, verification in zip(episodes, verify_episodes(episodes), strict=True):
            if episode.game != "embedded" or not verification.exact:
                raise DatasetError(
                    f"{path}: episode {episode.id} does not replay bit for bit, as compact ones must"
                )
            add_episode(file, with_gait(episode.replace(verified=VERIFIED_EXACT)), compact=True)
    return len(episodes)
