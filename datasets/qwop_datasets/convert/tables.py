"""NumPy archives in the manner of Gymnasium's offline data sets, and CSV."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from qwop_game import KEY_O, KEY_P, KEY_Q, KEY_W, key_text

from ..episode import Episode
from ..errors import DatasetError
from ..format import OBSERVATION_FIELDS
from ..reader import DatasetReader
from ..writer import output_file
from .common import (
    Imported,
    Importing,
    actions_of,
    episode_from_keys,
    keys_from_actions,
    observations_of,
    own_episode,
    rewards_of,
    scalars,
)

# ---- npz -----------------------------------------------------------------------------------------------


def write_npz(
    reader: DatasetReader, path: Path, *, observations: str, action_set: str | None
) -> tuple[int, list[str]]:
    """Arrays over all N steps: observations, next_observations [N, 60], actions, rewards, terminations,
    truncations [N]; and for the way back keys [N], times, raw_observations over all N + E states,
    episode_ends [E] (steps up to and with each episode), episodes [E] (JSON)."""
    columns: dict[str, list[np.ndarray]] = {}
    texts: list[str] = []
    for episode in reader:
        shown = observations_of(episode, observations)
        ends = np.arange(1, episode.num_frames + 1) == episode.num_frames
        for name, array in {
            "observations": shown[:-1],
            "next_observations": shown[1:],
            "actions": actions_of(episode, action_set or episode.action_set),
            "rewards": rewards_of(episode),
            "terminations": ends & episode.terminated,
            "truncations": ends & (not episode.terminated),
            "keys": episode.keys,
            "times": episode.times,
            "raw_observations": episode.raw_observations,
        }.items():
            columns.setdefault(name, []).append(array)
        texts.append(scalars(episode))
    ends = np.cumsum([len(keys) for keys in columns["keys"]])
    arrays = {name: np.concatenate(parts) for name, parts in columns.items()}
    arrays |= {"episode_ends": ends, "episodes": np.array(texts)}
    # What np.savez_compressed does, but for leaving its archive open when the disk is full.
    with output_file(path) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return len(texts), []


def read_npz(path: Path, options: Importing) -> Iterator[Imported]:
    """Ours exactly; another's from observations, actions and terminations/truncations (D4RL: terminals and
    timeouts), its actions replayed."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            data = {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise DatasetError(f"{path}: not a NumPy archive: {str(error)[:80]}") from None
    if "episodes" in data:
        yield from _own_npz(data)
        return
    for wanted in ("observations", "actions"):
        if wanted not in data:
            raise DatasetError(f"{path}: has no array {wanted!r}")
    last = np.zeros(len(data["actions"]), bool)
    for name in ("terminations", "truncations", "terminals", "timeouts"):
        last |= data.get(name, np.zeros(len(last))).astype(bool)
    edges = np.unique(np.append(np.flatnonzero(last) + 1, len(last)))
    start = 0
    for number, end in enumerate(edges.tolist()):
        keys = keys_from_actions(data["actions"][start:end], options, path)
        fields = {
            "source": options.checked_source(path),
            "player": options.player,
            "game": options.game,
            "action_set": options.action_set or "full",
        }
        yield episode_from_keys(
            f"episode {number}",
            keys,
            fields,
            observed=data["observations"][start:end],
            stride=options.frames_per_step,
        )
        start = end


def _own_npz(data: dict[str, np.ndarray]) -> Iterator[Imported]:
    start = 0
    ends = data["episode_ends"].tolist()
    for number, (end, text) in enumerate(zip(ends, data["episodes"].tolist(), strict=True)):
        steps, states = slice(start, end), slice(start + number, end + number + 1)
        raw, times = data["raw_observations"][states], data["times"][states]
        episode = own_episode(text, data["keys"][steps], raw, times, data["rewards"][steps])
        yield Imported(f"episode {number}", episode)
        start = end


# ---- csv -----------------------------------------------------------------------------------------------

_LABELS = ("episode", "source", "player", "game", "end", "frame", "time", "keys", "action")


def write_csv(
    reader: DatasetReader, path: Path, *, observations: str, action_set: str | None
) -> tuple[int, list[str]]:
    """A row for each of the T + 1 states: the keys and action that follow it (none in the last row), and 60
    columns. Numbers are written so that they read back as the same bits. Always raw observations."""
    with output_file(path) as aside, open(aside, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*_LABELS, *OBSERVATION_FIELDS])
        for episode in reader:
            actions = actions_of(episode, action_set or episode.action_set)
            end = _end_text(episode)
            keys = [*map(key_text, episode.keys.tolist()), ""]
            for t, values in enumerate(episode.raw_observations):
                action = int(actions[t]) if t < episode.num_frames else ""
                labels = [episode.id, episode.source, episode.player, episode.game, end, t]
                clock = repr(float(episode.times[t]))
                writer.writerow([*labels, clock, keys[t], action, *map(str, values)])
    return len(reader), []


def _end_text(episode: Episode) -> str:
    if episode.success:
        return "success"
    if episode.terminated and episode.truncated:
        return "terminated+truncated"
    return "terminated" if episode.terminated else "truncated" if episode.truncated else ""


def read_csv(path: Path, options: Importing) -> Iterator[Imported]:
    """What write_csv wrote."""
    try:
        with open(path, newline="") as file:
            rows = csv.DictReader(file)
            there = rows.fieldnames or ()
            if missing := [name for name in (*_LABELS, *OBSERVATION_FIELDS) if name not in there]:
                raise DatasetError(f"{path}: has no column {missing[0]!r}")
            for number, (_, group) in enumerate(groupby(rows, key=lambda row: row["episode"])):
                yield Imported(f"episode {number}", _csv_episode(path, list(group)))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not a CSV file: {error}") from None


def _csv_episode(path: Path, rows: list[dict[str, Any]]) -> Episode:
    masks = {"Q": KEY_Q, "W": KEY_W, "O": KEY_O, "P": KEY_P, "-": 0}
    first = rows[0]
    try:
        raw = np.array([[row[name] for name in OBSERVATION_FIELDS] for row in rows], np.float32)
        times = [float(row["time"]) for row in rows]
        keys = [sum(masks[letter] for letter in row["keys"]) for row in rows[:-1]]
    except (ValueError, TypeError, KeyError) as error:
        raise DatasetError(f"{path}: episode {first['episode']}: a cell that is none: {error}") from None
    if [row["frame"] for row in rows] != [str(t) for t in range(len(rows))] or rows[-1]["keys"]:
        raise DatasetError(f"{path}: episode {first['episode']}: its frames are not 0 to T in order")
    end = first["end"]
    return Episode(
        keys=np.array(keys, np.uint8),
        raw_observations=raw,
        times=np.array(times),
        terminated=end.startswith(("success", "terminated")),
        truncated=end.endswith("truncated"),
        success=end == "success",
        id=first["episode"],
        source=first["source"],
        player=first["player"],
        game=first["game"],
    )
