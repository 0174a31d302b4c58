"""NumPy archives in the form of Gymnasium's offline datasets, and CSV."""

from __future__ import annotations

import csv
import errno
import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from qwop_datasets.convert.common import (
    Imported,
    Importing,
    actions_of,
    foreign_episode,
    keys_from_actions,
    numbers,
    observations_of,
    own_episode,
    rewards_of,
    scalars,
    whole_numbers,
)
from qwop_datasets.episode import Episode
from qwop_datasets.errors import DatasetError
from qwop_datasets.format import OBSERVATION_FIELDS
from qwop_datasets.old_names import OLD_TRIG
from qwop_datasets.reader import DatasetReader
from qwop_datasets.untrusted import memory_limit
from qwop_datasets.writer import output_file
from qwop_game import KEY_O, KEY_P, KEY_Q, KEY_W, key_text

# ---- npz -----------------------------------------------------------------------------------------------


def write_npz(
    reader: DatasetReader, path: Path, *, observations: str, action_set: str | None
) -> tuple[int, list[str]]:
    """Write arrays over all N steps.

    They are observations, next_observations [N, 60], actions, rewards, terminations, truncations [N]. For the
    import there are also keys [N], times and raw_observations of all N + E states, episode_ends [E] (steps up
    to the end of each episode) and episodes [E] (JSON).
    """
    columns: dict[str, list[NDArray[Any]]] = {}
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
    # As np.savez_compressed, which leaves its archive open when the disk is full.
    with output_file(path) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return len(texts), []


def load_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Load the arrays of an archive: nothing pickled, at most `memory_limit` bytes. Raises DatasetError."""
    limit = memory_limit(path.stat().st_size)
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > limit:
                raise DatasetError(
                    f"{path}: unpacks to {size} bytes, more than an archive of this size should"
                )
            for member in archive.infolist():
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise DatasetError(
                        f"{path}: {member.filename} is compressed in a way that NumPy does not use"
                    )
                with archive.open(member) as file:
                    arrays[member.filename.removesuffix(".npy")] = read_npy(file.read(), member.filename)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a broken archive has offsets before its start
            raise
        raise DatasetError(f"{path}: not a NumPy archive: its offsets are wrong") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, RuntimeError) as error:
        raise DatasetError(f"{path}: not a NumPy archive: {' '.join(str(error).split())[:80]}") from None
    return arrays


def read_npy(data: bytes, name: str) -> NDArray[Any]:
    """Read the array in the bytes of a .npy file. Raises ValueError for pickled or missing values."""
    file = io.BytesIO(data)
    readers: dict[tuple[int, int], Callable[[io.BytesIO], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = cast("tuple[int, int]", np.lib.format.read_magic(file))
    if version not in readers:
        raise ValueError(f"{name} has an unknown version")
    shape, by_columns, dtype = readers[version](file)
    if dtype.hasobject:
        raise ValueError(f"{name} has pickled objects, which could run code")
    if math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f"{name} is not as long as its header says")
    array = np.frombuffer(data, dtype, offset=file.tell()) if math.prod(shape) else np.empty(0, dtype)
    return array.reshape(shape, order="F" if by_columns else "C")


def read_npz(path: Path, options: Importing) -> Iterator[Imported]:
    """Read our own arrays exactly, and others by replaying their actions.

    Others need observations, actions and terminations/truncations (D4RL: terminals and timeouts).
    """
    data = load_npz(path)
    if "episodes" in data:
        yield from _own_npz(data)
        return
    for wanted in ("observations", "actions"):
        if wanted not in data:
            raise DatasetError(f"{path}: has no array {wanted!r}")
    steps = len(np.atleast_1d(data["actions"]))
    if len(np.atleast_1d(data["observations"])) != steps:
        shapes = f"{list(data['observations'].shape)} and actions {list(data['actions'].shape)}"
        raise DatasetError(f"{path}: observations {shapes}: expected one of each per step")
    last = np.zeros(steps, bool)
    for name in ("terminations", "truncations", "terminals", "timeouts"):
        if name in data:
            last |= numbers(name, data[name].reshape(-1), (steps,)) != 0
    edges = np.unique(np.append(np.flatnonzero(last) + 1, steps))
    start = 0
    for number, end in enumerate(edges.tolist()):
        name = f"episode {number}"
        keys = keys_from_actions(data["actions"][start:end], options, path)
        observed = data["observations"][start:end]
        yield foreign_episode(path, name, keys, observed, options, options.action_set or "full")
        start = end


def _own_npz(data: dict[str, NDArray[Any]]) -> Iterator[Imported]:
    wanted = ("episode_ends", "keys", "times", "raw_observations", "rewards")
    if missing := [name for name in wanted if name not in data]:
        raise ValueError(f"array {missing[0]} is missing")
    texts = data["episodes"].reshape(-1).tolist()
    total = len(np.atleast_1d(data["keys"]))
    ends = whole_numbers("episode_ends", data["episode_ends"], (len(texts),), total).tolist()
    if ends != sorted(set(ends)) or not ends or ends[-1] != total or ends[0] == 0:
        raise ValueError("episode_ends do not divide its steps into episodes")
    start = 0
    for number, (end, text) in enumerate(zip(ends, texts, strict=True)):
        steps, states = slice(start, end), slice(start + number, end + number + 1)
        raw, times = data["raw_observations"][states], data["times"][states]
        episode = own_episode(text, data["keys"][steps], raw, times, data["rewards"][steps])
        yield Imported(f"episode {number}", episode)
        start = end


# ---- csv -----------------------------------------------------------------------------------------------

_LABELS = ("episode", "source", "player", "game", "trig", "end", "frame", "time", "keys", "action")
_START = ("undetermined", "start")  # 0 or 1; "operation:keys:count ..." in row 0


def write_csv(
    reader: DatasetReader, path: Path, *, observations: str, action_set: str | None
) -> tuple[int, list[str]]:
    """Write a row for each of the T + 1 states.

    It has the keys and action that follow the state (none in the last row), and 60 columns of raw
    observations. Numbers are written so that they read back as the same bits.
    """
    with output_file(path) as aside, open(aside, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*_LABELS, *_START, *OBSERVATION_FIELDS])
        for episode in reader:
            actions = actions_of(episode, action_set or episode.action_set)
            end = _end_text(episode)
            keys = [*map(key_text, episode.keys.tolist()), ""]
            marks: list[object] = [""] * (episode.num_frames + 1)
            if episode.undetermined is not None:
                marks[:-1] = episode.undetermined.astype(int).tolist()
            start = (
                ""
                if episode.start is None
                else " ".join(":".join(map(str, row)) for row in episode.start.tolist())
            )
            for t, values in enumerate(episode.raw_observations):
                action = int(actions[t]) if t < episode.num_frames else ""
                labels = [episode.id, episode.source, episode.player, episode.game, episode.trig, end, t]
                clock = repr(float(episode.times[t]))
                writer.writerow(
                    [*labels, clock, keys[t], action, marks[t], "" if t else start, *map(str, values)]
                )
    return len(reader), []


def _end_text(episode: Episode) -> str:
    if episode.success:
        return "success"
    if episode.terminated and episode.truncated:
        return "terminated+truncated"
    return "terminated" if episode.terminated else "truncated" if episode.truncated else ""


def read_csv(path: Path, options: Importing) -> Iterator[Imported]:
    """Read a file that write_csv wrote."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            there = rows.fieldnames or ()
            needed = (*(name for name in _LABELS if name != "trig"), *OBSERVATION_FIELDS)
            if missing := [name for name in needed if name not in there]:
                raise DatasetError(f"{path}: has no column {missing[0]!r}")
            for number, (_, group) in enumerate(groupby(rows, key=lambda row: row["episode"])):
                yield Imported(f"episode {number}", _csv_episode(path, list(group)))
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: not a CSV file: it is not UTF-8 text") from None
    except csv.Error as error:
        raise DatasetError(f"{path}: not a CSV file: {error}") from None


