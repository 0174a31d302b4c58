"""Trajectories of the `imitation` library, through its own serialisation (`imitation.data.serialize`).

A trajectory has observations [T + 1, 60], actions [T], and an info dictionary per step: keys and time. The
last one also carries the episode's scalar fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..episode import Episode
from ..errors import DatasetError
from ..reader import DatasetReader
from .common import (
    Imported,
    Importing,
    actions_of,
    episode_from_keys,
    keys_from_actions,
    observations_of,
    output_directory,
    own_episode,
    rewards_of,
    scalars,
)


def _serialize():
    try:
        from imitation.data import serialize
    except ImportError as error:
        raise DatasetError(f"imitation trajectories need the package imitation ({error})") from None
    return serialize


@contextmanager
def _no_progress_bar():
    from datasets.utils import logging  # Hugging Face's, which imitation saves through

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def trajectory(episode: Episode, observations: str = "normalised", action_set: str = "distinct"):
    """An episode as an imitation TrajectoryWithRew, one frame a step."""
    from imitation.data.types import TrajectoryWithRew

    infos = [{"keys": int(k), "time": float(t)} for k, t in zip(episode.keys, episode.times[1:], strict=True)]
    infos[-1] |= {"qwop": scalars(episode), "start_time": float(episode.times[0])}
    return TrajectoryWithRew(
        obs=observations_of(episode, observations),
        acts=actions_of(episode, action_set),
        infos=np.array(infos),
        terminal=episode.terminated,
        rews=rewards_of(episode).astype(np.float64),
    )


def write(
    reader: DatasetReader, path: Path, *, observations: str, action_set: str | None
) -> tuple[int, list[str]]:
    """A directory for `imitation.data.serialize.load`. All trajectories are in memory at once."""
    serialize = _serialize()
    trajectories = [trajectory(episode, observations, action_set or "distinct") for episode in reader]
    with output_directory(path) as aside, _no_progress_bar():
        serialize.save(aside / "trajectories", trajectories)
        for file in (aside / "trajectories").iterdir():
            file.rename(aside / file.name)
        (aside / "trajectories").rmdir()
    return len(trajectories), []


def read(path: Path, options: Importing) -> Iterator[Imported]:
    """Ours exactly where the replay, or raw observations, give them; another's from its actions, replayed."""
    for number, stored in enumerate(_serialize().load(path)):
        name = f"trajectory {number}"
        observed = np.asarray(stored.obs, np.float32)
        last = stored.infos[-1] if stored.infos is not None and len(stored.infos) else {}
        if isinstance(last, dict) and "qwop" in last:
            yield _own(name, stored, observed, last)
            continue
        keys = keys_from_actions(stored.acts, options, path)
        fields = {
            "source": options.checked_source(path),
            "player": options.player,
            "game": options.game,
            "action_set": options.action_set or "full",
        }
        yield episode_from_keys(name, keys, fields, observed=observed, stride=options.frames_per_step)


def _own(name: str, stored, observed: np.ndarray, last: dict) -> Imported:
    keys = np.array([info["keys"] for info in stored.infos], np.uint8)
    times = np.array([last["start_time"], *(info["time"] for info in stored.infos)])
    raw = observed
    if float(np.abs(observed).max()) <= 1:  # normalised ones: rounded and clipped, so played again
        again = episode_from_keys(name, keys, {"source": "script"}, observed=observed)
        if again.episode is None or len(again.episode) != len(keys):
            return Imported(name, reason=again.reason or "its replay ends before it")
        raw = again.episode.raw_observations
    return Imported(name, own_episode(last["qwop"], keys, raw, times, np.asarray(stored.rews, np.float32)))
