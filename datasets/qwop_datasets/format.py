"""Format 4: where the HDF5 file stores each field of an Episode. migration.py upgrades older formats.

docs/design/dataset-format.md describes the layout in full:

    /                       attributes: format, format_version, created, frames_per_second, units_per_meter,
                            observation_fields, key_bits, environment (JSON)
    /index                  INDEX_DTYPE [N]: one row per episode, for filters; repeats the attributes below
    /masks/<name>           bool [N]: subsets, such as train and validation
    /episodes/000000/       the arrays of an Episode, rewards/<name>, and its scalars as attributes

A compact episode (compact.py) has no raw_observations and no times. A reader computes them from the keys and
compares them with the attribute replay_sha256.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from qwop_datasets.episode import KEY_EVENT_DTYPE, OBSERVATION_SIZE, REWIND_DTYPE, Episode, now, plain_scalar
from qwop_datasets.errors import DatasetError
from qwop_datasets.exact_replay import replay_keys
from qwop_datasets.old_names import OLD_PROVENANCE, OLD_TRIG, OLD_TRIG_ATTRIBUTE
from qwop_datasets.storage import H5, WRITE_ERRORS, describe
from qwop_datasets.untrusted import attribute, dataset, group, memory_limit
from qwop_game import FIELDS, FRAME_SECONDS, PARTS, UNITS_PER_METER

FORMAT = "qwop-episodes"
FORMAT_VERSION = 4
OLDEST_READABLE = 1  # older versions have to be migrated first
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
        ("trig", "S16"),
    ]
)
_INDEX_1 = np.dtype([(name, INDEX_DTYPE[name]) for name in INDEX_DTYPE.names or () if name != "trig"])
_INDEX_CHUNK = 64  # rows; not compressed, so that a chunk keeps its place in the file when it grows
_COMPRESSION = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}
_ARRAYS = {  # name -> dtype of the arrays that every episode has
    "raw_observations": np.dtype("<f4"),
    "keys": np.dtype("u1"),
    "actions": np.dtype("u1"),
    "times": np.dtype("<f8"),
}
REPLAYED_ARRAYS = ("raw_observations", "times")  # a compact episode gets these from a replay
REPLAY_DIGEST = "replay_sha256"
_BYTES_PER_FRAME = 4 * OBSERVATION_SIZE + 8  # of those two arrays
_OPTIONAL_ARRAYS = {
    "start": np.dtype("<u4"),
    "undetermined": np.dtype("?"),
    "wall_times": np.dtype("<f8"),
    "lateness": np.dtype("<f4"),
    "key_events": KEY_EVENT_DTYPE,
    "rewinds": REWIND_DTYPE,
    "discarded_keys": np.dtype("u1"),
}
_TEXTS = ("id", "created", "source", "player", "game", "trig", "action_set", "verified")
_FLAGS = ("terminated", "truncated", "success")


def episode_name(number: int) -> str:
    """Name the group of an episode: its number with six digits."""
    return f"{number:06d}"


@contextmanager
def damage_as_errors(path: str | os.PathLike[str]) -> Generator[None]:
    """Turn the errors of HDF5, NumPy or Python for a damaged file into a DatasetError of one line.

    The OSError of a full or read-only disk is passed on: `path` is not damaged then.

    Args:
        path: The file, as the message names it.
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
        if isinstance(error, OSError) and error.errno:
            raise DatasetError(f"{error.filename or path}: {describe(error)}") from None
        raise DatasetError(f"{path}: damaged: {_what(error)[:160]}") from None


def _what(error: Exception) -> str:
    """Describe what is wrong with a file, from the error that reading it raised."""
    text = " ".join(str(error.args[0] if error.args else "").split())
    if isinstance(error, RecursionError):
        return "its JSON is nested too deeply"
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, UnicodeError):
        return "a text in it is not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"a text in it is not JSON: {error.msg}"
    if isinstance(error, KeyError):
        match = re.search(r"object '(.*)' doesn't exist|\(can't locate attribute: '(.*)'\)", text)
        name = next((n for n in match.groups() if n), text) if match else text
        return f"{name} is missing" if match or " " not in text else text
    return text or type(error).__name__


# ---- text and scalars ----------------------------------------------------------------------------------


