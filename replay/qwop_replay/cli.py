"""`qwop-replay FILE`: show a recorded episode in a window, as a video or as a page."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from qwop_cli import CommandError, check_outputs, escape_unprintable, parse_config, run_command
from qwop_datasets import DatasetError, DatasetReader, replace_file
from qwop_game.gait import gait_metrics
from qwop_game.real import RealGame, RealGameError
from qwop_game.render import SIZE, Renderer, pygame
from qwop_game.window import DisplayError
from qwop_replay.html import page
from qwop_replay.playback import play_in_window
from qwop_replay.race import Race
from qwop_replay.runs import ReplayedRun
from qwop_replay.video import FPS, VideoError, VideoWriter, check_target

PROGRAM = "qwop-replay"
END_SECONDS = 1.0
"""How long a video stays on its last frame."""
Flag = tyro.conf.FlagCreatePairsOff[bool]


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    if match is None or int(match[1]) % 2 or int(match[2]) % 2:
        raise ValueError(f"{text}: expected WIDTHxHEIGHT in even pixels, such as 960x540")
    return int(match[1]), int(match[2])


_SIZE_FLAG = tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar="WxH",
    instance_from_str=lambda words: _parse_size(words[0]),
    is_instance=lambda value: isinstance(value, tuple),
    str_from_instance=lambda size: [f"{size[0]}x{size[1]}"],
)


@dataclass(frozen=True)
class ReplayConfig:
    """Show a recorded episode in a window, as a video or as a page."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """Dataset of the episode."""
    episode: int = 0
    """Number of the episode; -1 is the last one."""
    ghost: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="FILE[:N]")] = ()
    """Race against an episode of another dataset, or of this one with :N."""
    video: Path | None = None
    """Write this .mp4 or .gif instead of opening a window."""
    html: Path | None = None
    """Write this self-contained page instead of opening a window."""
    speed: float = 1.0
    """Multiple of real time, 0.05 to 100."""
    size: Annotated[tuple[int, int], _SIZE_FLAG] = SIZE
    """Size of the video in pixels."""
    game: Literal["embedded", "real"] = "embedded"
    """real: press the episode's keys in the real game and compare every frame (see qwop-game doctor)."""
    native: Flag = False
    """Play the real game with the browser's own sine and cosine, not with exact ones of the episode's
    variant; then frames may differ."""
    browser: str | None = None
    """Path of the browser for the real game, where it is not found."""
    driver: str | None = None
    """Path of its chromedriver or geckodriver, where it is not found."""
    force: Flag = False
    """Replace files that exist."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.speed) and 0.05 <= self.speed <= 100):
            raise CommandError(f"--speed {self.speed}: expected 0.05 to 100")
        if self.native and self.game != "real":
            raise CommandError("--native needs --game real")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code: 0, or 2 after one line about what is wrong."""
    return run_command(
        PROGRAM,
        lambda: _replay(parse_config(PROGRAM, ReplayConfig, arguments)),
        DatasetError,
        DisplayError,
        VideoError,
        RealGameError,
        ValueError,
    )


def _replay(config: ReplayConfig) -> None:
    inputs = {"FILE": config.file} | {
        f"--ghost {ghost}": Path(path) for ghost in config.ghost if (path := _split_ghost(ghost)[0])
    }
    check_outputs({"--video": config.video, "--html": config.html}, inputs=inputs)
    for target in (config.video, config.html):
        if target is not None:
            check_target(target, config.force)
    runs = load_runs(config.file, config.episode, config.ghost)
    for run in runs:
        print(describe(run))
        if not run.verification.exact:
            print(f"{PROGRAM}: {run.name}: {run.verification.text}", file=sys.stderr)
    if config.game == "real":
        _replay_in_real_game(runs, config)
        return
    title = " and ".join(run.name for run in runs)
    if config.html is not None:
        _write_page(config.html, runs, title)
    if config.video is not None:
        write_video(config.video, runs, config.speed, config.size, config.force)
    if config.html is None and config.video is None:
        play_in_window(runs, title, config.speed)


def load_runs(file: str | os.PathLike[str], episode: int, ghosts: Sequence[str]) -> list[ReplayedRun]:
    """Load the episode to show and its ghosts, each named after its file and number.

    Args:
        file: the dataset.
        episode: its number there; negative numbers count from the end.
        ghosts: other episodes, each "FILE", "FILE:N" or ":N" (of `file`).

    Raises:
        DatasetError: a file can't be read.
        CommandError: an episode is not in its file.
    """
    wanted = [(file, episode)]
    for ghost in ghosts:
        path, number = _split_ghost(ghost)
        wanted.append((path or file, number))
    return [_load(path, number) for path, number in wanted]


