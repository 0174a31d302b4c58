"""Shared code of all conversions: the arrays of an episode in other formats, and episodes from keys."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import portable
from qwop_datasets.episode import OBSERVATION_SIZE, SOURCES, Episode, action_indices, name_problem
from qwop_datasets.errors import DatasetError
from qwop_datasets.exact_replay import Replay, replay_keys
from qwop_datasets.format import damage_as_errors as damage_as_errors
from qwop_datasets.old_names import with_todays_names
from qwop_datasets.storage import describe, made_folder
from qwop_game import DEFAULT_TRIG, TRIG_VARIANTS, Session, action_masks, normalize

ENVIRONMENT_ID = "qwop_game/QWOP-v0"
# Fields of Episode that are stored as JSON in addition to the arrays.
_SCALARS = (
    "id",
    "created",
    "source",
    "player",
    "game",
    "trig",
    "action_set",
    "terminated",
    "truncated",
    "success",
)


_LONGEST_STEP = 300  # frames: ten seconds
_MOST_FRAMES = 30  # by which a change of keys may move
APPROXIMATE_TAG, INCOMPLETE_TAG = "approximate", "incomplete"


@dataclass(frozen=True)
class Importing:
    """Facts that a foreign file may lack."""

    source: str | None = None
    """Who played: "human", "policy" or "script". There is no default."""
    player: str = ""
    game: str = "embedded"
    action_set: str | None = None
    """Action set that its actions index, if the file does not say."""
    frames_per_step: int = 1
    """Frames that each of its actions was held."""
    rate: float = 30.0
    """Frames per second of a tape of keys."""
    offset: float | None = None
    """Frame of a tape of keys at which the episode begins; None: 0, or searched with `search_edges`."""
    trig: str | None = None
    """Variant of sine and cosine; None: the one that reproduces the observations, else DEFAULT_TRIG."""
    search_edges: int | None = None
    """Frames by which each change of a tape's keys may move; None: the tape is played as it is."""
    search_drift: int | None = None
    """Frames by which it may move altogether; None: `search_edges`."""
    beam: int = 1500
    """Games that the search keeps."""
    splits: tuple[tuple[float, float], ...] = ()
    """(meters, seconds) that the run is known to have; 100 m is the landing."""

    def __post_init__(self) -> None:
        if not 1 <= self.frames_per_step <= _LONGEST_STEP:
            raise DatasetError(f"--frames-per-step {self.frames_per_step}: expected 1 to {_LONGEST_STEP}")
        if not 1 <= self.rate <= 1e6:
            raise DatasetError(f"--rate {self.rate:g}: expected the tape's frames per second, 1 or more")
        if self.offset is not None and not abs(self.offset) <= 1e9:
            raise DatasetError(f"--offset {self.offset:g}: expected a frame of the tape, 0 or more")
        self._check_search()
        if problem := name_problem(self.player):
            raise DatasetError(f"--player: {problem}")

    def _check_search(self) -> None:
        given = (self.search_drift, self.splits or None, None if self.beam == Importing.beam else self.beam)
        if self.search_edges is None:
            if any(value is not None for value in given):
                raise DatasetError("--search-drift, --beam and --splits need --search-edges")
            return
        if not 0 <= self.search_edges <= _MOST_FRAMES:
            raise DatasetError(f"--search-edges {self.search_edges}: expected 0 to {_MOST_FRAMES} frames")
        if self.search_drift is not None and not self.search_edges <= self.search_drift <= 10 * _MOST_FRAMES:
            raise DatasetError(
                f"--search-drift {self.search_drift}: expected {self.search_edges} (--search-edges) to "
                f"{10 * _MOST_FRAMES} frames"
            )
        if not 1 <= self.beam <= 100_000:
            raise DatasetError(f"--beam {self.beam}: expected 1 to 100000 games")

    def checked_source(self, path: Path) -> str:
        """Return the source. Raises DatasetError if it is not known."""
        if self.source is None:
            raise DatasetError(f"{path}: does not say who played; add --source {', '.join(SOURCES)}")
        return self.source


@dataclass(frozen=True)
class Imported:
    """One episode of a foreign file, or the reason why it can't be converted."""

    name: str
    episode: Episode | None = None
    reason: str = ""
    note: str = ""
    """What the user should know of how it was made."""


def scalars(episode: Episode) -> str:
    """Return the scalar fields of an episode as JSON, for a free attribute of another format."""
    values = {name: getattr(episode, name) for name in _SCALARS}
    values |= {"tags": list(episode.tags), "provenance": dict(episode.provenance)}
    if episode.start is not None:
        values["start"] = episode.start.tolist()
    if episode.undetermined is not None:
        values["undetermined"] = np.flatnonzero(episode.undetermined).tolist()
    return json.dumps(values | {"has_default_reward": "default" in episode.rewards})


