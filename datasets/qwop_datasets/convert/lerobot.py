"""LeRobotDataset v3: Parquet files of frames and episodes, and an mp4; written and read without the package.

| file                                                  | what                                    |
|-------------------------------------------------------|-----------------------------------------|
| meta/info.json, meta/stats.json, meta/tasks.parquet   | columns, figures of their values, task  |
| meta/episodes/chunk-000/file-000.parquet              | episodes: length, files, figures        |
| data/chunk-000/file-000.parquet                       | frames                                  |
| videos/observation.images.game/chunk-000/file-000.mp4 | the game's picture before each frame    |
| meta/qwop.parquet                                     | what LeRobot has no field for           |

An action is four numbers, Q, W, O and P: +1 held, -1 released. LeRobot ignores the columns `qwop.*` and the
file meta/qwop.parquet, with which a dataset comes back as it was. LeRobot's tools drop the file when they
edit a dataset; what they write is then replayed, as other projects' datasets are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_cli import json_text
from qwop_datasets.convert.common import (
    Imported,
    Importing,
    foreign_episode,
    json_object,
    keys_from_actions,
    numbers,
    observations_of,
    output_directory,
    own_episode,
    rewards_of,
    scalars,
    whole_numbers,
)
from qwop_datasets.episode import KEY_EVENT_DTYPE, OBSERVATION_SIZE, REWIND_DTYPE, Episode
from qwop_datasets.errors import DatasetError
from qwop_datasets.format import FRAMES_PER_SECOND, OBSERVATION_FIELDS
from qwop_datasets.reader import DatasetReader
from qwop_datasets.untrusted import memory_limit
from qwop_datasets.video import VideoWriter
from qwop_game import KEY_NAMES, KEY_O, KEY_P, KEY_Q, KEY_W

VERSION = "v3.0"
TASK = "Run 100 m in QWOP."
IMAGES = "observation.images.game"
OWN_FILE = Path("meta/qwop.parquet")
FILE_NAME = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATH = f"data/{FILE_NAME}.parquet"
EPISODES_PATH = f"meta/episodes/{FILE_NAME}.parquet"
VIDEO_PATH = f"videos/{{video_key}}/{FILE_NAME}.mp4"
FILES_PER_CHUNK = 1000
DATA_MEGABYTES, VIDEO_MEGABYTES = 100, 200
PICTURE = (320, 200)
"""Width and height of the pictures, px."""

_KEYS = np.array([KEY_Q, KEY_W, KEY_O, KEY_P], np.uint8)
_ENVIRONMENT = "qwop.environment"
_KEYFRAMES = 15  # frames; a reader of single frames decodes 7 others on average
_PICTURES = 30  # every 30th counts for the figures
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
# Optional arrays of an episode, as bytes, little-endian.
_BLOBS = {
    "wall_times": np.dtype("<f8"),
    "lateness": np.dtype("<f4"),
    "key_events": KEY_EVENT_DTYPE,
    "rewinds": REWIND_DTYPE,
    "discarded_keys": np.dtype("u1"),
}

Stats = dict[str, dict[str, NDArray[Any]]]


def write(
    reader: DatasetReader, path: Path, *, observations: str, action_set: str | None, video: bool = False
) -> tuple[int, list[str]]:
    """Write a folder. `video` adds the game's pictures."""
    if action_set:
        raise DatasetError("LeRobot's actions are the four keys: omit --action-set")
    with output_directory(path) as aside, _Writer(aside, observations, video, reader.environment) as writer:
        for number, episode in enumerate(reader):
            marked = {name: bool(mask[reader.numbers[number]]) for name, mask in reader.masks.items()}
            writer.add(episode, marked)
    return len(reader), []


