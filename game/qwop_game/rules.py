"""The rules of qwop-gym 1.0.1: when a run is over, when it is a success, and the default reward.

These are the only definitions: the native code gets the numbers from here (episodes.py).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# The engine's flags of a game (qwop.h).
FLAG_FALLEN, FLAG_JUMPED, FLAG_JUMP_LANDED, FLAG_GAME_ENDED, FLAG_PAUSED = 1, 2, 4, 8, 16

FINISH = 100.0
"""Meters."""

TOO_FAR_BACK, TOO_FAR_AHEAD = -10.0, 105.0
"""Meters: a run is over beyond them."""

SPEED_WEIGHT, TIME_COST = 0.01, 10.0
SUCCESS_REWARD, FAILURE_COST = 50.0, 10.0
"""Coefficients of `default_reward`."""


def has_landed(flags: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether runs were won by a foot that landed beyond 100 m, not by a fall after the jump, bool [...]."""
    return (flags & FLAG_JUMP_LANDED != 0) & (flags & FLAG_FALLEN == 0)


def has_finished(flags: NDArray[np.uint8], distance: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Whether runs that are over count as finished, bool [...]; flags uint8 [...], distance in meters [...].

    A left foot that lands beyond 100 m wins the game, wherever the torso is. As in qwop-gym, a run that ends
    with its torso past 100 m is finished, too. A fall after the jump sets FLAG_JUMP_LANDED, but does not
    finish the run.
    """
    return has_landed(flags) | (distance > FINISH)


def is_over(flags: NDArray[np.uint8], distance: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Whether runs are over, bool [...]: the game has ended or the torso is out of bounds."""
    ended = (flags & FLAG_GAME_ENDED) != 0
    return ended | (distance < TOO_FAR_BACK) | (distance > TOO_FAR_AHEAD)


def default_reward(
    ds: NDArray[np.float32],
    dt: NDArray[np.float32],
    frame_skip: int,
    terminated: NDArray[np.bool_],
    success: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Compute qwop-gym's reward, float32 [N]: 0.01 * ds / dt - 10 * dt / frame_skip, +50 or -10 at the end.

    Args:
        ds: Change of the distance, m, float32 [N].
        dt: Change of scoreTime / 10, float32 [N]. It is 0 if an ended game is stepped without a reset.
        frame_skip: Frames of the step.
        terminated: Whether the run is over, bool [N].
        success: Whether it is over and finished, bool [N].
    """
    speed: NDArray[np.float32] = np.divide(ds, dt, out=np.zeros_like(ds), where=dt > 0)
    cost = dt * np.float32(TIME_COST) / np.float32(frame_skip)
    reward: NDArray[np.float32] = np.subtract(speed * np.float32(SPEED_WEIGHT), cost)

    reward[success] += np.float32(SUCCESS_REWARD)
    reward[terminated & ~success] -= np.float32(FAILURE_COST)
    return reward
