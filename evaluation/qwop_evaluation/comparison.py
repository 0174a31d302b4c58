"""Interval estimates over training runs: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the
statistical precipice" (the estimates of its library, rliable).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 2000


def interquartile_mean(scores: NDArray[np.floating]) -> float:
    """Mean of the middle half of all scores, [R, M] or [R]: the lowest and the highest quarter, rounded down,
    are left out. Raises ValueError for no scores.
    """
    ordered = np.sort(np.asarray(scores, np.float64), axis=None)
    if not len(ordered):
        raise ValueError("no scores")
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def bootstrap_interval(
    scores: NDArray[np.floating],
    statistic: Callable[[NDArray[np.float64]], float] = interquartile_mean,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of `statistic` under the stratified bootstrap.

    Every resample draws R runs with replacement, for each of the M tasks by itself: training runs are what
    chance is in, tasks are not.

    scores: [R, M], one number a training run and task (or [R] for one task), such as finish rates under
        protocol P.

    Raises ValueError for no scores or one that is not finite.
    """
    scores = np.asarray(scores, np.float64)
    scores = scores[:, None] if scores.ndim == 1 else scores
    if not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite numbers [runs, tasks], got {list(scores.shape)}")
    generator = np.random.default_rng(seed)
    tasks = np.arange(scores.shape[1])
    drawn = generator.integers(0, len(scores), (resamples, *scores.shape))
    values = [statistic(scores[rows, tasks]) for rows in drawn]
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return float(low), float(high)