def put_attribute(attributes: H5, name: str, value: Any) -> None:
    """Store an attribute. Texts get a fixed length, because HDF5 has no checksums for variable lengths."""
    if isinstance(value, str):
        data = value.encode()
        attributes.create(name, data, dtype=h5py.string_dtype("utf-8", max(1, len(data))))
    else:
        attributes[name] = value


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return plain_scalar(value)


def _text(attributes: H5, name: str) -> str:
    value = _plain(attribute(attributes, name))
    if not isinstance(value, str):
        raise ValueError(f"attribute {name!r} is not text")
    return value


def _number(attributes: H5, name: str) -> float:
    value = _plain(attribute(attributes, name))
    if not isinstance(value, bool | int | float):
        raise ValueError(f"attribute {name!r} is not a number")
    return value


# ---- the file ------------------------------------------------------------------------------------------


def write_root(file: H5, environment: Mapping[str, Any] | None = None) -> None:
    """Write the root attributes and empty tables of a new dataset.

    Args:
        file: The open file.
        environment: Settings that all its episodes share; plain JSON values.
    """
    put_attribute(file.attrs, "format", FORMAT)
    file.attrs["format_version"] = FORMAT_VERSION
    put_attribute(file.attrs, "created", now())
    file.attrs["frames_per_second"] = FRAMES_PER_SECOND
    file.attrs["units_per_meter"] = UNITS_PER_METER
    put_attribute(file.attrs, "observation_fields", " ".join(OBSERVATION_FIELDS))
    put_attribute(file.attrs, "key_bits", "Q=1 W=2 O=4 P=8")
    put_attribute(file.attrs, "environment", json.dumps(dict(environment or {}), sort_keys=True))
    file.create_group("episodes")
    file.create_group("masks")
    create_index(file)


def create_index(file: H5, rows: NDArray[np.void] | None = None) -> None:
    """Make the table /index, with `rows` (INDEX_DTYPE [N]) or empty."""
    rows = np.empty(0, INDEX_DTYPE) if rows is None else rows
    file.create_dataset(
        "index", data=rows, dtype=INDEX_DTYPE, maxshape=(None,), chunks=(_INDEX_CHUNK,), fletcher32=True
    )


def check_root(file: H5, path: str | os.PathLike[str], oldest: int = FORMAT_VERSION) -> None:
    """Check that a file is a dataset of a version from `oldest` to FORMAT_VERSION.

    Raises:
        DatasetError: It is not.
    """
    try:
        version = file_version(file)
    except (KeyError, ValueError):
        raise DatasetError(f"{path}: an HDF5 file, but not a QWOP dataset (see qwop-data convert)") from None
    if version > FORMAT_VERSION:
        raise DatasetError(
            f"{path}: has format version {version}; this release reads up to {FORMAT_VERSION}: "
            "upgrade qwop-stride"
        )
    if version < oldest:
        raise DatasetError(
            f"{path}: has the older format version {version}: run qwop-data edit --migrate {path}"
        )
    fields = _text(file.attrs, "observation_fields")
    if fields != " ".join(OBSERVATION_FIELDS):
        raise DatasetError(f"{path}: its observation fields have an unknown order")
    rate = _number(file.attrs, "frames_per_second")
    if rate != FRAMES_PER_SECOND:
        raise DatasetError(f"{path}: has {rate:g} frames per second, expected {FRAMES_PER_SECOND}")


def file_version(file: H5) -> int:
    """Read the format version.

    Raises:
        KeyError, ValueError: The file is not a dataset.
    """
    if _text(file.attrs, "format") != FORMAT:
        raise ValueError("another format")
    return int(_number(file.attrs, "format_version"))


def read_environment(file: H5) -> dict[str, Any]:
    """Read the settings that all episodes of the file share."""
    settings: dict[str, Any] = json.loads(_text(file.attrs, "environment"))
    if type(settings) is not dict:
        raise ValueError("attribute environment is not a JSON object")
    return settings


