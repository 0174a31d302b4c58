"""`qwop-data`: inspect, check, verify, edit, merge, split, recover, convert, push and pull datasets.

Exit codes: 0: done. 1: `verify` found an episode that replays differently. 2: bad input, after one line that
says what is wrong and how to fix it. A command changes only the file that it is told to change.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from tqdm import tqdm

from qwop_cli import escape_unprintable, json_text, parse_config, run_command
from qwop_cli.cluster import ClusterOptions, KeptResults, map_tasks
from qwop_cli.hub import CARD
from qwop_datasets import convert, edit, summary
from qwop_datasets.checks import check_file
from qwop_datasets.episode import VERIFIED_EXACT, Episode, Game, Source
from qwop_datasets.errors import DatasetError, NameTakenError
from qwop_datasets.format import index_row
from qwop_datasets.reader import DatasetReader
from qwop_datasets.recovery import needs_recovery, recover_dataset
from qwop_datasets.storage import describe
from qwop_datasets.style import compare_style
from qwop_datasets.verify import LANES, PART, PartToVerify, verify_episodes, verify_part
from qwop_datasets.video import VideoError
from qwop_datasets.writer import set_verified, write_dataset
from qwop_game import Trig, engines
from qwop_game.rules import FINISH

PROGRAM = "qwop-data"
DESCRIPTION = "Datasets of QWOP episodes."

Flag = tyro.conf.FlagCreatePairsOff[bool]
File = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE", help="Dataset.")]
Where = Annotated[
    str,
    tyro.conf.arg(
        metavar="FILTER", help='Episodes to take, such as "source=human success time<60 knee_share<0.02".'
    ),
]
DryRun = Annotated[Flag, tyro.conf.arg(help="Print what would be done, and change nothing.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""

    def command() -> int | None:
        options: Command = parse_config(PROGRAM, Command, arguments, description=DESCRIPTION)
        try:
            return options.run()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise DatasetError(f"{error.filename or ''}: {describe(error)}") from None

    return run_command(PROGRAM, command, DatasetError, VideoError, ImportError)


# ---- looking -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Info:
    """Show what is in a dataset: counts, keys, distances, times, gait, outliers."""

    file: File
    where: Where = ""
    json: Flag = False
    """Print one JSON object."""

    def run(self) -> None:
        """Print the summary."""
        with DatasetReader(self.file, self.where) as reader:
            result = summary.summarize(reader)
        _hint_at_leftovers(self.file)
        print(json_text(result.as_json()) if self.json else summary.text(result, str(self.file)))


@dataclass(frozen=True)
class List:
    """Print one line per episode."""

    file: File
    where: Where = ""
    json: Flag = False
    """Print a JSON list of objects."""

    def run(self) -> None:
        """Print the list."""
        with DatasetReader(self.file, self.where) as reader:
            rows = [_row(row, n) for row, n in zip(reader.index, reader.numbers.tolist(), strict=True)]
        _hint_at_leftovers(self.file)
        if self.json:
            print(json_text(rows))
            return
        print(_TITLE)
        for row in rows:
            print(_line(row))


@dataclass(frozen=True)
class Check:
    """Read all of a dataset and report every violation of the format."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE...")]
    """Datasets."""

    def __post_init__(self) -> None:
        _require_files(self.files)

    def run(self) -> int:
        """Print the problems. Returns 2 if there are any."""
        bad = False
        for path in self.files:
            problems = check_file(path)
            for problem in problems:
                print(f"{PROGRAM}: {path}: {escape_unprintable(str(problem))}", file=sys.stderr)
            if not problems:
                print(f"{path}: good, {len(DatasetReader(path))} episodes")
            bad |= bool(problems)
        return 2 if bad else 0


