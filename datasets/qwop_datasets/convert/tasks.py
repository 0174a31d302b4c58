"""Many files to convert as independent tasks, one file each, on a cluster or with results kept on disk."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qwop_cli import json_text
from qwop_cli.cluster import ClusterOptions, KeptResults, map_tasks
from qwop_datasets.convert import qwop_rl
from qwop_datasets.convert.common import Imported, Importing, damage_as_errors
from qwop_datasets.convert.qwop_rl import Progress
from qwop_datasets.reader import DatasetReader
from qwop_datasets.writer import write_dataset

if TYPE_CHECKING:
    from collections.abc import Callable


def read_files(
    paths: Sequence[Path],
    options: Importing,
    kinds: Sequence[str],
    cluster: ClusterOptions,
    read: Callable[[Path, Importing, str], Iterator[Imported]],
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Iterator[Imported]:
    """Yield the episodes of several files, in the order of the files.

    Args:
        paths: the files; the same on every node.
        options: what they leave unsaid.
        kinds: the format of each.
        cluster: where to read them.
        read: reads one file.
        workers: processes without Ray.
        progress: called as sampled logs are recovered without Ray, see `qwop_rl.Progress`.
    """
    kept: KeptResults[list[Imported]] | None = None
    if cluster.tasks is not None:
        files = [(str(path.absolute()), path.stat().st_size) for path in paths]
        job = {"files": files, "kinds": kinds} | asdict(options)
        kept = KeptResults(cluster.tasks, job, save, load, ".npz")
        if cluster.ray is None and set(kinds) == {"qwop-rl"}:
            with damage_as_errors(paths[0]):
                yield from qwop_rl.read_files(paths, options, workers=workers, progress=progress, kept=kept)
            return
    tasks = [(path.absolute(), kind) for path, kind in zip(paths, kinds, strict=True)]
    names = [qwop_rl.task_name(i) for i in range(len(tasks))]
    early: dict[int, list[Imported]] = {}
    stored: set[int] = set()  # read from `kept` when it is their turn: there may be millions
    following = 0
    for index, result in map_tasks(
        read_one,
        (read, options),
        tasks,
        options=cluster,
        kept=kept,
        names=names,
        workers=workers,
        unit="file",
    ):
        if kept is None:
            early[index] = result
        else:
            stored.add(index)
        while following in early or following in stored:
            yield from early.pop(following) if kept is None else kept.read(names[following])
            following += 1


def read_one(
    shared: tuple[Callable[[Path, Importing, str], Iterator[Imported]], Importing], task: tuple[Path, str]
) -> list[Imported]:
    """Read one file: a task."""
    read, options = shared
    return list(read(task[0], options, task[1]))


def save(path: Path, imported: list[Imported]) -> None:
    """Store what a file has: a dataset of its episodes, and its lines, in one .npz file."""
    lines = [(item.name, item.reason, item.note, item.episode is not None) for item in imported]
    episodes = [item.episode for item in imported if item.episode is not None]
    content = b""
    if episodes:
        with tempfile.TemporaryDirectory() as folder:
            write_dataset(Path(folder) / "episodes.h5", episodes)
            content = (Path(folder) / "episodes.h5").read_bytes()
    np.savez(path, lines=np.array(json_text(lines)), dataset=np.frombuffer(content, np.uint8))


def load(path: Path) -> list[Imported]:
    """Read what `save` wrote."""
    with np.load(path, allow_pickle=False) as stored, tempfile.TemporaryDirectory() as folder:
        lines = json.loads(str(stored["lines"]))
        content = stored["dataset"].tobytes()
        if not content:
            return [Imported(name, None, reason, note) for name, reason, note, _ in lines]
        file = Path(folder) / "episodes.h5"
        file.write_bytes(content)
        with DatasetReader(file) as reader:
            episodes = iter(list(reader))
        return [
            Imported(name, next(episodes) if full else None, reason, note)
            for name, reason, note, full in lines
        ]
