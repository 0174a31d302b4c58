"""Measures of a runner's posture, in meters and radians, computed from raw observations.

All functions take raw observations [..., 60] and keep the leading axes; results are float32. In pairs, left
is [..., 0] and right is [..., 1]. Clearances and heights are measured from the track's surface. They may be
negative: the solver lets parts overlap the track by a few millimeters.
"""

import numpy as np
from numpy.typing import NDArray

from qwop_game.body import BOXES, JOINTS
from qwop_game.observation import PART_INDEX, TRACK_Y, UNITS_PER_METER


def _parts(*names: str) -> NDArray[np.intp]:
    return np.array([PART_INDEX[name] for name in names], dtype=np.intp)


def _float32(values: list[float]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


_Y, _ANGLE, _NUM_FIELDS = 1, 2, 5
_TRACK_Y = np.float32(TRACK_Y)
_UNITS_PER_METER = np.float32(UNITS_PER_METER)
_TORSO = PART_INDEX["torso"]

# The pelvis: midpoint of the two hip joints' anchors on the torso, in the torso's axes.
PELVIS_X, PELVIS_Y = np.mean([JOINTS["leftHip"].local_b, JOINTS["rightHip"].local_b], axis=0).astype(
    np.float32
)

FEET = _parts("leftFoot", "rightFoot")
FEET_HALF_WIDTH = _float32([BOXES[part].half_width for part in ("leftFoot", "rightFoot")])
FEET_HALF_HEIGHT = _float32([BOXES[part].half_height for part in ("leftFoot", "rightFoot")])

# A knee is the two edges, of the calf's box and of the thigh's box, on the side of the knee joint.
_KNEE_NAMES = ("leftCalf", "rightCalf", "leftThigh", "rightThigh")
KNEE_PARTS = _parts(*_KNEE_NAMES)
_KNEE_ANCHORS = [
    JOINTS["leftKnee"].local_a,
    JOINTS["rightKnee"].local_a,
    JOINTS["leftKnee"].local_b,
    JOINTS["rightKnee"].local_b,
]
# Signed distance along the box's long axis to the knee end: + for both calves, - for the left thigh.
KNEE_END = _float32(
    [np.copysign(BOXES[part].half_width, x) for part, (x, _) in zip(_KNEE_NAMES, _KNEE_ANCHORS, strict=True)]
)
KNEE_HALF_HEIGHT = _float32([BOXES[part].half_height for part in _KNEE_NAMES])


def pelvis_height(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Height of the pelvis above the track, m [...]: midpoint of the two hip joints on the torso.

    y_pelvis = y + sin(angle) * px + cos(angle) * py, with (px, py) that midpoint in the torso's axes.
    """
    return pelvis_height_of_pose(*_pose(raw))


def foot_clearance(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clearance between each foot's lowest point and the track, m [..., 2].

    A box's lowest point is at y + |half_width * sin(angle)| + |half_height * cos(angle)|.
    """
    return foot_clearance_of_pose(*_pose(raw))


def knee_clearance(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clearance between each knee's lowest point and the track, m [..., 2]; 0 where the knee is on the track.

    A knee is the end of the calf's box and the end of the thigh's box at the knee joint; the lowest of these
    four corners counts. One end's lowest corner is at y + end * sin(angle) + |half_height * cos(angle)|,
    where `end` is plus or minus the half width.
    """
    return knee_clearance_of_pose(*_pose(raw))


def torso_tilt(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """The torso's lean, rad [...], in [-pi, pi): 0 upright, positive forward (towards +x).

    The torso's long axis points to the neck along its local +x, so upright is an angle of -pi/2.
    """
    turn = np.float32(2 * np.pi)
    angle = raw[..., _NUM_FIELDS * _TORSO + _ANGLE]
    return np.mod(angle + np.float32(1.5 * np.pi), turn) - np.float32(np.pi)


# The same functions of y, sin(angle) and cos(angle), [..., 12] each, for callers that have them already.


def pelvis_height_of_pose(
    y: NDArray[np.float32], sin: NDArray[np.float32], cos: NDArray[np.float32]
) -> NDArray[np.float32]:
    """`pelvis_height` from the parts' y, sine and cosine, [..., 12] each -> [...]."""
    return (_TRACK_Y - (y[..., _TORSO] + sin[..., _TORSO] * PELVIS_X + cos[..., _TORSO] * PELVIS_Y)) / (
        _UNITS_PER_METER
    )


def foot_clearance_of_pose(
    y: NDArray[np.float32], sin: NDArray[np.float32], cos: NDArray[np.float32]
) -> NDArray[np.float32]:
    """`foot_clearance` from the parts' y, sine and cosine, [..., 12] each -> [..., 2]."""
    below = np.abs(FEET_HALF_WIDTH * sin[..., FEET]) + np.abs(FEET_HALF_HEIGHT * cos[..., FEET])
    return (_TRACK_Y - (y[..., FEET] + below)) / _UNITS_PER_METER


def knee_clearance_of_pose(
    y: NDArray[np.float32], sin: NDArray[np.float32], cos: NDArray[np.float32]
) -> NDArray[np.float32]:
    """`knee_clearance` from the parts' y, sine and cosine, [..., 12] each -> [..., 2]."""
    below = KNEE_END * sin[..., KNEE_PARTS] + np.abs(KNEE_HALF_HEIGHT * cos[..., KNEE_PARTS])
    lowest = y[..., KNEE_PARTS] + below
    return (_TRACK_Y - np.maximum(lowest[..., :2], lowest[..., 2:])) / _UNITS_PER_METER


def _pose(raw: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    angle = raw[..., _ANGLE::_NUM_FIELDS]
    return raw[..., _Y::_NUM_FIELDS], np.sin(angle), np.cos(angle)
