from pathlib import Path

import numpy as np
import pytest

from qwop_game import (
    FEATURE_SIZE,
    PARTS,
    TRACK_Y,
    denormalize,
    encode,
    foot_clearance,
    hip_modes,
    knee_clearance,
    last_keys,
    normalize,
    pelvis_height,
    raw_from_state,
)
from qwop_game.body import BOXES, JOINTS
from qwop_game.encoder import FEATURE_SLICES

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def run() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Raw observations, hip modes and last keys of the stored rows of a whole run."""
    with np.load(GOLDEN / "glibc-fma_runs.npz") as traces:
        frames, keys = traces["frames_0"], traces["actions_0"]
        return raw_from_state(traces["states_0"]), hip_modes(keys)[frames], last_keys(keys)[frames]


def block(features: np.ndarray, name: str) -> np.ndarray:
    return features[..., FEATURE_SLICES[name]]


def creation_pose() -> np.ndarray:
    return np.array([[box.x, box.y, box.angle, 0, 0] for box in map(BOXES.get, PARTS)], np.float32).reshape(
        60
    )


def test_blocks_fill_the_features():
    # 22 positions, 24 velocities, 12 + 12 sines and cosines, 11 joints, 2 heights, 4 clearances, 4, 3, 4
    assert FEATURE_SIZE == 22 + 24 + 12 + 12 + 11 + 2 + 4 + 4 + 3 + 4
    assert sorted(i for columns in FEATURE_SLICES.values() for i in range(FEATURE_SIZE)[columns]) == list(
        range(FEATURE_SIZE)
    )


def test_numbers_of_the_creation_pose():
    features = encode(creation_pose(), 2, 1 | 2 | 8)
    # head minus torso: x 3.88813 - 2.51117, y -5.62180 + 1.87095, in meters
    assert block(features, "position")[0] == pytest.approx(0.137696, abs=1e-6)
    assert block(features, "position")[11] == pytest.approx(-0.375085, abs=1e-6)
    # neck: torso -1.251450 - head 0.064484 + 1.308996
    assert block(features, "joint_angle")[0] == pytest.approx(-0.006938, abs=1e-5)
    # torso at y -1.870952, pelvis at 0.113195
    assert block(features, "height") == pytest.approx(
        [(TRACK_Y + 1.870952) / 10, (TRACK_Y - 0.113195) / 10], abs=1e-5
    )
    # hurdle 49.75 m and sand 99.75 m ahead: beyond both reaches
    assert block(features, "landmark").tolist() == [1, 1, 1, 1]
    assert block(features, "hip_mode").tolist() == [0, 0, 1]
    assert block(features, "last_keys").tolist() == [1, 0, 0, 1]  # the W beside Q does nothing
    assert block(features, "sin")[0] == pytest.approx(np.sin(-1.25145), abs=1e-5)


def test_all_joints_start_within_their_limits():
    angles = block(encode(creation_pose(), 0, 0), "joint_angle")
    for angle, (name, joint) in zip(angles, JOINTS.items(), strict=True):
        assert joint.lower_angle - 0.1 < angle < joint.upper_angle + 0.1, name


def test_velocities_are_relative_to_the_torso():
    raw = np.zeros(60, np.float32)
    raw[3:5] = [17, -2]
    raw[8:10] = [20, 1]  # head
    velocity = block(encode(raw, 0, 0), "velocity")
    assert velocity[:2] == pytest.approx([1.7, 0.3])
    assert velocity[12:14] == pytest.approx([-0.2, 0.3])


def test_landmarks_within_reach():
    raw = creation_pose()
    raw[0] = 495
    # 5 units to the hurdle: 5 / 100, 5 / 20
    assert block(encode(raw, 0, 0), "landmark") == pytest.approx([0.05, 0.25, 1, 1])
    raw[0] = 1010
    assert block(encode(raw, 0, 0), "landmark") == pytest.approx([-1, -1, -0.1, -0.5])


def test_clearances_are_geometrys_in_half_meters(run):
    raw, modes, keys = run
    features = encode(raw, modes, keys)
    # what qwop-gym would clip differs: no clearance rests on that in an upright run
    assert np.allclose(block(features, "clearance")[:, :2], 2 * foot_clearance(raw), atol=1e-5)
    assert np.allclose(block(features, "clearance")[:, 2:], 2 * knee_clearance(raw), atol=1e-5)
    assert np.allclose(block(features, "height")[:, 1], pelvis_height(raw), atol=1e-5)


def test_features_do_not_depend_on_the_place_but_for_landmarks():
    raw = creation_pose()
    ahead = raw.copy()
    ahead[0::5] += 256
    rest = slice(0, FEATURE_SLICES["landmark"].start)
    assert np.allclose(encode(raw, 1, 4)[rest], encode(ahead, 1, 4)[rest], atol=1e-5)


def test_one_game_or_many_have_the_same_bits(run):
    raw, modes, keys = run
    many = encode(raw, modes, keys)
    assert many.shape == (len(raw), FEATURE_SIZE) and many.dtype == np.float32 and many.flags.c_contiguous
    for i in (0, 7, 300, len(raw) - 1):
        assert encode(raw[i], modes[i], keys[i]).tobytes() == many[i].tobytes()
    folded = encode(raw[:12].reshape(3, 4, 60), modes[:12].reshape(3, 4), keys[:12].reshape(3, 4))
    assert folded.tobytes() == many[:12].tobytes()


def test_the_real_games_observations_give_the_same_features(run):
    raw, modes, keys = run
    raw = raw.copy()
    raw[5, 3::5] = 90  # beyond what qwop-gym shows
    through_qwop_gym = encode(denormalize(normalize(raw)), modes, keys)
    # x is known to 530 * 6e-8 = 3e-5 units there, the fine landmark divides by 20
    assert np.abs(through_qwop_gym - encode(raw, modes, keys)).max() < 2e-5


def test_features_are_of_order_one(run):
    features = encode(*run)
    assert np.isfinite(features).all()
    assert np.abs(features).max() < 4
