"""Make demos.h5: runs of a policy under protocol P, chosen for their gait, each proved by replaying it.

    python demos/make_demos.py demos/policy.safetensors

Episodes are played with seeds from --seed on, actions sampled, until --episodes of them finished upright.
Protocol P's idle starts and repeated decisions, and the sampling, make every run another one.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from qwop_datasets import DatasetError, Episode, write_compact_dataset
from qwop_evaluation import CheckpointPlayer, play, results_table, summarize
from qwop_game.gait import gait_metrics
from qwop_rl_core import CheckpointError

BATCH = 64
"""Episodes played side by side."""
GIVE_UP_AFTER = 40
"""Batches."""


def chosen(episode: Episode, least_upright: float, most_knee_near: float) -> bool:
    """Whether a run is a demonstration: finished, upright, knees off the track."""
    gait = gait_metrics(episode.raw_observations)
    return episode.success and gait.upright >= least_upright and gait.knee_near <= most_knee_near


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("demos.h5"))
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument(
        "--seed", type=int, default=10_000, help="of the first episode (default: %(default)s)"
    )
    parser.add_argument(
        "--player", default="qwop-stride", help="name stored with the runs (default: %(default)s)"
    )
    parser.add_argument(
        "--least-upright", type=float, default=0.95, help="share of frames (default: %(default)s)"
    )
    parser.add_argument("--most-knee-near", type=float, default=0.01, help="likewise (default: %(default)s)")
    options = parser.parse_args()
    try:
        player = CheckpointPlayer(options.checkpoint)
        runs: list[Episode] = []
        with tqdm(total=options.episodes, desc="demonstrations") as bar:
            first = options.seed
            while len(runs) < options.episodes and first < options.seed + BATCH * GIVE_UP_AFTER:
                for episode in play(player, range(first, first + BATCH), sample=True):
                    if len(runs) < options.episodes and chosen(
                        episode, options.least_upright, options.most_knee_near
                    ):
                        provenance = {**episode.provenance, "policy_sha256": player.sha256}
                        runs.append(replace(episode, player=options.player, provenance=provenance))
                bar.update(len(runs) - bar.n)
                first += BATCH
        if len(runs) < options.episodes:
            raise DatasetError(
                f"{options.checkpoint}: only {len(runs)} of {first - options.seed} runs were good enough"
            )
        options.out.unlink(missing_ok=True)
        write_compact_dataset(options.out, runs)
    except (CheckpointError, DatasetError) as error:
        print(f"make_demos: {error}", file=sys.stderr)
        return 2
    print(results_table({options.player: summarize(runs)}))
    print(f"{options.out}: {len(runs)} runs, {options.out.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
