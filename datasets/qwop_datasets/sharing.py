"""Datasets on the Hugging Face Hub: push one with its card, pull it back bit for bit."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np

from qwop_cli.hub import CARD, Pulled, only_file, pull, push
from qwop_datasets import convert, edit
from qwop_datasets.convert.lerobot import PICTURE, VERSION
from qwop_datasets.errors import DatasetError
from qwop_datasets.reader import DatasetReader
from qwop_datasets.summary import Summary, summarize

RUNS, FILM = "runs.h5", "film.gif"
FILM_FRAMES = 240  # 8 s
_LEROBOT_FOLDERS = ("data", "meta", "videos")


@dataclass(frozen=True)
class Sharing:
    """What a repository of the Hub gets besides the exact dataset."""

    license: str = ""
    """SPDX identifier of the data's license, such as cc0-1.0; empty: the card names none."""
    lerobot: bool = True
    """A LeRobotDataset, for LeRobot and the Hub's viewers."""
    video: bool = False
    """The game's pictures in it."""
    film: bool = True
    """A GIF of the farthest run in the card."""
    private: bool = False
    """Make a new repository private."""


def prepare(path: Path, where: str, repository: str, sharing: Sharing, folder: Path) -> list[str]:
    """Write all files of a repository into a folder.

    Args:
        path: the dataset.
        where: filter of its episodes; empty: all.
        repository: USER/NAME, for the card.
        sharing: what to write.
        folder: an empty folder.

    Returns:
        The names of the files in the repository.

    Raises:
        DatasetError: the dataset can't be read, or has no episode.
        VideoError: a film can't be written.
    """
    with DatasetReader(path, where) as reader:
        if not len(reader):
            raise DatasetError(f"{path}: no episode to push")
        summary = summarize(reader)
        played = _protocol(reader)
        if sharing.lerobot:
            convert.export(reader, folder / "lerobot", "lerobot", video=sharing.video)
            for entry in (folder / "lerobot").iterdir():
                entry.rename(folder / entry.name)
            (folder / "lerobot").rmdir()
        if sharing.film:
            _write_film(reader, folder / FILM)
        keep = np.zeros(len(DatasetReader(path)), bool)
        keep[reader.numbers] = True
    edit.rewrite(path, DatasetReader(path).index["id"], keep, output=folder / RUNS)
    (folder / CARD).write_text(card(summary, played, repository, sharing), encoding="utf-8")
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def push_dataset(path: Path, where: str, repository: str, sharing: Sharing) -> tuple[str, list[str]]:
    """Push a dataset to the Hub, in one commit.

    Returns:
        The address of the repository, and the names of its files.

    Raises:
        CommandError: see `qwop_cli.hub.push`.
        DatasetError, VideoError: see `prepare`.
    """
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside)
        names = prepare(path, where, repository, sharing, folder)
        address = push(
            repository,
            {name: folder / name for name in names},
            kind="dataset",
            message=f"Add {len(names)} files of {path.name}",
            private=sharing.private,
            folders=_LEROBOT_FOLDERS,
            tag=VERSION if sharing.lerobot else None,  # LeRobot loads the commit with this tag
        )
    return address, names


def pull_dataset(
    repository: str, output: Path, *, name: str | None = None, revision: str | None = None
) -> tuple[Pulled, int]:
    """Pull a dataset from the Hub.

    Returns:
        What was pulled, and the number of its episodes.

    Raises:
        CommandError: see `qwop_cli.hub.pull`.
        DatasetError: the file is no dataset.
    """
    counts: list[int] = []

    def check(path: Path) -> None:
        try:
            with DatasetReader(path) as reader:
                counts.append(len(reader))
        except DatasetError as error:
            reason = str(error).partition(": ")[2] or str(error)
            raise DatasetError(f"{repository}: {path.name}: {reason}") from None

    choose = only_file(repository, ".h5", name)
    pulled = pull(repository, output, kind="dataset", choose=choose, revision=revision, check=check)
    return pulled, counts[0]


def can_write_lerobot() -> bool:
    """Whether the extra `lerobot` is installed."""
    return find_spec("pyarrow") is not None


# ---- the card ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Played:
    """What the episodes' provenance says, over all of them."""

    protocols: dict[str, int]
    """Protocol -> its episodes."""
    seeds: tuple[int, ...]
    values: dict[str, dict[str, int]]
    """Name -> value -> episodes; only names with few values."""


def _protocol(reader: DatasetReader) -> _Played:
    protocols: Counter[str] = Counter()
    seeds: set[int] = set()
    values: dict[str, Counter[str]] = {}
    for episode in reader:
        for name, value in episode.provenance.items():
            if name == "seed":
                seeds.add(int(value))
            else:
                values.setdefault(name, Counter())[str(value)] += 1
        if "protocol" in episode.provenance:
            protocols[str(episode.provenance["protocol"])] += 1
    few = {name: dict(count) for name, count in sorted(values.items()) if len(count) <= 5}
    return _Played(dict(protocols), tuple(sorted(seeds)), few)


