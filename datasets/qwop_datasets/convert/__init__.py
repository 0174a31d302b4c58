"""Convert datasets to and from the formats of other projects, one module per format.

| name      | what                                              | written as          |
|-----------|---------------------------------------------------|---------------------|
| minari    | Minari dataset (`minari.load_dataset`)            | directory NAME-v0   |
| robomimic | robomimic HDF5 (`get_dataset_info`)               | .hdf5               |
| lerobot   | LeRobotDataset v3, with the extra `lerobot`       | directory           |
| imitation | `imitation.data.serialize` trajectories           | directory           |
| qwop-gym  | qwop-gym's text recordings: keys only             | .rec                |
| npz       | Gymnasium-style arrays of all steps               | .npz                |
| csv       | one row per frame                                 | .csv                |
| qwop-rl   | QWOP-RL's sampled logs, recovered (qwop_rl.py)     | read only           |
| keys      | a tape of bare keys (tape.py)                     | read only           |
| web       | runs kept in the web page (.qwop.json)            | read only           |

A step is always one frame. Fields that another format does not have (key events, rewinds, wall-clock times)
are lost; LeRobot's format keeps them. All others are exact after a round trip: they come from raw
observations if the file has them, else from a replay of its keys, which is compared with the observations in
the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from qwop_cli.cluster import ClusterOptions
from qwop_datasets.convert import (
    imitation,
    lerobot,
    minari,
    qwop_gym,
    qwop_rl,
    robomimic,
    tables,
    tape,
    tasks,
    web,
)
from qwop_datasets.convert.common import Imported, Importing, damage_as_errors
from qwop_datasets.convert.qwop_rl import Progress
from qwop_datasets.errors import DatasetError, NameTakenError
from qwop_datasets.reader import DatasetReader

Format = Literal["minari", "robomimic", "lerobot", "imitation", "qwop-gym", "npz", "csv"]
"""Formats that can be written and read."""
ReadFormat = Literal[Format, "keys", "qwop-rl", "web"]
"""Formats that can be read."""
FORMATS: tuple[str, ...] = get_args(Format)
READ_FORMATS: tuple[str, ...] = get_args(ReadFormat)
_SUFFIXES = {".rec": "qwop-gym", ".npz": "npz", ".csv": "csv", ".hdf5": "robomimic"}


def export(
    reader: DatasetReader,
    path: Path,
    to: str,
    *,
    observations: str = "normalized",
    action_set: str | None = None,
    video: bool = False,
) -> tuple[int, list[str]]:
    """Write episodes to a new file or directory. Returns their number, and a line for each one omitted.

    observations: "normalized" (those of the environment and of qwop-gym, in [-1, 1]) or "raw".
    action_set: action set that the actions index; None: "distinct", for qwop-gym "full".
    video: add the game's pictures; for LeRobot only.

    Raises DatasetError if `path` exists or can't be written, or the format can't store the episodes.
    """
    writers = {
        "minari": minari.write,
        "robomimic": robomimic.write,
        "lerobot": partial(lerobot.write, video=video),
        "imitation": imitation.write,
        "qwop-gym": qwop_gym.write,
        "npz": tables.write_npz,
        "csv": tables.write_csv,
    }
    if not len(reader):
        raise DatasetError(f"{reader.path}: no episode to convert")
    if observations not in ("normalized", "raw"):
        raise DatasetError(f"--observations {observations}: choose normalized or raw")
    if video and to != "lerobot":
        raise DatasetError(f"--video: {to} has no pictures; choose --to lerobot")
    if path.exists():
        raise NameTakenError(path)
    return writers[to](reader, path, observations=observations, action_set=action_set)


def episodes_of(
    path: Path, options: Importing, kind: str | None = None, *, progress: Progress | None = None
) -> Iterator[Imported]:
    """Read the episodes of another project's file or directory, each an Episode or a reason for its omission.

    kind: its format; None: detect it. progress: called as the keys of a tape are searched. Raises
    DatasetError if it can't be read at all.
    """
    readers = {
        "minari": minari.read,
        "robomimic": robomimic.read,
        "lerobot": lerobot.read,
        "imitation": imitation.read,
        "qwop-gym": qwop_gym.read,
        "npz": tables.read_npz,
        "csv": tables.read_csv,
        "qwop-rl": qwop_rl.read,
        "web": web.read,
    }
    with damage_as_errors(path):
        kind = kind or detect(path)
        if kind == "keys":
            yield from tape.read(path, options, progress or _no_progress)
            return
        if (options.rate, options.offset) != (Importing.rate, Importing.offset):
            raise DatasetError(f"{path}: --rate and --offset are for tapes of bare keys; this is {kind}")
        if options.search_edges is not None:
            raise DatasetError(f"{path}: --search-edges is for tapes of bare keys; this is {kind}")
        yield from readers[kind](path, options)


def _no_progress(done: int, total: int) -> None:
    pass


def episodes_of_files(
    paths: Sequence[Path],
    options: Importing,
    kind: str | None = None,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    cluster: ClusterOptions | None = None,
) -> Iterator[Imported]:
    """The episodes of several files, in order; see `episodes_of`.

    workers: processes that recover sampled logs. progress: called as they, or the search of a tape, go on,
    see `qwop_rl.Progress`.
    cluster: Ray's address and a folder of results. A file is a task, so any format can be read there.
    """
    kinds: list[str] = []
    for path in paths:
        with damage_as_errors(path):
            kinds.append(kind or detect(path))
    if cluster is not None and cluster.wanted:
        yield from tasks.read_files(paths, options, kinds, cluster, episodes_of)
        return
    if set(kinds) == {"qwop-rl"}:
        with damage_as_errors(paths[0]):
            yield from qwop_rl.read_files(paths, options, workers=workers, progress=progress)
        return
    for path, own in zip(paths, kinds, strict=True):
        yield from episodes_of(path, options, own, progress=progress)


def kept_of(paths: Sequence[Path], kind: str | None = None) -> lerobot.Kept:
    """Return masks and settings of the dataset that was written as a folder; only LeRobot's format has them.

    Raises DatasetError if it can't be read.
    """
    if len(paths) != 1:
        return lerobot.Kept({}, {})
    with damage_as_errors(paths[0]):
        if (kind or detect(paths[0])) != "lerobot":
            return lerobot.Kept({}, {})
        return lerobot.kept_of(paths[0])


def detect(path: Path) -> str:
    """Detect the format of a file or directory. Raises DatasetError if it is unknown."""
    if path.is_dir():
        if (path / "data" / "main_data.hdf5").exists():
            return "minari"
        if (path / "meta" / "info.json").exists():
            return "lerobot"
        if (path / "dataset_info.json").exists():
            return "imitation"
    elif path.exists():
        with open(path, "rb") as file:
            start = file.read(8)
        if start.startswith(b"seed="):
            return "qwop-gym"
        if start.startswith(b"\x89HDF"):
            return "robomimic"
        if web.is_web(path):
            return "web"
        if tape.is_tape(path):
            return "keys"
        if path.suffix == ".npz" and qwop_rl.is_qwop_rl(path):
            return "qwop-rl"
        if path.suffix in _SUFFIXES:
            return _SUFFIXES[path.suffix]
    else:
        raise DatasetError(f"{path}: no such file")
    raise DatasetError(f"{path}: unknown format; name it with --from ({', '.join(READ_FORMATS)})")


def format_for(path: Path) -> str:
    """Choose the format to write from a name. Raises DatasetError if the name does not determine it."""
    if path.suffix in _SUFFIXES:
        return _SUFFIXES[path.suffix]
    raise DatasetError(f"{path}: name the format with --to ({', '.join(FORMATS)})")


__all__ = [
    "FORMATS",
    "READ_FORMATS",
    "Format",
    "Imported",
    "Importing",
    "ReadFormat",
    "detect",
    "episodes_of",
    "episodes_of_files",
    "export",
    "format_for",
    "kept_of",
]