@dataclass(frozen=True)
class Verify:
    """Replay episodes and compare every observation bit for bit."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE...")]
    """Datasets."""
    where: Where = ""
    store: Flag = False
    """Write the results into the files."""
    engine: str = "auto"
    """Engine of the simulator; auto is the fastest."""
    workers: int = 1
    """Processes; 0: one for each core."""
    cluster: tyro.conf.OmitArgPrefixes[ClusterOptions] = field(default_factory=ClusterOptions)

    def __post_init__(self) -> None:
        _require_files(self.files)
        _require_workers(self.workers)

    def run(self) -> int:
        """Print what differs. Returns 1 if an episode does."""
        if self.engine not in ("auto", *engines()):
            raise DatasetError(f"--engine {self.engine}: choose auto or one of {', '.join(engines())}")
        parts: list[PartToVerify] = []
        identities: dict[tuple[Path, int], str] = {}
        for path in self.files:
            with DatasetReader(path, self.where) as reader:
                numbers = [int(n) for n in reader.numbers]
                ids = [_row(reader.index[i], n)["id"] for i, n in enumerate(numbers)]
            identities |= {(path, n): identity for n, identity in zip(numbers, ids, strict=True)}
            parts += [
                PartToVerify(path.absolute(), tuple(numbers[k : k + PART]), tuple(ids[k : k + PART]))
                for k in range(0, len(numbers), PART)
            ]
        kept: KeptResults[dict[int, str]] | None = None
        if self.cluster.tasks is not None:
            digest = hashlib.sha256(" ".join(i for part in parts for i in part.ids).encode()).hexdigest()
            job = {"episodes_sha256": digest, "engine": self.engine}
            kept = KeptResults(self.cluster.tasks, job, _save_texts, _load_texts)
        results: dict[Path, dict[int, str]] = {path.absolute(): {} for path in self.files}
        for index, texts in map_tasks(
            verify_part,
            self.engine,
            parts,
            options=self.cluster,
            kept=kept,
            workers=self.workers or os.cpu_count() or 1,
            unit="episode",
            sizes=[len(part.numbers) for part in parts],
        ):
            results[parts[index].path] |= texts
        good = True
        for path in self.files:
            own = results[path.absolute()]
            for number in sorted(own):
                if own[number] != VERIFIED_EXACT:
                    identity = escape_unprintable(identities[path, number][:8])
                    print(f"episode {number} ({identity}): {own[number]}")
            exact = sum(text == VERIFIED_EXACT for text in own.values())
            print(f"{path}: {exact} of {len(own)} episodes replay bit for bit")
            if self.store and own:
                set_verified(path, own)
            good &= exact == len(own)
        return 0 if good else 1


def _save_texts(path: Path, texts: dict[int, str]) -> None:
    path.write_text(json_text({str(n): text for n, text in texts.items()}), encoding="utf-8")


def _load_texts(path: Path) -> dict[int, str]:
    return {int(n): text for n, text in json.loads(path.read_text(encoding="utf-8")).items()}


@dataclass(frozen=True)
class Style:
    """Say how far runs are from a person's in the rhythm of each key and in gait."""

    file: File
    against: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """Dataset of the person's runs."""
    where: Where = ""
    against_where: Where = ""
    json: Flag = False
    """Print one JSON object."""

    def run(self) -> None:
        """Print the distances."""
        runs = list(DatasetReader(self.file, self.where))
        result = compare_style(runs, list(DatasetReader(self.against, self.against_where)))
        print(json_text(result.as_json()) if self.json else result)


def _row(row: Any, number: int) -> dict[str, Any]:
    values = {name: row[name].item() for name in row.dtype.names or ()}
    plain = {k: v.decode(errors="backslashreplace") if isinstance(v, bytes) else v for k, v in values.items()}
    plain = {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in plain.items()}
    return {"number": number} | plain


_TITLE = (
    "number  id        source  player      frames    time     dist  end       verified  knee  trig       tags"
)


def _line(row: dict[str, Any]) -> str:
    end = "finished" if row["success"] else "fell" if row["terminated"] else "cut short"
    verified = {1: "exact", 0: "-", -1: "differs"}[row["verified"]]
    knee = "-" if row["knee_share"] is None else f"{row['knee_share']:.1%}"
    who = f"{row['number']:6d}  {row['id'][:8]}  {row['source']:<6}  {row['player'][:10]:<10}"
    what = f"{row['frames']:6d}  {row['time']:6.2f}s {row['distance']:7.2f}m  {end:<9} {verified:<8}{knee:>6}"
    what += f"  {row['trig']:<9}"
    return escape_unprintable(f"{who}  {what}  {row['tags']}".rstrip())


