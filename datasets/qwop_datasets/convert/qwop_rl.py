"""Sampled logs of QWOP-RL: stable-baselines archives with the state of the real game every few frames.

Arrays over all N samples: obs float64 [N, 71], actions [N, 1], rewards [N], episode_starts bool [N]. A file
is one session in one page. Its frames are recovered by `key_recovery`: an episode is exact in all 60 numbers
of every sample, or it says what differs.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np

from qwop_cli.cluster import KeptResults
from qwop_datasets.convert.common import (
    APPROXIMATE_TAG,
    INCOMPLETE_TAG,
    Imported,
    Importing,
    episode_of_replay,
    numbers,
    whole_numbers,
)
from qwop_datasets.convert.key_recovery import Recovered, Recovery, SampledEpisode, samples_equal
from qwop_datasets.convert.tables import load_npz
from qwop_datasets.errors import DatasetError
from qwop_datasets.exact_replay import replay_keys
from qwop_game import KEY_O, KEY_P, KEY_Q, KEY_W, PARTS, TRIG_VARIANTS

_SIZE = 71
_PARTS = (  # in the order of a sample: angle, vx, vy, x, y of each; the head, 11 joint angles, the others
    "head",
    "leftArm",
    "leftCalf",
    "leftFoot",
    "leftForearm",
    "leftThigh",
    "rightArm",
    "rightCalf",
    "rightFoot",
    "rightForearm",
    "rightThigh",
    "torso",
)
_JOINTS = 11
_Q, _W, _O, _P = KEY_Q, KEY_W, KEY_O, KEY_P
_ACTIONS = np.array([_Q | _W, _Q | _O, _Q | _P, _Q, _W | _O, _W | _P, _W, _O | _P, _O, _P, 0], np.uint8)
_TRIG_ORDER = ("fdlibm", *(trig for trig in TRIG_VARIANTS if trig != "fdlibm"))  # logs are of 2021
Progress = Callable[[int, int], None]
"""Called as progress(done, total), in samples."""


def _columns() -> list[int]:
    """The columns of a sample in the order of a raw observation."""
    first = {name: 5 * i + (_JOINTS if i else 0) for i, name in enumerate(_PARTS)}
    return [first[part] + field for part in PARTS for field in (3, 4, 0, 1, 2)]


def is_qwop_rl(path: Path) -> bool:
    """Whether an archive has the arrays of such a log."""
    try:
        arrays = load_npz(path)
    except (DatasetError, OSError):
        return False
    return {"obs", "actions", "episode_starts"} <= set(arrays) and arrays["obs"].shape[1:] == (_SIZE,)


def read_log(path: Path) -> list[SampledEpisode]:
    """Read the episodes of a log; repeated samples are omitted.

    Raises:
        DatasetError: It is no such log.
    """
    data = load_npz(path)
    try:
        if missing := {"obs", "actions", "episode_starts", "rewards"} - set(data):
            raise ValueError(f"has no array {min(missing)!r}")
        samples = numbers("obs", data["obs"], (None, _SIZE), np.float64)
        count = len(samples)
        labels = _ACTIONS[whole_numbers("actions", data["actions"].reshape(-1), (count,), len(_ACTIONS) - 1)]
        rewards = numbers("rewards", data["rewards"], (count,), np.float64)
        starts = numbers("episode_starts", data["episode_starts"], (count,), bool)
        if not count or not starts[0]:
            raise ValueError("does not begin with an episode")
    except ValueError as error:
        raise DatasetError(f"{path}: not a log of QWOP-RL: {' '.join(str(error).split())[:160]}") from None
    samples = samples[:, _columns()]
    relative = bool((samples[:, 0] == 0).mean() > 0.5)  # some rows may be damaged
    episodes: list[SampledEpisode] = []
    ends = [*np.flatnonzero(starts)[1:].tolist(), count]
    for begin, end in zip(np.flatnonzero(starts).tolist(), ends, strict=True):
        own = samples[begin:end]
        kept = np.flatnonzero(np.r_[True, (own[1:] != own[:-1]).any(axis=1)])
        last = np.r_[kept[1:], end - begin] - 1  # the key was chosen at the last of equal samples
        episodes.append(SampledEpisode(own[kept], relative, labels[begin:end][last], float(rewards[end - 1])))
    return episodes


def read(path: Path, options: Importing) -> Iterator[Imported]:
    """The episodes of a log, each recovered frame by frame."""
    return read_files([path], options, workers=1)


def read_files(
    paths: Sequence[Path],
    options: Importing,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    kept: KeptResults[list[Imported]] | None = None,
) -> Iterator[Imported]:
    """The episodes of several logs, recovered by worker processes, one file each; in the order of the files.

    Args:
        paths: The logs.
        options: What they leave unsaid.
        workers: Processes; 1: this one.
        progress: Called as samples are recovered.
        kept: Results on disk: a log that is there is not recovered again, and each new one is added.
    """
    for path in paths:
        options.checked_source(path)
    names = [task_name(i) for i in range(len(paths))]
    todo = [i for i in range(len(paths)) if kept is None or not kept.has(names[i])]
    total = sum(len(episode.samples) for i in todo for episode in read_log(paths[i]))
    report = progress or _no_report
    if workers == 1 or len(todo) <= 1:
        done = 0

        def count_one() -> None:
            nonlocal done
            done += 1
            report(min(done, total), total)

        for i, path in enumerate(paths):
            if kept is None:
                yield from _recovered(path, options, count_one)
                continue
            if i in todo:
                kept.write(names[i], list(_recovered(path, options, count_one)))
            yield from kept.read(names[i])
        return
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    with ProcessPoolExecutor(min(workers, len(todo)), context, _share, (counter,)) as pool:
        jobs: dict[Future[list[Imported]], int] = {pool.submit(_job, paths[i], options): i for i in todo}
        try:
            pending = set(jobs)
            while pending:
                ended, pending = wait(pending, 0.5, FIRST_COMPLETED)
                for job in ended:
                    if kept is not None and job.exception() is None:
                        kept.write(names[jobs[job]], job.result())
                report(min(counter.value, total), total)
            results = [job.result() for job in jobs]  # of all logs without `kept`
            for i, name in enumerate(names):
                yield from results[i] if kept is None else kept.read(name)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def task_name(number: int) -> str:
    """The name of a file's result in a folder of tasks."""
    return f"{number:06d}"


