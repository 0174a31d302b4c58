"""`qwop-eval [CHECKPOINT]`: judge a policy under protocol P (docs/guides/evaluation.md)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from tqdm import tqdm

from qwop_cli import (
    CommandError,
    CommandParser,
    Pace,
    add_trig_argument,
    check_outputs,
    json_text,
    log,
    run_command,
)
from qwop_datasets import DatasetError, DatasetWriter, Episode, verify_episodes
from qwop_evaluation.lookahead import Lookahead
from qwop_evaluation.player import CheckpointPlayer, shipped_policy_path
from qwop_evaluation.protocol import MAX_SECONDS, play
from qwop_evaluation.summary import summarize, summary_json
from qwop_evaluation.table import figure, results_table
from qwop_game import DEFAULT_TRIG, FRAME_SECONDS, TRIG_VARIANTS
from qwop_game.gait import GaitMetrics
from qwop_game.real import RealGame, RealGameError
from qwop_rl_core import CheckpointError

PROGRAM = "qwop-eval"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = CommandParser(prog=PROGRAM, description="Judge a policy under protocol P.")
    parser.add_argument("checkpoint", nargs="?", metavar="CHECKPOINT", help="default: the shipped policy")
    parser.add_argument("--episodes", type=int, default=100, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seeds are S to S+N-1 (default: 0)")
    plan = Lookahead()
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--sample", action="store_true", help="draw actions from the policy")
    mode.add_argument("--argmax", action="store_true", help="take the most likely action (the default)")
    mode.add_argument(
        "--lookahead",
        action="store_true",
        help=f"try continuations of the next {plan.segment} frames in the embedded game, and follow the best",
    )
    parser.add_argument(
        "--candidates",
        type=int,
        metavar="N",
        help=f"continuations that --lookahead tries (default: {plan.candidates})",
    )
    parser.add_argument(
        "--unperturbed",
        action="store_true",
        help="no idle frames, no repeats: the game as it is, not protocol P",
    )
    parser.add_argument(
        "--max-seconds", type=float, default=MAX_SECONDS, help="cut an episode short (default: %(default)g)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--save", metavar="FILE.h5", help="append the episodes, verified, to a dataset")
    parser.add_argument("--only-finished", action="store_true", help="--save keeps finished runs only")
    parser.add_argument(
        "--game",
        choices=("embedded", "real"),
        default="embedded",
        help="real: play in the real game, in Chrome, Chromium or Firefox (see qwop-game doctor)",
    )
    add_trig_argument(parser, TRIG_VARIANTS, DEFAULT_TRIG, native=True)
    parser.add_argument("--watch", action="store_true", help="show the real game in its window")
    parser.add_argument("--browser", metavar="PATH", help="for --game real, where it is not found")
    parser.add_argument("--driver", metavar="PATH", help="for --game real, where it is not found")
    options = parser.parse_args(arguments)

    def command() -> None:
        if options.episodes < 1:
            raise CommandError(f"--episodes {options.episodes}: at least 1 is needed")
        if options.only_finished and not options.save:
            raise CommandError("--only-finished goes with --save FILE.h5")
        if options.watch and options.game != "real":
            raise CommandError("--watch goes with --game real")
        if options.trig is None and options.game != "real":
            raise CommandError("--native goes with --game real")
        save = Path(options.save) if options.save else None
        read = Path(options.checkpoint) if options.checkpoint else None
        check_outputs({"--save": save}, inputs={"CHECKPOINT": read})
        player = CheckpointPlayer(options.checkpoint or shipped_policy_path())
        if options.sample and not player.samples:
            raise CommandError("--sample: a Q-network has no distribution to draw from; leave the flag away")
        if options.candidates is not None and not options.lookahead:
            raise CommandError("--candidates goes with --lookahead")
        if options.lookahead and not player.samples:
            raise CommandError("--lookahead: a Q-network has no distribution to draw from; leave it away")
        candidates = plan.candidates if options.candidates is None else options.candidates
        lookahead = Lookahead(candidates) if options.lookahead else None
        if save is not None:
            save.parent.mkdir(parents=True, exist_ok=True)
        writer = DatasetWriter(save) if save is not None else None
        seeds = range(options.seed, options.seed + options.episodes)
        game = None
        if options.game == "real":
            game = RealGame(not options.watch, options.browser, options.driver, trig=options.trig)
        due = time.monotonic()
        pace = Pace()
        episodes: list[Episode] = []
        stopped: BaseException | None = None
        with (
            closing(game) if game is not None else nullcontext(),
            tqdm(total=options.episodes, desc="episodes over", disable=None, leave=False) as bar,
        ):

            def show(_frame: int, over: int) -> None:
                nonlocal due
                bar.update(over - bar.n)
                if bar.disable and pace.due():
                    log(f"{over} of {options.episodes} episodes over")
                if options.watch:
                    now = time.monotonic()
                    due = max(due + FRAME_SECONDS, now)
                    time.sleep(due - now)

            try:
                play(
                    player,
                    seeds,
                    sample=options.sample,
                    perturbed=not options.unperturbed,
                    max_seconds=options.max_seconds,
                    on_frame=show,
                    game=game,
                    lookahead=lookahead,
                    trig=options.trig or DEFAULT_TRIG,
                    into=episodes,
                )
            except (KeyboardInterrupt, RealGameError) as error:
                stopped = error
        kept = [e for e in episodes if e.success or not options.only_finished]
        if writer is not None:
            _save(writer, kept, player.sha256)
        if stopped is not None:
            if isinstance(stopped, KeyboardInterrupt) and writer is not None:
                stopped.args = (f"{save} has the {len(kept)} episodes that were over",)
            raise stopped
        if options.json:
            print(json_text(report(player, episodes, options.seed)))
        else:
            print(report_text(player, episodes, options.seed))

    return run_command(PROGRAM, command, CheckpointError, DatasetError, RealGameError, ValueError)


def report(player: CheckpointPlayer, episodes: Sequence[Episode], seed: int) -> dict[str, Any]:
    """What `--json` prints: the summary's figures, how they were made, and every episode with its seed."""
    summary = summarize(episodes)
    return summary_json(summary) | {
        "seed": seed,
        "seeds": [int(episode.passport["seed"]) for episode in episodes],
        "protocol": episodes[0].passport["protocol"],
        "actions": _how(episodes[0]),
        "policy": player.name,
        "policy_sha256": player.sha256,
        "frame_skip": player.frame_skip,
        "action_set": player.action_set,
        "runs": [_run(episode, gait) for episode, gait in zip(episodes, summary.gaits, strict=True)],
    }