def _split_ghost(ghost: str) -> tuple[str, int]:
    """Split "FILE", "FILE:N" or ":N" into path and number."""
    match = re.fullmatch(r"(.*?)(?::(-?\d+))?", ghost, re.DOTALL)
    assert match is not None  # both parts are optional
    return match[1], int(match[2] or 0)


def describe(run: ReplayedRun) -> str:
    """Describe a run in one line."""
    episode, gait = run.episode, gait_metrics(run.episode.raw_observations)
    splits = "".join(f", {at} m {time:.2f}" for at, time in run.splits.items() if not math.isnan(time))
    check = "replays bit for bit" if run.verification.exact else "DOES NOT REPLAY"
    return (
        f"{run.name}: {run.ending} at {episode.distance:.1f} m after {episode.time:.2f} s{splits}; "
        f"knee near {100 * gait.knee_near:.1f} %, upright {100 * gait.upright:.1f} %, "
        f"{gait.strides} strides; "
        f"{episode.source}{f' {escape_unprintable(episode.player)}' if episode.player else ''}; {check}"
    )


def write_video(
    path: str | os.PathLike[str],
    runs: Sequence[ReplayedRun],
    speed: float = 1.0,
    size: tuple[int, int] = SIZE,
    force: bool = False,
) -> int:
    """Write runs side by side as a video. After Ctrl-C it holds what was drawn until then.

    Args:
        path: the .mp4 or .gif to write.
        runs: the run to follow, then its ghosts.
        speed: multiple of real time.
        size: (width, height) in pixels, both even.
        force: replace an existing file.

    Returns:
        The number of pictures.

    Raises:
        VideoError: the video can't be written, see `VideoWriter`.
    """
    with VideoWriter(path, size, force) as video:
        renderer = Renderer(*size)
        race = Race(runs, renderer)
        surface = pygame.Surface(size)
        frames = list(_video_frames(race.last_frame, speed))
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


def _video_frames(last_frame: int, speed: float) -> Iterator[int]:
    """Yield the run's frame of each picture: each once at speed 1, twice at 0.5; the last one for 1 s."""
    pictures = math.floor(last_frame / speed) + 1
    for picture in range(pictures):
        yield min(round(picture * speed), last_frame)
    for _ in range(round(END_SECONDS * FPS)):
        yield last_frame


def _load(path: str | os.PathLike[str], number: int) -> ReplayedRun:
    reader = DatasetReader(path)
    count = len(reader)
    if not count:
        raise CommandError(f"{path}: no episodes: record or merge some first")
    if not -count <= number < count:
        raise CommandError(f"{path}: no episode {number}: it holds {count}, numbered from 0")
    with reader:
        number %= count
        return ReplayedRun(f"{Path(path).stem} {number}", reader[number])


def _write_page(path: Path, runs: Sequence[ReplayedRun], title: str) -> None:
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


def _replay_in_real_game(runs: Sequence[ReplayedRun], config: ReplayConfig) -> None:
    """Play a run in the game's window or as a video. Raises CommandError where a frame differs."""
    from qwop_replay.real_game import play_live, write_real_video

    if len(runs) > 1 or config.html is not None or config.size != SIZE:
        raise CommandError(
            "--game real shows one run in the game's own picture: omit --ghost, --html and --size"
        )
    run = runs[0]
    game = RealGame(
        headless=config.video is not None,
        browser=config.browser,
        driver=config.driver,
        stop_at_end=run.episode.game == "embedded",
        trig=None if config.native else run.episode.trig,
    )
    try:
        trig = game.trig
        if trig != run.episode.trig:
            print(
                f"{PROGRAM}: {run.name} was recorded with {run.episode.trig}, and this browser's own sine "
                f"and cosine are {trig}: frames may differ; omit --native to play it with {run.episode.trig}",
                file=sys.stderr,
            )
        if config.video is not None:
            verification = write_real_video(config.video, run, game, config.speed, config.force)
        else:
            verification = play_live(run, game, config.speed)
    finally:
        game.close()
    how = f"{trig}, {game.trig_source}"
    if not verification.exact:
        raise CommandError(f"{run.name}: in the real game ({how}) it {verification.text}")
    print(f"{run.name}: {run.last_frame} frames in the real game ({how}), each equal to the recorded one")


if __name__ == "__main__":
    raise SystemExit(main())
