"""`qwop-replay FILE`: show a recorded episode in a window, as a video or as a page."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Sequence

from qwop_cli import CommandError, CommandParser, run_command
from qwop_datasets import DatasetError
from qwop_game.real import RealGame, RealGameError
from qwop_game.render import SIZE
from qwop_game.window import DisplayError
from qwop_replay.runs import Run
from qwop_replay.show import check_places, describe, load_runs, replay
from qwop_replay.video import VideoError

PROGRAM = "qwop-replay"
_DEFAULT_SIZE = f"{SIZE[0]}x{SIZE[1]}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = CommandParser(prog=PROGRAM, description="Show recorded episodes.")
    parser.add_argument("file", metavar="FILE", help="a dataset")
    parser.add_argument(
        "--episode", type=int, default=0, metavar="N", help="its number (default: 0; -1: the last)"
    )
    parser.add_argument(
        "--ghost",
        action="append",
        default=[],
        metavar="FILE[:N]",
        help="race against an episode of another dataset, or of this one with :N; may be repeated",
    )
    parser.add_argument("--video", metavar="OUT", help="write OUT.mp4 or OUT.gif instead of opening a window")
    parser.add_argument("--html", metavar="OUT", help="write one self-contained page instead")
    parser.add_argument("--speed", type=float, default=1.0, metavar="X", help="times real time (default: 1)")
    parser.add_argument(
        "--size", default=_DEFAULT_SIZE, metavar="WxH", help="of a video (default: %(default)s)"
    )
    parser.add_argument(
        "--game",
        choices=("embedded", "real"),
        default="embedded",
        help="real: press the episode's keys in the real game and compare every frame (see qwop-game doctor)",
    )
    parser.add_argument(
        "--native",
        action="store_true",
        help="the real game with the browser's own sine and cosine, not exact ones of the episode's variant; "
        "where the two variants differ, frames may differ",
    )
    parser.add_argument("--browser", metavar="PATH", help="for --game real, where it is not found")
    parser.add_argument("--driver", metavar="PATH", help="for --game real, where it is not found")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    options = parser.parse_args(arguments)

    def command() -> None:
        if not (math.isfinite(options.speed) and 0.05 <= options.speed <= 100):
            raise CommandError(f"--speed {options.speed}: 0.05 to 100 are possible")
        if options.native and options.game != "real":
            raise CommandError("--native goes with --game real")
        size = _size(options.size)
        if options.game == "real":
            check_places(options.file, options.ghost, options.video, options.html, options.force)
            runs = load_runs(options.file, options.episode, options.ghost)
            _report(runs)
            _replay_in_real_game(runs, options)
            return
        replay(
            options.file,
            options.episode,
            ghosts=options.ghost,
            video=options.video,
            html=options.html,
            speed=options.speed,
            size=size,
            force=options.force,
            on_load=_report,
        )

    return run_command(PROGRAM, command, DatasetError, DisplayError, VideoError, RealGameError, ValueError)


def _report(runs: Sequence[Run]) -> None:
    """Print a line for each run, and a warning for one that does not replay."""
    for run in runs:
        print(describe(run))
        if not run.verification.exact:
            print(f"{PROGRAM}: {run.name}: {run.verification.text}", file=sys.stderr)


def _replay_in_real_game(runs: Sequence[Run], options: argparse.Namespace) -> None:
    """Live in the game's window, or as a video. Raises CommandError where a frame differs."""
    from qwop_replay.real_game import play_live, write_real_video

    if len(runs) > 1 or options.html or options.size != _DEFAULT_SIZE:
        raise CommandError(
            "--game real shows one run in the game's own picture: no --ghost, --html or --size"
        )
    run = runs[0]
    game = RealGame(
        headless=bool(options.video),
        browser=options.browser,
        driver=options.driver,
        stop_at_end=run.episode.game == "embedded",
        trig=None if options.native else run.episode.trig,
    )
    try:
        trig = game.trig
        if trig != run.episode.trig:
            print(
                f"{PROGRAM}: {run.name} was recorded with {run.episode.trig}, and this browser's own sine "
                f"and cosine are {trig}: frames may differ; omit --native to play it with {run.episode.trig}",
                file=sys.stderr,
            )
        if options.video:
            verification = write_real_video(options.video, run, game, options.speed, options.force)
        else:
            verification = play_live(run, game, options.speed)
    finally:
        game.close()
    how = f"{trig}, {game.trig_source}"
    if not verification.exact:
        raise CommandError(f"{run.name}: in the real game ({how}) it {verification.text}")
    print(f"{run.name}: {run.last_frame} frames in the real game ({how}), each equal to the recorded one")


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    if match is None or int(match[1]) % 2 or int(match[2]) % 2:
        raise CommandError(f"--size {text}: write WIDTHxHEIGHT in even pixels, such as 960x540")
    return int(match[1]), int(match[2])


if __name__ == "__main__":
    raise SystemExit(main())
