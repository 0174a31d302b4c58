"""Trajectories of the `imitation` library, in its own serialization (`imitation.data.serialize`).

A trajectory has observations [T + 1, 60], actions [T], and an info dictionary per step: keys and time. The
last one also has the episode's scalar fields.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from qwop_datasets.convert.common import (
    Imported,
    Importing,
    actions_of,
    episode_from_keys,
    foreign_episode,
    json_object,
    keys_from_actions,
    numbers,
    observations_of,
    output_directory,
    own_episode,
    rewards_of,
    scalars,
    stored_start,
    whole_numbers,
)
from qwop_datasets.episode import OBSERVATION_SIZE, Episode
from qwop_datasets.errors import DatasetError
from qwop_datasets.old_names import OLD_TRIG
from qwop_datasets.reader import DatasetReader
from qwop_game import INSTALL_UNPINNED, TRIG_VARIANTS


def _serialize():
    try:
        from imitation.data import serialize
    except ImportError as error:
        raise DatasetError(f"imitation trajectories need imitation ({error}): {INSTALL_UNPINNED}") from None
    return serialize


@contextmanager
def _no_progress_bar():
    from datasets.utils import logging  # Hugging Face's package, which imitation uses to save

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def trajectory(episode: Episode, observations: str = "normalized", action_set: str = "distinct"):
    """Convert an episode to imitation's TrajectoryWithRew, one frame per step."""
    from imitation.data.types import TrajectoryWithRew

    infos: list[dict[str, Any]] = [
        {"keys": int(k), "time": float(t)} for k, t in zip(episode.keys, episode.times[1:], strict=True)
    ]
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
    """Write a directory for `imitation.data.serialize.load`. All trajectories are in memory at once."""
    serialize = _serialize()
    trajectories = [trajectory(episode, observations, action_set or "distinct") for episode in reader]
    with output_directory(path) as aside, _no_progress_bar():
        serialize.save(aside / "trajectories", trajectories)
        for file in (aside / "trajectories").iterdir():
            file.rename(aside / file.name)
        (aside / "trajectories").rmdir()
    return len(trajectories), []


def read(path: Path, options: Importing) -> Iterator[Imported]:
    """Read trajectories: exports of this project exactly, others by replaying their actions.

    This reads the Arrow files directly, because `imitation.data.serialize.load` would run code that the files
    name: it decodes infos with jsonpickle, and older files with pickle.
    """
    for number, row in enumerate(_rows(path)):
        name = f"trajectory {number}"
        infos: list[Any] = row.get("infos") or []
        last = json_object(infos[-1], "its last info") if infos else {}
        if "qwop" in last:
            yield _own(name, row, last)
        else:
            keys = keys_from_actions(row["acts"], options, path)
            yield foreign_episode(path, name, keys, row["obs"], options, options.action_set or "full")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the trajectories: column -> array, or list of texts. Raises DatasetError, ValueError."""
    try:
        pa: Any = import_module("pyarrow")
    except ImportError as error:
        raise DatasetError(f"imitation trajectories need the package pyarrow ({error})") from None
    if not path.is_dir():
        raise DatasetError(
            f"{path}: not a folder of imitation trajectories (older ones are pickles, which can run code): "
            "save them again with imitation 1.0"
        )
    files = sorted(path.glob("data-*.arrow"))
    if not files:
        raise DatasetError(f"{path}: not imitation trajectories: it has no data-*.arrow")
    for file in files:
        _check_uncompressed(file)
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
            columns = stream.schema.names
            if missing := [name for name in ("obs", "acts") if name not in columns]:
                raise DatasetError(f"{path}: not imitation trajectories: there is no column {missing[0]}")
            for batch in stream:
                batch.validate(full=True)
                for i in range(batch.num_rows):
                    yield {name: _values(batch.column(name)[i]) for name in columns}


def _check_uncompressed(file: Path) -> None:
    """Raise ValueError if a buffer is compressed: Arrow would inflate it to any size."""
    pa: Any = import_module("pyarrow")

    with pa.memory_map(str(file)) as source:
        for message in pa.ipc.MessageReader.open_stream(source):
            metadata = bytes(message.metadata)  # a flatbuffer, which Arrow has verified
            batch = _table(metadata, _table(metadata, 0), _MESSAGE_HEADER)
            if message.type == "dictionary batch":
                batch = _table(metadata, batch, _DICTIONARY_DATA)
            if message.type != "schema" and _field(metadata, batch, _BATCH_COMPRESSION):
                raise ValueError(f"{file.name} is compressed; imitation does not compress its trajectories")


# Numbers of fields in the tables of Arrow's Message.fbs.
_MESSAGE_HEADER, _DICTIONARY_DATA, _BATCH_COMPRESSION = 2, 1, 3


def _field(data: bytes, table: int, number: int) -> int:
    """Return the position of a field of the flatbuffer table at `table`; 0: the field is missing."""
    (back,) = struct.unpack_from("<i", data, table)
    (size,) = struct.unpack_from("<H", data, table - back)
    at = 4 + 2 * number
    (offset,) = struct.unpack_from("<H", data, table - back + at) if at < size else (0,)
    return table + offset if offset else 0


def _table(data: bytes, parent: int, number: int | None = None) -> int:
    """Return the position of the table that a field at `parent` points to; without a field, of the root."""
    at = parent if number is None else _field(data, parent, number)
    return at + struct.unpack_from("<I", data, at)[0]


def _values(cell: Any) -> Any:
    """Convert lists of lists of numbers to an array [rows, columns], of numbers to [rows]; keep others."""
    pa: Any = import_module("pyarrow")

    values: Any = getattr(cell, "values", None)
    if values is None:
        return cell.as_py()
    inner = values.type.value_type if pa.types.is_list(values.type) else values.type
    if not (
        pa.types.is_primitive(inner) or pa.types.is_string(inner)
    ):  # others can be long without any bytes
        raise ValueError(f"a trajectory has lists of {str(inner)[:40]}, expected numbers or texts")
    if pa.types.is_list(values.type):
        widths = set(values.value_lengths().to_pylist())
        if len(widths) != 1 or None in widths:
            raise ValueError("a trajectory's rows have different lengths")
        return values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), -1)
    if pa.types.is_string(values.type):
        return values.to_pylist()
    return values.to_numpy(zero_copy_only=False)


def _own(name: str, row: dict[str, Any], last: dict[str, Any]) -> Imported:
    infos = [json_object(info, "an info") for info in row["infos"]]
    record = json_object(last["qwop"], "its record of the episode")
    trig = record.get("trig", OLD_TRIG)
    if trig not in TRIG_VARIANTS:
        raise ValueError(f"trig {trig!r} is unknown: expected one of {', '.join(TRIG_VARIANTS)}")
    keys = whole_numbers("keys", [info.get("keys", -1) for info in infos], (None,), 15).astype(np.uint8)
    times = [last.get("start_time"), *(info.get("time") for info in infos)]
    raw = observed = numbers("observations", row["obs"], (len(keys) + 1, OBSERVATION_SIZE))
    if float(np.abs(observed).max()) <= 1:  # normalized and clipped: a replay gives the raw ones
        fields = {"source": "script", "start": stored_start(record)}
        again = episode_from_keys(name, keys, fields, observed=observed, variants=[trig])
        if again.episode is None or len(again.episode) != len(keys):
            return Imported(name, reason=again.reason or "its replay ends before it")
        raw = again.episode.raw_observations
    return Imported(name, own_episode(last["qwop"], keys, raw, times, row.get("rews")))
