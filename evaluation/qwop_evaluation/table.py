"""Tables of results: one row a set of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping

from qwop_cli import text_table
from qwop_evaluation.summary import SPLIT_METERS, Summary


def results_table(results: Mapping[str, Summary]) -> str:
    """Name -> summary as one text table: finish rate, times, distance, gait, splits.

    Results of one source stand side by side: demonstrations, a clone, a fine-tuned runner.
    """
    header = ["", "runs", "finish %", "95 % interval", "median s", "best s", "meters", "knee %", "upright %"]
    header += ["stride m", *(f"{at} m s" for at in SPLIT_METERS)]
    rows = []
    for name, summary in results.items():
        rows.append(
            [
                name,
                str(summary.episodes),
                f"{100 * summary.finish_rate:.0f}",
                f"{100 * summary.finish_low:.0f}-{100 * summary.finish_high:.0f}",
                figure(summary.median_time, 2),
                figure(summary.best_time, 2),
                figure(summary.mean_distance, 1),
                figure(100 * summary.gait.knee_near, 1),
                figure(100 * summary.gait.upright, 1),
                figure(summary.gait.stride_length, 2),
                *(figure(summary.splits[at], 2) for at in SPLIT_METERS),
            ]
        )
    return text_table(header, rows)


def figure(value: float, digits: int) -> str:
    """A number for a table; "-" where there is none."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
