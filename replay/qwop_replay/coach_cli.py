"""`qwop-coach FILE`: say where a recorded run loses time against another, and how the player's runs end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from qwop_cli import CommandError, json_text, parse_config, run_command
from qwop_datasets import DatasetError, DatasetReader, Episode
from qwop_datasets.video import VideoError
from qwop_replay.coaching import coach
from qwop_replay.coaching_plot import write_plot
from qwop_replay.runs import ReplayedRun
from qwop_replay.show import check_places, load_runs, write_page
from qwop_rl_core import CheckpointError

PROGRAM = "qwop-coach"
Flag = tyro.conf.FlagCreatePairsOff[bool]


@dataclass(frozen=True)
class CoachConfig:
    """Say where a recorded run loses time against another, and how the player's runs end."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """Dataset of the player's runs."""
    episode: int | None = None
    """Number of the run to judge; -1 is the last one. Default: the fastest finished run, or the farthest."""
    against: Annotated[str | None, tyro.conf.arg(metavar="FILE[:N]")] = None
    """Run to compare with: an episode of another dataset or policy, or of this dataset with :N.
    Default: the fastest other run of FILE."""
    where: str = ""
    """Filter of the player's runs, such as "player=ana". Default: all."""
    json: Flag = False
    """Print one JSON object instead of the report."""
    plot: Path | None = None
    """Also write this .png: time lost, speed and falls by meter. Needs matplotlib."""
    html: Path | None = None
    """Also write this page: both runs side by side, with the report's advice."""
    force: Flag = False
    """Replace files that exist."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code: 0, or 2 after one line about what is wrong."""
    return run_command(
        PROGRAM,
        lambda: _coach(parse_config(PROGRAM, CoachConfig, arguments)),
        CheckpointError,
        DatasetError,
        VideoError,
        ValueError,
    )


def _coach(config: CoachConfig) -> None:
    ghosts = () if config.against is None else (config.against,)
    check_places(config.file, ghosts, None, config.html, config.force, plot=config.plot)
    with DatasetReader(config.file, config.where) as reader:
        runs = list(reader)
        numbers = [int(number) for number in reader.numbers]
    if not runs:
        raise CommandError(f"{config.file}: no episodes{f' where {config.where}' if config.where else ''}")
    run, reference = _choose(config, runs, numbers)
    result = coach(run.episode, reference.episode, run.name, reference.name, runs)
    if config.plot is not None:
        write_plot(config.plot, result, run.episode, reference.episode)
    if config.html is not None:
        write_page(config.html, [run, reference], f"{run.name} against {reference.name}", result.advice())
    print(json_text(result.as_json()) if config.json else result)


def _choose(
    config: CoachConfig, runs: Sequence[Episode], numbers: Sequence[int]
) -> tuple[ReplayedRun, ReplayedRun]:
    """Find the run to judge and the one to compare it with."""
    best_first = [number for _, number in sorted(zip(map(_rank, runs), numbers, strict=True))]
    number = best_first[0] if config.episode is None else config.episode
    (run,) = load_runs(config.file, number)
    if config.against is not None:
        return run, load_runs(config.file, number, (config.against,))[1]
    others = [other for other in best_first if other != number % (max(numbers) + 1)]
    if not others:
        raise CommandError(f"{config.file}: no other run to compare with; name one: --against FILE:N")
    return run, load_runs(config.file, others[0])[0]


def _rank(episode: Episode) -> tuple[bool, float]:
    """Sort key: finished runs first, by time; then the others, by distance."""
    return not episode.success, episode.time if episode.success else -episode.distance


if __name__ == "__main__":
    raise SystemExit(main())
