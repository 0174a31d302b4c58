"""What every conversion needs: an episode's arrays in their words, and an episode back from keys."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qwop_game import action_masks, normalise

from ..episode import SOURCES, Episode, action_indices
from ..errors import DatasetError
from ..format import explained as explained
from ..replay import Replay, replay
from ..storage import describe

ENVIRONMENT_ID = "qwop_game/QWOP-v0"
# Fields of Episode that travel as JSON beside the arrays.
_SCALARS = ("id", "created", "source", "player", "game", "action_set", "terminated", "truncated", "success")


@dataclass(frozen=True)
class Importing:
    """What a foreign file may leave unsaid."""

    source: str | None = None
    """Who played: "human", "policy" or "script". Never guessed."""
    player: str = ""
    game: str = "embedded"
    action_set: str | None = None
    """What its actions index, where it does not say so."""
    frames_per_step: int = 1
    """Frames that each of its actions was held."""

    def checked_source(self, path: Path) -> str:
        """The source. Raises DatasetError if it is not known."""
        if self.source is None:
            raise DatasetError(f"{path}: does not say who played; add --source {', '.join(SOURCES)}")
        return self.source


@dataclass(frozen=True)
class Imported:
    """One episode of a foreign file, or the reason why it can't be one of ours."""

    name: str
    episode: Episode | None = None
    reason: str = ""


def scalars(episode: Episode) -> str:
    """The scalar fields of an episode as JSON, for a format's free attribute."""
    values = {name: getattr(episode, name) for name in _SCALARS}
    values |= {"tags": list(episode.tags), "passport": dict(episode.passport)}
    return json.dumps(values | {"has_default_reward": "default" in episode.rewards})


def own_episode(
    text: str, keys: np.ndarray, raw: np.ndarray, times: np.ndarray, rewards: np.ndarray
) -> Episode:
    """The episode that `scalars` and the arrays of an export came from. Raises ValueError."""
    values = json.loads(text)
    stored_reward = values.pop("has_default_reward")
    values["tags"] = tuple(values["tags"])
    return Episode(
        keys=keys,
        raw_observations=raw,
        times=times,
        rewards={"default": rewards} if stored_reward else {},
        **values,
    )


def observations_of(episode: Episode, kind: str) -> np.ndarray:
    """float32 [T + 1, 60], "normalised" as qwop-gym gives them, or "raw"."""
    return normalise(episode.raw_observations) if kind == "normalised" else episode.raw_observations


def actions_of(episode: Episode, action_set: str) -> np.ndarray:
    """int64 [T] in an action set. Raises DatasetError where the set lacks keys that were pressed."""
    try:
        return action_indices(episode.keys, action_set).astype(np.int64)
    except ValueError as error:
        raise DatasetError(f"episode {episode.id}: {error}; convert with another --action-set") from None


def rewards_of(episode: Episode) -> np.ndarray:
    """float32 [T]: the stored "default" reward, else qwop-gym's at one frame a step, computed here.

    0.01 * ds / dt - 10 * dt with s = x / 10 and t = scoreTime / 10, +50 for a success, -10 for another end.
    """
    if "default" in episode.rewards:
        return episode.rewards["default"]
    distance = episode.raw_observations[:, 0] / np.float32(10)
    time = (episode.times / 10).astype(np.float32)
    distance[0] = time[0] = 0  # qwop-gym counts the first step from zero, not from the state at reset
    ds, dt = np.diff(distance), np.diff(time)
    # On the frame that lands, the clock stands still and so does the reward's speed.
    speed = np.divide(ds, dt, out=np.zeros_like(ds), where=dt > 0)
    rewards = np.float32(0.01) * speed - np.float32(10) * dt
    if episode.terminated:
        rewards[-1] += np.float32(50 if episode.success else -10)
    return rewards.astype(np.float32)


def keys_from_actions(
    actions: np.ndarray, options: Importing, path: Path, count: int | None = None
) -> np.ndarray:
    """Indices, int [S] -> key masks, uint8 [S * frames_per_step].

    count: how many actions there are, where the file says so; 16, the default, are qwop-gym's "full" set.
    Raises DatasetError.
    """
    if options.action_set is None and count not in (None, 16):
        raise DatasetError(f"{path}: has {count} actions; name their set: --action-set distinct or reduced")
    action_set = options.action_set or "full"
    masks = action_masks(action_set)
    actions = np.asarray(actions).reshape(-1).astype(np.int64)
    if len(actions) == 0:
        raise DatasetError(f"{path}: an episode without a step")
    if actions.min() < 0 or actions.max() >= len(masks):
        raise DatasetError(f"{path}: an action is not in the set {action_set} (0 to {len(masks) - 1})")
    return np.repeat(masks[actions], options.frames_per_step)


def episode_from_keys(
    name: str,
    keys: np.ndarray,
    fields: Mapping[str, Any],
    *,
    observed: np.ndarray | None = None,
    stride: int = 1,
) -> Imported:
    """Play keys and make an episode of what happens, up to the end of the run.

    observed: the foreign file's observations, [S + 1, 60], one every `stride` frames, normalised or raw;
        the replay has to give the same.
    fields: the other fields of Episode. terminated and success are what the replay shows.
    """
    (played,) = replay([keys])
    if observed is not None:
        rows = played.raw_observations[np.minimum(np.arange(len(observed)) * stride, len(keys))]
        matches = [(normalise(rows) == observed).all(axis=1), (rows == observed).all(axis=1)]
        if not any(m.all() for m in matches):
            step = max(int(np.argmin(m)) for m in matches)
            return Imported(name, reason=f"its replay differs from its observations at step {step}")
    return Imported(name, episode_of_replay(keys, played, fields))


def episode_of_replay(keys: np.ndarray, played: Replay, fields: Mapping[str, Any]) -> Episode:
    """An episode of the frames until the end of a replay."""
    frames = played.frames_until_end
    success = played.finished
    ended: dict[str, Any] = {"terminated": played.over, "truncated": not played.over, "success": success}
    return Episode(
        keys=keys[:frames],
        raw_observations=played.raw_observations[: frames + 1],
        times=played.times[: frames + 1],
        **(dict(fields) | ended),
    )


@contextmanager
def output_directory(path: Path) -> Iterator[Path]:
    """A directory beside `path` that takes its name when it is complete, or vanishes. Raises DatasetError."""
    aside = path.with_name(f".{path.name}.new-{os.getpid()}")
    try:
        aside.mkdir(parents=True)
        yield aside
        os.rename(aside, path)
    except OSError as error:
        raise DatasetError(f"{path}: {describe(error)}; nothing was written") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
