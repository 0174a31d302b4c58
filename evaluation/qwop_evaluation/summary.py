"""Figures of a set of runs, the same for a policy's episodes under protocol P and for stored ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_cli import nan_to_none
from qwop_datasets import Episode
from qwop_game import UNITS_PER_METER
from qwop_game.gait import GaitMetrics, gait_metrics_of_runs, pooled

SPLIT_METERS = (10, 50, 100)
CONFIDENCE = 0.95


def wilson_interval(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Score interval of a proportion: Wilson 1927, "Probable inference, the law of succession".

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), z the normal quantile of (1 + confidence) / 2.
    Unlike the plain normal interval it holds near 0 and 1, where good runners are.

    Raises ValueError for no trials or more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials: there is no interval")
    z = NormalDist().inv_cdf((1.0 + confidence) / 2.0)
    p, z2n = successes / trials, z * z / trials
    center = p + z2n / 2.0
    spread = z * math.sqrt(p * (1.0 - p) / trials + z2n / (4.0 * trials))
    low, high = (center - spread) / (1.0 + z2n), (center + spread) / (1.0 + z2n)
    # The ends are exactly 0 and 1 there; rounding would leave them 1e-17 beside.
    return (0.0 if successes == 0 else low), (1.0 if successes == trials else high)


def split_times(
    raw: NDArray[np.float32], times: NDArray[np.float64], meters: Sequence[float] = SPLIT_METERS
) -> list[float]:
    """When the torso first was at each distance: raw [T + 1, 60], times [T + 1] -> s; NaN if never."""
    x = raw[:, 0]
    reached = [np.flatnonzero(x >= UNITS_PER_METER * at) for at in meters]
    return [float(times[frames[0]]) if len(frames) else math.nan for frames in reached]


@dataclass(frozen=True)
class Summary:
    """Figures of N runs."""

    episodes: int
    finished: int
    finish_low: float
    """Lower end of the 95 % Wilson interval of the finish rate."""
    finish_high: float
    median_time: float
    """Median time of the finished runs on the game's clock, s; NaN if none finished."""
    best_time: float
    """Shortest of them, s."""
    mean_distance: float
    """Mean distance at the end of a run, m."""
    splits: dict[int, float]
    """Distance, m -> median time at which the runs that got there did, s."""
    gait: GaitMetrics
    """Pooled over all frames of all runs (see `qwop_game.gait.pooled`)."""
    gaits: tuple[GaitMetrics, ...]
    """Of each run, in their order."""

    @property
    def finish_rate(self) -> float:
        return self.finished / self.episodes


def summarize(runs: Sequence[Episode]) -> Summary:
    """Figures of runs. Raises ValueError for no runs."""
    if not runs:
        raise ValueError("no runs to summarize")
    finish_times = [run.time for run in runs if run.success]
    low, high = wilson_interval(len(finish_times), len(runs))
    gaits = gait_metrics_of_runs([run.raw_observations for run in runs], [run.keys for run in runs])
    splits = np.array([split_times(run.raw_observations, run.times) for run in runs])
    return Summary(
        episodes=len(runs),
        finished=len(finish_times),
        finish_low=low,
        finish_high=high,
        median_time=_median(finish_times),
        best_time=min(finish_times, default=math.nan),
        mean_distance=float(np.mean([run.distance for run in runs])),
        splits={
            at: _median(column[~np.isnan(column)]) for at, column in zip(SPLIT_METERS, splits.T, strict=True)
        },
        gait=pooled(gaits),
        gaits=tuple(gaits),
    )


def summary_json(summary: Summary) -> dict[str, Any]:
    """The figures as plain data under the names that `qwop-eval --json` prints; NaN becomes null."""
    gait = summary.gait
    figures = {
        "finish_rate": summary.finish_rate,
        "finish_rate_low": summary.finish_low,
        "finish_rate_high": summary.finish_high,
        "finished": summary.finished,
        "median_time_s": summary.median_time,
        "best_time_s": summary.best_time,
        "mean_distance_m": summary.mean_distance,
        "knee_near": gait.knee_near,
        "upright": gait.upright,
        "strides": gait.strides,
        "stride_length_m": gait.stride_length,
        "cadence_steps_per_minute": gait.cadence,
        "flight": gait.flight,
        "symmetry": gait.symmetry,
        "pelvis_height_m": gait.pelvis_height,
        "torso_pitch_deg": gait.torso_pitch,
        "torso_pitch_std_deg": gait.torso_pitch_std,
        "key_switches_per_s": gait.key_switches,
        "splits_s": {str(at): time for at, time in summary.splits.items()},
        "episodes": summary.episodes,
    }
    return nan_to_none(figures)


def _median(values: Sequence[float] | NDArray[np.float64]) -> float:
    return float(np.median(values)) if len(values) else math.nan
