"""The features that policies see, computed from the 60 raw numbers and the keys.

The real game gives the same inputs. Raw numbers are first clipped to qwop-gym's limits (x in [-10, 1050],
...), so that a policy sees the same in both games. The 60 numbers have no angular velocities. The velocities
of jointed parts determine them: v_b - v_a = w_a x r_a - w_b x r_b at each joint. Solving these equations in
every step would cost more than the rest of the encoder, so the network has to infer them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_game.body import JOINTS
from qwop_game.geometry import foot_clearance_of_pose, knee_clearance_of_pose, pelvis_height_of_pose
from qwop_game.keys import NUM_HIP_MODES, canonical_keys
from qwop_game.observation import (
    HURDLE_X,
    OBSERVATION_SIZE,
    PART_INDEX,
    PARTS,
    RAW_HIGH,
    RAW_LOW,
    SAND_X,
    TRACK_Y,
    UNITS_PER_METER,
)

FEATURE_VERSION = 1
"""Raise it when the meaning or order of the features changes. Checkpoints store it."""

_NUM_FIELDS = 5
_TORSO = PART_INDEX["torso"]  # the first part; _OTHERS counts those after it
_OTHERS = len(PARTS) - 1
JOINT_A = np.array([PART_INDEX[joint.part_a] for joint in JOINTS.values()], dtype=np.intp)
JOINT_B = np.array([PART_INDEX[joint.part_b] for joint in JOINTS.values()], dtype=np.intp)

REFERENCE_ANGLE = np.array([joint.reference_angle for joint in JOINTS.values()], dtype=np.float32)[:, None]

_RAW_LOW, _RAW_HIGH = RAW_LOW[:, None], RAW_HIGH[:, None]

METERS = np.float32(1 / UNITS_PER_METER)
SPEED = np.float32(1 / 10)  # at 2 m/s the torso's vx is 17; feet swing about as fast relative to it
CLEARANCE_SCALE = np.float32(2)  # meters to half meters: the values that matter are near 0

# Distance to a landmark, in units, positive if it is ahead: coarse over 10 m, fine over 2 m, both clipped.
LANDMARKS = np.array([HURDLE_X, HURDLE_X, SAND_X, SAND_X], np.float32)[:, None]
LANDMARK_REACH = np.array([100.0, 20.0, 100.0, 20.0], np.float32)[:, None]

HIP_MODE_BITS = np.eye(NUM_HIP_MODES, dtype=np.float32)
KEY_BITS = (canonical_keys(np.arange(16, dtype=np.uint8))[:, None] >> np.arange(4) & 1).astype(np.float32)

FEATURE_BLOCKS: dict[str, int] = {
    "position": 2 * _OTHERS,  # x, then y, of head .. rightThigh relative to the torso, m
    "velocity": 2 * (_OTHERS + 1),  # vx, then vy: the torso's own, the others' relative to it, / 10
    "sin": len(PARTS),  # of each part's angle
    "cos": len(PARTS),
    "joint_angle": len(JOINTS),  # as the joints' limits count it, rad
    "height": 2,  # of the torso's center and of the pelvis above the track, m
    "clearance": 4,  # left and right foot, left and right knee, half meters
    "landmark": len(LANDMARKS),  # hurdle coarse and fine, sand coarse and fine
    "hip_mode": NUM_HIP_MODES,  # one of three is 1: as created, set by O, set by P
    "last_keys": 4,  # Q, W, O, P of the frame before, without the keys that the engine ignores
}
FEATURE_SIZE = sum(FEATURE_BLOCKS.values())
_ENDS = np.cumsum(list(FEATURE_BLOCKS.values())).tolist()
FEATURE_SLICES: dict[str, slice] = {
    name: slice(end - size, end) for (name, size), end in zip(FEATURE_BLOCKS.items(), _ENDS, strict=True)
}


def encode(
    raw: NDArray[np.floating[Any]], hip_mode: NDArray[np.uint8] | int, last_keys: NDArray[np.uint8] | int
) -> NDArray[np.float32]:
    """Compute the features that policies see, float32 [..., FEATURE_SIZE], of order one: see FEATURE_BLOCKS.

    raw: raw observations, [..., 60].
    hip_mode: uint8 [...], the hip limits that apply now (`hip_modes`).
    last_keys: uint8 [...], key masks of the frame before (`last_keys`); 0 at an episode's start.
    """
    raw = np.asarray(raw)
    lead = raw.shape[:-1]
    # Columns first, so that every operation below runs along the games, which are contiguous in memory.
    raw = np.array(raw.reshape(-1, OBSERVATION_SIZE).T, dtype=np.float32, order="C")
    np.minimum(raw, _RAW_HIGH, out=raw)
    np.maximum(raw, _RAW_LOW, out=raw)
    games = raw.shape[1]
    x, y, angle, vx, vy = (raw[field::_NUM_FIELDS] for field in range(_NUM_FIELDS))

    features = np.empty((FEATURE_SIZE, games), np.float32)
    block = {name: features[rows] for name, rows in FEATURE_SLICES.items()}

    position = block["position"].reshape(2, _OTHERS, games)
    np.subtract(x[1:], x[_TORSO], out=position[0])
    np.subtract(y[1:], y[_TORSO], out=position[1])
    position *= METERS

    velocity = block["velocity"].reshape(2, _OTHERS + 1, games)
    velocity[:, 0] = vx[_TORSO], vy[_TORSO]
    np.subtract(vx[1:], vx[_TORSO], out=velocity[0, 1:])
    np.subtract(vy[1:], vy[_TORSO], out=velocity[1, 1:])
    velocity *= SPEED

    sin, cos = np.sin(angle, out=block["sin"]), np.cos(angle, out=block["cos"])
    np.subtract(angle[JOINT_B], angle[JOINT_A], out=block["joint_angle"])
    block["joint_angle"] -= REFERENCE_ANGLE

    block["height"][0] = (np.float32(TRACK_Y) - y[_TORSO]) * METERS
    block["height"][1] = pelvis_height_of_pose(y.T, sin.T, cos.T)
    block["clearance"][:2] = foot_clearance_of_pose(y.T, sin.T, cos.T).T
    block["clearance"][2:] = knee_clearance_of_pose(y.T, sin.T, cos.T).T
    block["clearance"] *= CLEARANCE_SCALE

    np.clip((LANDMARKS - x[_TORSO]) / LANDMARK_REACH, -1, 1, out=block["landmark"])
    block["hip_mode"][:] = HIP_MODE_BITS[hip_mode].reshape(-1, NUM_HIP_MODES).T
    block["last_keys"][:] = KEY_BITS[last_keys].reshape(-1, 4).T
    return np.ascontiguousarray(features.T).reshape(*lead, FEATURE_SIZE)
