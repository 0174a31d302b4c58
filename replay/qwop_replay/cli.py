"""`qwop-replay FILE`: show a recorded episode in a window, as a video or as a page."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from qwop_cli import CommandError, CommandParser, check_outputs, printable, run_command
from qwop_datasets import DatasetError, DatasetReader, replace_file
from qwop_game.gait import gait_metrics
from qwop_game.real import RealGame, RealGameError
from qwop_game.render import SIZE, Renderer, pygame
from qwop_game.window import DisplayError
from qwop_replay.html import page
from qwop_replay.playback import play_in_window
from qwop_replay.race import Race
from qwop_replay.runs import Run
from qwop_replay.video import FPS, VideoError, VideoWriter, check_target

PROGRAM = "qwop-replay"
_DEFAULT_SIZE = f"{SIZE[0]}x{SIZE[1]}"
END_SECONDS = 1.0
"""How long a video stays on its last frame."""


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
        read = {"FILE": Path(options.file)} | {
            f"--ghost {ghost}": Path(path) for ghost in options.ghost if (path := _split(ghost)[0])
        }
        written = {"--video": options.video, "--html": options.html}
        check_outputs({flag: Path(o) if o else None for flag, o in written.items()}, inputs=read)
        for target in (options.video, options.html):
            if target:
                check_target(target, options.force)
        runs = load_runs(options.file, options.episode, options.ghost)
        for run in runs:
            print(describe(run))
            if not run.verification.exact:
                print(f"{PROGRAM}: {run.name}: {run.verification.text}", file=sys.stderr)
        if options.game == "real":
            _replay_in_real_game(runs, options)
            return
        title = " and ".join(run.name for run in runs)
        if options.html:
            _write_page(Path(options.html), runs, title)
        if options.video:
            write_video(options.video, runs, options.speed, size, options.force)
        if not (options.html or options.video):
            play_in_window(runs, title, options.speed)

    return run_command(PROGRAM, command, DatasetError, DisplayError, VideoError, RealGameError, ValueError)


def load_runs(file: str, episode: int, ghosts: Sequence[str]) -> list[Run]:
    """The episode to show and its ghosts, each named after its file and number.

    ghosts: "FILE", "FILE:N" or ":N" (of `file`) each.

    Raises DatasetError for a file that can't be read, CommandError for an episode that is not in it.
    """
    wanted = [(file, episode)]
    for ghost in ghosts:
        path, number = _split(ghost)
        wanted.append((path or file, number))
    return [_load(path, number) for path, number in wanted]


def _split(ghost: str) -> tuple[str, int]:
    """ "FILE", "FILE:N" or ":N" -> path and number."""
    match = re.fullmatch(r"(.*?)(?::(-?\d+))?", ghost, re.DOTALL)
    assert match is not None  # both parts are optional
    return match[1], int(match[2] or 0)


def describe(run: Run) -> str:
    """A run in one line."""
    episode, gait = run.episode, gait_metrics(run.episode.raw_observations)
    splits = "".join(f", {at} m {time:.2f}" for at, time in run.splits.items() if not math.isnan(time))
    check = "replays bit for bit" if run.verification.exact else "DOES NOT REPLAY"
    return (
        f"{run.name}: {run.ending} at {episode.distance:.1f} m after {episode.time:.2f} s{splits}; "
        f"knee near {100 * gait.knee_near:.1f} %, upright {100 * gait.upright:.1f} %, "
        f"{gait.strides} strides; "
        f"{episode.source}{f' {printable(episode.player)}' if episode.player else ''}; {check}"
    )


def write_video(
    path: str | os.PathLike[str],
    runs: Sequence[Run],
    speed: float = 1.0,
    size: tuple[int, int] = SIZE,
    force: bool = False,
) -> int:
    """Write the race of `runs` as .mp4 or .gif and return its number of pictures.

    It is finished whatever happens: Ctrl-C leaves a video of what was drawn until then.

    Raises VideoError, see `VideoWriter`.
    """
    with VideoWriter(path, size, force) as video:
        renderer = Renderer(*size)
        race = Race(runs, renderer)
        surface = pygame.Surface(size)
        frames = list(_film(race.last_frame, speed))
        shown = -1
        picture = None
        for frame in tqdm(frames, desc=Path(path).name, unit="frame", disable=None, leave=False):
            if picture is None or frame != shown:
                race.draw(surface, frame)
                # [width, height, 3] to [height, width, 3]
                picture = pygame.surfarray.array3d(surface).swapaxes(0, 1)
                shown = frame
            video.write(picture)
    return len(frames)


def _film(last_frame: int, speed: float) -> Iterator[int]:
    """Frames of a video: every one at speed 1, each twice at 0.5; the last one for a second more."""
    pictures = math.floor(last_frame / speed) + 1
    for picture in range(pictures):
        yield min(round(picture * speed), last_frame)
    for _ in range(round(END_SECONDS * FPS)):
        yield last_frame


def _load(path: str, number: int) -> Run:
    reader = DatasetReader(path)
    count = len(reader)
    if not count:
        raise CommandError(f"{path}: no episodes: record or merge some first")
    if not -count <= number < count:
        raise CommandError(f"{path}: no episode {number}: it holds {count}, numbered from 0")
    with reader:
        number %= count
        return Run(f"{Path(path).stem} {number}", reader[number])


def _write_page(path: Path, runs: Sequence[Run], title: str) -> None:
    text = page(runs, title, "; ".join(describe(run) for run in runs))
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        replace_file(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise CommandError(f"{path}: {error.strerror or error}") from None
    except DatasetError as error:
        part.unlink(missing_ok=True)
        raise CommandError(str(error)) from None


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
