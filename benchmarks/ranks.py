"""Measure one training of PPO on several processes of this machine, which torchrun starts.

    python benchmarks/ranks.py [--ranks 1 2 4] [--steps 131072]     # speeds
    python benchmarks/ranks.py --curves [--seeds 3] [--decisions 500000] [--folder runs/ranks]

It prints JSON. Of every number of ranks, with one thread each:

- "steps_per_s": environment steps per second, median over the iterations without the first two;
- "minibatch_ms": time per minibatch without the rollout, the same median;
- "all_reduce_ms": median and 90th percentile of the time of an all-reduce of the weights of policy or critic;
  a minibatch has two.

--curves trains from nothing as one process and as two ranks, which have half of the environments and of each
minibatch, and plays 100 episodes of protocol P (seeds 0 to 99, sampled): meters, for each seed. Trainings
that are in the folder are not repeated.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from qwop_cli import CommandError, check_outputs, json_text, parse_config, run_command
from qwop_evaluation import CheckpointPlayer, bootstrap_interval, interquartile_mean, play
from qwop_rl_core import ranks

PROGRAM = "ranks"
MINIBATCHES = 16  # of an iteration with the default settings
WEIGHTS = 150_000
"""Weights of the policy of the default settings, about; as many as the critic's."""
TRAINING = ["--reward", "stride", "--reward-option", "knee_seconds=0", "--threads", "1"]


@dataclass(frozen=True)
class RanksConfig:
    """Measure one training of PPO on several processes."""

    ranks: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N...")] = (1, 2, 4)
    """Numbers of processes."""
    steps: int = 131_072
    """Environment steps of each training whose speed is measured."""
    curves: tyro.conf.FlagCreatePairsOff[bool] = False
    """Compare one process and two ranks over seeds, in place of speeds."""
    seeds: int = 3
    """Trainings of each, with --curves."""
    decisions: int = 500_000
    """Environment steps of each training, with --curves."""
    folder: Path = Path("runs/ranks")
    """Folder of the trainings of --curves."""
    child: tyro.conf.FlagCreatePairsOff[bool] = False
    """One of the processes whose all-reduces are timed."""

    def __post_init__(self) -> None:
        for name, least in (("steps", 24_576), ("seeds", 1), ("decisions", 8192)):
            if getattr(self, name) < least:
                raise CommandError(f"--{name} {getattr(self, name)}: expected {least} or more")
        if not self.ranks or min(self.ranks) < 1:
            raise CommandError("--ranks: expected numbers of 1 or more")


def torchrun(count: int, *words: str) -> str:
    """Start processes with torchrun, and return what they print."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    command += ["--local-addr", "127.0.0.1", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise CommandError(f"{' '.join(words)} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def time_all_reduce(repeats: int = 300) -> None:
    """Time all-reduces in one of the processes of torchrun. The first one prints JSON."""
    with ranks.joined_ranks("cpu"):
        tensor, seconds = torch.ones(WEIGHTS), list[float]()
        for _ in range(repeats):
            began = time.perf_counter()
            ranks.average(tensor)
            seconds.append(time.perf_counter() - began)
        if ranks.rank() == 0:
            print(json_text({p: 1000 * float(np.percentile(seconds[20:], p)) for p in (50, 90)}))


def speeds(count: int, steps: int) -> dict[str, Any]:
    """Measure a training on `count` processes."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "qwop_finetune", "--out", f"{folder}/runner.safetensors", "--logdir", f"{folder}/logs"]
        torchrun(count, *words, "--total-steps", str(steps), *TRAINING)
        events = EventAccumulator(f"{folder}/logs").Reload()
        rates, shares = (
            np.array([event.value for event in events.Scalars(f"speed/{name}")][2:])
            for name in ("steps_per_second", "rollout_share")
        )
        batch = (events.Scalars("speed/steps_per_second")[0].step) / rates * (1 - shares) / MINIBATCHES
    reduce = json.loads(torchrun(count, __file__, "--child").splitlines()[-1])
    return {
        "steps_per_s": round(float(np.median(rates))),
        "steps_per_s_quartiles": [round(float(q)) for q in np.percentile(rates, (25, 75))],
        "minibatch_ms": round(1000 * float(np.median(batch)), 2),
        "all_reduce_ms": {name: round(ms, 3) for name, ms in reduce.items()} if count > 1 else None,
    }


def curve(folder: Path, count: int, seed: int, decisions: int) -> float:
    """Train once, and return the mean distance of 100 episodes, m."""
    out = folder / f"{count}-{seed}.safetensors"
    figures = out.with_suffix(".json")
    if not figures.exists():
        flags = ["--total-steps", str(decisions), "--seed", str(seed), "--force", *TRAINING]
        torchrun(count, "-m", "qwop_finetune", "--out", str(out), *flags)
        runs = play(CheckpointPlayer(out), range(100), True)
        figures.write_text(
            json_text({"meters": float(np.mean([r.distance for r in runs]))}), encoding="utf-8"
        )
    return json.loads(figures.read_text(encoding="utf-8"))["meters"]


def curves(config: RanksConfig) -> dict[str, Any]:
    """Compare one process and two ranks over seeds."""
    check_outputs({}, {"--folder": config.folder})
    folder = config.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    meters = {
        count: [curve(folder, count, seed, config.decisions) for seed in range(config.seeds)]
        for count in (1, 2)
    }
    return {
        str(count): {
            "meters": [round(m, 1) for m in found],
            "iqm": interquartile_mean(np.array(found)),
            "interval": bootstrap_interval(np.array(found)),
        }
        for count, found in meters.items()
    }


def benchmark(config: RanksConfig) -> None:
    if config.child:
        time_all_reduce()
        return
    figures: dict[str, Any] = {"load_before": os.getloadavg()[0]}
    if config.curves:
        figures |= curves(config)
    else:
        figures |= {str(count): speeds(count, config.steps) for count in config.ranks}
    figures["load_after"] = os.getloadavg()[0]
    print(json_text(figures, indent=1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Returns its exit code."""
    return run_command(
        PROGRAM, lambda: benchmark(parse_config(PROGRAM, RanksConfig, arguments, description=__doc__))
    )


if __name__ == "__main__":
    raise SystemExit(main())