def own_episode(text: Any, keys: Any, raw: Any, times: Any, rewards: Any) -> Episode:
    """Rebuild an episode from `scalars` and the arrays of an export. Raises ValueError."""
    values = with_todays_names(json_object(text, "its record of the episode"))
    if set(values) - {"start", "undetermined"} != {*_SCALARS, "tags", "provenance", "has_default_reward"}:
        raise ValueError("its record of the episode has unknown fields")
    stored_reward = values.pop("has_default_reward")
    frames = len(np.atleast_1d(np.asarray(keys)))
    if "start" in values:
        values["start"] = stored_start(values)
    if "undetermined" in values:
        marked = whole_numbers("undetermined", values["undetermined"], (None,), frames - 1)
        values["undetermined"] = np.isin(np.arange(frames), marked)
    rewards = numbers("rewards", rewards, (frames,))
    return Episode(
        keys=whole_numbers("keys", keys, (frames,), 15).astype(np.uint8),
        raw_observations=numbers("raw observations", raw, (frames + 1, OBSERVATION_SIZE)),
        times=numbers("times", times, (frames + 1,), np.float64),
        rewards={"default": rewards} if stored_reward else {},
        **values,
    )


def stored_start(values: Mapping[str, Any]) -> NDArray[np.uint32] | None:
    """Episode.start from the fields of an export. Raises ValueError."""
    if values.get("start") is None:
        return None
    rows = whole_numbers("start", values["start"], (None, 3), (1 << 32) - 1).astype(np.uint32)
    if problem := Session.of(rows).start_problem():
        raise ValueError(f"its start {problem}")
    return rows


def json_object(text: Any, what: str) -> dict[str, Any]:
    """Parse a JSON object. Raises ValueError if it is not one."""
    try:
        value: dict[str, Any] | None = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        value = None
    if type(value) is not dict:
        raise ValueError(f"{what} is not a JSON object")
    return value


Shape = tuple[int | None, ...]


def numbers(name: str, values: Any, shape: Shape, dtype: Any = np.float32) -> NDArray[Any]:
    """Convert values of a foreign file to an array of `shape` (None: any length). Raises ValueError."""
    array = np.asarray(values)
    fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
    if not fits or array.dtype.kind not in "biuf":
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        kind = "text" if array.dtype.kind in "USO" else str(array.dtype)
        raise ValueError(f"{name}: has {kind} of shape {list(array.shape)}, not numbers of shape [{wanted}]")
    with np.errstate(over="ignore"):  # becomes infinity, which Episode refuses
        return array if dtype is None else array.astype(dtype, copy=False)


def whole_numbers(name: str, values: Any, shape: Shape, largest: int) -> NDArray[np.int64]:
    """Convert values to whole numbers from 0 to `largest`, int64: see `numbers`. Raises ValueError."""
    array = numbers(name, values, shape, None)
    wrong = np.flatnonzero(
        ~((array >= 0) & (array <= largest) & (array == np.floor(array.astype(np.float64))))
    )
    if len(wrong):
        raise ValueError(
            f"{name}: entry {wrong[0]} is {array.flat[wrong[0]]}, expected a whole number from 0 to {largest}"
        )
    return array.astype(np.int64)


def numbered(parent: Any) -> list[str]:
    """Return the names of a group's members, sorted by the number at their end. Raises ValueError."""
    for name in parent:
        if not re.search(r"(?<![0-9])[0-9]{1,9}$", name):
            raise ValueError(f"{name} is not a numbered episode")
    return sorted(parent, key=lambda name: int(re.split(r"[^0-9]", name)[-1]))


def observations_of(episode: Episode, kind: str) -> NDArray[np.float32]:
    """Return observations float32 [T + 1, 60], "normalized" as in qwop-gym, or "raw"."""
    return normalize(episode.raw_observations) if kind == "normalized" else episode.raw_observations


def actions_of(episode: Episode, action_set: str) -> NDArray[Any]:
    """Return actions int64 [T] of an action set. Raises DatasetError if the set lacks some of the keys."""
    try:
        return action_indices(episode.keys, action_set).astype(np.int64)
    except ValueError as error:
        raise DatasetError(f"episode {episode.id}: {error}; convert with another --action-set") from None


def rewards_of(episode: Episode) -> NDArray[Any]:
    """Return rewards float32 [T]: the stored "default" reward, else qwop-gym's for steps of one frame.

    0.01 * ds / dt - 10 * dt with s = x / 10 and t = scoreTime / 10, +50 for a success, -10 for another end.
    """
    if "default" in episode.rewards:
        return episode.rewards["default"]
    distance = episode.raw_observations[:, 0] / np.float32(10)
    time = (episode.times / 10).astype(np.float32)
    distance[0] = time[0] = 0  # qwop-gym counts the first step from zero, not from the state at reset
    ds, dt = np.diff(distance), np.diff(time)
    # In the frame of the landing the clock does not advance, and the reward has no speed term.
    speed = np.divide(ds, dt, out=np.zeros_like(ds), where=dt > 0)
    rewards = np.float32(0.01) * speed - np.float32(10) * dt
    if episode.terminated:
        rewards[-1] += np.float32(50 if episode.success else -10)
    return rewards.astype(np.float32)


