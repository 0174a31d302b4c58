"""`qwop-search [POLICY] --out records.h5`: look for the fastest run, from what a policy does."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from qwop_cli import CommandError, CommandParser, Pace, add_trig_argument, check_outputs, log, run_command
from qwop_datasets import DatasetError, DatasetReader, DatasetWriter, Episode, name_problem, verify_episodes
from qwop_evaluation import CheckpointPlayer, Player, shipped_policy_path
from qwop_game.gait import gait_metrics
from qwop_game.rules import FINISH
from qwop_rl_core import CheckpointError
from qwop_search.beam import BeamConfig, Found, Progress
from qwop_search.loop import Best, SearchConfig, episode, search

PROGRAM = "qwop-search"
FRAMES = 50_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    parser = CommandParser(
        prog=PROGRAM,
        description="Search keys for the fastest run, by a beam of runs that a policy proposes. "
        "A seed and a budget of frames give the same run again.",
    )
    beam = BeamConfig()
    parser.add_argument("policy", nargs="?", metavar="POLICY", help="a checkpoint; default: the shipped one")
    parser.add_argument("--out", required=True, metavar="FILE.h5", help="append what is found, verified")
    parser.add_argument(
        "--frames", type=_count, default=FRAMES, metavar="N", help="frames to play (default: 5e7)"
    )
    parser.add_argument("--minutes", type=float, metavar="M", help="stop after M minutes at the latest")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: %(default)s")
    parser.add_argument("--keep", type=int, default=1, metavar="N", help="store the N fastest (default: 1)")
    parser.add_argument(
        "--passes",
        type=int,
        default=SearchConfig(1).passes,
        metavar="N",
        help="passes from the start; later ones begin along the best run (default: %(default)s)",
    )
    parser.add_argument(
        "--continue",
        dest="known",
        metavar="FILE.h5",
        help="go on from the fastest run that this dataset holds for --trig, without passes from the start",
    )
    parser.add_argument("--width", type=int, default=beam.width, help="runs kept (default: %(default)s)")
    parser.add_argument(
        "--children", type=int, default=beam.children, help="continuations of each (default: %(default)s)"
    )
    parser.add_argument(
        "--segment", type=int, default=beam.segment, help="frames between choices (default: %(default)s)"
    )
    parser.add_argument(
        "--lookahead",
        type=int,
        default=beam.lookahead,
        help="frames played on before a continuation is judged (default: %(default)s)",
    )
    parser.add_argument(
        "--per-parent",
        type=int,
        default=beam.per_parent,
        help="continuations of one run that may go on (default: %(default)s)",
    )
    parser.add_argument(
        "--temperature", type=float, default=beam.temperature, help="of proposals (default: %(default)s)"
    )
    parser.add_argument(
        "--value-weight",
        type=float,
        default=beam.value_weight,
        help="meters that a unit of the critic's value is worth (default: %(default)s)",
    )
    parser.add_argument(
        "--meters", type=float, default=FINISH, help="length of the run (default: %(default)g)"
    )
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="default: one a core; the result is the same"
    )
    add_trig_argument(parser)
    parser.add_argument("--player", default="", metavar="NAME", help="stored with the runs (default: policy)")
    options = parser.parse_args(arguments)
    command_line = shlex.join([PROGRAM, *(sys.argv[1:] if arguments is None else arguments)])

    def command() -> int:
        if options.minutes is not None and not 0 < options.minutes < math.inf:
            raise CommandError(f"--minutes {options.minutes:g}: it must be above 0")
        for name in ("keep", "threads"):
            if getattr(options, name) < 1:
                raise CommandError(f"--{name} {getattr(options, name)}: at least 1 is needed")
        config = SearchConfig(
            frames=options.frames,
            seed=options.seed,
            passes=options.passes if options.known is None else 0,
            meters=options.meters,
            trig=options.trig,
            beam=BeamConfig(
                width=options.width,
                children=options.children,
                segment=options.segment,
                lookahead=options.lookahead,
                per_parent=options.per_parent,
                temperature=options.temperature,
                value_weight=options.value_weight,
            ),
        )
        out = Path(options.out)
        check_outputs({"--out": out}, inputs={"POLICY": Path(options.policy) if options.policy else None})
        if options.known is not None and options.meters != FINISH:
            raise CommandError(f"--continue goes with whole runs: omit --meters {options.meters:g}")
        best = Best(runs=[] if options.known is None else [_fastest(options.known, options.trig)])
        player = CheckpointPlayer(options.policy or shipped_policy_path())
        if not player.samples:
            raise CommandError(f"{options.policy}: a Q-network has no distribution to draw from")
        if problem := name_problem(options.player):
            raise CommandError(f"--player: {problem}")
        is_new = not out.exists()
        out.parent.mkdir(parents=True, exist_ok=True)
        writer = DatasetWriter(out)  # a file that can't be written is better known before than after
        torch.set_num_threads(1)  # the search has threads of its own
        started = time.monotonic()
        interrupted = _search(player, config, best, options, started)
        provenance = {
            "command": command_line,
            "seed": options.seed,
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
                f"no run arrived at {options.meters:g} m within {best.frames} frames: "
                "give it more --frames, or another policy"
            )
        episodes = [
            episode(
                run, player, options.player or player.name, provenance, run is best.policys_run, config.trig
            )
            for run in best.runs
        ]
        _save(writer, episodes)
        print(_report(best, episodes, options.out))
        if interrupted is not None:
            interrupted.args = (f"{out} holds the fastest so far",)
            raise interrupted
        return 0

    return run_command(PROGRAM, command, CheckpointError, DatasetError, ValueError)


def _search(
    player: Player, config: SearchConfig, best: Best, options: argparse.Namespace, started: float
) -> KeyboardInterrupt | None:
    """Search with a progress bar, or a line now and then where there is no terminal. What interrupted it."""
    pace = Pace()
    with tqdm(total=config.frames, unit="frame", unit_scale=True, disable=None, leave=False) as bar:

        def show(progress: Progress) -> bool:
            bar.update(min(best.frames, config.frames) - bar.n)
            fastest = f"{best.runs[0].seconds:.2f} s" if best.runs else "none yet"
            now = f"{progress.distances[0]:.1f} m after {progress.frame} frames"
            line = f"pass {best.passes}: {now}; best {fastest}"
            bar.set_description(line)
            if bar.disable and pace.due():
                log(f"{best.frames / 1e6:.1f} of {config.frames / 1e6:.1f} million frames, {line}")
            return options.minutes is not None and time.monotonic() - started > 60 * options.minutes

        try:
            search(player, config, best, options.threads, options.keep, show)
        except KeyboardInterrupt as interrupt:
            return interrupt
    return None


def _fastest(path: str, trig: str) -> Found:
    """The fastest finished run of the variant in a dataset. Raises CommandError where there is none."""
    with DatasetReader(path, f"success trig={trig}") as runs:
        if not len(runs):
            raise CommandError(f"{path}: holds no finished run of the variant {trig}")
        fastest = min(runs, key=lambda run: run.time)
    return Found(fastest.keys, fastest.time)


def _save(writer: DatasetWriter, episodes: Sequence[Episode]) -> None:
    verified = [
        episode.replace(verified=verification.text)
        for episode, verification in zip(episodes, verify_episodes(episodes), strict=True)
    ]
    writer.append_all(verified)


def _report(best: Best, episodes: Sequence[Episode], out: str) -> str:
    fastest = episodes[0]
    gait = gait_metrics(fastest.raw_observations)
    policys = f"{best.policys_run.seconds:.2f} s" if best.policys_run else "it does not arrive"
    return (
        f"{fastest.time:.2f} s for {fastest.distance:.1f} m, "
        f"upright {gait.upright:.1%}, knee near {gait.knee_near:.1%}, "
        f"{gait.strides} strides; the policy's own run: {policys}\n"
        f"{best.frames / 1e6:.1f} million frames in {best.passes} passes; "
        f"{len(episodes)} verified run{'s' if len(episodes) > 1 else ''} in {out}"
    )


def _count(text: str) -> int:
    """A whole number, also as 5e7."""
    value = float(text)
    if not math.isfinite(value) or value != int(value):
        raise ValueError(text)
    return int(value)


if __name__ == "__main__":
    raise SystemExit(main())
