from math import pi
from pathlib import Path

import numpy as np
import pytest

from qwop_game import (
    PARTS,
    TRACK_Y,
    foot_clearance,
    knee_clearance,
    pelvis_height,
    raw_from_state,
    torso_tilt,
)
from qwop_game.body import BOXES, JOINTS

GOLDEN = Path(__file__).parents[1] / "golden"


def posed(**parts: tuple[float, float, float]) -> np.ndarray:
    """A raw observation with the named parts at (x, y, angle) and all others high up."""
    raw = np.zeros((12, 5), np.float32)
    raw[:, 1] = -100
    for name, pose in parts.items():
        raw[PARTS.index(name), :3] = pose
    return raw.reshape(60)


def creation_pose() -> np.ndarray:
    return posed(**{part: (box.x, box.y, box.angle) for part, box in BOXES.items()})


def golden(name: str, trace: int) -> np.ndarray:
    with np.load(GOLDEN / f"glibc-fma_{name}.npz") as traces:
        return traces[f"states_{trace}"]


def test_foot_flat_and_on_its_edge():
    # flat: half height 0.675; upright: half width 1.35; left foot only, the right one is 0.725 high
    assert foot_clearance(posed(leftFoot=(0, 8.0, 0)))[0] == pytest.approx((TRACK_Y - 8.675) / 10)
    assert foot_clearance(posed(leftFoot=(0, 7.0, pi / 2)))[0] == pytest.approx((TRACK_Y - 8.35) / 10)
    assert foot_clearance(posed(rightFoot=(0, 8.0, pi)))[1] == pytest.approx((TRACK_Y - 8.725) / 10, abs=1e-6)


def test_foot_turned_has_its_corner_lowest():
    # 30 degrees: 1.35 * 0.5 + 0.675 * 0.866025 = 1.259567
    for angle in (pi / 6, -pi / 6):
        assert foot_clearance(posed(leftFoot=(0, 7, angle)))[0] == pytest.approx((TRACK_Y - 8.259567) / 10)


def test_knee_is_the_plus_end_of_the_calf():
    # angle +90 degrees turns local +x down: the knee end 2.5 below the center; -90 degrees: 2.5 above
    down, up = posed(leftCalf=(0, 5, pi / 2)), posed(leftCalf=(0, 5, -pi / 2))
    assert knee_clearance(down)[0] == pytest.approx((TRACK_Y - 7.5) / 10)
    assert knee_clearance(up)[0] == pytest.approx((TRACK_Y - 2.5) / 10)
    # flat calf: half height 0.75
    assert knee_clearance(posed(rightCalf=(0, 5, 0)))[1] == pytest.approx((TRACK_Y - 5.75) / 10)


def test_knee_ends_of_the_thighs_point_opposite_ways():
    # the left thigh's knee is at its -x end (2.525), the right thigh's at +x (2.65)
    assert knee_clearance(posed(leftThigh=(0, 5, -pi / 2)))[0] == pytest.approx((TRACK_Y - 7.525) / 10)
    assert knee_clearance(posed(rightThigh=(0, 5, pi / 2)))[1] == pytest.approx((TRACK_Y - 7.65) / 10)


def test_the_lower_of_calf_and_thigh_counts():
    both = posed(leftCalf=(0, 5, pi / 2), leftThigh=(0, 6, -pi / 2))
    assert knee_clearance(both)[0] == pytest.approx((TRACK_Y - 8.525) / 10)


def test_pelvis_at_creation_is_the_mean_of_the_hip_anchors():
    # world anchors on the torso: y = 0.238026 and -0.011635, mean 0.113195
    assert pelvis_height(creation_pose()) == pytest.approx((TRACK_Y - 0.113195) / 10, abs=1e-5)


def test_pelvis_turns_with_the_torso():
    # the pelvis is 2.161982 behind the torso's center along its axis and 0.218276 to its side
    assert pelvis_height(posed(torso=(0, 5, 0))) == pytest.approx((TRACK_Y - (5 - 0.218276)) / 10, abs=1e-5)
    assert pelvis_height(posed(torso=(0, 5, -pi / 2))) == pytest.approx((TRACK_Y - 7.161982) / 10, abs=1e-5)


def test_tilt_is_zero_upright_and_positive_forward():
    angles = [-pi / 2, -pi / 2 + 0.3, -pi / 2 - 0.3, 0, -pi / 2 + 2 * pi, pi / 2 - 0.01]
    tilts = [float(torso_tilt(posed(torso=(0, 0, angle)))) for angle in angles]
    assert tilts == pytest.approx([0, 0.3, -0.3, pi / 2, 0, pi - 0.01], abs=1e-5)


def test_joint_anchors_meet_in_motion():
    """The two bodies of a joint agree where it is, in every row of a whole run, to the solver's tolerance."""
    state = golden("runs", 0)
    for joint in JOINTS.values():
        points = []
        for part, (lx, ly) in ((joint.part_a, joint.local_a), (joint.part_b, joint.local_b)):
            x, y, angle = state[:, 6 * PARTS.index(part) : 6 * PARTS.index(part) + 3].T
            points.append(
                (x + np.cos(angle) * lx - np.sin(angle) * ly, y + np.sin(angle) * lx + np.cos(angle) * ly)
            )
        (ax, ay), (bx, by) = points
        assert np.hypot(ax - bx, ay - by).mean() < 0.02  # units; hard landings pull up to 0.26 apart


def test_nothing_sinks_into_the_track_and_the_run_is_upright():
    raw = raw_from_state(golden("runs", 0))
    assert foot_clearance(raw).shape == (len(raw), 2)
    assert np.quantile(foot_clearance(raw), 0.05) > -0.02  # hard landings overlap by more
    knees = knee_clearance(raw)
    assert (knees.min(axis=-1) < 0.12).mean() < 0.01
    assert pelvis_height(raw).mean() == pytest.approx(0.795, abs=0.001)
    assert np.degrees(np.abs(torso_tilt(raw))).mean() == pytest.approx(9.36, abs=0.01)
    assert knees.dtype == pelvis_height(raw).dtype == torso_tilt(raw).dtype == np.float32


def test_one_observation_or_many_give_the_same():
    raw = raw_from_state(golden("random", 0))[:12]
    for function in (pelvis_height, knee_clearance, foot_clearance, torso_tilt):
        many = function(raw.reshape(3, 4, 60))
        assert many.shape[:2] == (3, 4)
        assert np.allclose(many.reshape(12, -1)[7], function(raw[7]), atol=1e-6)