def _features(observations: str, video: bool) -> dict[str, dict[str, Any]]:
    """Describe the columns of data/, and the pictures, as meta/info.json does."""
    fields = list(OBSERVATION_FIELDS)
    features: dict[str, dict[str, Any]] = {
        "observation.state": {"dtype": "float32", "shape": [OBSERVATION_SIZE], "names": fields},
        "action": {"dtype": "float32", "shape": [len(_KEYS)], "names": list(KEY_NAMES)},
        "next.reward": _one("float32"),
        "next.done": _one("bool"),
        "next.truncated": _one("bool"),
        "next.success": _one("bool"),
        "qwop.keys": _one("uint8"),
        "qwop.time": _one("float64"),
    }
    if observations == "normalized":
        features["qwop.raw"] = {"dtype": "float32", "shape": [OBSERVATION_SIZE], "names": fields}
    features["timestamp"] = _one("float32")
    features |= {name: _one("int64") for name in ("frame_index", "episode_index", "index", "task_index")}
    if video:
        width, height = PICTURE
        features[IMAGES] = {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": height,
                "video.width": width,
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.is_depth_map": False,
                "video.fps": FRAMES_PER_SECOND,
                "video.channels": 3,
                "has_audio": False,
            },
        }
    return features


def _one(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [1], "names": None}


class _Writer:
    """Writes episodes one by one; the files of meta/ are complete at its end."""

    def __init__(self, folder: Path, observations: str, video: bool, environment: Mapping[str, Any]) -> None:
        self._environment = json.dumps(dict(environment), sort_keys=True)
        self._pa, self._pq = _pyarrow()
        self._folder = folder
        self._observations = observations
        self._features = _features(observations, video)
        self._frames = self._episodes = 0
        self._rows: list[dict[str, Any]] = []
        self._own: list[dict[str, Any]] = []
        self._stats: Stats = {}
        self._data: Any = None
        self._data_place: tuple[int, int] | None = None
        self._data_bytes = 0
        self._video = _Pictures(folder) if video else None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._data is not None:
            self._data.close()
        if self._video is not None:
            self._video.close(kind, error, trace)
        if error is None:
            self._write_meta()

    def add(self, episode: Episode, marked: Mapping[str, bool]) -> None:
        """Append an episode; `marked`: the masks of the dataset, and whether they have it."""
        frames = episode.num_frames
        columns = self._columns(episode)
        stats = {name: _figures(values) for name, values in columns.items()}
        row: dict[str, Any] = {
            "episode_index": self._episodes,
            "tasks": [TASK],
            "length": frames,
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + frames,
        }
        chunk, file = self._put(columns)
        row |= {"data/chunk_index": chunk, "data/file_index": file}
        if self._video is not None:
            place, stats[IMAGES] = self._video.add(episode)
            row |= {f"videos/{IMAGES}/{name}": value for name, value in place.items()}
        row |= {
            f"stats/{feature}/{name}": value.tolist()
            for feature, figures in stats.items()
            for name, value in figures.items()
        }
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        self._rows.append(row)
        self._own.append(_own_row(self._episodes, episode, marked))
        for feature, figures in stats.items():
            before = self._stats.get(feature)
            self._stats[feature] = figures if before is None else _merged(before, figures)
        self._frames += frames
        self._episodes += 1

    def _columns(self, episode: Episode) -> dict[str, NDArray[Any]]:
        """Return the columns of an episode's rows in data/: [T] or [T, D] each."""
        frames = np.arange(episode.num_frames)
        last = frames == episode.num_frames - 1
        held = (episode.keys[:, None] & _KEYS) > 0
        values = {
            "observation.state": observations_of(episode, self._observations)[:-1],
            "action": np.where(held, np.float32(1), np.float32(-1)),
            "next.reward": rewards_of(episode),
            "next.done": last,
            "next.truncated": last & (not episode.terminated),
            "next.success": last & episode.success,
            "qwop.keys": episode.keys,
            "qwop.time": episode.times[:-1],
            "qwop.raw": episode.raw_observations[:-1],
            "timestamp": (frames / FRAMES_PER_SECOND).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(len(frames), self._episodes),
            "index": self._frames + frames,
            "task_index": np.zeros(len(frames), np.int64),
        }
        return {name: values[name] for name in self._features if name != IMAGES}

    def _put(self, columns: Mapping[str, NDArray[Any]]) -> tuple[int, int]:
        """Write rows to the current file of data/, or the next one. Returns the numbers of chunk and file."""
        pa = self._pa
        arrays = {name: _arrow(pa, values) for name, values in columns.items()}
        table = pa.table(arrays)
        if self._data is not None and self._data_bytes + table.nbytes > DATA_MEGABYTES * 1e6:
            self._data.close()
            self._data = None
        if self._data is None:
            self._data_place = _next_place(self._data_place)
            path = self._folder / _path(DATA_PATH, self._data_place)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._data = self._pq.ParquetWriter(path, table.schema, compression="zstd")
            self._data_bytes = 0
        self._data.write_table(table)
        self._data_bytes += table.nbytes
        assert self._data_place is not None
        return self._data_place

    def _write_meta(self) -> None:
        pa, pq = self._pa, self._pq
        meta = self._folder / "meta"
        meta.mkdir(exist_ok=True)
        info = {
            "codebase_version": VERSION,
            "robot_type": "qwop",
            "total_episodes": self._episodes,
            "total_frames": self._frames,
            "total_tasks": 1,
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": DATA_MEGABYTES,
            "video_files_size_in_mb": VIDEO_MEGABYTES,
            "fps": FRAMES_PER_SECOND,
            "splits": {"train": f"0:{self._episodes}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self._video is not None else None,
            "features": self._features,
        }
        (meta / "info.json").write_text(json_text(info, indent=4), encoding="utf-8")
        stats = {
            feature: {name: value.tolist() for name, value in figures.items()}
            for feature, figures in self._stats.items()
        }
        (meta / "stats.json").write_text(json_text(stats, indent=4), encoding="utf-8")
        path = self._folder / _path(EPISODES_PATH, (0, 0))
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self._rows), path)
        pq.write_table(_tasks(pa), meta / "tasks.parquet")
        names = dict.fromkeys(name for row in self._own for name in row)
        own = pa.table({name: _own_column(pa, [row.get(name) for row in self._own]) for name in names})
        own = own.replace_schema_metadata({_ENVIRONMENT: self._environment})
        pq.write_table(own, self._folder / OWN_FILE, compression="zstd")