def read_index(file: H5) -> NDArray[np.void]:
    """Read /index, of any readable version, as INDEX_DTYPE [N]."""
    index = dataset(file, "index")
    if index.ndim != 1 or index.dtype not in (INDEX_DTYPE, _INDEX_1):
        raise ValueError(f"/index has other columns than format {FORMAT_VERSION}")
    stored = index[:]
    rows = np.zeros(len(stored), INDEX_DTYPE)
    rows["trig"] = OLD_TRIG.encode()
    for name in stored.dtype.names:
        rows[name] = stored[name]
    return rows


def write_mask(file: H5, name: str, mask: NDArray[np.bool_]) -> None:
    """Store a mask, bool [N]; it replaces one of the same name."""
    masks = group(file, "masks") if "masks" in set(file) else file.create_group("masks")
    if name in set(masks):
        del masks[name]
    checksum = {"chunks": mask.shape, "fletcher32": True} if len(mask) else {}
    masks.create_dataset(name, data=np.asarray(mask, bool), **checksum)


def read_masks(file: H5, count: int) -> dict[str, NDArray[np.bool_]]:
    """Read the masks, by name, as bool [count]; False for episodes that were added after the mask."""
    if "masks" not in set(file):
        return {}
    masks: dict[str, NDArray[np.bool_]] = {}
    stored = group(file, "masks")
    if len(stored) * count > memory_limit(file.id.get_filesize()):
        raise ValueError(
            f"{len(stored)} masks of {count} episodes are more than a file of this size can hold"
        )
    for name in stored:
        mask = dataset(stored, name)
        if mask.dtype != bool or mask.ndim != 1 or len(mask) > count:
            raise ValueError(f"mask {name} is {mask.dtype} {mask.shape}, not bool [up to {count}]")
        masks[name] = np.zeros(count, bool)
        masks[name][: len(mask)] = mask[()]
    return masks


def stored_episode(file: H5, number: int) -> H5:
    """Open the group of an episode."""
    return group(group(file, "episodes"), episode_name(number))


def add_episode(file: H5, episode: Episode, *, compact: bool = False) -> int:
    """Append an episode.

    Args:
        file: The dataset.
        episode: The episode.
        compact: Whether to omit the arrays that a replay gives, see compact.py.

    Returns:
        The episode's number.
    """
    index = dataset(file, "index")
    number = len(index)
    write_episode(group(file, "episodes").create_group(episode_name(number)), episode, compact=compact)
    index.resize((number + 1,))
    index[number] = index_row(episode)
    return number


# ---- the episode ---------------------------------------------------------------------------------------


def index_row(episode: Episode) -> NDArray[np.void]:
    """Make the episode's row of /index."""
    gait = episode.gait
    row = np.zeros((), INDEX_DTYPE)
    for name in ("id", "created", "source", "player", "game", "trig", "action_set"):
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


def write_episode(target: H5, episode: Episode, *, compact: bool = False) -> None:
    """Store an episode in an empty group. Every array is one chunk, because episodes are read whole."""

    def put(parent: H5, name: str, array: NDArray[Any]) -> None:
        if array.size:
            parent.create_dataset(name, data=array, chunks=array.shape, **_COMPRESSION)
        else:
            parent.create_dataset(name, data=array)

    for name in _ARRAYS:
        if not (compact and name in REPLAYED_ARRAYS):
            put(target, name, getattr(episode, name))
    if compact:
        digest = replay_digest(episode.raw_observations, episode.times)
        put_attribute(target.attrs, REPLAY_DIGEST, digest)
    for name in _OPTIONAL_ARRAYS:
        if getattr(episode, name) is not None:
            put(target, name, getattr(episode, name))
    for name, reward in episode.rewards.items():
        put(target.require_group("rewards"), name, reward)
    for name in _TEXTS:
        put_attribute(target.attrs, name, getattr(episode, name))
    for name in _FLAGS:
        target.attrs[name] = getattr(episode, name)
    target.attrs["wall_clock_offset"] = episode.wall_clock_offset
    put_attribute(target.attrs, "tags", " ".join(episode.tags))
    target.attrs["frames"] = episode.num_frames
    target.attrs["time"] = episode.time
    target.attrs["distance"] = episode.distance
    for prefix, values in (("provenance.", episode.provenance), ("gait.", episode.gait)):
        for name, value in values.items():
            put_attribute(target.attrs, prefix + name, value)