def report_text(player: CheckpointPlayer, episodes: Sequence[Episode], seed: int) -> str:
    """The figures as text: a table, the gait, how they were made."""
    summary = summarize(episodes)
    gait = summary.gait
    passport = episodes[0].passport
    protocol = "protocol P" if passport["protocol"] == "P" else "unperturbed"
    cut = sum(episode.truncated for episode in episodes)
    return "\n".join(
        [
            results_table({player.name: summary}),
            "",
            f"gait: pelvis at {figure(gait.pelvis_height, 2)} m, {figure(gait.cadence, 0)} steps a minute, "
            f"flight {figure(100 * gait.flight, 0)} %, symmetry {figure(gait.symmetry, 2)}, "
            f"torso {figure(gait.torso_pitch, 0)} +- {figure(gait.torso_pitch_std, 0)} degrees forward, "
            f"{figure(gait.key_switches, 1)} key switches a second",
            f"{protocol}, {_how(episodes[0])} actions, seeds {seed} to {seed + len(episodes) - 1}, "
            f"frame skip {player.frame_skip}" + (f"; {cut} cut short" if cut else ""),
        ]
    )


def _how(episode: Episode) -> str:
    if candidates := episode.passport.get("lookahead_candidates"):
        return f"lookahead {candidates}"
    return "sampled" if episode.passport["sampled"] else "argmax"


def _run(episode: Episode, gait: GaitMetrics) -> dict[str, Any]:
    return {
        "seed": episode.passport["seed"],
        "idle_frames": episode.passport["idle_frames"],
        "finished": episode.success,
        "truncated": episode.truncated,
        "time_s": episode.time,
        "distance_m": episode.distance,
        "knee_near": gait.knee_near,
        "upright": gait.upright,
        "strides": gait.strides,
        "symmetry": gait.symmetry,
    }


def _save(writer: DatasetWriter, episodes: Sequence[Episode], sha256: str) -> None:
    writer.append_all(
        [
            episode.replace(
                passport={**episode.passport, "policy_sha256": sha256}, verified=verification.text
            )
            for episode, verification in zip(episodes, verify_episodes(episodes), strict=True)
        ]
    )


if __name__ == "__main__":
    raise SystemExit(main())