def _no_report(done: int, total: int) -> None:
    pass


_counter: Any = None  # of samples that were recovered, shared by the workers


def _share(counter: Any) -> None:
    global _counter
    _counter = counter
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a worker without a traceback


def _count_shared() -> None:
    with _counter.get_lock():
        _counter.value += 1


def _job(path: Path, options: Importing) -> list[Imported]:
    return list(_recovered(path, options, _count_shared))


def _recovered(path: Path, options: Importing, count: Callable[[], None]) -> Iterator[Imported]:
    episodes = read_log(path)
    trig = options.trig or _variant(episodes[0])
    recovery = Recovery(trig, count)
    for number, episode in enumerate(episodes):
        name = f"{path.name}: episode {number}"
        parts = recovery.recover(episode)
        if not parts:
            yield Imported(name, reason=f"no keys lead to its first samples (with {trig})")
        for part in parts:
            yield _imported(name, path, options, trig, number, episode, part)
        if parts and not parts[-1].complete:
            reached = parts[-1].first_sample + len(parts[-1].sample_frames) + len(parts[-1].skipped)
            rest = f"its samples from {reached} of {len(episode.samples)} on are not reached (with {trig})"
            yield Imported(name, reason=rest)


def _variant(episode: SampledEpisode) -> str:
    """The variant of sine and cosine with which the search gets furthest."""
    best, farthest = _TRIG_ORDER[0], -1
    for trig in _TRIG_ORDER:
        reached = Recovery(trig).reach(episode)
        if reached == len(episode.samples):
            return trig
        if reached > farthest:
            best, farthest = trig, reached
    return best


def _imported(
    name: str,
    path: Path,
    options: Importing,
    trig: str,
    number: int,
    episode: SampledEpisode,
    part: Recovered,
) -> Imported:
    equal = samples_equal(part, episode, trig)
    if equal != len(part.sample_frames):
        return Imported(name, reason=f"its sample {equal} differs in a replay from the page's load")
    tags: list[str] = []
    if part.skipped:
        tags.append(APPROXIMATE_TAG)
    if not part.complete and not part.restarted:
        tags.append(INCOMPLETE_TAG)
    if part.restarted:
        tags.append("restarted")
    fields: dict[str, Any] = {
        "source": options.checked_source(path),
        "player": options.player,
        "game": "real",
        "trig": trig,
        "action_set": options.action_set or "distinct",
        "start": part.start.array,
        "undetermined": part.undetermined,
        "tags": tuple(tags),
        "provenance": {
            "recorded_with": "QWOP-RL",
            "log": path.name,
            "log_episode": number,
            "samples": len(part.sample_frames),
            "samples_equal": equal,
            "samples_damaged": len(part.skipped),
        },
    }
    if not len(part.keys):
        return Imported(name, reason="it has no frame")
    (played,) = replay_keys([part.keys], starts=[part.start.array], trig=trig)
    return Imported(name, episode_of_replay(part.keys, played, fields))
