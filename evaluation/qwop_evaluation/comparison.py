"""Interval estimates over training runs.

Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice"; the estimates are
those of its library, rliable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
"""Probability that an interval covers the true value."""
RESAMPLES = 2000
"""Resamples of a bootstrap."""


def interquartile_mean(scores: NDArray[np.floating[Any]]) -> float:
    """Compute the mean of the middle half of all scores.

    The lowest and the highest quarter are omitted, their sizes rounded down.

    Args:
        scores: [R, M] or [R].

    Raises:
        ValueError: no scores.
    """
    ordered = np.sort(np.asarray(scores, np.float64), axis=None)
    if not len(ordered):
        raise ValueError("no scores")
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def bootstrap_interval(
    scores: NDArray[np.floating[Any]],
    statistic: Callable[[NDArray[np.float64]], float] = interquartile_mean,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Compute the percentile interval of a statistic by the stratified bootstrap.

    Each resample draws R training runs with replacement, separately for each of the M tasks: runs are random,
    tasks are fixed.

    Args:
        scores: one number per training run and task, [R, M], or [R] for one task; such as finish rates under
            protocol P.
        statistic: function of resampled scores [R, M].
        confidence: probability that the interval covers the true value.
        resamples: number of resamples.
        seed: seed of the draws.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: no scores, or one that is not finite.
    """
    scores = np.asarray(scores, np.float64)
    scores = scores[:, None] if scores.ndim == 1 else scores
    if not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite numbers [runs, tasks], got {list(scores.shape)}")
    generator = np.random.default_rng(seed)
    tasks = np.arange(int(scores.shape[1]))
    drawn = generator.integers(0, len(scores), (resamples, *scores.shape))
    values = [statistic(scores[rows, tasks]) for rows in drawn]
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return float(low), float(high)
