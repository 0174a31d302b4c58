"""The whole search: passes from the start, then passes from random moments of the best run so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

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
    meters: float = FINISH
    """Length of the run in meters."""
    trig: Trig = DEFAULT_TRIG
    """Sine and cosine of the game: those of the browser whose game it equals bit for bit."""
    beam: tyro.conf.OmitArgPrefixes[BeamConfig] = field(default_factory=BeamConfig)

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames is {self.frames}: it must be 1 or more")
        if self.passes < 0:
            raise ValueError(f"passes is {self.passes}: it can't be negative")
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


def search(
    player: Player,
    config: SearchConfig,
    best: Best,
    threads: int = 1,
    keep: int = 1,
    on_segment: Callable[[SearchProgress], bool] = lambda progress: False,
) -> None:
    """Search for the fastest runs until the budget is used up.

    The policy's own run comes first, so the result is never slower. Each pass draws from
    default_rng([seed, pass, segment, block]): one seed and one budget give the same runs with any number of
    threads.

    Args:
        player: policy that proposes actions.
        config: settings.
        best: filled in place.
        threads: threads to play games with.
        keep: number of runs to keep.
        on_segment: called after each segment; True ends the search.
    """
    beam = BeamSearch(player, config.beam, threads, config.meters, config.trig)
    try:
        best.policys_run, best.frames = beam.policys_run(MAX_SECONDS)
        if best.policys_run is not None:
            best.add([best.policys_run], keep)
        moments = np.random.default_rng([config.seed, 0])
        while best.frames < config.frames:
            best.passes += 1
            known: NDArray[np.uint8] | None = None
            distances: NDArray[np.float64] | None = None
            if best.passes > config.passes and best.runs:
                fastest = best.runs[0].keys
                decisions = len(fastest) // player.frame_skip
                known = fastest[: int(moments.integers(0, decisions)) * player.frame_skip]
                distances = replay_keys([fastest], trig=config.trig)[0].raw_observations[:, 0] / 10
            before, stopped = best.frames, False

            def watch(
                progress: SearchProgress,
                before: int = before,
                start: NDArray[np.uint8] | None = known,
                along: NDArray[np.float64] | None = distances,
            ) -> bool:
                nonlocal stopped
                best.frames = before + progress.frames
                stopped = on_segment(progress)
                return (
                    stopped
                    or best.frames >= config.frames
                    or (along is not None and start is not None and _hopeless(progress, len(start), along))
                )

            best.add(beam.run([config.seed, best.passes], known, watch), keep)
            if stopped:
                break
    finally:
        beam.close()


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
