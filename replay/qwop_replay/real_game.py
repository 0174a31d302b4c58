"""Replay recorded runs in the real game, live in its window or as a video of its pictures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from qwop_datasets import Replay, Verification, compare_replay
from qwop_game import FRAME_SECONDS
from qwop_game.real import RealGame
from qwop_replay.runs import ReplayedRun
from qwop_replay.video import FPS, VideoWriter

PICTURE_SIZE = (640, 400)
END_SECONDS = 1.0
"""How long the last frame is shown."""


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
