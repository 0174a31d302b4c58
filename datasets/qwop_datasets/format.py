"""Format 1: where each field of an Episode stands in the HDF5 file, and how older files become newer ones.

docs/design/dataset-format.md describes the same layout. Layout:

    /                       attributes: format, format_version, created, frames_per_second, units_per_metre,
                            observation_fields, key_bits, environment (JSON)
    /index                  INDEX_DTYPE [N]: one row per episode, for filters; repeats the attributes below
    /masks/<name>           bool [N]: subsets, such as train and validation
    /episodes/000000/       the arrays of an Episode, rewards/<name>, and its scalars as attributes

A compact episode (compact.py) lacks raw_observations and times; its attribute replay_sha256 is the SHA-256 of
both, which reading it brings back from the keys.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from qwop_game import FIELDS, FRAME_SECONDS, PARTS, UNITS_PER_METRE

from .episode import KEY_EVENT_DTYPE, OBSERVATION_SIZE, REWIND_DTYPE, Episode, now
from .errors import DatasetError
from .replay import replay
from .storage import H5, WRITE_ERRORS

FORMAT = "qwop-episodes"
FORMAT_VERSION = 1
OBSERVATION_FIELDS = tuple(f"{part}.{name}" for part in PARTS for name in FIELDS)
FRAMES_PER_SECOND = round(1 / FRAME_SECONDS)

# verified: 1 exact, 0 unknown, -1 differs. Without gait figures, the shares are NaN and strides is -1.
INDEX_DTYPE = np.dtype(
    [
        ("id", "S32"),
        ("created", "S20"),
        ("source", "S8"),
        ("player", "S64"),
        ("game", "S8"),
        ("action_set", "S16"),
        ("frames", "<i4"),
        ("time", "<f8"),
        ("distance", "<f8"),
        ("terminated", "?"),
        ("truncated", "?"),
        ("success", "?"),
        ("verified", "i1"),
        ("knee_share", "<f4"),
        ("upright_share", "<f4"),
        ("strides", "<i4"),
        ("tags", "S256"),
    ]
)
_INDEX_CHUNK = 64  # rows; not compressed, so that a grown chunk keeps its place in the file
_COMPRESSION = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}
_ARRAYS = {  # name -> dtype of the arrays that every episode has
    "raw_observations": np.dtype("<f4"),
    "keys": np.dtype("u1"),
    "actions": np.dtype("u1"),
    "times": np.dtype("<f8"),
}
REPLAYED_ARRAYS = ("raw_observations", "times")  # what a compact episode leaves to the simulator
REPLAY_DIGEST = "replay_sha256"
_OPTIONAL_ARRAYS = {
    "wall_times": np.dtype("<f8"),
    "lateness": np.dtype("<f4"),
    "key_events": KEY_EVENT_DTYPE,
    "rewinds": REWIND_DTYPE,
    "discarded_keys": np.dtype("u1"),
}
_TEXTS = ("id", "created", "source", "player", "game", "action_set", "verified")
_FLAGS = ("terminated", "truncated", "success")


def episode_name(number: int) -> str:
    """Group name of episode `number`: six digits."""
    return f"{number:06d}"


@contextmanager
def explained(path: str | os.PathLike) -> Iterator[None]:
    """Turn whatever HDF5 or NumPy raises on a damaged file into one DatasetError line.

    A disk that is full or can't be written is no damage of `path`: that OSError goes on.
    """
    try:
        yield
    except DatasetError:
        raise
    except (
        OSError,
        KeyError,
        ValueError,
        TypeError,
        RuntimeError,
        IndexError,
        AttributeError,
        MemoryError,
        OverflowError,
    ) as error:
        if isinstance(error, OSError) and error.errno in WRITE_ERRORS:
            raise
        text = " ".join(str(error.args[0] if error.args else error).split()) or type(error).__name__
        raise DatasetError(f"{path}: damaged: {text[:160]}") from None


# ---- text and scalars ----------------------------------------------------------------------------------


def put_attribute(attributes: H5, name: str, value: Any) -> None:
    """Texts go in with a fixed length: variable ones live in a part of HDF5 files that has no checksums."""
    if isinstance(value, str):
        data = value.encode()
        attributes.create(name, data, dtype=h5py.string_dtype("utf-8", max(1, len(data))))
    else:
        attributes[name] = value


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value


def _text(attributes: H5, name: str) -> str:
    value = _plain(attributes[name])
    if not isinstance(value, str):
        raise ValueError(f"attribute {name!r} is not text")
    return value


# ---- the file ------------------------------------------------------------------------------------------


def write_root(file: H5, environment: Mapping[str, Any] | None = None) -> None:
    """Make an empty dataset of an empty file. `environment`: settings that all its episodes share, JSON."""
    put_attribute(file.attrs, "format", FORMAT)
    file.attrs["format_version"] = FORMAT_VERSION
    put_attribute(file.attrs, "created", now())
    file.attrs["frames_per_second"] = FRAMES_PER_SECOND
    file.attrs["units_per_metre"] = UNITS_PER_METRE
    put_attribute(file.attrs, "observation_fields", " ".join(OBSERVATION_FIELDS))
    put_attribute(file.attrs, "key_bits", "Q=1 W=2 O=4 P=8")
    put_attribute(file.attrs, "environment", json.dumps(dict(environment or {}), sort_keys=True))
    file.create_group("episodes")
    file.create_group("masks")
    create_index(file)


def create_index(file: H5, rows: np.ndarray | None = None) -> None:
    """The /index table, empty or with `rows`."""
    rows = np.empty(0, INDEX_DTYPE) if rows is None else rows
    file.create_dataset(
        "index", data=rows, dtype=INDEX_DTYPE, maxshape=(None,), chunks=(_INDEX_CHUNK,), fletcher32=True
    )


def check_root(file: H5, path: str | os.PathLike) -> None:
    """Raises DatasetError unless `file` is a dataset of this format version."""
    try:
        version = file_version(file)
    except (KeyError, ValueError):
        raise DatasetError(f"{path}: an HDF5 file, but not a QWOP dataset (see qwop-data convert)") from None
    if version > FORMAT_VERSION:
        raise DatasetError(
            f"{path}: has format version {version}; this program knows up to {FORMAT_VERSION}: "
            "upgrade qwop-stride"
        )
    if version < FORMAT_VERSION:
        raise DatasetError(
            f"{path}: has the older format version {version}: run qwop-data edit --migrate {path}"
        )
    fields = _text(file.attrs, "observation_fields")
    if fields != " ".join(OBSERVATION_FIELDS):
        raise DatasetError(f"{path}: its observation fields are in another order than ours")
    if int(file.attrs["frames_per_second"]) != FRAMES_PER_SECOND:
        raise DatasetError(
            f"{path}: has {file.attrs['frames_per_second']} frames a second, not {FRAMES_PER_SECOND}"
        )


def file_version(file: H5) -> int:
    """The format version. Raises KeyError or ValueError for a file of another kind."""
    if _text(file.attrs, "format") != FORMAT:
        raise ValueError("another format")
    return int(file.attrs["format_version"])


def read_environment(file: H5) -> dict[str, Any]:
    """The settings that all episodes of the file share."""
    return json.loads(_text(file.attrs, "environment"))


def read_index(file: H5) -> np.ndarray:
    """/index as INDEX_DTYPE [N]."""
    index = file["index"]
    if index.dtype != INDEX_DTYPE or index.ndim != 1:
        raise ValueError("/index has other columns than format 1")
    return index[:]


def write_mask(file: H5, name: str, mask: np.ndarray) -> None:
    """Store a mask, bool [N], in place of one of the same name."""
    if name in file["masks"]:
        del file["masks"][name]
    checksum = {"chunks": mask.shape, "fletcher32": True} if len(mask) else {}
    file["masks"].create_dataset(name, data=np.asarray(mask, bool), **checksum)


def read_masks(file: H5, count: int) -> dict[str, np.ndarray]:
    """The stored masks, bool [count]: false for episodes that were added after a mask was stored."""
    masks = {}
    for name, stored in file["masks"].items():
        masks[name] = np.zeros(count, bool)
        masks[name][: len(stored)] = stored[()]
    return masks


def add_episode(file: H5, episode: Episode, *, compact: bool = False) -> int:
    """Write an episode behind the last one; returns its number. compact: see compact.py."""
    index = file["index"]
    number = len(index)
    write_episode(file["episodes"].create_group(episode_name(number)), episode, compact=compact)
    index.resize((number + 1,))
    index[number] = index_row(episode)
    return number


# ---- the episode ---------------------------------------------------------------------------------------


def index_row(episode: Episode) -> np.ndarray:
    """The episode's row of /index."""
    gait = episode.gait
    row = np.zeros((), INDEX_DTYPE)
    for name in ("id", "created", "source", "player", "game", "action_set"):
        row[name] = getattr(episode, name).encode()
    row["frames"] = episode.num_frames
    for name in ("time", "distance", *_FLAGS):
        row[name] = getattr(episode, name)
    row["verified"] = {"exact": 1, "unknown": 0}.get(episode.verified, -1)
    row["knee_share"] = gait.get("knee_near", math.nan)
    row["upright_share"] = gait.get("upright", math.nan)
    row["strides"] = gait.get("strides", -1)
    row["tags"] = " ".join(episode.tags).encode()
    return row


