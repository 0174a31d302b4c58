"""`qwop-replay FILE`: show a recorded or played episode in a window, as a video or as a page."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from qwop_cli import CommandError, parse_config, run_command
from qwop_datasets import DatasetError
from qwop_datasets.video import VideoError
from qwop_game.real import RealGame, RealGameError
from qwop_game.render import SIZE
from qwop_game.window import DisplayError
from qwop_replay.real_game import replay_in_real_game
from qwop_replay.runs import ReplayedRun
from qwop_replay.show import SPEED_LIMITS, describe, load_runs, replay
from qwop_replay.web import runs_file, show_in_page
from qwop_rl_core import CheckpointError

PROGRAM = "qwop-replay"
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
    """Show an episode, recorded or played by a policy, in a window, a video, a page or the browser's game."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """Dataset of the episode; or a policy (.safetensors), which plays an episode of protocol P. That needs no
    PyTorch."""
    episode: int = 0
    """Number of the episode; -1 is the last one. Of a policy: the seed of its episode."""
    ghost: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="FILE[:N]")] = ()
    """Race against an episode of another dataset or policy, or of this one with :N."""
    video: Path | None = None
    """Write this .mp4 or .gif instead of opening a window."""
    html: Path | None = None
    """Write this self-contained page instead of opening a window."""
    web: Flag = False
    """Show the run in the page of qwop-record --web instead: watch it, race against it, save it as a GIF."""
    port: int = 8017
    """Port of --web on this machine."""
    no_open: Flag = False
    """Print the address of --web, and open no browser."""
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
        low, high = SPEED_LIMITS
        if not low <= self.speed <= high:
            raise CommandError(f"--speed {self.speed}: expected {low:g} to {high:g}")
        if self.web and (self.video or self.html or self.game != "embedded"):
            raise CommandError("--web shows runs in the page alone: omit --video, --html and --game real")
        if not self.web and (self.no_open or self.port != 8017):
            raise CommandError("--port and --no-open need --web")
        if self.native and self.game != "real":
            raise CommandError("--native needs --game real")
        if self.game == "real" and (self.ghost or self.html is not None or self.size != SIZE):
            raise CommandError(
                "--game real shows one run in the game's own picture: omit --ghost, --html and --size"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code: 0, or 2 after one line about what is wrong."""
    return run_command(
        PROGRAM,
        lambda: _replay(parse_config(PROGRAM, ReplayConfig, arguments)),
        CheckpointError,
        DatasetError,
        DisplayError,
        VideoError,
        RealGameError,
        ValueError,
    )


def _replay(config: ReplayConfig) -> None:
    if config.game == "real":
        _replay_in_real_game(config)
        return
    if config.web:
        runs = load_runs(config.file, config.episode, config.ghost)
        runs_file(runs)  # what can't be shown is the only line
        _report(runs)
        show_in_page(runs, config.port, not config.no_open)
        return
    replay(
        config.file,
        config.episode,
        ghosts=config.ghost,
        video=config.video,
        html=config.html,
        speed=config.speed,
        size=config.size,
        force=config.force,
        on_load=_report,
    )


def _report(runs: Sequence[ReplayedRun]) -> None:
    """Print a line for each run, and a warning for one that does not replay."""
    for run in runs:
        print(describe(run))
        if not run.verification.exact:
            print(f"{PROGRAM}: {run.name}: {run.verification.text}", file=sys.stderr)


def _replay_in_real_game(config: ReplayConfig) -> None:
    """Replay in the real game. Raises CommandError where a frame differs."""
    result = replay_in_real_game(
        config.file,
        config.episode,
        video=config.video,
        speed=config.speed,
        native=config.native,
        browser=config.browser,
        driver=config.driver,
        force=config.force,
        on_start=_report_in_real_game,
    )
    run, how = result.run, f"{result.trig}, {result.trig_source}"
    if not result.verification.exact:
        raise CommandError(f"{run.name}: in the real game ({how}) it {result.verification.text}")
    print(f"{run.name}: {run.last_frame} frames in the real game ({how}), each equal to the recorded one")


def _report_in_real_game(run: ReplayedRun, game: RealGame) -> None:
    """Print a line for the run, and a warning where the browser computes in another variant."""
    _report([run])
    if game.trig != run.episode.trig:
        print(
            f"{PROGRAM}: {run.name} was recorded with {run.episode.trig}, and this browser's own sine and "
            f"cosine are {game.trig}: frames may differ; omit --native to play it with {run.episode.trig}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    raise SystemExit(main())
