"""Gait metrics: worked numbers on poses made by hand, and the golden run of the real game."""

import math
from pathlib import Path

import numpy as np
import pytest

from qwop_game import PARTS, TRACK_Y, raw_from_state
from qwop_game.gait import (
    gait_metrics,
    gait_metrics_of_runs,
    knee_near,
    longest_run,
    pooled,
    touchdowns,
    upright,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "glibc-fma_runs.npz"
LEFT, RIGHT = 5 * PARTS.index("leftFoot"), 5 * PARTS.index("rightFoot")
HALF_HEIGHT = {LEFT: 0.675, RIGHT: 0.725}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as traces:
        return raw_from_state(traces["states_0"]), traces["frames_0"], traces["actions_0"]


@pytest.fixture
def start(golden):
    return golden[0][0]


def put_foot(raw, frame, foot, x_meters, clearance_meters):
    """A flat foot: its lowest point is half a box's height below its center."""
    raw[frame, foot] = 10 * x_meters
    raw[frame, foot + 1] = TRACK_Y - HALF_HEIGHT[foot] - 10 * clearance_meters
    raw[frame, foot + 2] = 0.0


def walk(start, landings, frames):
    """A walker: feet down, except in the frame before a landing (left or right, frame, x [m])."""
    raw = np.tile(start, (frames, 1))
    position = {LEFT: 0.0, RIGHT: 0.0}
    for frame in range(frames):
        for foot in (LEFT, RIGHT):
            lands_next = any(f == foot and at == frame + 1 for f, at, _ in landings)
            position[foot] = next((x for f, at, x in landings if f == foot and at == frame), position[foot])
            put_foot(raw, frame, foot, position[foot], 0.05 if lands_next else 0.0)
    return raw


def test_strides_of_a_walker_made_by_hand(start):
    # Right lands at 1.0 m (0.4 ahead of left 0.6), left 0.8 ahead of right: step lengths 0.4 and 0.8.
    landings = [(LEFT, 10, 0.6), (RIGHT, 25, 1.0), (LEFT, 40, 1.8), (RIGHT, 55, 2.2), (LEFT, 70, 3.0)]
    raw = walk(start, landings, 80)
    frames, feet = touchdowns(raw)
    assert frames.tolist() == [10, 25, 40, 55, 70]
    assert feet.tolist() == [0, 1, 0, 1, 0]
    metrics = gait_metrics(raw)
    assert (metrics.steps, metrics.strides) == (4, 2)
    assert metrics.stride_length == pytest.approx(1.2)  # 1.8 - 0.6, 2.2 - 1.0, 3.0 - 1.8
    assert metrics.cadence == pytest.approx(120.0)  # 4 steps in 60 frames = 2 s
    # Left lands ahead by 0.6, 0.8 and 0.8 m; right by 0.4 m.
    assert metrics.symmetry == pytest.approx(0.4 / (2.2 / 3))
    assert metrics.flight == 0.0


@pytest.mark.parametrize(
    ("left_x", "right_x", "symmetry"),
    [
        (1.0, 0.7, -0.3),  # left lands 1.0 m ahead of right at 0, then right 0.3 m behind it
        (-1.0, -0.9, -0.1),  # left lands 1.0 m behind, right 0.1 m ahead
        (-1.0, -1.5, 0.5),  # left lands 1.0 m behind, right 0.5 m behind
    ],
)
def test_symmetry_where_a_foot_lands_behind_the_other(start, left_x, right_x, symmetry):
    raw = walk(start, [(LEFT, 10, left_x), (RIGHT, 25, right_x)], 40)
    assert gait_metrics(raw).symmetry == pytest.approx(symmetry, rel=1e-5)


def test_landings_that_share_a_frame_have_no_cadence(start):
    metrics = gait_metrics(walk(start, [(LEFT, 10, 0.6), (RIGHT, 10, 1.0)], 20))
    assert metrics.steps == 1 and math.isnan(metrics.cadence)
    assert math.isnan(pooled([metrics, metrics]).cadence)


def test_a_scuff_before_the_landing_is_one_step(start):
    landings = [(LEFT, 10, 0.6), (RIGHT, 20, 0.3), (RIGHT, 25, 1.0), (LEFT, 40, 1.8)]
    frames, feet = touchdowns(walk(start, landings, 50))
    assert frames.tolist() == [10, 25, 40]
    assert feet.tolist() == [0, 1, 0]


def test_a_foot_jittering_between_the_two_thresholds_never_lands(start):
    raw = np.tile(start, (20, 1))
    for frame in range(20):
        put_foot(raw, frame, LEFT, 0.0, 0.0 if frame % 2 else 0.029)
        put_foot(raw, frame, RIGHT, 0.0, 0.0 if frame % 2 else 0.031)
    frames, feet = touchdowns(raw)
    assert feet.tolist() == [1]  # all of the right foot's landings in a row are one
    assert frames.tolist() == [19]


def test_flight_is_the_share_without_any_contact(start):
    raw = np.tile(start, (10, 1))
    for frame in range(10):
        put_foot(raw, frame, LEFT, 0.0, 0.1 if frame < 4 else 0.0)
        put_foot(raw, frame, RIGHT, 0.0, 0.1 if frame < 7 else 0.0)
    metrics = gait_metrics(raw)
    assert metrics.flight == pytest.approx(0.4)
    assert (metrics.steps, metrics.strides) == (1, 0)
    assert math.isnan(metrics.stride_length)


def test_thresholds_of_knee_and_upright(start):
    # Lowering the whole start pose: pelvis at 0.8981 m, knees at 0.4737 and 0.4307 m, tilt 18 degrees.
    rows = np.tile(start, (5, 1))
    for row, drop in enumerate((0.0, 2.48, 2.483, 3.105, 3.11)):
        rows[row, 1::5] += drop
    assert upright(rows).tolist() == [True, True, False, False, False]
    assert knee_near(rows).tolist() == [False, False, False, False, True]
    leaning = np.tile(start, (4, 1))
    leaning[:, 2] = -math.pi / 2 + np.radians([44.9, 45.1, -44.9, -45.1])
    assert upright(leaning).tolist() == [True, False, True, False]


def test_pitch_switches_and_longest_knee_time(start):
    raw = np.tile(start, (61, 1))
    raw[:, 2] = -math.pi / 2 + np.radians(np.where(np.arange(61) % 2, 14.0, 10.0))
    raw[10:16, 1::5] += 4.0
    raw[20:29, 1::5] += 4.0
    keys = np.repeat(np.array([0, 9, 6, 9], np.uint8), 15)
    metrics = gait_metrics(raw, keys)
    assert metrics.torso_pitch == pytest.approx(10 + 4 * 30 / 61, abs=1e-4)
    assert metrics.torso_pitch_std == pytest.approx(4 * math.sqrt(30 * 31) / 61, abs=1e-4)
    assert metrics.key_switches == pytest.approx(1.5)  # 3 changes in 2 s
    assert metrics.knee_near == pytest.approx(15 / 61)
    assert metrics.knee_longest == pytest.approx(9 / 30)
    assert metrics.upright == pytest.approx(46 / 61)
    assert longest_run(np.array([], bool)) == 0


def test_golden_run_strides_upright(golden):
    raw, frames, keys = golden
    sampled = raw[np.isin(frames, np.arange(0, 2301, 20))]  # the whole run, every 20th frame
    metrics = gait_metrics(sampled)
    assert metrics.knee_near == pytest.approx(1 / 116)
    assert metrics.upright == pytest.approx(110 / 116)
    assert metrics.pelvis_height == pytest.approx(0.8061, abs=5e-5)
    dense = raw[:201]
    metrics = gait_metrics(dense, keys[:200])
    assert frames[200] == 200
    assert metrics.steps == 7
    assert metrics.knee_near == 0.0
    assert metrics.distance == pytest.approx(6.474, abs=5e-4)
    assert metrics.key_switches == pytest.approx(np.count_nonzero(np.diff(keys[:200])) / (200 / 30))


def test_many_runs_at_once_and_pooled(golden):
    raw = golden[0]
    runs = [raw[:201], raw[:2], raw[:100]]
    each = gait_metrics_of_runs(runs)
    assert [m.steps for m in each] == [7, 0, 4]  # the cut run ends with the scuff in frame 97
    assert [m.frames for m in each] == [201, 2, 100]
    whole = pooled(each)
    assert whole.frames == 303
    assert whole.upright == pytest.approx(
        (each[0].upright * 201 + each[1].upright * 2 + each[2].upright * 100) / 303
    )
    assert whole.cadence == pytest.approx((each[0].cadence + each[2].cadence) / 2)  # two frames hold no step
    # Pooling three pieces of one run gives the run's own mean and spread.
    pieces, together = gait_metrics_of_runs([raw[:50], raw[50:90], raw[90:201]]), gait_metrics(raw[:201])
    assert pooled(pieces).torso_pitch == pytest.approx(together.torso_pitch)
    assert pooled(pieces).torso_pitch_std == pytest.approx(together.torso_pitch_std)
    with pytest.raises(ValueError, match="no runs"):
        pooled([])


def test_bad_input_is_named(golden):
    raw = golden[0][:3].copy()
    with pytest.raises(ValueError, match=r"must be \[T \+ 1, 60\], got \[3, 59\]"):
        gait_metrics(raw[:, :59])
    with pytest.raises(ValueError, match="3 observations need 2 keys, got 3"):
        gait_metrics(raw, np.zeros(3, np.uint8))
    raw[1, 7] = np.nan
    with pytest.raises(ValueError, match="not finite, first in frame 1"):
        gait_metrics(raw)