def write_episode(group: H5, episode: Episode, *, compact: bool = False) -> None:
    """Fill an empty group. Every array is one chunk, since episodes are read whole."""

    def put(parent: H5, name: str, array: np.ndarray) -> None:
        if array.size:
            parent.create_dataset(name, data=array, chunks=array.shape, **_COMPRESSION)
        else:
            parent.create_dataset(name, data=array)

    for name in _ARRAYS:
        if not (compact and name in REPLAYED_ARRAYS):
            put(group, name, getattr(episode, name))
    if compact:
        digest = replay_digest(episode.raw_observations, episode.times)
        put_attribute(group.attrs, REPLAY_DIGEST, digest)
    for name in _OPTIONAL_ARRAYS:
        if getattr(episode, name) is not None:
            put(group, name, getattr(episode, name))
    for name, reward in episode.rewards.items():
        put(group.require_group("rewards"), name, reward)
    for name in _TEXTS:
        put_attribute(group.attrs, name, getattr(episode, name))
    for name in _FLAGS:
        group.attrs[name] = getattr(episode, name)
    group.attrs["wall_clock_offset"] = episode.wall_clock_offset
    put_attribute(group.attrs, "tags", " ".join(episode.tags))
    group.attrs["frames"] = episode.num_frames
    group.attrs["time"] = episode.time
    group.attrs["distance"] = episode.distance
    for prefix, values in (("passport.", episode.passport), ("gait.", episode.gait)):
        for name, value in values.items():
            put_attribute(group.attrs, prefix + name, value)


