"""The 60 numbers of qwop-gym's observation, raw and normalized, and the layout of engine states.

A raw observation is float32 [..., 60]: PARTS x FIELDS, in world units, radians and units per time unit of the
physics. The normalized one is (raw - center) / deviation, clipped to [-1, 1], all in float32. It equals that
of qwop-gym 1.0.1 bit for bit.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

PARTS: tuple[str, ...] = (
    "torso",
    "head",
    "leftArm",
    "leftCalf",
    "leftFoot",
    "leftForearm",
    "leftThigh",
    "rightArm",
    "rightCalf",
    "rightFoot",
    "rightForearm",
    "rightThigh",
)
FIELDS: tuple[str, ...] = ("x", "y", "angle", "vx", "vy")
OBSERVATION_SIZE = len(PARTS) * len(FIELDS)
PART_INDEX: dict[str, int] = {part: index for index, part in enumerate(PARTS)}

FRAME_SECONDS = 1 / 30  # scoreTime per frame
UNITS_PER_METER = 10.0
TRACK_Y = 9.14275  # the track's surface; y points down
HURDLE_X = 500.0
SAND_X = 1000.0  # a landing at or beyond this x finishes the run

# Engine states and golden traces: float64 [..., 92].
STATE_PARTS: tuple[str, ...] = (*PARTS, "hurdleBase", "hurdleTop")
STATE_FIELDS: tuple[str, ...] = (*FIELDS, "angular_velocity")
STATE_GLOBALS: tuple[str, ...] = (
    "score_time",
    "score",
    "fallen",
    "jumped",
    "jump_landed",
    "game_ended",
    "pause",
    "touching_contacts",
)
STATE_SIZE = len(STATE_PARTS) * len(STATE_FIELDS) + len(STATE_GLOBALS)

# qwop-gym's limits of each field: x [-10, 1050], y [-10, 10], angle [-6, 6], vx [-20, 60], vy [-25, 60].
RAW_LOW = np.tile(np.array([-10, -10, -6, -20, -25], np.float32), len(PARTS))
RAW_HIGH = np.tile(np.array([1050, 10, 6, 60, 60], np.float32), len(PARTS))
CENTER = (RAW_LOW + RAW_HIGH) / np.float32(2)
DEVIATION = RAW_HIGH - CENTER

_STATE_TO_RAW = np.array(
    [6 * part + field for part in range(len(PARTS)) for field in range(len(FIELDS))], dtype=np.intp
)


def normalize(raw: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Convert raw observations [..., 60] to qwop-gym's, float32 [..., 60] in [-1, 1]."""
    observation = np.subtract(raw, CENTER, dtype=np.float32)
    observation /= DEVIATION
    return np.clip(observation, -1, 1, out=observation)


def denormalize(observation: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Convert qwop-gym's observations [..., 60] to raw ones, float32 [..., 60], except for clipping."""
    raw = np.multiply(observation, DEVIATION, dtype=np.float32)
    raw += CENTER
    return raw


def raw_from_state(state: NDArray[np.float64]) -> NDArray[np.float32]:
    """Convert engine states, float64 [..., 92], to raw observations, float32 [..., 60]."""
    return np.asarray(state)[..., _STATE_TO_RAW].astype(np.float32)