def card(summary: Summary, played: _Played, repository: str, sharing: Sharing) -> str:
    """Write the dataset's card: the header that the Hub reads, and what the data are."""
    header = [
        *([f"license: {json.dumps(sharing.license.lower())}"] if sharing.license else []),
        "task_categories: [robotics, reinforcement-learning]",
        f"tags: [{', '.join(['LeRobot'] * sharing.lerobot + ['qwop', 'imitation-learning', 'gymnasium'])}]",
        f"pretty_name: {json.dumps('QWOP runs: ' + repository.partition('/')[2])}",
    ]
    if sharing.lerobot:
        header += ["configs:", "- config_name: default", "  data_files: data/*/*.parquet"]
    n = summary.episodes
    text = [
        f"# {repository}",
        f"Runs of QWOP, frame by frame: {n} episodes, {summary.frames} frames, {summary.hours:.2f} h. "
        "Every episode is a set of keys; a replay of them in "
        "[qwop-stride](https://github.com/qwop-stride/qwop-stride) gives the same observations, bit for bit.",
        *([f"![a run]({FILM})"] if sharing.film else []),
        "## Use",
        _code(f"pip install 'qwop-stride[hub]'\nqwop-data pull {repository} {RUNS}\nqwop-data verify {RUNS}"),
    ]
    if sharing.lerobot:
        text += [
            f"`data/`, `meta/` and, if there, `videos/` are the same runs as LeRobotDataset {VERSION}:",
            _code(
                "from lerobot.datasets.lerobot_dataset import LeRobotDataset\n"
                f"dataset = LeRobotDataset({repository!r})",
                "python",
            ),
            "`observation.state` has the 60 numbers of qwop-gym; `action` has Q, W, O and P, +1 held and -1 "
            "released. A step is one frame, 1/30 s.",
        ]
    text += [
        "## Figures",
        _table(_figures(summary, played)),
        "## Provenance",
        _table(_provenance(summary, played)),
    ]
    text += ["## License", sharing.license or "None was named: ask the author before you use the data."]
    return "---\n" + "\n".join(header) + "\n---\n\n" + "\n\n".join(text) + "\n"


def _figures(summary: Summary, played: _Played) -> list[tuple[str, str]]:
    def spread(values: dict[str, float], scale: float = 1, unit: str = "") -> str:
        low, median, high = (scale * values[name] for name in ("min", "median", "max"))
        return f"{median:.1f}{unit} ({low:.1f} to {high:.1f})"

    share = summary.finished / summary.episodes
    rows = [("finished", f"{summary.finished} of {summary.episodes} ({share:.0%})")]
    if summary.finish_time:
        rows.append(("time of finished runs, median", spread(summary.finish_time, unit=" s")))
    rows.append(("distance, median", spread(summary.distance, unit=" m")))
    rows.append(("fell, cut short", f"{summary.fallen}, {summary.cut_short}"))
    for name, values in (
        ("knee near the track, median", summary.knee_share),
        ("upright, median", summary.upright_share),
    ):
        if values:
            rows.append((name, spread(values, 100, " %")))
    if summary.strides:
        rows.append(("strides, median", f"{summary.strides['median']:.0f}"))
    exact = summary.verified.get("exact", 0)
    rows.append(("replay bit for bit", f"{exact} of {summary.episodes} checked so far"))
    for protocol, count in played.protocols.items():
        seeds = f", seeds {played.seeds[0]} to {played.seeds[-1]}" if played.seeds else ""
        rows.append(("evaluation", f"{count} episodes of protocol {protocol}{seeds}"))
    return rows


def _provenance(summary: Summary, played: _Played) -> list[tuple[str, str]]:
    rows = [
        (name, ", ".join(f"{value or 'unnamed'} {count}" for value, count in counts.items()))
        for name, counts in (
            ("source", summary.sources),
            ("player", summary.players),
            ("game", summary.games),
            ("sine and cosine", summary.trigs),
        )
    ]
    return rows + [
        (name, ", ".join(value if len(counts) == 1 else f"{value} ({n})" for value, n in counts.items()))
        for name, counts in played.values.items()
    ]


def _table(rows: Sequence[tuple[str, str]]) -> str:
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines])


def _cell(text: str) -> str:
    """Make a text of the data a cell: one line, without marks of Markdown or HTML."""
    line = " ".join(text.split())
    return "".join(f"&#{ord(c)};" if c in "|<>`*_[]!&\\" else c for c in line[:200])


def _code(text: str, language: str = "") -> str:
    return f"```{language}\n{text}\n```"


def _write_film(reader: DatasetReader, path: Path) -> None:
    """Write the first seconds of the farthest run as a GIF."""
    from qwop_datasets.film import pictures
    from qwop_datasets.video import VideoWriter
    from qwop_game.render import Renderer

    episode = reader[int(np.argmax(reader.index["distance"]))]
    with VideoWriter(path, PICTURE) as film:
        for picture in islice(pictures(episode, Renderer(*PICTURE), dials=True), FILM_FRAMES):
            film.write(picture)