def _hint_at_leftovers(path: Path) -> None:
    if needs_recovery(path):
        hint = f"a recording is running or was interrupted; if interrupted: qwop-data recover {path}"
        print(f"{PROGRAM}: {path}: {hint}", file=sys.stderr)


def _require_files(files: Sequence[Path]) -> None:
    if not files:
        raise DatasetError("expected at least one FILE")


def _require_workers(workers: int) -> None:
    if workers < 0:
        raise DatasetError(f"--workers {workers}: give 0 or more")


# ---- changing ------------------------------------------------------------------------------------------

_DELETE_OR_KEEP = tyro.conf.create_mutex_group(required=False)


@dataclass(frozen=True)
class Edit:
    """Delete or relabel episodes, or upgrade an old file."""

    file: File
    where: Where = ""
    delete: Annotated[Flag, _DELETE_OR_KEEP] = False
    """Delete the episodes of --where."""
    keep: Annotated[Flag, _DELETE_OR_KEEP] = False
    """Delete all other episodes."""
    labels: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(name="set", metavar="NAME=VALUE")
    ] = ()
    """Set player or source."""
    tag: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="TAG")] = ()
    """Add a tag."""
    untag: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="TAG")] = ()
    """Remove a tag."""
    migrate: Flag = False
    """Upgrade the file from an older format version to this one."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Write this file and leave FILE as it is."""
    dry_run: DryRun = False

    def run(self) -> None:
        """Print each change and make it."""
        path: Path = self.file
        if self.migrate:
            self._migrate()
            return
        labels = dict(_assignment(text) for text in self.labels)
        change = edit.Relabel(labels, tuple(self.tag), tuple(self.untag))
        relabels = bool(labels or self.tag or self.untag)
        if not (relabels or self.delete or self.keep):
            raise DatasetError("nothing to do: give --delete, --keep, --set, --tag, --untag or --migrate")
        if (self.delete or self.keep) and not self.where.strip():
            raise DatasetError("--delete and --keep need --where, so that no episode is deleted by mistake")
        if self.delete and relabels:
            raise DatasetError("--delete and changes of labels can't be combined: use two commands")
        reader = DatasetReader(path)
        chosen = np.zeros(len(reader), bool)
        chosen[reader.select(self.where).numbers] = True
        keep = ~chosen if self.delete else chosen if self.keep else np.ones(len(reader), bool)
        rows = [_row(row, number) for number, row in enumerate(reader.index)]
        would = "would " if self.dry_run else ""
        for number in np.flatnonzero(~keep):
            print(f"{would}delete {_line(rows[int(number)])}")
        changed = np.zeros(len(reader), bool)
        if relabels:
            changed = chosen
            for number in np.flatnonzero(changed):
                print(f"{would}change {_line(rows[int(number)])}")
        print(f"{path}: {would}keep {int(keep.sum())} of {len(keep)} episodes, change {int(changed.sum())}")
        if self.dry_run or (keep.all() and not changed.any() and self.output is None):
            return
        ids = reader.index["id"]
        reader.close()  # Windows can't replace an open file
        change_some = change if relabels else None
        edit.rewrite(path, ids, keep, change=change_some, changed=changed, output=self.output)

    def _migrate(self) -> None:
        version = edit.migrate_file(self.file, dry_run=self.dry_run)
        would = "would become" if self.dry_run else "is now"
        print(f"{self.file}: was format version {version}, {would} {edit.FORMAT_VERSION}")


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise DatasetError(f"--set {text}: write NAME=VALUE")
    return name, value


@dataclass(frozen=True)
class Merge:
    """Write all episodes of several datasets into a new one, each once."""

    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")]
    """New dataset."""
    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE...")]
    """Datasets to merge."""
    any_settings: Flag = False
    """Merge even if their settings differ."""
    dry_run: DryRun = False

    def __post_init__(self) -> None:
        _require_files(self.files)

    def run(self) -> None:
        """Merge, and print the counts."""
        if self.dry_run:
            counts = [len(DatasetReader(path)) for path in self.files]
            print(f"{self.output}: would take {sum(counts)} episodes ({' + '.join(map(str, counts))})")
            return
        stored, duplicates = edit.merge(self.output, self.files, any_settings=self.any_settings)
        print(f"{self.output}: {stored} episodes, {duplicates} duplicates omitted")


