"""The input of reward functions: one step of N games."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qwop_game import PARTS, UNITS_PER_METER

_TORSO_X = 5 * PARTS.index("torso")


@dataclass(frozen=True)
class Transition:
    """One decision of N games, live or stored."""

    raw: NDArray[np.float32]
    """Raw observations before the step, [N, 60]."""
    next_raw: NDArray[np.float32]
    """Raw observations after the step, [N, 60]; those of the final frame if the episode ended."""
    time: NDArray[np.float64]
    """scoreTime before the step, s [N]."""
    next_time: NDArray[np.float64]
    """scoreTime after the step, s [N]."""
    terminated: NDArray[np.bool_]
    """Whether the game ended in this step: a fall, the landing or out of bounds, not a time limit. [N]"""
    success: NDArray[np.bool_]
    """Whether the run was won in this step; implies terminated. [N]"""
    keys: NDArray[np.uint8]
    """Key mask held during the step, [N]."""
    frames: int
    """Frames of a whole step. A step in which the game ended may have been shorter."""

    @property
    def fell(self) -> NDArray[np.bool_]:
        """Whether the game ended without success, [N]."""
        return self.terminated & ~self.success

    @property
    def progress(self) -> NDArray[np.float64]:
        """Distance that the torso moved forward, world units [N]."""
        return self.next_raw[:, _TORSO_X].astype(np.float64) - self.raw[:, _TORSO_X]

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Length of the step on the game's clock, s [N]."""
        return self.next_time - self.time

    @property
    def speed(self) -> NDArray[np.float64]:
        """Mean forward speed, m/s [N]; 0 if the clock did not move."""
        seconds = self.seconds
        meters = self.progress / UNITS_PER_METER
        return np.divide(meters, seconds, out=np.zeros_like(meters), where=seconds > 0)
