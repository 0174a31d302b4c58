"""Make demos.h5: runs of a policy under protocol P, chosen for their gait and verified by replay.

    python demos/make_demos.py demos/policy.safetensors

The policy plays episodes with sampled actions and seeds from --seed on, until --episodes of them finished
upright. The runs differ because of the idle starts and repeated decisions of protocol P and the sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from qwop_cli import parse_config, run_command
from qwop_datasets import DatasetError, Episode, write_compact_dataset
from qwop_evaluation import CheckpointPlayer, play, results_table, summarize
from qwop_game.gait import gait_metrics
from qwop_rl_core import CheckpointError

PROGRAM = "make_demos"
BATCH = 64
"""Episodes played side by side."""
GIVE_UP_AFTER = 40
"""Batches."""


def chosen(episode: Episode, least_upright: float, most_knee_near: float) -> bool:
    """Whether a run is good enough as a demonstration: finished, upright, knees off the track."""
    gait = gait_metrics(episode.raw_observations)
    return episode.success and gait.upright >= least_upright and gait.knee_near <= most_knee_near


@dataclass(frozen=True)
class DemosConfig:
    """Make demos.h5: runs of a policy under protocol P, chosen for their gait."""

    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """Policy that plays."""
    out: Path = Path(__file__).with_name("demos.h5")
    """Dataset to write; an existing one is replaced."""
    episodes: int = 100
    """Runs to store."""
    seed: int = 10_000
    """Seed of the first episode."""
    player: str = "qwop-stride"
    """Name to store with the runs."""
    least_upright: float = 0.95
    """Smallest share of upright frames."""
    most_knee_near: float = 0.01
    """Largest share of frames with a knee near the track."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    return run_command(
        PROGRAM,
        lambda: make_demos(parse_config(PROGRAM, DemosConfig, arguments)),
        CheckpointError,
        DatasetError,
    )


def make_demos(config: DemosConfig) -> None:
    """Play until enough runs are good enough, and write them. Raises DatasetError if too few are."""
    player = CheckpointPlayer(config.checkpoint)
    runs: list[Episode] = []
    with tqdm(total=config.episodes, desc="demonstrations") as bar:
        first = config.seed
        while len(runs) < config.episodes and first < config.seed + BATCH * GIVE_UP_AFTER:
            for episode in play(player, range(first, first + BATCH), sample=True):
                if len(runs) < config.episodes and chosen(
                    episode, config.least_upright, config.most_knee_near
                ):
                    provenance = {**episode.provenance, "policy_sha256": player.sha256}
                    runs.append(replace(episode, player=config.player, provenance=provenance))
            bar.update(len(runs) - bar.n)
            first += BATCH
    if len(runs) < config.episodes:
        raise DatasetError(
            f"{config.checkpoint}: only {len(runs)} of {first - config.seed} runs were good enough"
        )
    config.out.unlink(missing_ok=True)
    write_compact_dataset(config.out, runs)
    print(results_table({config.player: summarize(runs)}))
    print(f"{config.out}: {len(runs)} runs, {config.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    raise SystemExit(main())