@dataclass(frozen=True)
class Split:
    """Store a training and a validation mask, by episode."""

    file: File
    where: Where = ""
    fraction: float = 0.1
    """Share of the episodes in the second mask."""
    seed: int = 0
    """Seed of the random choice."""
    names: Annotated[tuple[str, str], tyro.conf.arg(metavar="NAME NAME")] = ("train", "validation")
    """Names of the masks."""
    into: Annotated[tuple[Path, Path] | None, tyro.conf.arg(metavar="FILE FILE")] = None
    """Write two new files instead of masks."""
    dry_run: DryRun = False

    def __post_init__(self) -> None:
        if self.names[0] == self.names[1]:
            raise DatasetError("--names: expected two different names")

    def run(self) -> None:
        """Split, and print the sizes."""
        reader = DatasetReader(self.file, self.where)
        masks = edit.split_masks(reader.index, self.fraction, self.seed, self.names)
        sizes = ", ".join(f"{name} {int(mask.sum())}" for name, mask in masks.items())
        print(f"{self.file}: {'would be ' if self.dry_run else ''}split by episode: {sizes}")
        if self.dry_run:
            return
        if self.into:
            ids = DatasetReader(self.file).index["id"]
            for path, mask in zip(self.into, masks.values(), strict=True):
                keep = np.zeros(len(ids), bool)
                keep[reader.numbers[mask]] = True
                edit.rewrite(self.file, ids, keep, output=path)
        else:
            edit.store_split(self.file, reader.numbers, masks)


@dataclass(frozen=True)
class Recover:
    """Recover what a crash left in FILE.redo and FILE.journal."""

    file: File

    def run(self) -> None:
        """Recover, and print each episode."""
        path: Path = self.file
        if not needs_recovery(path) and not path.exists():
            raise DatasetError(f"{path}: no such file, and no journal of it")
        result = recover_dataset(path)
        if result.finished_append:
            print(f"{path}: finished an interrupted append")
        for episode in result.episodes:
            print(f"{path}: recovered {_line(_row(index_row(episode)[()], len(DatasetReader(path)) - 1))}")
        if result.already_stored:
            print(f"{path}: {result.already_stored} episode(s) of the journal were stored already")
        if result.damaged_copy:
            damage = f"{result.damaged_bytes} bytes of the journal were damaged"
            print(f"{path}: {damage}; it is kept as {result.damaged_copy}")
        if not (result.finished_append or result.episodes or result.already_stored or result.damaged_copy):
            print(f"{path}: nothing to recover")


