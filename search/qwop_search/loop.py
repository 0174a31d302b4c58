"""The whole search: passes from the start, then passes from random moments of the best run so far.

Passes run in rounds of `SearchConfig.parallel`. All passes of a round begin along the same best run, so they
are independent tasks, and the result does not depend on where they run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

from qwop_cli.cluster import ClusterOptions, KeptResults, map_tasks
from qwop_datasets import Episode, replay_keys
from qwop_evaluation import Player
from qwop_game import DEFAULT_TRIG, Trig
from qwop_game.rules import FINISH
from qwop_search.beam import BeamConfig, BeamSearch, Found, SearchProgress

MAX_SECONDS = 120.0
"""Time limit of the policy's own run, s of play."""
HOPELESS_METERS, HOPELESS_AFTER = 0.5, 120
"""A pass from a frame of the best run stops if it is this far behind that run, m, after this many frames."""


@dataclass(frozen=True)
class SearchConfig:
    """Settings of a search."""

    frames: int = 50_000_000
    """Frames to play in all. The pass that uses them up is the last one and is cut short."""
    seed: int = 0
    """Seed of the random draws."""
    passes: int = 2
    """Passes from the start; later ones begin along the best run."""
    passes_along: int | None = None
    """Passes along the best run. By default as many as the frames allow."""
    one_per_pass: tyro.conf.FlagCreatePairsOff[bool] = False
    """Keep only the fastest run of each pass. The others are nearly the same, and train a policy to less."""
    meters: float = FINISH
    """Length of the run in meters."""
    parallel: int = 1
    """Passes that begin along the same best run. They run at the same time, on all threads or on Ray's nodes.
    The result depends on this number, and not on where they run."""
    trig: Trig = DEFAULT_TRIG
    """Sine and cosine of the game: those of the browser whose game it equals bit for bit."""
    beam: tyro.conf.OmitArgPrefixes[BeamConfig] = field(default_factory=BeamConfig)

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames is {self.frames}: it must be 1 or more")
        if self.parallel < 1:
            raise ValueError(f"parallel is {self.parallel}: it must be 1 or more")
        for name in ("passes", "passes_along"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it can't be negative")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}: it must be 0 or more")
        if not 1 <= self.meters <= FINISH:
            raise ValueError(f"meters is {self.meters:g}: a run is 1 to {FINISH:g} m")


@dataclass
class Best:
    """Results of a search so far. They are complete at any moment, so an interruption loses nothing."""

    runs: list[Found] = field(default_factory=list[Found])
    """Different runs, the fastest first."""
    policys_run: Found | None = None
    frames: int = 0
    """Frames played so far."""
    passes: int = 0
    """Passes begun so far."""

    def add(self, found: list[Found], keep: int) -> bool:
        """Add runs and keep the fastest `keep`. Returns whether there is a new fastest one."""
        before = self.runs[0].seconds if self.runs else np.inf
        runs = {run.keys.tobytes(): run for run in [*self.runs, *found]}
        self.runs = sorted(runs.values(), key=lambda run: run.seconds)[:keep]
        return bool(self.runs) and self.runs[0].seconds < before


@dataclass(frozen=True)
class Pass:
    """One pass of the search: a task."""

    number: int
    known: NDArray[np.uint8] | None
    """Keys of the frames before its start, uint8 [T]; None: the start line."""
    along: NDArray[np.uint8] | None
    """Keys of the run that it should improve, uint8 [T]."""
    frames: int
    """Frames after which it is stopped."""


@dataclass(frozen=True)
class PassResult:
    """What a pass has found."""

    found: list[Found]
    frames: int
    """Frames played."""


def search(
    player: Player,
    config: SearchConfig,
    best: Best,
    threads: int = 1,
    keep: int = 1,
    on_segment: Callable[[SearchProgress], bool] = lambda progress: False,
    cluster: ClusterOptions | None = None,
    job: dict[str, Any] | None = None,
) -> None:
    """Search for the fastest runs until the budget is used up.

    The policy's own run comes first, so the result is never slower. Each pass draws from
    default_rng([seed, pass, segment, block]): one seed and one budget give the same runs with any number of
    threads, on one machine or on many.

    Args:
        player: policy that proposes actions.
        config: settings.
        best: filled in place.
        threads: threads to play games with. Of several passes at a time, and on Ray, each has one.
        keep: number of runs to keep.
        on_segment: called after each segment; if passes run at the same time, twice a second. True ends the
            search.
        cluster: Ray's address, and a folder that keeps the passes.
        job: plain data that, with the settings, determines the passes: the policy's hash.
    """
    cluster = cluster or ClusterOptions()
    kept = None
    if cluster.tasks is not None:
        described = asdict(config) | (job or {})
        if best.runs:
            described["continue"] = best.runs[0].keys.tolist()
        kept = KeptResults(cluster.tasks, described, _save_pass, _load_pass, ".npz")
    beam = BeamSearch(player, config.beam, threads, config.meters, config.trig)
    try:
        best.policys_run, best.frames = beam.policys_run(MAX_SECONDS)
        if best.policys_run is not None:
            best.add([best.policys_run], keep)
        moments = np.random.default_rng([config.seed, 0])
        stopped = False
        last = np.inf if config.passes_along is None else config.passes + config.passes_along
        while best.frames < config.frames and best.passes < last and not stopped:
            frames = -(-(config.frames - best.frames) // config.parallel)
            count = int(min(config.parallel, last - best.passes))
            numbers = range(best.passes + 1, best.passes + 1 + count)
            passes = [_next_pass(n, config, best, player, moments, frames) for n in numbers]
            best.passes += len(passes)
            stopped = _play_round(passes, beam, config, best, threads, keep, on_segment, cluster, kept)
    finally:
        beam.close()


def _play_round(
    passes: list[Pass],
    beam: BeamSearch,
    config: SearchConfig,
    best: Best,
    threads: int,
    keep: int,
    on_segment: Callable[[SearchProgress], bool],
    cluster: ClusterOptions,
    kept: KeptResults[PassResult] | None,
) -> bool:
    """Play the passes of a round, and add what they find to `best`. Returns whether `on_segment` ended it."""
    runs_before, frames_before = best.runs, best.frames
    stopped = False

    def watch(progress: SearchProgress) -> bool:
        nonlocal stopped
        best.frames = frames_before + progress.frames
        stopped = on_segment(progress)
        return stopped

    def play_here(beam: BeamSearch, task: Pass) -> PassResult:
        result = _play_pass(beam, config, task, watch)
        if stopped and not result.found:
            raise _Stopped  # so this pass is not done
        return result

    def play_beside(beam: BeamSearch, task: Pass) -> PassResult:
        result = _play_pass_elsewhere((beam.player, config), task, lambda progress: stopped)
        if stopped and not result.found:
            raise _Stopped
        return result

    def poll() -> bool:
        nonlocal stopped
        stopped = on_segment(SearchProgress(0, np.zeros(1), 0))
        return stopped

    names = [f"{task.number:08d}" for task in passes]
    if cluster.ray is None and (threads == 1 or len(passes) == 1):
        results = map_tasks(play_here, beam, passes, kept=kept, names=names, show=False)
    elif cluster.ray is None:
        results = map_tasks(
            play_beside,
            beam,
            passes,
            kept=kept,
            names=names,
            workers=threads,
            threads=True,
            poll=poll,
            show=False,
        )
    else:
        results = map_tasks(
            _play_pass_elsewhere,
            (beam.player, config),
            passes,
            options=cluster,
            kept=kept,
            names=names,
            poll=poll,
            show=False,
        )
    done: dict[int, PassResult] = {}
    try:
        with contextlib.suppress(_Stopped), contextlib.closing(results):
            for index, result in results:
                done[index] = result
                frames_before += result.frames
                best.frames = frames_before
                best.add(result.found, keep)
                if stopped:
                    break
    except BaseException:
        stopped = True  # ends the passes of other threads
        raise
    best.runs = runs_before  # again, in their order: of equally fast runs the first one stays first
    for index in sorted(done):
        best.add(done[index].found, keep)
    return stopped


class _Stopped(BaseException):
    """`on_segment` has ended the search."""


def _next_pass(
    number: int,
    config: SearchConfig,
    best: Best,
    player: Player,
    moments: np.random.Generator,
    frames: int,
) -> Pass:
    if number <= config.passes or not best.runs:
        return Pass(number, None, None, frames)
    fastest = best.runs[0].keys
    decisions = len(fastest) // player.frame_skip
    known = fastest[: int(moments.integers(0, decisions)) * player.frame_skip]
    return Pass(number, known, fastest, frames)


def _play_pass_elsewhere(
    shared: tuple[Player, SearchConfig],
    task: Pass,
    watch: Callable[[SearchProgress], bool] = lambda progress: False,
) -> PassResult:
    """Play a pass on one thread, beside others or on a node of a cluster."""
    player, config = shared
    beam = BeamSearch(player, config.beam, 1, config.meters, config.trig)
    try:
        return _play_pass(beam, config, task, watch)
    finally:
        beam.close()


def _play_pass(
    beam: BeamSearch, config: SearchConfig, task: Pass, watch: Callable[[SearchProgress], bool]
) -> PassResult:
    along: NDArray[np.floating[Any]] | None = None
    if task.along is not None:
        along = replay_keys([task.along], trig=config.trig)[0].raw_observations[:, 0] / 10
    frames = 0

    def ends(progress: SearchProgress) -> bool:
        nonlocal frames
        frames = progress.frames
        return (
            watch(progress)
            or progress.frames >= task.frames
            or (along is not None and task.known is not None and _hopeless(progress, len(task.known), along))
        )

    found = beam.run([config.seed, task.number], task.known, ends)
    return PassResult(found[:1] if config.one_per_pass else found, frames)


def _save_pass(path: Path, result: PassResult) -> None:
    keys = [run.keys for run in result.found]
    np.savez(
        path,
        keys=np.concatenate([*keys, np.zeros(0, np.uint8)]),
        lengths=np.array([len(k) for k in keys], np.int64),
        seconds=np.array([run.seconds for run in result.found], np.float64),
        frames=np.int64(result.frames),
    )


def _load_pass(path: Path) -> PassResult:
    with np.load(path, allow_pickle=False) as data:
        parts = np.split(data["keys"], np.cumsum(data["lengths"])[:-1]) if len(data["lengths"]) else []
        seconds = data["seconds"].tolist()
        found = [Found(keys, s) for keys, s in zip(parts, seconds, strict=True)]
        return PassResult(found, int(data["frames"]))


def _hopeless(progress: SearchProgress, start: int, along: NDArray[np.floating[Any]]) -> bool:
    """Return whether a pass is too far behind the run that it should improve.

    Args:
        progress: the pass.
        start: frame at which it began.
        along: torso x of that run after each frame, m.
    """
    frame = min(progress.frame, len(along) - 1)
    late = progress.frame - start >= HOPELESS_AFTER
    return late and float(progress.distances.max()) < float(along[frame]) - HOPELESS_METERS


def episode(
    run: Found,
    player: Player,
    name: str,
    provenance: dict[str, str | int | float],
    by_policy: bool,
    trig: str = DEFAULT_TRIG,
) -> Episode:
    """Turn a run into an episode by playing its keys.

    Args:
        run: the run.
        player: policy that proposed it.
        name: name of the player to store.
        provenance: how it was found, to store.
        by_policy: whether it is the policy's own run; its source is then "policy", not "search".
        trig: variant of sine and cosine in which it was found.
    """
    played = replay_keys([run.keys], trig=trig)[0]
    return Episode(
        keys=run.keys,
        raw_observations=played.raw_observations,
        times=played.times,
        terminated=played.over,
        truncated=not played.over,
        success=played.finished,
        source="policy" if by_policy else "search",
        player=name,
        action_set=player.action_set,
        trig=trig,
        provenance={"trig_source": "engine", "frame_skip": player.frame_skip, **provenance},
    )