def read_episode(stored: H5) -> Episode:
    """Read the episode of a group, of any readable version. For errors see `damage_as_errors`."""
    attributes = stored.attrs
    frames = int(_number(attributes, "frames"))
    there = set(stored)  # `in` and `get` would treat a damaged member as missing
    compact = REPLAY_DIGEST in attributes
    limit = memory_limit(stored.file.id.get_filesize())
    bytes_read = frames * _BYTES_PER_FRAME if compact else 0

    def get(parent: H5, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        nonlocal bytes_read
        found = dataset(parent, name)
        shape = {
            "raw_observations": (frames + 1, OBSERVATION_SIZE),
            "times": (frames + 1,),
            "start": (found.size // 3, 3),
            "key_events": (found.size,),
            "rewinds": (found.size,),
            "discarded_keys": (found.size,),
        }.get(name, (frames,))
        if found.shape != shape or found.dtype != dtype:
            raise ValueError(f"{found.name} is {found.dtype} {found.shape}, not {dtype} {shape}")
        bytes_read += found.nbytes
        if bytes_read > limit:
            raise ValueError(f"{stored.name} is larger than a file of this size can hold")
        array = found[()]
        array.flags.writeable = False
        return array

    required = {name: dtype for name, dtype in _ARRAYS.items() if not (compact and name in REPLAYED_ARRAYS)}
    arrays = {name: get(stored, name, dtype) for name, dtype in required.items()}
    for name, dtype in _OPTIONAL_ARRAYS.items():
        if name in there:
            arrays[name] = get(stored, name, dtype)
    if compact:
        digest, trig = _text(attributes, REPLAY_DIGEST), stored_trig(attributes)
        arrays |= _replayed(arrays["keys"], arrays.get("start"), digest, trig)
    actions = arrays.pop("actions")
    rewards: H5 = group(stored, "rewards") if "rewards" in there else {}
    scalars: dict[str, Any] = {name: _text(attributes, name) for name in _TEXTS if name != "trig"}
    scalars["trig"] = stored_trig(attributes)
    scalars |= {name: bool(_number(attributes, name)) for name in _FLAGS}
    mappings: dict[str, Any] = {"provenance": {}, "gait": {}}
    prefixes = {"provenance": "provenance", OLD_PROVENANCE: "provenance", "gait": "gait"}
    for key in attributes:
        prefix, dot, name = key.partition(".")
        if dot and prefix in prefixes and key != OLD_TRIG_ATTRIBUTE:
            mappings[prefixes[prefix]][name] = _plain(attribute(attributes, key))
    episode = Episode(
        **arrays,
        **scalars,
        **mappings,
        wall_clock_offset=_number(attributes, "wall_clock_offset")
        if "wall_clock_offset" in attributes
        else 0,
        tags=tuple(_text(attributes, "tags").split()),
        rewards={name: get(rewards, name, np.dtype("<f4")) for name in rewards},
    )
    if not np.array_equal(actions, episode.actions):
        raise ValueError(f"{stored.name}: actions do not belong to keys")
    return episode


def replay_digest(raw_observations: NDArray[np.float32], times: NDArray[np.float64]) -> str:
    """Compute the SHA-256 of a replay: observations float32 [T + 1, 60] and times float64 [T + 1]."""
    data = (
        np.ascontiguousarray(raw_observations, "<f4").tobytes() + np.ascontiguousarray(times, "<f8").tobytes()
    )
    return hashlib.sha256(data).hexdigest()


def stored_trig(attributes: H5) -> str:
    """Read Episode.trig of a group. Format 1 stored it under another name or not at all."""
    for name in ("trig", OLD_TRIG_ATTRIBUTE):
        if name in attributes:
            return _text(attributes, name)
    return OLD_TRIG


def _replayed(
    keys: NDArray[np.uint8], start: NDArray[np.uint32] | None, digest: str, trig: str
) -> dict[str, NDArray[Any]]:
    """Replay a compact episode. Raises ValueError if the result differs from the recording."""
    (run,) = replay_keys([keys], starts=[start], trig=trig)
    if replay_digest(run.raw_observations, run.times) != digest:
        raise ValueError("the replay of a compact episode differs from the recording")
    return {"raw_observations": run.raw_observations, "times": run.times}
