"""Replay recorded runs in the real game, live in its window or as a video of its pictures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from qwop_datasets import Episode, Replay, Verification, compare_replay
from qwop_datasets.video import FPS, VideoWriter
from qwop_game import FRAME_SECONDS
from qwop_game.real import RealGame, RealGameError
from qwop_replay.runs import ReplayedRun
from qwop_replay.show import check_places, check_speed, load_runs

PICTURE_SIZE = (640, 400)
END_SECONDS = 1.0
"""How long the last frame is shown."""


@dataclass(frozen=True)
class RealReplay:
    """How a run went in the real game."""

    run: ReplayedRun
    trig: str
    """Variant of sine and cosine in which the game computed."""
    trig_source: str
    """"native": the browser's own; "pinned": put into the page."""
    verification: Verification
    """Whether all frames are equal to the recorded ones, or the first difference."""


def replay_in_real_game(
    recording: str | os.PathLike[str] | Episode,
    episode: int = 0,
    *,
    video: str | os.PathLike[str] | None = None,
    speed: float = 1.0,
    native: bool = False,
    browser: str | None = None,
    driver: str | None = None,
    force: bool = False,
    on_start: Callable[[ReplayedRun, RealGame], None] | None = None,
) -> RealReplay:
    """Press a run's keys in the real game and compare every frame, as `qwop-replay --game real` does.

    Args:
        recording: a dataset, or an episode.
        episode: number of the episode in the dataset; -1: the last one.
        video: video to write of the game's own picture, .mp4 or .gif; None: show the game's window.
        speed: times real time.
        native: play with the browser's own sine and cosine, not with exact ones of the episode's variant;
            then frames may differ.
        browser: path of the browser, where it is not found.
        driver: path of its chromedriver or geckodriver, where it is not found.
        force: replace a video that exists.
        on_start: called before the run is played, with the run and the game.

    Returns:
        The run, and whether it went as recorded.

    Raises:
        CommandError: there is no such episode, or the video is the dataset or can't be written.
        DatasetError: the dataset can't be read.
        RealGameError: the game can't be started, or was closed.
        ValueError: the speed is out of range.
        VideoError: the video can't be written, or exists.
    """
    check_speed(speed)
    check_places(recording, (), video, None, force)
    (run,) = load_runs(recording, episode)
    game = RealGame(
        headless=video is not None,
        browser=browser,
        driver=driver,
        stop_at_end=run.episode.game == "embedded",
        trig=None if native else run.episode.trig,
    )
    try:
        if on_start is not None:
            on_start(run, game)
        if video is not None:
            verification = write_real_video(video, run, game, speed, force)
        else:
            verification = play_live(run, game, speed)
        return RealReplay(run, game.trig, game.trig_source, verification)
    finally:
        game.close()


def play_live(run: ReplayedRun, game: RealGame, speed: float = 1.0) -> Verification:
    """Play a run's keys in the real game and compare every frame.

    Args:
        run: the run.
        game: the real game.
        speed: times real time.

    Returns:
        Whether all frames are equal, or the first difference.

    Raises:
        RealGameError: the game, or its window, was closed.
    """
    _require_canonical_start(run)
    start = 0.0

    def keep_pace(frame: int) -> None:
        wait = start + frame * FRAME_SECONDS / speed - time.perf_counter()
        if wait > 0:
            time.sleep(wait)

    game.reset()
    start = time.perf_counter()
    verification = _replay(run, game, keep_pace)
    time.sleep(END_SECONDS)
    return verification


def write_real_video(
    path: str | os.PathLike[str], run: ReplayedRun, game: RealGame, speed: float = 1.0, force: bool = False
) -> Verification:
    """Do the same as `play_live`, and write the game's pictures as a video, .mp4 or .gif.

    Raises:
        VideoError: see `VideoWriter`.
        RealGameError: the game was closed.
    """
    _require_canonical_start(run)
    with VideoWriter(path, PICTURE_SIZE, force) as video:
        game.reset()
        picture = game.picture()
        video.write(picture)
        written = 1
        bar = tqdm(total=run.last_frame, desc=str(path), unit="frame", disable=None, leave=False)

        def film(frame: int) -> None:
            nonlocal picture, written
            bar.update()
            due = round(frame / speed) + 1
            if due > written:
                picture = game.picture()
            while written < due:
                video.write(picture)
                written += 1

        with bar:
            verification = _replay(run, game, film)
        for _ in range(round(END_SECONDS * FPS)):
            video.write(picture)
    return verification


def _require_canonical_start(run: ReplayedRun) -> None:
    """Raise RealGameError for a run that begins in a page that was played before."""
    if run.episode.start is not None:
        raise RealGameError(
            f"{run.name}: begins in a page that was played before, which the real game can't replay: "
            "omit --game real"
        )


def _replay(run: ReplayedRun, game: RealGame, after_frame: Callable[[int], None]) -> Verification:
    """Reset the game and play a run's keys. `after_frame` is called with the number of frames played."""
    rows, times, flags = [game.raw_observation[0]], [game.time[0]], [game.flags[0]]
    for frame, keys in enumerate(run.episode.keys):
        game.step(np.array([keys], np.uint8))
        rows.append(game.raw_observation[0])
        times.append(game.time[0])
        flags.append(game.flags[0])
        after_frame(frame + 1)
    return compare_replay(run.episode, Replay(np.array(rows), np.array(times), np.array(flags)))