@dataclass(frozen=True)
class Convert:
    """Convert to and from the formats of other projects, or from a tape of keys."""

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE... OUTPUT")]
    """Dataset, or files or a directory of another project; then the new file or directory, where a name in
    .h5 makes a dataset."""
    where: Where = ""
    to: convert.Format | None = None
    """Format to write, if the name does not determine it."""
    kind: Annotated[convert.ReadFormat | None, tyro.conf.arg(name="from")] = None
    """Format to read, if it is not recognized."""
    observations: Literal["normalized", "raw"] = "normalized"
    """Observations to write."""
    action_set: Literal["full", "reduced", "distinct"] | None = None
    """Action set that the actions index."""
    video: Flag = False
    """Add the game's pictures to LeRobot's format."""
    frames_per_step: int = 1
    """Frames per step of the file read."""
    trig: Trig | None = None
    """Sine and cosine of the game in which the file was played. Without it: the variant that reproduces the
    observations; rounded if there are none."""
    rate: float = 30.0
    """Frames per second of a tape of keys."""
    offset: float | None = None
    """Frame of the tape where the run begins: 0, or searched with --search-edges."""
    search_edges: int | None = None
    """Search the keys of a tape from a video that drops frames: each change may move by this many frames of
    the game. Without --offset and --trig, they are searched too."""
    search_drift: int | None = None
    """Frames by which a change may move altogether, where the video drops many; else: --search-edges."""
    beam: int = 1500
    """Games that the search keeps."""
    splits: str = ""
    """Known times of the run for the search, as "50=24.38,100=45.53": meters = s of the game's clock; 100 is
    the landing."""
    source: Source | None = None
    """Who played, if the file does not say."""
    player: str = ""
    """Name of the player, if the file does not say."""
    game: Game = "embedded"
    """Game that was played, if the file does not say."""
    workers: int = 0
    """Processes that recover sampled logs, or with --tasks read any files, a file each; 0: one for each
    core."""
    cluster: tyro.conf.OmitArgPrefixes[ClusterOptions] = field(default_factory=ClusterOptions)

    def run(self) -> int | None:
        """Convert, and print the counts."""
        if len(self.paths) < 2:
            raise DatasetError("expected FILE and OUTPUT")
        _require_workers(self.workers)
        *sources, output = self.paths
        if output.suffix == ".h5" and self.to is None:
            return self._import(sources, output)
        if len(sources) > 1:
            raise DatasetError(f"{output}: several files become one dataset, with a name in .h5")
        source = sources[0]
        with DatasetReader(source, self.where) as reader:
            to = self.to or convert.format_for(output)
            count, left_out = convert.export(
                reader,
                output,
                to,
                observations=self.observations,
                action_set=self.action_set,
                video=self.video,
            )
        for line in left_out:
            print(f"{PROGRAM}: {escape_unprintable(line)}; omitted", file=sys.stderr)
        print(f"{output}: {count} episodes as {to}")
        return 0

    def _import(self, sources: list[Path], output: Path) -> int:
        if self.where:
            raise DatasetError(
                "--where works on datasets: convert first, then qwop-data edit --keep --where ..."
            )
        if output.exists():
            raise NameTakenError(output)
        importing = convert.Importing(
            self.source,
            self.player,
            self.game,
            self.action_set,
            self.frames_per_step,
            self.rate,
            self.offset,
            self.trig,
            self.search_edges,
            self.search_drift,
            self.beam,
            _splits(self.splits),
        )
        kept = convert.kept_of(sources, self.kind)
        names: list[str] = []
        left_out: list[str] = []
        found: Counter[str] = Counter()
        unit = "samples" if self.search_edges is None else "frames"
        lossy = unit == "samples" and len(sources) > 1 and self.cluster.tasks is None
        bar = tqdm(unit=unit, disable=None, leave=False, delay=0.5)

        def progress(done: int, total: int) -> None:
            if lossy and done < total and not bar.total:
                hint = "an interrupt loses what is recovered; --tasks FOLDER keeps each log that is done"
                tqdm.write(f"{PROGRAM}: {hint}", file=sys.stderr)
            bar.total = total
            bar.update(done - bar.n)

        workers = self.workers or os.cpu_count() or 1
        imported = convert.episodes_of_files(
            sources, importing, self.kind, workers=workers, progress=progress, cluster=self.cluster
        )
        episodes = _usable(imported, left_out, names)
        try:
            count = write_dataset(output, _noting(_verified(episodes), found), kept.environment)
        finally:
            bar.close()
            for line in left_out:
                print(f"{PROGRAM}: {escape_unprintable(line)}; omitted", file=sys.stderr)
        if kept.masks:
            masks = {
                mask: np.array([marked.get(name, False) for name in names])
                for mask, marked in kept.masks.items()
            }
            edit.store_split(output, np.arange(count), masks)
        print(f"{output}: {count} episodes, {len(left_out)} omitted; sine and cosine: {_variants(found)}")
        return 0


Repository = Annotated[
    str, tyro.conf.Positional, tyro.conf.arg(metavar="USER/NAME", help="Repository of the Hugging Face Hub.")
]