class _Pictures:
    """The mp4 files of the game's pictures, one episode after the other."""

    def __init__(self, folder: Path) -> None:
        from qwop_game.render import Renderer

        self._folder = folder
        self._renderer = Renderer(*PICTURE)
        self._place: tuple[int, int] | None = None
        self._writer: VideoWriter | None = None
        self._frames = 0  # in the current file

    def add(self, episode: Episode) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Append an episode. Returns where it is in the files, and the figures of its pictures."""
        from qwop_datasets.film import pictures

        if self._writer is not None and self._writer.bytes_written > VIDEO_MEGABYTES * 1e6:
            self.close()
        writer = self._writer or self._open()
        counts = np.zeros((3, 256), np.int64)
        for frame, picture in enumerate(pictures(episode, self._renderer)):
            writer.write(picture)
            if frame % _PICTURES == 0:
                for channel in range(3):
                    counts[channel] += np.bincount(picture[..., channel].ravel(), minlength=256)
        first = self._frames
        self._frames += episode.num_frames
        assert self._place is not None
        place = {
            "chunk_index": self._place[0],
            "file_index": self._place[1],
            "from_timestamp": first / FRAMES_PER_SECOND,
            "to_timestamp": self._frames / FRAMES_PER_SECOND,
        }
        sampled = -(-episode.num_frames // _PICTURES)
        return place, _picture_figures(counts, sampled)

    def _open(self) -> VideoWriter:
        self._place = _next_place(self._place)
        path = self._folder / _path(VIDEO_PATH, self._place, video_key=IMAGES)
        self._writer = VideoWriter(path, PICTURE, keyframes=_KEYFRAMES).__enter__()
        self._frames = 0
        return self._writer

    def close(self, *error: Any) -> None:
        """Finish the current file."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.__exit__(*(error or (None, None, None)))


def _next_place(place: tuple[int, int] | None) -> tuple[int, int]:
    """Return the numbers of chunk and file that follow."""
    if place is None:
        return 0, 0
    chunk, file = place
    return (chunk, file + 1) if file + 1 < FILES_PER_CHUNK else (chunk + 1, 0)


def _path(pattern: str, place: tuple[int, int], **names: str) -> str:
    return pattern.format(chunk_index=place[0], file_index=place[1], **names)


