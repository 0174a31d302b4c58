"""How far some runs are from a person's in style: the rhythm of the keys and the gait, as distributions.

Each figure is a distribution: one number per key press, per stride or per frame, of all runs together. The
distance of two of them is the 1-Wasserstein distance, in the figure's own unit: how far the numbers have to
be moved, on average, to turn one distribution into the other. The person's own runs say what a distance
means: random halves of them are compared with the other halves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_cli import nan_to_none, text_table
from qwop_datasets.episode import Episode
from qwop_datasets.errors import DatasetError
from qwop_datasets.summary import segment_lengths
from qwop_game import KEY_NAMES, canonical_keys
from qwop_game.gait import strides_of, torso_pitch

HALVINGS = 20
"""Random halves of the reference runs that are compared with the other halves."""


def style_figures(episode: Episode) -> dict[str, NDArray[np.float64]]:
    """Measure the rhythm of a run's keys and its gait.

    Keys that the engine ignores (W while Q is held, P while O is held) count as not held.

    Returns:
        Name and unit of each figure -> its numbers, [n]: one per segment, press, stride or frame.
    """
    keys = canonical_keys(episode.keys)
    figures = {"key segment, frames": segment_lengths(keys).astype(np.float64)}
    for bit, name in enumerate(KEY_NAMES):
        held = (keys >> bit & 1).astype(np.int8)
        presses, releases = (np.flatnonzero(np.diff(held, prepend=0, append=0) == sign) for sign in (1, -1))
        figures[f"{name} held, frames"] = (releases - presses).astype(np.float64)
        figures[f"{name} press to press, frames"] = np.diff(presses).astype(np.float64)
    meters, seconds = strides_of(episode.raw_observations)
    return figures | {
        "stride length, m": meters,
        "cadence, steps/min": 2 * 60.0 / seconds,
        "stride speed, m/s": meters / seconds,
        "torso lean, degrees": torso_pitch(episode.raw_observations),
    }


def wasserstein(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Compute the 1-Wasserstein distance of two samples: the area between their distribution functions.

    Args:
        a: numbers, [n].
        b: numbers, [m].

    Returns:
        The distance, in the numbers' unit; NaN if a sample is empty.
    """
    if not len(a) or not len(b):
        return float("nan")
    a, b = np.sort(a), np.sort(b)
    edges = np.sort(np.concatenate([a, b]))
    shares = [np.searchsorted(x, edges[:-1], side="right") / len(x) for x in (a, b)]
    return float((np.abs(shares[0] - shares[1]) * np.diff(edges)).sum())


@dataclass(frozen=True)
class StyleDistance:
    """How far some runs are from the reference runs in one figure."""

    figure: str
    """Its name and unit."""
    mean: float
    """Of the runs; NaN if they have no such number."""
    reference_mean: float
    """Of the reference runs."""
    distance: float
    """1-Wasserstein distance of the two, in the figure's unit."""
    within: float
    """The same distance of half of the reference runs from the other half, mean of 20 random halvings."""

    @property
    def ratio(self) -> float:
        """`distance` / `within`: about 1 if the runs are as alike as the reference runs themselves."""
        return self.distance / self.within if self.within else float("nan")


@dataclass(frozen=True)
class StyleComparison:
    """How far some runs are from reference runs in style. `print` it for a table."""

    runs: int
    """Number of runs."""
    reference_runs: int
    """Number of reference runs."""
    distances: tuple[StyleDistance, ...]
    """One per figure."""

    def as_json(self) -> dict[str, Any]:
        """Convert to plain data for JSON. NaN becomes null."""
        rows = [nan_to_none(asdict(row) | {"ratio": row.ratio}) for row in self.distances]
        return {"runs": self.runs, "reference_runs": self.reference_runs, "distances": rows}

    def __str__(self) -> str:
        def number(value: float) -> str:
            return "-" if np.isnan(value) else f"{value:.2f}"

        header = ["style", "mean", "reference", "distance", "within reference", "ratio"]
        rows = [
            [row.figure, *map(number, (row.mean, row.reference_mean, row.distance, row.within, row.ratio))]
            for row in self.distances
        ]
        return text_table(header, rows)


def compare_style(
    runs: Sequence[Episode], reference: Sequence[Episode], halvings: int = HALVINGS
) -> StyleComparison:
    """Say how far some runs are from reference runs, such as a person's, in keys and gait.

    Args:
        runs: at least one.
        reference: at least two.
        halvings: random halves of the reference runs that are compared with the other halves.

    Raises:
        DatasetError: too few runs.
    """
    if not runs or len(reference) < 2:
        raise DatasetError(
            f"{len(runs)} runs against {len(reference)}: expected at least 1 against at least 2, "
            "whose halves are compared"
        )
    measured = [style_figures(run) for run in runs]
    expected = [style_figures(run) for run in reference]
    generator = np.random.default_rng(0)
    orders: list[list[int]] = [generator.permutation(len(expected)).tolist() for _ in range(halvings)]

    def distance_in(figure: str) -> StyleDistance:
        ours = np.concatenate([run[figure] for run in measured])
        theirs = np.concatenate([run[figure] for run in expected])
        half = len(expected) // 2

        def joined(part: Sequence[int]) -> NDArray[np.float64]:
            return np.concatenate([expected[i][figure] for i in part])

        halves = [wasserstein(joined(order[:half]), joined(order[half:])) for order in orders]
        return StyleDistance(
            figure,
            float(ours.mean()) if len(ours) else float("nan"),
            float(theirs.mean()) if len(theirs) else float("nan"),
            wasserstein(ours, theirs),
            float(np.mean(halves)),
        )

    return StyleComparison(len(measured), len(expected), tuple(map(distance_in, measured[0])))