def read_episode(group: H5) -> Episode:
    """The episode of a group. Raises ValueError and friends where it is not one (see `explained`)."""
    frames = int(group.attrs["frames"])
    there = set(group)  # not `in` or `get`, which take a damaged member for a missing one
    rows = {"raw_observations": (frames + 1, OBSERVATION_SIZE), "times": (frames + 1,)}
    for name in ("key_events", "rewinds", "discarded_keys"):
        rows[name] = (group[name].size,) if name in there else (0,)

    def get(parent: H5, name: str, dtype: np.dtype) -> np.ndarray:
        dataset = parent[name]
        shape = rows.get(name, (frames,))
        if dataset.shape != shape or dataset.dtype != dtype:
            raise ValueError(f"{dataset.name} is {dataset.dtype} {dataset.shape}, not {dtype} {shape}")
        array = dataset[()]
        array.flags.writeable = False
        return array

    compact = REPLAY_DIGEST in group.attrs
    stored = {name: dtype for name, dtype in _ARRAYS.items() if not (compact and name in REPLAYED_ARRAYS)}
    arrays = {name: get(group, name, dtype) for name, dtype in stored.items()}
    if compact:
        arrays |= _replayed(arrays["keys"], _text(group.attrs, REPLAY_DIGEST))
    actions = arrays.pop("actions")
    for name, dtype in _OPTIONAL_ARRAYS.items():
        if name in there:
            arrays[name] = get(group, name, dtype)
    rewards: H5 = group["rewards"] if "rewards" in there else {}
    attributes = group.attrs
    scalars: dict[str, Any] = {name: _text(attributes, name) for name in _TEXTS}
    scalars |= {name: bool(attributes[name]) for name in _FLAGS}
    mappings: dict[str, Any] = {"passport": {}, "gait": {}}
    for key in attributes:
        prefix, dot, name = key.partition(".")
        if dot and prefix in mappings:
            mappings[prefix][name] = _plain(attributes[key])
    episode = Episode(
        **arrays,
        **scalars,
        **mappings,
        wall_clock_offset=float(attributes["wall_clock_offset"]),
        tags=tuple(_text(attributes, "tags").split()),
        rewards={name: get(rewards, name, np.dtype("<f4")) for name in rewards},
    )
    if not np.array_equal(actions, episode.actions):
        raise ValueError(f"{group.name}: actions do not belong to keys")
    return episode


def replay_digest(raw_observations: np.ndarray, times: np.ndarray) -> str:
    """SHA-256 of what replaying an episode has to give: float32 [T + 1, 60], float64 [T + 1]."""
    data = (
        np.ascontiguousarray(raw_observations, "<f4").tobytes() + np.ascontiguousarray(times, "<f8").tobytes()
    )
    return hashlib.sha256(data).hexdigest()


def _replayed(keys: np.ndarray, digest: str) -> dict[str, np.ndarray]:
    """The arrays that a compact episode leaves out, from its keys. Raises ValueError where they differ."""
    (run,) = replay([keys])
    if replay_digest(run.raw_observations, run.times) != digest:
        raise ValueError("a compact episode does not replay as it was recorded")
    return {"raw_observations": run.raw_observations, "times": run.times}


# ---- older files ---------------------------------------------------------------------------------------


def _from_0_to_1(file: H5) -> None:
    """Version 0, before the first release, had no /index and no /masks."""
    groups = file["episodes"]
    rows = [index_row(read_episode(groups[name])) for name in sorted(groups)]
    create_index(file, np.array(rows, INDEX_DTYPE))
    file.require_group("masks")


MIGRATIONS: dict[int, Callable[[H5], None]] = {0: _from_0_to_1}  # version v -> how it becomes v + 1


def migrate(file: H5, path: str | os.PathLike) -> int:
    """Bring an open, writable file to FORMAT_VERSION in place; returns the version it had."""
    try:
        first = file_version(file)
    except (KeyError, ValueError):
        raise DatasetError(f"{path}: an HDF5 file, but not a QWOP dataset (see qwop-data convert)") from None
    for version in range(first, FORMAT_VERSION):
        MIGRATIONS[version](file)
        file.attrs["format_version"] = version + 1
    check_root(file, path)
    return first