@dataclass(frozen=True)
class Push:
    """Push a dataset to the Hugging Face Hub, with a card, a film, and as a LeRobotDataset."""

    file: File
    repository: Repository
    where: Where = ""
    license: str = ""
    """License of the data, such as CC0-1.0; the card names it."""
    video: Flag = False
    """Add the game's pictures to the LeRobotDataset."""
    no_lerobot: Flag = False
    """Omit the LeRobotDataset."""
    no_film: Flag = False
    """Omit the film."""
    private: Flag = False
    """Make a new repository private."""
    dry_run: DryRun = False

    def __post_init__(self) -> None:
        if self.license and not re.fullmatch(r"[A-Za-z0-9.+-]{1,40}", self.license):
            raise DatasetError(f"--license {self.license}: give an SPDX identifier such as CC-BY-4.0")
        if self.video and self.no_lerobot:
            raise DatasetError("--video belongs to the LeRobotDataset: omit --no-lerobot")

    def run(self) -> None:
        """Write the files aside and push them in one commit."""
        from qwop_datasets import sharing

        lerobot = not self.no_lerobot
        if lerobot and not self.video and not sharing.can_write_lerobot():
            lerobot = False
            print(
                f"{PROGRAM}: without the LeRobotDataset: pip install 'qwop-stride[lerobot]' adds it",
                file=sys.stderr,
            )
        _hint_at_leftovers(self.file)
        wanted = sharing.Sharing(self.license, lerobot, self.video, not self.no_film, self.private)
        if self.dry_run:
            with tempfile.TemporaryDirectory() as aside:
                names = sharing.prepare(self.file, self.where, self.repository, wanted, Path(aside))
                print((Path(aside) / CARD).read_text(encoding="utf-8"))
            print(f"{self.repository}: would get {', '.join(names)}")
            return
        address, names = sharing.push_dataset(self.file, self.where, self.repository, wanted)
        print(f"{address}: {len(names)} files")


@dataclass(frozen=True)
class Pull:
    """Pull a dataset from the Hugging Face Hub, compared with the Hub's digest."""

    repository: Repository
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")]
    """New dataset."""
    file: str | None = None
    """File of the repository; without it, the only one in .h5."""
    revision: str | None = None
    """Branch, tag or commit; without it, the newest."""

    def run(self) -> None:
        """Pull, and print what it is."""
        from qwop_datasets import sharing

        pulled, count = sharing.pull_dataset(
            self.repository, self.output, name=self.file, revision=self.revision
        )
        print(f"{self.output}: {count} episodes, {pulled.name} of commit {pulled.commit[:8]}")


Command = Info | List | Check | Verify | Style | Edit | Merge | Split | Recover | Convert | Push | Pull


def _splits(text: str) -> tuple[tuple[float, float], ...]:
    """Parse known times: "50=24.38,100=45.53". Raises DatasetError."""
    splits: list[tuple[float, float]] = []
    for part in text.replace(",", " ").split():
        meters, _, seconds = part.partition("=")
        try:
            split = float(meters), float(seconds)
        except ValueError:
            split = (math.nan, math.nan)
        if not (0 < split[0] <= FINISH and 0 < split[1] < 3600):
            raise DatasetError(f"--splits: {part[:40]!r} is not METERS=SECONDS, such as 50=24.38")
        if splits and not (splits[-1][0] < split[0] and splits[-1][1] < split[1]):
            raise DatasetError(f"--splits: {part[:40]!r} is not later than the one before")
        splits.append(split)
    return tuple(splits)


def _usable(imported: Iterable[convert.Imported], left_out: list[str], names: list[str]) -> Iterator[Episode]:
    count = 0
    for item in imported:
        if item.episode is None:
            left_out.append(f"{item.name}: {item.reason}")
        else:
            count += 1
            if item.note:
                print(f"{item.name}: {item.note}")
            names.append(item.name)
            yield item.episode
    if not count:
        raise DatasetError("no episode could be converted")


def _noting(episodes: Iterable[Episode], found: Counter[str]) -> Iterator[Episode]:
    for episode in episodes:
        found[episode.trig] += 1
        yield episode


def _variants(counts: Mapping[str, int]) -> str:
    """Format counts of variants: "rounded", or "rounded 3, fdlibm 2" if they are mixed."""
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _verified(episodes: Iterable[Episode]) -> Iterator[Episode]:
    iterator = iter(episodes)
    while batch := list(islice(iterator, LANES)):
        for episode, result in zip(batch, verify_episodes(batch), strict=True):
            yield episode.replace(verified=result.text)


if __name__ == "__main__":
    sys.exit(main())
