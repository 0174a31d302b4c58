"""`qwop-eval [CHECKPOINT]`: judge a policy under protocol P (docs/guides/evaluation.md)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path

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
from qwop_datasets import DatasetError, DatasetWriter, Episode
from qwop_evaluation.evaluation import Evaluation, append_verified, evaluate
from qwop_evaluation.lookahead import Lookahead
from qwop_evaluation.player import CheckpointPlayer, shipped_policy_path
from qwop_evaluation.protocol import MAX_SECONDS
from qwop_game import DEFAULT_TRIG, FRAME_SECONDS
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
    add_trig_argument(parser, native=True)
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
            raise CommandError("--sample: a Q-network has no distribution to draw from; omit it")
        if options.candidates is not None and not options.lookahead:
            raise CommandError("--candidates goes with --lookahead")
        if options.lookahead and not player.samples:
            raise CommandError("--lookahead: a Q-network has no distribution to draw from; omit it")
        candidates = plan.candidates if options.candidates is None else options.candidates
        lookahead = Lookahead(candidates) if options.lookahead else None
        if save is not None:
            save.parent.mkdir(parents=True, exist_ok=True)
        writer = DatasetWriter(save) if save is not None else None
        game = None
        if options.game == "real":
            game = RealGame(not options.watch, options.browser, options.driver, trig=options.trig)
        due = time.perf_counter()
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
                    now = time.perf_counter()
                    due = max(due + FRAME_SECONDS, now)
                    time.sleep(due - now)

            try:
                evaluate(
                    player,
                    episodes=options.episodes,
                    seed=options.seed,
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
            append_verified(writer, kept, player)
        if stopped is not None:
            if isinstance(stopped, KeyboardInterrupt) and writer is not None:
                stopped.args = (f"{save} has the {len(kept)} episodes that were over",)
            raise stopped
        evaluation = Evaluation(player, tuple(episodes))
        print(json_text(evaluation.as_json()) if options.json else evaluation)

    return run_command(PROGRAM, command, CheckpointError, DatasetError, RealGameError, ValueError)


if __name__ == "__main__":
    raise SystemExit(main())
