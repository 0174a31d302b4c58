"""`qwop-search [POLICY] --out records.h5`: look for the fastest run, from what a policy does."""

from __future__ import annotations

import math
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from tqdm import tqdm

from qwop_cli import CommandError, ProgressTimer, check_outputs, log_progress, parse_config, run_command
from qwop_cli.cluster import ClusterOptions
from qwop_datasets import (
    DatasetError,
    DatasetReader,
    DatasetWriter,
    Episode,
    name_problem,
    segment_lengths,
    verify_episodes,
)
from qwop_evaluation import CheckpointPlayer, shipped_policy_path
from qwop_game import canonical_keys
from qwop_game.gait import gait_metrics
from qwop_game.rules import FINISH
from qwop_rl_core import CheckpointError
from qwop_search.beam import Found, SearchProgress
from qwop_search.loop import Best, SearchConfig, episode, search

PROGRAM = "qwop-search"


@dataclass(frozen=True)
class SearchCommand:
    """Search for the fastest run: a beam of runs, continued by actions that a policy proposes.

    The same seed and budget of frames give the same run again.
    """

    out: Path
    """Dataset (.h5) to append the runs to, verified."""
    policy: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="POLICY")] = None
    """Policy checkpoint; without it, the shipped policy."""
    minutes: float | None = None
    """Stop after this time."""
    keep: int = 1
    """Number of runs to store, the fastest ones."""
    known: Annotated[Path | None, tyro.conf.arg(name="continue")] = None
    """Go on from the fastest run that this dataset holds for --trig, without passes from the start."""
    threads: int = os.cpu_count() or 1
    """Threads that play; the result does not depend on it. Default: one per core."""
    player: str = ""
    """Name to store with the runs; without it, the policy's."""
    search: tyro.conf.OmitArgPrefixes[SearchConfig] = field(default_factory=SearchConfig)
    cluster: tyro.conf.OmitArgPrefixes[ClusterOptions] = field(default_factory=ClusterOptions)

    def __post_init__(self) -> None:
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise CommandError(f"--minutes {self.minutes:g}: expected more than 0")
        for name in ("keep", "threads"):
            if getattr(self, name) < 1:
                raise CommandError(f"--{name} {getattr(self, name)}: expected 1 or more")
        if self.known is not None and self.search.meters != FINISH:
            raise CommandError(f"--continue needs whole runs: omit --meters {self.search.meters:g}")
        if problem := name_problem(self.player):
            raise CommandError(f"--player: {problem}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code: 0, or 2 after one line about what is wrong."""
    command_line = shlex.join([PROGRAM, *(sys.argv[1:] if arguments is None else arguments)])
    return run_command(
        PROGRAM,
        lambda: _command(parse_config(PROGRAM, SearchCommand, arguments), command_line),
        CheckpointError,
        DatasetError,
        ValueError,
    )


def _command(options: SearchCommand, command_line: str) -> None:
    config, out = options.search, options.out
    if options.known is not None:
        config = replace(config, passes=0)
    check_outputs({"--out": out}, {"--tasks": options.cluster.tasks}, {"POLICY": options.policy})
    best = Best(
        runs=[] if options.known is None else [_fastest(options.known, config.trig, config.beam.hold)]
    )
    player = CheckpointPlayer(options.policy or shipped_policy_path())
    if not player.samples:
        raise CommandError(f"{options.policy}: a Q-network has no distribution to draw from")
    is_new = not out.exists()
    out.parent.mkdir(parents=True, exist_ok=True)
    writer = DatasetWriter(out)  # fails now, not after the search, where the file can't be written
    torch.set_num_threads(1)  # the search uses its own threads
    started = time.monotonic()
    interrupted = _search(player, config, best, options, started)
    provenance = {
        "command": command_line,
        "seed": config.seed,
        "policy": player.name,
        "policy_sha256": player.sha256,
        "frames_played": best.frames,
        "passes": best.passes,
        "wall_seconds": round(time.monotonic() - started, 1),
    }
    if not best.runs:
        if is_new:
            out.unlink()
        if interrupted is not None:
            raise interrupted
        raise CommandError(
            f"no run arrived at {config.meters:g} m within {best.frames} frames: "
            "give it more --frames, or another policy"
        )
    name = options.player or player.name
    episodes = [
        episode(run, player, name, provenance, run is best.policys_run, config.trig) for run in best.runs
    ]
    _save(writer, episodes)
    print(_report(best, episodes, out))
    if interrupted is not None:
        interrupted.args = (f"{out} has the fastest so far",)
        raise interrupted


def _search(
    player: CheckpointPlayer, config: SearchConfig, best: Best, options: SearchCommand, started: float
) -> KeyboardInterrupt | None:
    """Search with a progress bar, or lines of progress without a terminal. Returns what interrupted it."""
    timer = ProgressTimer()
    with tqdm(total=config.frames, unit="frame", unit_scale=True, disable=None, leave=False) as bar:

        def show(progress: SearchProgress) -> bool:
            bar.update(min(best.frames, config.frames) - bar.n)
            fastest = f"{best.runs[0].seconds:.2f} s" if best.runs else "none yet"
            now = f": {progress.distances[0]:.1f} m after {progress.frame} frames" if progress.frame else ""
            line = f"pass {best.passes}{now}; best {fastest}"
            bar.set_description(line)
            if bar.disable and timer.due():
                log_progress(f"{best.frames / 1e6:.1f} of {config.frames / 1e6:.1f} million frames, {line}")
            return options.minutes is not None and time.monotonic() - started > 60 * options.minutes

        try:
            job = {"policy_sha256": player.sha256}
            search(player, config, best, options.threads, options.keep, show, options.cluster, job)
        except KeyboardInterrupt as interrupt:
            return interrupt
    return None


def _fastest(path: Path, trig: str, hold: int) -> Found:
    """Find the fastest finished run of a variant in a dataset, with keys held for `hold` frames at least.

    Raises CommandError if there is none.
    """
    with DatasetReader(path, f"success trig={trig}") as runs:
        held = [
            run for run in runs if segment_lengths(canonical_keys(run.keys))[:-1].min(initial=hold) >= hold
        ]
    if not held:
        keys = f" whose keys are held for {hold} frames" if hold > 1 else ""
        raise CommandError(f"{path}: has no finished run of the variant {trig}{keys}")
    fastest = min(held, key=lambda run: run.time)
    return Found(fastest.keys, fastest.time)


def _save(writer: DatasetWriter, episodes: Sequence[Episode]) -> None:
    verified = [
        episode.replace(verified=verification.text)
        for episode, verification in zip(episodes, verify_episodes(episodes), strict=True)
    ]
    writer.append_all(verified)


def _report(best: Best, episodes: Sequence[Episode], out: Path) -> str:
    fastest = episodes[0]
    gait = gait_metrics(fastest.raw_observations)
    policys = f"{best.policys_run.seconds:.2f} s" if best.policys_run else "it does not finish"
    return (
        f"{fastest.time:.2f} s for {fastest.distance:.1f} m, "
        f"upright {gait.upright:.1%}, knee near {gait.knee_near:.1%}, "
        f"{gait.strides} strides; the policy's own run: {policys}\n"
        f"{best.frames / 1e6:.1f} million frames in {best.passes} passes; "
        f"{len(episodes)} verified run{'s' if len(episodes) > 1 else ''} in {out}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
