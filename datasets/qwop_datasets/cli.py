"""`qwop-data`: look at, check, verify, edit, merge, split, recover and convert datasets.

Exit codes: 0 done; 1 `verify` found an episode that replays differently; 2 bad input, after one line that
says what is wrong and how to mend it. No command changes a file that it was not told to change.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from qwop_cli import CommandParser, json_text, printable, run_command
from qwop_datasets import convert, edit, summary
from qwop_datasets.checks import check_file
from qwop_datasets.episode import GAMES, SOURCES, Episode
from qwop_datasets.errors import DatasetError, NameTakenError
from qwop_datasets.format import index_row
from qwop_datasets.reader import DatasetReader
from qwop_datasets.recovery import needs_recovery, recover_dataset
from qwop_datasets.storage import describe
from qwop_datasets.verify import LANES, verify_episodes
from qwop_datasets.writer import set_verified, write_dataset
from qwop_game import DEFAULT_TRIG, TRIG_VARIANTS, engines

PROGRAM = "qwop-data"
FILTER_HELP = 'episodes to take, such as "source=human success time<60 knee_share<0.02"'
T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)

    def command() -> int | None:
        try:
            return options.run(options)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise DatasetError(f"{error.filename or ''}: {describe(error)}") from None

    return run_command(PROGRAM, command, DatasetError, ImportError)


def _parser() -> CommandParser:
    parser = CommandParser(prog=PROGRAM, description="Datasets of QWOP episodes.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=CommandParser)

    def command(
        name: str, run: Callable[[Any], int | None], help: str, *, where: bool = True
    ) -> CommandParser:
        sub = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        sub.set_defaults(run=run)
        if where:
            sub.add_argument("--where", default="", metavar="FILTER", help=FILTER_HELP)
        return sub

    def file_argument(sub: CommandParser, name: str = "file", **more: Any) -> None:
        sub.add_argument(name, type=Path, metavar=name.upper(), **more)

    def dry_run(sub: CommandParser) -> None:
        sub.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")

    sub = command("info", _info, "what is in a dataset: counts, keys, distances, times, gait, outliers")
    file_argument(sub)
    sub.add_argument("--json", action="store_true", help="one JSON object")

    sub = command("list", _list, "one line per episode")
    file_argument(sub)
    sub.add_argument("--json", action="store_true", help="a JSON list of objects")

    sub = command("check", _check, "read all of a dataset and report whatever breaks the format", where=False)
    file_argument(sub, nargs="+")

    sub = command("verify", _verify, "replay episodes and compare every observation bit for bit")
    file_argument(sub)
    sub.add_argument("--store", action="store_true", help="write the results into the file")
    sub.add_argument("--engine", default="auto", help="the simulator's engine (default: the fastest)")

    sub = command("edit", _edit, "delete or relabel episodes, or bring an old file up to date")
    file_argument(sub)
    what = sub.add_mutually_exclusive_group()
    what.add_argument("--delete", action="store_true", help="delete the episodes of --where")
    what.add_argument("--keep", action="store_true", help="delete all others")
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="set player or source")
    sub.add_argument("--tag", action="append", default=[], help="add a tag")
    sub.add_argument("--untag", action="append", default=[], metavar="TAG", help="remove a tag")
    sub.add_argument("--migrate", action="store_true", help="from an older format version to this one")
    sub.add_argument("-o", "--output", type=Path, help="leave FILE as it is and write this one")
    dry_run(sub)

    sub = command("merge", _merge, "all episodes of several datasets in a new one, each once", where=False)
    file_argument(sub, "output")
    file_argument(sub, "files", nargs="+")
    sub.add_argument("--any-settings", action="store_true", help="even if their settings differ")
    dry_run(sub)

    sub = command("split", _split, "store a training and a validation mask, by episode")
    file_argument(sub)
    sub.add_argument("--fraction", type=float, default=0.1, help="for the second mask (default: %(default)s)")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--names", nargs=2, default=["train", "validation"], metavar="NAME", help="of the masks")
    sub.add_argument("--into", nargs=2, type=Path, metavar="FILE", help="write two new files, no mask")
    dry_run(sub)

    sub = command("recover", _recover, "take in what a crash left in FILE.redo and FILE.journal", where=False)
    file_argument(sub)

    sub = command("convert", _convert, "to and from " + ", ".join(convert.FORMATS))
    file_argument(sub, "source_path", help="a dataset, or a file or directory of another project")
    file_argument(sub, "output", help="the new file or directory; a name in .h5 makes a dataset")
    sub.add_argument("--to", choices=convert.FORMATS, help="format to write, where the name does not tell")
    sub.add_argument(
        "--from", dest="kind", choices=convert.READ_FORMATS, help="format to read, if not obvious"
    )
    sub.add_argument("--observations", choices=("normalized", "raw"), default="normalized", help="to write")
    sub.add_argument("--action-set", choices=("full", "reduced", "distinct"), help="that actions index")
    sub.add_argument("--frames-per-step", type=int, default=1, help="of the file read (default: 1)")
    sub.add_argument(
        "--trig",
        choices=TRIG_VARIANTS,
        help="whose sine and cosine the file read was played with (default: found by its observations; "
        f"where it has none, {DEFAULT_TRIG})",
    )
    sub.add_argument("--rate", type=float, default=30.0, help="frames per second of a tape of keys")
    sub.add_argument("--offset", type=float, default=0.0, help="frame of the tape where the run begins")
    sub.add_argument("--source", choices=SOURCES, help="who played, where the file read does not say")
    sub.add_argument("--player", default="", help="the name, where the file read does not say")
    sub.add_argument("--game", choices=GAMES, default="embedded", help="where, if the file read does not say")
    return parser


# ---- looking -------------------------------------------------------------------------------------------


def _info(options: Any) -> None:
    with DatasetReader(options.file, options.where) as reader:
        result = summary.summarize(reader)
    _hint_at_leftovers(options.file)
    print(json_text(result.as_json()) if options.json else summary.text(result, str(options.file)))


def _list(options: Any) -> None:
    with DatasetReader(options.file, options.where) as reader:
        rows = [_row(row, n) for row, n in zip(reader.index, reader.numbers.tolist(), strict=True)]
    _hint_at_leftovers(options.file)
    if options.json:
        print(json_text(rows))
        return
    title = (
        "number  id        source  player      frames    time     dist  end       verified  knee  trig       "
    )
    print(f"{title}tags")
    for row in rows:
        print(_line(row))


def _row(row: Any, number: int) -> dict[str, Any]:
    values = {name: row[name].item() for name in row.dtype.names or ()}
    plain = {k: v.decode(errors="backslashreplace") if isinstance(v, bytes) else v for k, v in values.items()}
    plain = {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in plain.items()}
    return {"number": number} | plain


def _line(row: dict[str, Any]) -> str:
    end = "finished" if row["success"] else "fell" if row["terminated"] else "cut short"
    verified = {1: "exact", 0: "-", -1: "differs"}[row["verified"]]
    knee = "-" if row["knee_share"] is None else f"{row['knee_share']:.1%}"
    who = f"{row['number']:6d}  {row['id'][:8]}  {row['source']:<6}  {row['player'][:10]:<10}"
    what = f"{row['frames']:6d}  {row['time']:6.2f}s {row['distance']:7.2f}m  {end:<9} {verified:<8}{knee:>6}"
    what += f"  {row['trig']:<9}"
    return printable(f"{who}  {what}  {row['tags']}".rstrip())


def _hint_at_leftovers(path: Path) -> None:
    if needs_recovery(path):
        hint = f"a recording is under way, or broke off: qwop-data recover {path}"
        print(f"{PROGRAM}: {path}: {hint}", file=sys.stderr)


def _check(options: Any) -> int:
    bad = False
    for path in options.file:
        problems = check_file(path)
        for problem in problems:
            print(f"{PROGRAM}: {path}: {printable(str(problem))}", file=sys.stderr)
        if not problems:
            print(f"{path}: good, {len(DatasetReader(path))} episodes")
        bad |= bool(problems)
    return 2 if bad else 0


def _verify(options: Any) -> int:
    if options.engine not in ("auto", *engines()):
        raise DatasetError(f"--engine {options.engine}: choose auto or one of {', '.join(engines())}")
    results: dict[int, str] = {}
    with DatasetReader(options.file, options.where) as reader:
        checks = verify_episodes(reader, engine=options.engine)
        for i, result in enumerate(_progress(checks, len(reader), "episodes")):
            number = int(reader.numbers[i])
            results[number] = result.text
            if not result.exact:
                identity = _row(reader.index[i], number)["id"][:8]
                print(f"episode {number} ({printable(identity)}): {result.text}")
    exact = sum(text == "exact" for text in results.values())
    print(f"{options.file}: {exact} of {len(results)} episodes replay bit for bit")
    if options.store and results:
        set_verified(options.file, results)
    return 0 if exact == len(results) else 1


# ---- changing ------------------------------------------------------------------------------------------


def _edit(options: Any) -> None:
    path: Path = options.file
    if options.migrate:
        _migrate(options)
        return
    labels = dict(_assignment(text) for text in options.set)
    change = edit.Relabel(labels, tuple(options.tag), tuple(options.untag))
    relabels = bool(labels or options.tag or options.untag)
    if not (relabels or options.delete or options.keep):
        raise DatasetError("nothing to do: give --delete, --keep, --set, --tag, --untag or --migrate")
    if (options.delete or options.keep) and not options.where.strip():
        raise DatasetError("--delete and --keep need --where, so that no episode goes by mistake")
    if options.delete and relabels:
        raise DatasetError("--delete and changes of labels are two commands")
    reader = DatasetReader(path)
    chosen = np.zeros(len(reader), bool)
    chosen[reader.select(options.where).numbers] = True
    keep = ~chosen if options.delete else chosen if options.keep else np.ones(len(reader), bool)
    rows = [_row(row, number) for number, row in enumerate(reader.index)]
    would = "would " if options.dry_run else ""
    for number in np.flatnonzero(~keep):
        print(f"{would}delete {_line(rows[number])}")
    changed = np.zeros(len(reader), bool)
    if relabels:
        changed = chosen
        for number in np.flatnonzero(changed):
            print(f"{would}change {_line(rows[number])}")
    print(f"{path}: {would}keep {int(keep.sum())} of {len(keep)} episodes, change {int(changed.sum())}")
    if options.dry_run or (keep.all() and not changed.any() and options.output is None):
        return
    ids = reader.index["id"]
    reader.close()  # Windows replaces no file that is open
    change_some = change if relabels else None
    edit.rewrite(path, ids, keep, change=change_some, changed=changed, output=options.output)


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise DatasetError(f"--set {text}: write NAME=VALUE")
    return name, value


def _migrate(options: Any) -> None:
    version = edit.migrate_file(options.file, dry_run=options.dry_run)
    would = "would become" if options.dry_run else "is now"
    print(f"{options.file}: was format version {version}, {would} {edit.FORMAT_VERSION}")


def _merge(options: Any) -> None:
    if options.dry_run:
        counts = [len(DatasetReader(path)) for path in options.files]
        print(f"{options.output}: would take {sum(counts)} episodes ({' + '.join(map(str, counts))})")
        return
    stored, duplicates = edit.merge(options.output, options.files, any_settings=options.any_settings)
    print(f"{options.output}: {stored} episodes, {duplicates} left out that were there twice")


def _split(options: Any) -> None:
    if options.names[0] == options.names[1]:
        raise DatasetError("--names: two different ones are needed")
    reader = DatasetReader(options.file, options.where)
    masks = edit.split_masks(reader.index, options.fraction, options.seed, options.names)
    sizes = ", ".join(f"{name} {int(mask.sum())}" for name, mask in masks.items())
    print(f"{options.file}: {'would be ' if options.dry_run else ''}split by episode: {sizes}")
    if options.dry_run:
        return
    if options.into:
        ids = DatasetReader(options.file).index["id"]
        for path, mask in zip(options.into, masks.values(), strict=True):
            keep = np.zeros(len(ids), bool)
            keep[reader.numbers[mask]] = True
            edit.rewrite(options.file, ids, keep, output=path)
    else:
        edit.store_split(options.file, reader.numbers, masks)


def _recover(options: Any) -> None:
    path: Path = options.file
    if not needs_recovery(path) and not path.exists():
        raise DatasetError(f"{path}: no such file, and no journal of it")
    result = recover_dataset(path)
    if result.finished_append:
        print(f"{path}: finished an append that had broken off")
    for episode in result.episodes:
        print(f"{path}: recovered {_line(_row(index_row(episode)[()], len(DatasetReader(path)) - 1))}")
    if result.already_stored:
        print(f"{path}: {result.already_stored} episode(s) of the journal were stored already")
    if result.damaged_copy:
        damage = f"{result.damaged_bytes} bytes of the journal were damaged"
        print(f"{path}: {damage}; it is kept as {result.damaged_copy}")
    if not (result.finished_append or result.episodes or result.already_stored or result.damaged_copy):
        print(f"{path}: nothing to recover")


def _convert(options: Any) -> int | None:
    source, output = options.source_path, options.output
    if output.suffix == ".h5" and options.to is None:
        return _import(options)
    with DatasetReader(source, options.where) as reader:
        to = options.to or convert.format_for(output)
        count, left_out = convert.export(
            reader, output, to, observations=options.observations, action_set=options.action_set
        )
    for line in left_out:
        print(f"{PROGRAM}: {printable(line)}; left out", file=sys.stderr)
    print(f"{output}: {count} episodes as {to}")
    return 0


def _import(options: Any) -> int:
    if options.where:
        raise DatasetError("--where works on datasets: convert first, then qwop-data edit --keep --where ...")
    if options.output.exists():
        raise NameTakenError(options.output)
    importing = convert.Importing(
        options.source,
        options.player,
        options.game,
        options.action_set,
        options.frames_per_step,
        options.rate,
        options.offset,
        options.trig,
    )
    left_out: list[str] = []
    found: Counter[str] = Counter()
    episodes = _usable(convert.episodes_of(options.source_path, importing, options.kind), left_out)
    try:
        count = write_dataset(options.output, _noting(_verified(episodes), found))
    finally:
        for line in left_out:
            print(f"{PROGRAM}: {printable(line)}; left out", file=sys.stderr)
    print(
        f"{options.output}: {count} episodes, {len(left_out)} left out; sine and cosine: {_variants(found)}"
    )
    return 0


def _usable(imported: Iterable[convert.Imported], left_out: list[str]) -> Iterator[Episode]:
    count = 0
    for item in imported:
        if item.episode is None:
            left_out.append(f"{item.name}: {item.reason}")
        else:
            count += 1
            yield item.episode
    if not count:
        raise DatasetError("not one episode could be taken")


def _noting(episodes: Iterable[Episode], found: Counter[str]) -> Iterator[Episode]:
    for episode in episodes:
        found[episode.trig] += 1
        yield episode


def _variants(counts: Mapping[str, int]) -> str:
    """ "rounded", or "rounded 3, fdlibm 2" where they are mixed."""
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _verified(episodes: Iterable[Episode]) -> Iterator[Episode]:
    iterator = iter(episodes)
    while batch := list(islice(iterator, LANES)):
        for episode, result in zip(batch, verify_episodes(batch), strict=True):
            yield episode.replace(verified=result.text)


def _progress(items: Iterable[T], total: int, unit: str) -> Iterable[T]:
    return tqdm(items, total=total, unit=unit, disable=None, leave=False)


if __name__ == "__main__":
    sys.exit(main())
