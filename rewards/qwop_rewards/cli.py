"""The command `qwop-rewards compare DATASET`: the return of every stored episode under every reward.

It shows before training which gait a reward favors. The table has each episode's returns, distance, time and
gait; below it are the rank correlations of the returns with these figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from qwop_cli import CommandError, json_text, parse_config, run_command, text_table
from qwop_datasets import DatasetError, DatasetReader
from qwop_game.gait import gait_metrics
from qwop_rewards.function import TERMS, make_reward, parse_name, parse_options
from qwop_rewards.offline import batches, run_rewards

PROGRAM = "qwop-rewards"


@dataclass(frozen=True)
class Row:
    """One episode in the comparison."""

    episode: int
    source: str
    outcome: str
    distance_m: float
    time_s: float
    knee_near: float
    upright: float
    returns: dict[str, float]
    """Reward, as given on the command line, to undiscounted return."""
    failed_frames: dict[str, int]
    """Reward to the frame at which its knee rule ended the run; missing if it did not."""


@dataclass(frozen=True)
class RewardsCommand:
    """Compute the return of every stored episode under every reward."""

    command: Annotated[Literal["compare"], tyro.conf.Positional]
    """What to do."""
    dataset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")]
    """HDF5 file of episodes."""
    where: str = ""
    """Episodes to take, such as "success time<60"."""
    reward: Annotated[
        tuple[str, ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(
            metavar="NAME[:OPTION=VALUE,...]", help_behavior_hint="(repeatable; default: all terms)"
        ),
    ] = ()
    """Reward term or sum, such as torso:torso_threshold=1.0."""
    frame_skip: int = 4
    """Frames per decision."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print one JSON object instead of the table."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code: 0, or 2 after one line about what is wrong."""
    return run_command(
        PROGRAM,
        lambda: _compare(parse_config(PROGRAM, RewardsCommand, arguments)),
        DatasetError,
        ValueError,
    )


def _compare(options: RewardsCommand) -> None:
    rows = compare_dataset(options.dataset, options.reward or list(TERMS), options.frame_skip, options.where)
    if options.json:
        print(json_text({"frame_skip": options.frame_skip, "episodes": [asdict(row) for row in rows]}))
    else:
        print(comparison_text(rows))


def compare_dataset(dataset: str, rewards: Sequence[str], frame_skip: int = 4, where: str = "") -> list[Row]:
    """Compute rewards for the episodes of a dataset.

    Args:
        dataset: path of the HDF5 file.
        rewards: each NAME or NAME:OPTION=VALUE,...
        frame_skip: frames per decision.
        where: filter of the episodes, as for `DatasetReader`.

    Returns:
        A row for each episode.

    Raises:
        ValueError: a reward or an option of it is unknown.
        CommandError: there is no such episode.
        DatasetError: the file can't be read.
    """
    if len(set(rewards)) != len(rewards):
        raise ValueError("a reward is given twice: give each one once")
    parsed = {reward: _parse(reward) for reward in rewards}
    rows: list[Row] = []
    with DatasetReader(dataset, where) as reader:
        for batch in batches(reader[i] for i in range(len(reader))):
            scored = {
                reward: run_rewards(name, batch, frame_skip, **options)
                for reward, (name, options) in parsed.items()
            }
            for index, episode in enumerate(batch):
                gait = gait_metrics(episode.raw_observations)
                ending = "fall" if episode.terminated else "cut short"
                runs = {reward: scored[reward][index] for reward in rewards}
                rows.append(
                    Row(
                        episode=int(reader.numbers[len(rows)]),
                        source=episode.source,
                        outcome="finish" if episode.success else ending,
                        distance_m=gait.distance,
                        time_s=float(episode.times[-1]),
                        knee_near=gait.knee_near,
                        upright=gait.upright,
                        returns={reward: run.total for reward, run in runs.items()},
                        failed_frames={
                            reward: run.failed_frame
                            for reward, run in runs.items()
                            if run.failed_frame is not None
                        },
                    )
                )
    if not rows:
        reason = f"no episode matches {where!r}" if where else "no episodes: record or merge some first"
        raise CommandError(f"{dataset}: {reason}")
    return rows


def comparison_text(rows: Sequence[Row]) -> str:
    """Return the table of `compare`, with the rank correlations below it."""
    rewards = list(rows[0].returns)
    header = ["episode", "source", "end", "meters", "seconds", "knee %", "upright %", *rewards]
    lines = [
        [
            str(row.episode),
            row.source,
            row.outcome,
            f"{row.distance_m:.1f}",
            f"{row.time_s:.2f}",
            f"{100 * row.knee_near:.1f}",
            f"{100 * row.upright:.1f}",
            *(f"{row.returns[r]:.2f}{'!' if r in row.failed_frames else ' '}" for r in rewards),
        ]
        for row in rows
    ]
    text = text_table(header, lines, left=3)
    if any(row.failed_frames for row in rows):
        text += "\n! the knee rule ended the run there"
    if len(rows) >= 3:
        figures = {
            "meters": [row.distance_m for row in rows],
            "mean speed": [row.distance_m / row.time_s if row.time_s > 0 else 0.0 for row in rows],
            "knee %": [row.knee_near for row in rows],
            "upright %": [row.upright for row in rows],
        }
        correlations = [
            [reward]
            + [_signed(rank_correlation([row.returns[reward] for row in rows], f)) for f in figures.values()]
            for reward in rewards
        ]
        text += "\n\nRank correlation of the return with\n" + text_table(["reward", *figures], correlations)
    return text


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Return Spearman's rho in [-1, 1], with ties at their mean rank; NaN if either input is constant."""
    ranks: list[NDArray[np.float64]] = []
    for values in (np.asarray(x, float), np.asarray(y, float)):
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        last = np.cumsum(counts)
        ranks.append((last - (counts - 1) / 2.0)[inverse])
    a, b = (rank - rank.mean() for rank in ranks)
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else float("nan")


def _signed(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:+.2f}"


def _parse(reward: str) -> tuple[str, dict[str, str]]:
    name, colon, assignments = reward.partition(":")
    options = parse_options(assignments.split(",")) if colon else {}
    parse_name(name)
    make_reward(name, 1, **options)  # wrong options are named before the file is read
    return name, options


if __name__ == "__main__":
    raise SystemExit(main())
