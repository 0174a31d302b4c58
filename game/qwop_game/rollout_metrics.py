"""Metrics of rollouts, shared by cloning, fine-tuning and evaluation."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_game.gait import knee_near, upright


@dataclass
class RolloutMetrics:
    """How often and how fast a runner finishes, how far it gets and how upright it is.

    The fields are counts; training checkpoints store them under these names. The properties are the figures.
    A figure without any count is NaN.
    """

    steps: int = 0
    """Postures counted, one per step."""
    knee_near: int = 0
    """Postures with a knee near the track."""
    upright: int = 0
    """Postures of an upright runner."""
    episodes: int = 0
    """Episodes that ended."""
    meters: float = 0.0
    """Sum of the distances of these episodes, m."""
    finish_times: list[float] = field(default_factory=list[float])
    """Times of the finished episodes on the game's clock, s, in the order in which they were added."""

    def add_steps(self, raw: NDArray[np.floating[Any]]) -> None:
        """Count postures.

        Args:
            raw: raw observations [N, 60], world units.
        """
        self.steps += len(raw)
        self.knee_near += int(np.count_nonzero(knee_near(raw)))
        self.upright += int(np.count_nonzero(upright(raw)))

    def add_episodes(
        self, distance: NDArray[np.floating[Any]], time: NDArray[np.floating[Any]], success: NDArray[np.bool_]
    ) -> None:
        """Count episodes that ended.

        Args:
            distance: distance at the end of each, [N], m.
            time: time at the end of each, [N], s.
            success: whether each finished, [N].
        """
        self.episodes += len(distance)
        self.meters += float(distance.sum())
        self.finish_times += time[success].tolist()

    @property
    def finished(self) -> int:
        """Number of episodes that finished."""
        return len(self.finish_times)

    @property
    def finish_rate(self) -> float:
        """Share of the episodes that finished."""
        return _ratio(self.finished, self.episodes)

    @property
    def mean_distance(self) -> float:
        """Mean distance of the episodes, m."""
        return _ratio(self.meters, self.episodes)

    @property
    def median_time(self) -> float:
        """Median time of the finished episodes, s."""
        return float(np.median(self.finish_times)) if self.finish_times else math.nan

    @property
    def best_time(self) -> float:
        """Shortest time of the finished episodes, s."""
        return min(self.finish_times, default=math.nan)

    @property
    def knee_near_share(self) -> float:
        """Share of the postures with a knee near the track (see `qwop_game.gait.knee_near`)."""
        return _ratio(self.knee_near, self.steps)

    @property
    def upright_share(self) -> float:
        """Share of the postures of an upright runner (see `qwop_game.gait.upright`)."""
        return _ratio(self.upright, self.steps)

    def state(self) -> dict[str, Any]:
        """Return plain data from which `RolloutMetrics(**state)` continues to count."""
        return asdict(self)


def _ratio(part: float, whole: int) -> float:
    return part / whole if whole else math.nan
