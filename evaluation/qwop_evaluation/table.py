"""Tables of results: one row per set of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping

from qwop_cli import text_table
from qwop_evaluation.summary import SPLIT_METERS, Summary


def results_table(results: Mapping[str, Summary]) -> str:
    """Format summaries as one text table: finish rate, times, distance, gait, splits.

    Args:
        results: name of the row, such as "demonstrations" or "clone" -> summary.
    """
    header = ["", "runs", "finish %", "95 % interval", "median s", "best s", "meters", "knee %", "upright %"]
    header += ["stride m", *(f"{at} m s" for at in SPLIT_METERS)]
    rows: list[list[str]] = []
    for name, summary in results.items():
        rows.append(
            [
                name,
                str(summary.episodes),
                f"{100 * summary.finish_rate:.0f}",
                f"{100 * summary.finish_low:.0f}-{100 * summary.finish_high:.0f}",
                format_number(summary.median_time, 2),
                format_number(summary.best_time, 2),
                format_number(summary.mean_distance, 1),
                format_number(100 * summary.gait.knee_near, 1),
                format_number(100 * summary.gait.upright, 1),
                format_number(summary.gait.stride_length, 2),
                *(format_number(summary.splits[at], 2) for at in SPLIT_METERS),
            ]
        )
    return text_table(header, rows)


def format_number(value: float, digits: int) -> str:
    """Format a number for a table: "-" for NaN."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
