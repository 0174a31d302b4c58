"""Make the benchmark's offline tiers: train, play, search, and pack the keys.

    python benchmarks/offline_tiers.py                 # everything; an interrupted run continues
    python benchmarks/offline_tiers.py --check         # compare with the files in the repository

The keys go to benchmark/qwop_benchmark/data/, and the table of their SHA-256 is printed. The trainings take
minutes. On a processor that rounds matrix products in another way, policies play other keys: then --check
says which tier differs. The files in the repository stay the data; nothing is ever read from other keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray
from safetensors.numpy import save
from studies import EXPERT, run_once

from qwop_benchmark.packing import packed
from qwop_benchmark.resources import data_file
from qwop_benchmark.tiers import TIERS, content_sha256
from qwop_cli import CommandError, parse_config, run_command
from qwop_datasets import DatasetReader
from qwop_evaluation import CheckpointPlayer, play
from qwop_rl_core import CheckpointError

PROGRAM = "offline_tiers"
RUNS = 100
SCRAPER = "--reward default --frame-skip 4 --total-steps 750000 --seed 0 --threads 1"
MEDIUM = (
    "--reward stride --reward-option knee_seconds=0 --frame-skip 4 --total-steps 1500000 --seed 0 --threads 1"
)
SEARCH = "--frames 3e6 --width 32 --keep 4 --threads 1"
SEARCH_SEEDS = range(5)
FIRST_SEED = {"scrape": 3_000_000, "medium": 3_001_000, "expert": 3_002_000}
"""First episode of protocol P of each tier; neither trained, tuned nor tested on."""


@dataclass(frozen=True)
class TiersConfig:
    """Make the benchmark's offline tiers."""

    folder: Path = Path("runs/tiers")
    """Folder of the trainings and searches."""
    only: tuple[str, ...] = ()
    """Tiers to make; default: all."""
    check: tyro.conf.FlagCreatePairsOff[bool] = False
    """Compare with the files in the repository, and write nothing there."""

    def __post_init__(self) -> None:
        made = [name for name, tier in TIERS.items() if tier.file]
        for name in self.only:
            if name not in made:
                raise CommandError(f"--only {name}: choose from {', '.join(made)}")


def trained(folder: Path, name: str, flags: str) -> Path:
    """Train a policy unless it is there."""
    out = folder / f"{name}.safetensors"
    run_once(["qwop-finetune", "--out", str(out), *flags.split()], out)
    return out


def searched(folder: Path) -> list[NDArray[np.uint8]]:
    """Search from the expert with several seeds."""
    runs: list[NDArray[np.uint8]] = []
    for seed in SEARCH_SEEDS:
        out = folder / f"search-{seed}.h5"
        if not out.with_suffix(".done").exists():
            out.unlink(missing_ok=True)
        command = ["qwop-search", str(EXPERT), "--out", str(out), "--seed", str(seed), *SEARCH.split()]
        search_once(command, out)
        with DatasetReader(out) as found:
            runs += [np.array(episode.keys) for episode in found]
    return runs


def search_once(command: Sequence[str], out: Path) -> None:
    """Run a search unless it is done."""
    from qwop_search.cli import main as qwop_search

    done = out.with_suffix(".done")
    if done.exists():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    if code := qwop_search(list(command[1:])):
        raise SystemExit(code)
    done.write_text(" ".join(command) + "\n", encoding="utf-8")


def played(policy: Path, first: int) -> list[NDArray[np.uint8]]:
    """Play RUNS episodes of protocol P with sampled actions."""
    episodes = play(CheckpointPlayer(policy), range(first, first + RUNS), sample=True)
    return [np.array(episode.keys) for episode in episodes]


def make(name: str, folder: Path) -> list[NDArray[np.uint8]]:
    """Make the runs of a tier."""
    if name == "search":
        return searched(folder)
    policy = {
        "scrape": lambda: trained(folder, "scrape", SCRAPER),
        "medium": lambda: trained(folder, "medium", MEDIUM),
        "expert": lambda: EXPERT,
    }[name]()
    return played(policy, FIRST_SEED[name])


def make_tiers(config: TiersConfig) -> int:
    different = []
    for name, tier in TIERS.items():
        if not tier.file or (config.only and name not in config.only):
            continue
        runs = make(name, config.folder)
        sha256 = content_sha256(runs)
        if config.check:
            different += [name] if sha256 != tier.sha256 else []
            print(f"{name}: {sha256} {'differs' if sha256 != tier.sha256 else 'equal'}")
            continue
        keys, lengths = packed(runs)
        out = data_file(tier.file)
        out.write_bytes(save({"keys": keys, "lengths": lengths}))
        print(f"{name}: {len(runs)} runs, {lengths.sum()} frames, {out.stat().st_size} bytes, {sha256}")
    return 1 if different else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    return run_command(
        PROGRAM,
        lambda: make_tiers(parse_config(PROGRAM, TiersConfig, arguments, description=__doc__)),
        CheckpointError,
    )


if __name__ == "__main__":
    raise SystemExit(main())