_ENDS = ("success", "terminated", "terminated+truncated", "truncated", "")


def _csv_episode(path: Path, rows: list[dict[str | None, Any]]) -> Episode:
    first = rows[0]
    where = f"{path}: episode {first['episode']}"
    for row in rows:
        if None in row or None in row.values():
            raise DatasetError(
                f"{where}: frame {row['frame']}: a row has {'more' if None in row else 'fewer'} cells"
            )
    if [row["frame"] for row in rows] != [str(t) for t in range(len(rows))] or rows[-1]["keys"]:
        raise DatasetError(f"{where}: its frames are not 0 to T in order")
    if first["end"] not in _ENDS:
        raise DatasetError(f"{where}: its end is {first['end'][:20]!r}, not one of {', '.join(_ENDS[:-1])}")
    try:
        raw = np.array([[row[name] for name in OBSERVATION_FIELDS] for row in rows], np.float32)
        times = [float(row["time"]) for row in rows]
        keys = [mask_of(row["keys"]) for row in rows[:-1]]
        marks = [row.get("undetermined", "") for row in rows[:-1]]
        start = [[int(number) for number in row.split(":")] for row in first.get("start", "").split()]
        undetermined = np.array(marks, np.int64).astype(bool) if any(marks) else None
        first_rows = np.array(start).reshape(-1, 3) if start else None
    except ValueError as error:
        raise DatasetError(f"{where}: a cell is wrong: {error}") from None
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
        trig=first.get("trig", OLD_TRIG),
        start=first_rows,
        undetermined=undetermined,
    )


def mask_of(text: str) -> int:
    """Parse keys: "QO", "-" for none, or a mask 0 to 15. Raises ValueError."""
    letters = {"Q": KEY_Q, "W": KEY_W, "O": KEY_O, "P": KEY_P}
    held = text.strip().upper()
    if re.fullmatch("[0-9]|1[0-5]", held):
        return int(held)
    if held in ("", "-"):
        return 0
    if len(set(held)) != len(held) or not set(held) <= set(letters):
        raise ValueError(f"{text[:20]!r} is not a combination of the keys Q, W, O, P or a mask 0 to 15")
    return sum(letters[letter] for letter in held)
