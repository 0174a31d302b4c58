"""Show recorded runs, or runs that a policy plays, in a window, as a video or as a page: see `replay`."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from qwop_cli import CommandError, check_outputs, escape_unprintable
from qwop_datasets import DatasetError, Episode, read_one_episode, replace_file, split_episode_place
from qwop_datasets.video import FPS, VideoWriter, check_target
from qwop_evaluation import CheckpointPlayer, play
from qwop_game.gait import gait_metrics
from qwop_game.render import SIZE, Renderer, pixels, pygame
from qwop_replay.html import page
from qwop_replay.playback import play_in_window
from qwop_replay.race import Race
from qwop_replay.runs import ReplayedRun

END_SECONDS = 1.0
"""How long a video shows its last frame."""
SPEED_LIMITS = 0.05, 100.0
"""Slowest and fastest replay, times real time."""
POLICY_SUFFIX = ".safetensors"
"""Files that hold a policy, not a dataset."""


def replay(
    recording: str | os.PathLike[str] | Episode,
    episode: int = 0,
    *,
    ghosts: Sequence[str | Episode] = (),
    video: str | os.PathLike[str] | None = None,
    html: str | os.PathLike[str] | None = None,
    speed: float = 1.0,
    size: tuple[int, int] = SIZE,
    force: bool = False,
    on_load: Callable[[Sequence[ReplayedRun]], None] | None = None,
) -> list[ReplayedRun]:
    """Show a run, as `qwop-replay` does: in a window, unless a video or a page is asked for.

    `replay_in_real_game` plays it in the real game.

    Args:
        recording: a dataset, an episode, or a policy (.safetensors), which plays one of protocol P's episodes
            and needs no PyTorch.
        episode: number of the episode in the dataset; -1: the last one. Of a policy: seed of its episode.
        ghosts: runs to race against: episodes, or "FILE", "FILE:N" and ":N" (of `recording`).
        video: video to write, .mp4 or .gif.
        html: self-contained web page to write.
        speed: times real time, of the window and of the video.
        size: width and height of the video, px, both even.
        force: replace files that exist.
        on_load: called with the runs before they are shown.

    Returns:
        The run and its ghosts.

    Raises:
        CheckpointError: a policy can't be read, or does not fit this game.
        CommandError: an output is one of the inputs or can't be written.
        DatasetError: a dataset can't be read, or has no such episode.
        DisplayError: no window can be opened.
        ValueError: the speed is out of range.
        VideoError: the video can't be written, or an output exists.
    """
    check_speed(speed)
    check_places(recording, ghosts, video, html, force)
    runs = load_runs(recording, episode, ghosts)
    if on_load is not None:
        on_load(runs)
    title = " and ".join(run.name for run in runs)
    if html is not None:
        write_page(Path(html), runs, title)
    if video is not None:
        write_video(video, runs, speed, size, force)
    if html is None and video is None:
        play_in_window(runs, title, speed)
    return runs


def check_speed(speed: float) -> None:
    """Raise ValueError if the speed is out of range."""
    low, high = SPEED_LIMITS
    if not low <= speed <= high:
        raise ValueError(f"speed is {speed:g}: it must lie between {low:g} and {high:g}")


def check_places(
    recording: str | os.PathLike[str] | Episode,
    ghosts: Sequence[str | Episode],
    video: str | os.PathLike[str] | None,
    html: str | os.PathLike[str] | None,
    force: bool,
    plot: str | os.PathLike[str] | None = None,
) -> None:
    """Check that the outputs can be written and are not inputs; make their folders.

    Raises:
        CommandError: an output is an input or the other output, or can't be written.
        VideoError: an output exists (and no `force`), or its folder can't be made.
    """
    inputs = {} if isinstance(recording, Episode) else {"FILE": Path(recording)}
    for ghost in ghosts:
        if isinstance(ghost, str) and (path := split_episode_place(ghost)[0]):
            inputs[f"--ghost {ghost}"] = Path(path)
    outputs = {"--video": video, "--html": html, "--plot": plot}
    check_outputs({flag: Path(o) if o else None for flag, o in outputs.items()}, inputs=inputs)
    for output in outputs.values():
        if output:
            check_target(output, force)


def load_runs(
    recording: str | os.PathLike[str] | Episode, episode: int = 0, ghosts: Sequence[str | Episode] = ()
) -> list[ReplayedRun]:
    """Load the run to show and its ghosts, each named after its file and number, or after its player.

    Args:
        recording: a dataset, an episode, or a policy (.safetensors).
        episode: number of the episode in the dataset; of a policy, seed of its episode under protocol P.
        ghosts: episodes, or "FILE", "FILE:N" and ":N" (of `recording`).

    Raises:
        CheckpointError: a policy can't be read, or does not fit this game.
        CommandError: a ghost names no file, or a policy has no such episode.
        DatasetError: a dataset can't be read, or has no such episode.
    """
    runs = [_load(recording, episode)]
    for ghost in ghosts:
        if isinstance(ghost, Episode):
            runs.append(_load(ghost, 0))
            continue
        path, number = split_episode_place(ghost)
        if not path and isinstance(recording, Episode):
            raise CommandError(f"ghost {ghost!r}: name a dataset, because the recording is a single episode")
        runs.append(_load(path or recording, number))
    return runs


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
    """Write the race of some runs as a video.

    Ctrl-C leaves a playable video of the frames drawn so far.

    Args:
        path: .mp4 or .gif.
        runs: at least one; the first one is followed.
        speed: times real time.
        size: width and height, px, both even.
        force: replace the file if it exists.

    Returns:
        The number of frames.

    Raises:
        VideoError: see `VideoWriter`.
    """
    with VideoWriter(path, size, force) as video:
        renderer = Renderer(*size)
        race = Race(runs, renderer)
        surface = pygame.Surface(size)
        frames = list(video_frames(race.last_frame, speed))
        shown = -1
        picture = None
        for frame in tqdm(frames, desc=Path(path).name, unit="frame", disable=None, leave=False):
            if picture is None or frame != shown:
                race.draw(surface, frame)
                picture = pixels(surface)
                shown = frame
            video.write(picture)
    return len(frames)


def video_frames(last_frame: int, speed: float) -> Iterator[int]:
    """Yield the run's frame that each frame of a video shows. The last one stays for END_SECONDS."""
    pictures = math.floor(last_frame / speed) + 1
    for picture in range(pictures):
        yield min(round(picture * speed), last_frame)
    for _ in range(round(END_SECONDS * FPS)):
        yield last_frame


