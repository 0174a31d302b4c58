"""Constants that both Python and the engine have: bodies, joints, the clock, the track, flags."""

import numpy as np

from qwop_game import FRAME_SECONDS, TRACK_Y, Simulator
from qwop_game.body import BOXES, HURDLE_BASE, HURDLE_TOP, JOINTS
from qwop_game.observation import HURDLE_X, PARTS, SAND_X, STATE_GLOBALS, STATE_PARTS, STATE_SIZE
from qwop_game.rules import (
    FLAG_FALLEN,
    FLAG_GAME_ENDED,
    FLAG_JUMP_LANDED,
    FLAG_JUMPED,
    FLAG_PAUSED,
)
from qwop_game.simulator import native_library


def engine_constants() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bodies [14, 5], joints [11, 9], game [3]: see qwop_constants in qwop.h."""
    tables = np.full((14, 5), np.nan), np.full((11, 9), np.nan), np.full(3, np.nan)
    native_library().qwop_constants(*(table.ctypes.data for table in tables))
    return tables


def test_boxes_are_the_engines() -> None:
    bodies, _, _ = engine_constants()
    boxes = {**BOXES, "hurdleBase": HURDLE_BASE, "hurdleTop": HURDLE_TOP}
    assert tuple(BOXES) == PARTS and tuple(boxes) == STATE_PARTS
    rows = [[box.half_width, box.half_height, box.x, box.y, box.angle] for box in boxes.values()]
    assert (bodies == rows).all()


def test_joints_are_the_engines() -> None:
    _, joints, _ = engine_constants()
    rows = [
        [
            STATE_PARTS.index(joint.part_a),
            STATE_PARTS.index(joint.part_b),
            *joint.world_a,
            *joint.world_b,
            joint.reference_angle,
            joint.lower_angle,
            joint.upper_angle,
        ]
        for joint in JOINTS.values()
    ]
    assert (joints == rows).all()


def test_clock_and_track_are_the_engines() -> None:
    _, _, (frame_seconds, track_y, sand_x) = engine_constants()
    assert (frame_seconds, track_y, sand_x) == (FRAME_SECONDS, TRACK_Y, SAND_X)
    assert HURDLE_BASE.x == HURDLE_X


def test_flags_are_the_engines() -> None:
    flags = {
        "fallen": FLAG_FALLEN,
        "jumped": FLAG_JUMPED,
        "jump_landed": FLAG_JUMP_LANDED,
        "game_ended": FLAG_GAME_ENDED,
        "pause": FLAG_PAUSED,
    }
    rng = np.random.default_rng(0)
    game = Simulator(64)
    for env in range(32):
        game.teleport(np.arange(64) == env, 970 + env, -1.0, 20.0, 0.0)
    seen = np.zeros(5)
    for _ in range(60):
        game.step(rng.integers(0, 16, 64, np.uint8), 4)
        columns = game.state[:, STATE_SIZE - len(STATE_GLOBALS) :]
        for i, (name, flag) in enumerate(flags.items()):
            expected = columns[:, STATE_GLOBALS.index(name)] != 0
            assert ((game.flags & flag != 0) == expected).all(), name
            seen[i] += expected.any()
    assert (seen > 0).all()