def _arrow(pa: Any, values: NDArray[Any]) -> Any:
    """Convert [T] or [T, D] to an Arrow array; rows of D numbers have a fixed size."""
    if values.ndim == 1:
        return pa.array(np.ascontiguousarray(values))
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _tasks(pa: Any) -> Any:
    """Return the table of tasks, whose text is the index of the pandas frame that LeRobot reads."""
    described = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": n, "field_name": n, "pandas_type": p, "numpy_type": t, "metadata": None}
            for n, p, t in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
        ],
        "pandas_version": "2.0.0",
    }
    table = pa.table({"task_index": pa.array([0], pa.int64()), "task": pa.array([TASK], pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(described)})


# ---- figures of the values -----------------------------------------------------------------------------


def _figures(values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Compute LeRobot's figures of a column, [T] or [T, D]: [1] or [D] each, and count [1]."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    figures: dict[str, NDArray[Any]] = {
        "min": rows.min(axis=0),
        "max": rows.max(axis=0),
        "mean": rows.mean(axis=0),
        "std": rows.std(axis=0),
        "count": np.array([len(rows)]),
    }
    at = np.quantile(rows, list(_QUANTILES.values()), axis=0)
    return figures | dict(zip(_QUANTILES, at, strict=True))


def _picture_figures(counts: NDArray[np.int64], pictures: int) -> dict[str, NDArray[Any]]:
    """Compute the figures of each channel, in 0 to 1: [3, 1, 1] each, and the number of pictures [1].

    counts: int64 [3, 256], how often each channel has each value.
    """
    values = np.arange(256) / 255
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    there = counts > 0
    figures = {
        "min": values[there.argmax(axis=1)],
        "max": values[255 - there[:, ::-1].argmax(axis=1)],
        "mean": mean,
        "std": np.sqrt(np.maximum(shares @ values**2 - mean**2, 0)),
    }
    below = shares.cumsum(axis=1)
    figures |= {name: values[(below >= q).argmax(axis=1)] for name, q in _QUANTILES.items()}
    shaped: dict[str, NDArray[Any]] = {name: value.reshape(3, 1, 1) for name, value in figures.items()}
    return shaped | {"count": np.array([pictures])}


def _merged(a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Merge the figures of two sets of rows. Quantiles are averaged, as LeRobot does."""
    count = a["count"] + b["count"]
    share = b["count"] / count
    shift = b["mean"] - a["mean"]
    variance = a["std"] ** 2 * (1 - share) + b["std"] ** 2 * share + shift**2 * share * (1 - share)
    merged: dict[str, NDArray[Any]] = {
        "min": np.minimum(a["min"], b["min"]),
        "max": np.maximum(a["max"], b["max"]),
        "mean": a["mean"] + shift * share,
        "std": np.sqrt(variance),
        "count": count,
    }
    return merged | {name: a[name] * (1 - share) + b[name] * share for name in _QUANTILES}


# ---- what LeRobot has no field for ---------------------------------------------------------------------


def _own_row(number: int, episode: Episode, marked: Mapping[str, bool]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "episode_index": number,
        "episode": scalars(episode),
        "keys_sha256": _digest(episode.keys),
        "last_raw": episode.raw_observations[-1].astype("<f4").tobytes(),
        "last_time": episode.time,
        "wall_clock_offset": episode.wall_clock_offset,
    }
    for name, dtype in _BLOBS.items():
        array = getattr(episode, name)
        if array is not None:
            row[name] = array.astype(dtype).tobytes()
    row |= {
        f"reward/{name}": reward.astype("<f4").tobytes()
        for name, reward in episode.rewards.items()
        if name != "default"
    }
    return row | {f"mask/{name}": value for name, value in marked.items()}


def _own_column(pa: Any, values: list[Any]) -> Any:
    given = next(value for value in values if value is not None)
    types = {bytes: pa.binary(), str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    return pa.array(values, types[type(given)])


def _digest(keys: NDArray[np.uint8]) -> str:
    return hashlib.sha256(keys.tobytes()).hexdigest()


# ---- reading -------------------------------------------------------------------------------------------


@dataclass
class _Rows:
    """The rows of one episode in data/, column by column."""

    number: int
    columns: dict[str, list[NDArray[Any]]] = field(default_factory=dict[str, list[NDArray[Any]]])

    def array(self, name: str) -> NDArray[Any] | None:
        """Return a column, [T] or [T, D]; None if there is none."""
        return np.concatenate(self.columns[name]) if name in self.columns else None


def read(path: Path, options: Importing) -> Iterator[Imported]:
    """Read a folder: exports of this project exactly, others by replaying their actions."""
    with _arrow_errors():
        yield from _read(path, options)


def _read(path: Path, options: Importing) -> Iterator[Imported]:
    info = json_object((path / "meta" / "info.json").read_bytes(), "meta/info.json")
    version = str(info.get("codebase_version", ""))
    if not re.match(r"v3\.", version):
        raise DatasetError(
            f"{path}: is LeRobotDataset {version[:20]}, expected v3: convert it with LeRobot first"
        )
    own = _own_rows(path)
    found = 0
    for rows in _episodes(path):
        found += 1
        name = _name(rows.number)
        stored = own.get(rows.number)
        keys = rows.array("qwop.keys")
        if keys is not None:
            keys = whole_numbers("qwop.keys", keys, (None,), 15).astype(np.uint8)
            if stored is not None and stored.get("keys_sha256") == _digest(keys):
                yield Imported(name, _own_episode(rows, keys, stored))
                continue
        yield _foreign(path, name, rows, keys, options)
    if not found:
        raise DatasetError(f"{path}: has no episode")


def _own_episode(rows: _Rows, keys: NDArray[np.uint8], stored: Mapping[str, Any]) -> Episode:
    raw = rows.array("qwop.raw")
    if raw is None:
        raw = rows.array("observation.state")
    last = np.frombuffer(stored["last_raw"], "<f4")
    raw = np.concatenate(
        [numbers("raw observations", raw, (len(keys), OBSERVATION_SIZE)), last.reshape(1, OBSERVATION_SIZE)]
    )
    times = numbers("qwop.time", rows.array("qwop.time"), (len(keys),), np.float64)
    episode = own_episode(
        stored["episode"],
        keys,
        raw,
        np.append(times, stored["last_time"]),
        rows.array("next.reward"),
    )
    more: dict[str, Any] = {
        name: np.frombuffer(stored[name], dtype)
        for name, dtype in _BLOBS.items()
        if stored.get(name) is not None
    }
    rewards = {
        name.removeprefix("reward/"): np.frombuffer(value, "<f4")
        for name, value in stored.items()
        if name.startswith("reward/") and value is not None
    }
    if more or rewards or stored["wall_clock_offset"]:
        more |= {"rewards": {**episode.rewards, **rewards}}
        episode = episode.replace(**more, wall_clock_offset=stored["wall_clock_offset"])
    return episode


def _foreign(
    path: Path, name: str, rows: _Rows, keys: NDArray[np.uint8] | None, options: Importing
) -> Imported:
    action_set = "full"
    if keys is not None:
        held = np.repeat(keys, options.frames_per_step)
    else:
        actions = rows.array("action")
        if actions is None:
            raise DatasetError(f"{path}: not QWOP: it has no column action")
        if actions.ndim == 2 and actions.shape[1] == len(_KEYS):
            actions = numbers("action", actions, (None, len(_KEYS)))
            one = ((actions > 0) * _KEYS).sum(axis=1).astype(np.uint8)
            held = np.repeat(one, options.frames_per_step)
        else:
            action_set = options.action_set or "full"
            held = keys_from_actions(actions, options, path)
    observed = rows.array("observation.state")
    return foreign_episode(path, name, held, observed, options, action_set)


@dataclass(frozen=True)
class Kept:
    """What a folder of this project says of the dataset that it was made from."""

    environment: Mapping[str, Any]
    """Settings that all episodes share."""
    masks: Mapping[str, Mapping[str, bool]]
    """Mask -> name of the episode, as `read` gives it -> whether the mask has it."""


def kept_of(path: Path) -> Kept:
    """Return what `write` kept of the dataset as a whole. Raises ValueError."""
    file = path / OWN_FILE
    if not file.is_file():
        return Kept({}, {})
    _, pq = _pyarrow()
    with _arrow_errors():
        described: dict[bytes, bytes] = dict(pq.read_schema(file).metadata or ())
        masks: dict[str, dict[str, bool]] = {}
        for number, row in _own_rows(path).items():
            for name, value in row.items():
                if name.startswith("mask/"):
                    masks.setdefault(name.removeprefix("mask/"), {})[_name(number)] = bool(value)
    return Kept(json_object(described.get(_ENVIRONMENT.encode(), b"{}"), _ENVIRONMENT), masks)


def _name(number: int) -> str:
    return f"episode_{number}"


def _own_rows(path: Path) -> dict[int, dict[str, Any]]:
    """Return the rows of meta/qwop.parquet by their episode; none without the file."""
    file = path / OWN_FILE
    if not file.is_file():
        return {}
    return {row["episode_index"]: row for batch in _batches(file, None) for row in batch.to_pylist()}


def _episodes(path: Path) -> Iterator[_Rows]:
    """Read the rows of data/, one episode after the other."""
    files = sorted((path / "data").glob("chunk-*/file-*.parquet"))
    if not files:
        raise DatasetError(f"{path}: has no data/chunk-000/file-000.parquet")
    wanted = {"action", "observation.state", "next.reward", "qwop.keys", "qwop.time", "qwop.raw"}
    current: _Rows | None = None
    for file in files:
        for batch in _batches(file, {*wanted, "episode_index"}):
            numbered = whole_numbers("episode_index", _plain(batch, "episode_index"), (None,), 1 << 40)
            edges = [0, *(np.flatnonzero(np.diff(numbered)) + 1).tolist(), len(numbered)]
            columns = {name: _plain(batch, name) for name in batch.schema.names if name in wanted}
            for start, stop in pairwise(edges):
                if start == stop:
                    continue
                number = int(numbered[start])
                if current is None or current.number != number:
                    if current is not None:
                        yield current
                    current = _Rows(number)
                for name, values in columns.items():
                    current.columns.setdefault(name, []).append(values[start:stop])
    if current is not None:
        yield current


def _batches(file: Path, columns: set[str] | None) -> Iterator[Any]:
    """Yield the row groups of a Parquet file that fit into the memory a file of its size may need."""
    _, pq = _pyarrow()
    with pq.ParquetFile(file, memory_map=False) as parquet:
        names = [n for n in parquet.schema_arrow.names if columns is None or n in columns]
        limit = memory_limit(file.stat().st_size)
        row = sum(4 * OBSERVATION_SIZE if n in ("qwop.raw", "observation.state") else 16 for n in names)
        for group in range(parquet.num_row_groups):
            described = parquet.metadata.row_group(group)
            if max(described.total_byte_size, described.num_rows * row) > limit:
                raise ValueError(f"{file.name} is larger than a file of this size can hold")
            for batch in parquet.read_row_group(group, columns=names).to_batches():
                if len(batch):
                    yield batch


def _plain(batch: Any, name: str) -> NDArray[Any]:
    """Convert a column to [N] or [N, D]. Raises ValueError if its rows have different lengths or no value."""
    column = batch.column(name)
    if column.null_count:
        raise ValueError(f"{name} has rows without a value")
    if not hasattr(column, "flatten") or not hasattr(column.type, "value_type"):
        return column.to_numpy(zero_copy_only=False)
    flat = column.flatten()
    if flat.null_count or len(flat) % len(column):
        raise ValueError(f"{name} has rows of different lengths")
    lengths = column.value_lengths() if hasattr(column, "value_lengths") else None
    if lengths is not None and len(set(lengths.to_pylist())) != 1:
        raise ValueError(f"{name} has rows of different lengths")
    return flat.to_numpy(zero_copy_only=False).reshape(len(column), -1)


@contextmanager
def _arrow_errors() -> Generator[None]:
    """Raise ValueError for what Arrow can't read."""
    pa, _ = _pyarrow()
    try:
        yield
    except pa.ArrowException as error:
        raise ValueError(str(error)) from None


def _pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and pyarrow.parquet. Raises DatasetError if they are not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DatasetError("pyarrow is missing: pip install 'qwop-stride[lerobot]'") from None
    return pyarrow, pyarrow.parquet