def keys_from_actions(
    actions: Any, options: Importing, path: Path, count: int | None = None
) -> NDArray[np.uint8]:
    """Convert action indices, int [S] or [S, 1], to key masks, uint8 [S * frames_per_step].

    count: number of actions, if the file says so; 16, the default, is qwop-gym's "full" set.
    Raises DatasetError.
    """
    if options.action_set is None and count not in (None, 16):
        raise DatasetError(f"{path}: has {count} actions; name their set: --action-set distinct or reduced")
    action_set = options.action_set or "full"
    masks = action_masks(action_set)
    actions = np.asarray(actions)
    if actions.ndim == 2 and actions.shape[1] == 1:
        actions = actions[:, 0]
    try:
        actions = whole_numbers(f"actions of the set {action_set}", actions, (None,), len(masks) - 1)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None
    if len(actions) == 0:
        raise DatasetError(f"{path}: an episode has no step")
    return np.repeat(masks[actions], options.frames_per_step)


def foreign_episode(
    path: Path, name: str, keys: NDArray[np.uint8], observed: Any, options: Importing, action_set: str
) -> Imported:
    """Replay the keys of another project's episode, and compare them with its observations if it has any.

    observed: one observation per action, or one more: [S or S + 1, 60], normalized or raw.
    Raises DatasetError for observations of another shape.
    """
    fields = {
        "source": options.checked_source(path),
        "player": options.player,
        "game": options.game,
        "action_set": action_set,
    }
    variants: Sequence[str] = (options.trig or DEFAULT_TRIG,)
    if observed is not None:
        try:
            observed = numbers(f"observations of {name}", observed, (None, OBSERVATION_SIZE))
        except ValueError as error:
            raise DatasetError(f"{path}: not QWOP: {error}") from None
        steps = len(keys) // options.frames_per_step
        if len(observed) not in (steps, steps + 1):
            raise DatasetError(f"{path}: {name} has {len(observed)} observations for {steps} actions")
        variants = (options.trig,) if options.trig else TRIG_VARIANTS
    return episode_from_keys(
        name, keys, fields, observed=observed, stride=options.frames_per_step, variants=variants
    )


def episode_from_keys(
    name: str,
    keys: NDArray[np.uint8],
    fields: Mapping[str, Any],
    *,
    observed: NDArray[np.floating[Any]] | None = None,
    stride: int = 1,
    variants: Sequence[str] = (DEFAULT_TRIG,),
) -> Imported:
    """Play keys up to the end of the run and make an episode of it.

    observed: the foreign file's observations, [S + 1, 60], one every `stride` frames, normalized or raw.
        The replay has to reproduce them.
    fields: the other fields of Episode. The replay determines terminated and success.
    variants: variants of sine and cosine. The first one that reproduces the observations becomes
        Episode.trig.
    """
    farthest = 0
    for trig in variants:
        (played,) = replay_keys([keys], starts=[fields.get("start")], trig=trig)
        same = len(observed) if observed is not None else 0
        if observed is not None:
            rows = played.raw_observations[np.minimum(np.arange(len(observed)) * stride, len(keys))]
            same = max(_first_false((shown == observed).all(axis=1)) for shown in (normalize(rows), rows))
        if observed is None or same == len(observed):
            return Imported(name, episode_of_replay(keys, played, {**fields, "trig": trig}))
        farthest = max(farthest, same)
    said = variants[0] if len(variants) == 1 else "every variant of sine and cosine"
    reason = f"its replay differs from its observations at step {farthest} (with {said})"
    return Imported(name, reason=reason)


def _first_false(facts: NDArray[np.bool_]) -> int:
    """Return the index of the first false entry; their number if all are true."""
    return int(np.argmin(facts)) if not facts.all() else len(facts)


def episode_of_replay(keys: NDArray[np.uint8], played: Replay, fields: Mapping[str, Any]) -> Episode:
    """Make an episode of the frames until the end of a replay."""
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
def output_directory(path: Path) -> Generator[Path]:
    """Yield a temporary directory that is renamed to `path`, or removed on failure. Raises DatasetError."""
    aside = path.with_name(f".{path.name}.new-{os.getpid()}")
    try:
        with made_folder(path.parent):
            try:
                aside.mkdir()
                yield aside
                portable.replace(aside, path)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise DatasetError(f"{path}: {describe(error)}; nothing was written") from None