def _load(recording: str | os.PathLike[str] | Episode, number: int) -> ReplayedRun:
    if isinstance(recording, Episode):
        return ReplayedRun(recording.player or "run", recording)
    if Path(recording).suffix == POLICY_SUFFIX:
        return _played(Path(recording), number)
    return ReplayedRun(*read_one_episode(recording, number))


def _played(checkpoint: Path, seed: int) -> ReplayedRun:
    """Return the episode of protocol P that a policy plays, computed by NumPy: PyTorch is not needed."""
    if seed < 0:
        raise CommandError(f"{checkpoint}: no episode {seed}: a policy's are numbered by their seed, from 0")
    (episode,) = play(CheckpointPlayer(checkpoint, numpy=True), [seed])
    return ReplayedRun(f"{checkpoint.stem} {seed}", episode)


def write_page(path: Path, runs: Sequence[ReplayedRun], title: str, notes: Sequence[str] = ()) -> None:
    """Write the page of some runs. It appears whole or not at all.

    Args:
        path: file to write; its folder exists.
        runs: at least one; the first one is followed.
        title: heading of the page.
        notes: sentences to list under the picture.

    Raises:
        CommandError: the file can't be written.
    """
    text = page(runs, title, "; ".join(describe(run) for run in runs), notes)
    part = path.with_name(f"{path.name}.part")
    try:
        try:
            part.write_text(text, encoding="utf-8")
            replace_file(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from None
    except DatasetError as error:
        raise CommandError(str(error)) from None
