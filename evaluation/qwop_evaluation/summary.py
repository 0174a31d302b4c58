"""Figures of a set of runs: a policy's episodes under protocol P, or stored ones."""

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
from qwop_game import UNITS_PER_METER, RolloutMetrics
from qwop_game.gait import GaitMetrics, gait_metrics_of_runs, pooled

SPLIT_METERS = (10, 50, 100)
"""Distances of the split times, m."""
CONFIDENCE = 0.95
"""Probability that an interval covers the true value."""


def wilson_interval(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Compute the score interval of a proportion (Wilson 1927, "Probable inference, the law of succession").

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), z the normal quantile of (1 + confidence) / 2.
    Unlike the plain normal interval, it is valid near 0 and 1, where good runners are.

    Args:
        successes: number of successes.
        trials: number of trials.
        confidence: probability that the interval covers the true proportion.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: no trials, or more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials: there is no interval")
    z = NormalDist().inv_cdf((1.0 + confidence) / 2.0)
    p, z2n = successes / trials, z * z / trials
    center = p + z2n / 2.0
    spread = z * math.sqrt(p * (1.0 - p) / trials + z2n / (4.0 * trials))
    low, high = (center - spread) / (1.0 + z2n), (center + spread) / (1.0 + z2n)
    # Without rounding errors: the ends are exactly 0 and 1.
    return (0.0 if successes == 0 else low), (1.0 if successes == trials else high)


def split_times(
    raw: NDArray[np.float32], times: NDArray[np.float64], meters: Sequence[float] = SPLIT_METERS
) -> list[float]:
    """Find when the torso first reached each distance.

    Args:
        raw: raw observations of one run, [T + 1, 60].
        times: the game's clock, [T + 1], s.
        meters: distances, m.

    Returns:
        One time per distance, s; NaN if the run never got there.
    """
    x = raw[:, 0]
    reached = [np.flatnonzero(x >= UNITS_PER_METER * at) for at in meters]
    return [float(times[frames[0]]) if len(frames) else math.nan for frames in reached]


@dataclass(frozen=True)
class Summary:
    """Figures of N runs."""

    episodes: int
    """N."""
    finished: int
    """Number of runs that finished."""
    finish_rate: float
    """Share of the runs that finished."""
    finish_low: float
    """Lower end of the 95 % Wilson interval of the finish rate."""
    finish_high: float
    """Upper end of that interval."""
    median_time: float
    """Median time of the finished runs on the game's clock, s; NaN if none finished."""
    best_time: float
    """Shortest time of the finished runs, s; NaN if none finished."""
    mean_distance: float
    """Mean distance at the end of a run, m."""
    splits: dict[int, float]
    """Distance, m -> median time of the runs that got there, s; NaN if none did."""
    gait: GaitMetrics
    """Pooled over all frames of all runs (see `qwop_game.gait.pooled`)."""
    gaits: tuple[GaitMetrics, ...]
    """Of each run, in the order of the runs."""


def summarize(runs: Sequence[Episode]) -> Summary:
    """Compute the figures of runs. Raises ValueError for no runs."""
    if not runs:
        raise ValueError("no runs to summarize")
    metrics = RolloutMetrics()
    metrics.add_episodes(
        np.array([run.distance for run in runs]),
        np.array([run.time for run in runs]),
        np.array([run.success for run in runs], bool),
    )
    low, high = wilson_interval(metrics.finished, metrics.episodes)
    gaits = gait_metrics_of_runs([run.raw_observations for run in runs], [run.keys for run in runs])
    splits = np.array([split_times(run.raw_observations, run.times) for run in runs])
    return Summary(
        episodes=metrics.episodes,
        finished=metrics.finished,
        finish_rate=metrics.finish_rate,
        finish_low=low,
        finish_high=high,
        median_time=metrics.median_time,
        best_time=metrics.best_time,
        mean_distance=metrics.mean_distance,
        splits={at: _median(column) for at, column in zip(SPLIT_METERS, splits.T, strict=True)},
        gait=pooled(gaits),
        gaits=tuple(gaits),
    )


def summary_json(summary: Summary) -> dict[str, Any]:
    """Return the figures as plain data under the names that `qwop-eval --json` prints. NaN becomes null."""
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


def _median(values: NDArray[np.float64]) -> float:
    """Return the median of the values that are not NaN."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else math.nan
