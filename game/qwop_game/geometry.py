"""What a runner's posture is, in metres and radians, from raw observations alone.

All functions take raw observations [..., 60] and work over the leading axes; results are float32.
Where a pair comes back, left is [..., 0] and right [..., 1]. Clearances and heights count from the track's
surface and are not limited below: a solver's overlap shows as a few millimetres less than nothing.
"""

import numpy as np

from .body import BOXES, JOINTS
from .observation import PART_INDEX, TRACK_Y, UNITS_PER_METRE


def _columns(field: int, *parts: str) -> np.ndarray:
    return np.array([5 * PART_INDEX[part] + field for part in parts], dtype=np.intp)


def _float32(values: list[float]) -> np.ndarray:
    return np.array(values, dtype=np.float32)


_Y, _ANGLE = 1, 2
_TRACK_Y = np.float32(TRACK_Y)
_UNITS_PER_METRE = np.float32(UNITS_PER_METRE)
_TORSO_Y, _TORSO_ANGLE = 5 * PART_INDEX["torso"] + _Y, 5 * PART_INDEX["torso"] + _ANGLE

# The pelvis: midpoint of the two hip joints' anchors on the torso, in the torso's axes.
_PELVIS_X, _PELVIS_Y = np.mean([JOINTS["leftHip"].local_b, JOINTS["rightHip"].local_b], axis=0).astype(
    np.float32
)

_FEET = ("leftFoot", "rightFoot")
_FEET_Y, _FEET_ANGLE = _columns(_Y, *_FEET), _columns(_ANGLE, *_FEET)
_FEET_HALF_WIDTH = _float32([BOXES[part].half_width for part in _FEET])
_FEET_HALF_HEIGHT = _float32([BOXES[part].half_height for part in _FEET])

# A knee is where the calf's box and the thigh's box end: their edges on the side of the knee joint.
# Order: left calf, right calf, left thigh, right thigh; then the lower of calf and thigh counts.
_KNEE_PARTS = ("leftCalf", "rightCalf", "leftThigh", "rightThigh")
_KNEE_Y, _KNEE_ANGLE = _columns(_Y, *_KNEE_PARTS), _columns(_ANGLE, *_KNEE_PARTS)
_KNEE_ANCHOR_X = [JOINTS[knee].local_a[0] for knee in ("leftKnee", "rightKnee")] + [
    JOINTS[knee].local_b[0] for knee in ("leftKnee", "rightKnee")
]
# Signed distance along the box's long axis to the knee end: + for both calves, - for the left thigh.
_KNEE_END = _float32(
    [np.copysign(BOXES[part].half_width, x) for part, x in zip(_KNEE_PARTS, _KNEE_ANCHOR_X, strict=True)]
)
_KNEE_HALF_HEIGHT = _float32([BOXES[part].half_height for part in _KNEE_PARTS])


def pelvis_height(raw: np.ndarray) -> np.ndarray:
    """Height of the pelvis above the track, m [...]: midpoint of the two hip joints on the torso.

    y_pelvis = y + sin(angle) * px + cos(angle) * py, with (px, py) that midpoint in the torso's axes.
    """
    angle = raw[..., _TORSO_ANGLE]
    y = raw[..., _TORSO_Y] + np.sin(angle) * _PELVIS_X + np.cos(angle) * _PELVIS_Y
    return (_TRACK_Y - y) / _UNITS_PER_METRE


def foot_clearance(raw: np.ndarray) -> np.ndarray:
    """Clearance between each foot's lowest point and the track, m [..., 2].

    A box's lowest point is at y + |half_width * sin(angle)| + |half_height * cos(angle)|.
    """
    angle = raw[..., _FEET_ANGLE]
    y = (
        raw[..., _FEET_Y]
        + np.abs(_FEET_HALF_WIDTH * np.sin(angle))
        + np.abs(_FEET_HALF_HEIGHT * np.cos(angle))
    )
    return (_TRACK_Y - y) / _UNITS_PER_METRE


def knee_clearance(raw: np.ndarray) -> np.ndarray:
    """Clearance between each knee's lowest point and the track, m [..., 2]; 0 where the knee is on the track.

    A knee is the end of the calf's box and the end of the thigh's box at the knee joint; the lowest of these
    four corners counts. One end's lowest corner is at y + end * sin(angle) + |half_height * cos(angle)|,
    where `end` is plus or minus the half width.
    """
    angle = raw[..., _KNEE_ANGLE]
    y = raw[..., _KNEE_Y] + _KNEE_END * np.sin(angle) + np.abs(_KNEE_HALF_HEIGHT * np.cos(angle))
    return (_TRACK_Y - np.maximum(y[..., :2], y[..., 2:])) / _UNITS_PER_METRE


def torso_tilt(raw: np.ndarray) -> np.ndarray:
    """The torso's lean, rad [...], in [-pi, pi): 0 upright, positive forward (towards +x).

    The torso's long axis points to the neck along its local +x, so upright is an angle of -pi/2.
    """
    turn = np.float32(2 * np.pi)
    return np.mod(raw[..., _TORSO_ANGLE] + np.float32(1.5 * np.pi), turn) - np.float32(np.pi)
