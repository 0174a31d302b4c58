import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from qwop_game import PARTS, TRACK_Y, QWOPEnv, QWOPVectorEnv, raw_from_state
from qwop_game.body import BOXES
from qwop_game.figure import SHOE_LEFT, SHOE_RIGHT
from qwop_game.render import (
    GROUND,
    KEY_DOWN,
    KEY_UP,
    SHIRTS,
    STANDING_HURDLE,
    VIEW_HEIGHT,
    Dials,
    Renderer,
    Runner,
    ghost_race,
    hurdle_pose,
)

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def states() -> np.ndarray:
    with np.load(GOLDEN / "glibc-fma_runs.npz") as traces:
        return traces["states_0"]


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer()


def near(picture: np.ndarray, color: tuple[int, int, int], tolerance: int = 12) -> np.ndarray:
    """Bool [H, W]: where a color is."""
    return (np.abs(picture.astype(int) - color) <= tolerance).all(axis=-1)


def center(mask: np.ndarray) -> tuple[float, float]:
    """Mean x and y of where a mask is true, px."""
    y, x = np.nonzero(mask)
    return float(x.mean()), float(y.mean())


def at_px(renderer: Renderer, camera_x: float, x: float, y: float) -> tuple[float, float]:
    """World -> px by hand: the camera looks 3 units ahead, the track's line lies GROUND below the top."""
    scale = renderer.height / VIEW_HEIGHT
    return renderer.width / 2 + (x - camera_x - 3) * scale, (GROUND + y - TRACK_Y) * scale


@pytest.mark.parametrize("size", [(640, 400), (320, 200), (961, 601)])
def test_any_size(states, size):
    picture = Renderer(*size).rgb_array(raw_from_state(states[0]))
    assert picture.shape == (size[1], size[0], 3) and picture.dtype == np.uint8
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100


def test_too_small_a_picture():
    with pytest.raises(ValueError, match="too small"):
        Renderer(10, 10)


def test_shoes_are_where_the_feet_are(states, renderer):
    raw = raw_from_state(states[250])
    picture = renderer.rgb_array(raw)
    for part, color in (("leftFoot", SHOE_LEFT), ("rightFoot", SHOE_RIGHT)):
        x, y = raw[5 * PARTS.index(part) : 5 * PARTS.index(part) + 2]
        expected = at_px(renderer, raw[0], x, y)
        lower = near(picture, color)
        lower[: round(0.6 * renderer.height)] = False
        assert np.hypot(*np.subtract(center(lower), expected)) < BOXES[part].half_width * renderer.scale


def test_the_same_picture_twice(states, renderer):
    scene = raw_from_state(states[100]), Dials(5, 3.2, 1.0), hurdle_pose(states[100])
    assert np.array_equal(renderer.rgb_array(*scene), renderer.rgb_array(*scene))
    assert np.array_equal(renderer.rgb_array(*scene), Renderer().rgb_array(*scene))


def test_keys_light_up_one_by_one(states, renderer):
    raw = raw_from_state(states[0])
    dark = near(renderer.rgb_array(raw, Dials(keys=0)), KEY_DOWN, 4)
    assert not dark[350:].any()
    places = []
    for bit in range(4):
        picture = renderer.rgb_array(raw, Dials(keys=1 << bit))
        places.append(center(near(picture, KEY_DOWN, 4) & ~dark)[0])
        assert (near(picture[350:], KEY_UP, 4)).sum() > 1000
    # Q and W left, O and P right, in this order
    assert places == sorted(places) and places[1] < 160 and places[2] > 480


def test_dials_that_are_none_are_omitted(states, renderer):
    raw = raw_from_state(states[0])
    plain, dials = renderer.rgb_array(raw), renderer.rgb_array(raw, Dials(0, 1.0, 2.0))
    changed = (plain != dials).any(axis=-1)
    assert changed[:40].any() and changed[350:].any()
    # nothing is written over the runner
    assert not changed[60:330].any()
    one_more = renderer.rgb_array(raw, Dials(0, 1.0, 2.1))
    assert (one_more != dials).any(axis=-1)[:40, :160].any()


def test_hurdle_stands_at_fifty_meters_and_falls(states, renderer):
    red = (220, 54, 60)
    raw = raw_from_state(states[0]).copy()
    raw[0::5] += 485
    standing = near(renderer.rgb_array(raw, camera_x=500), red)
    x, _ = at_px(renderer, 500, STANDING_HURDLE[1][0], 0)
    columns = np.flatnonzero(standing.sum(axis=0) > 60)
    assert columns.min() < x < columns.max() and len(columns) < 25
    last = hurdle_pose(states[np.argmin(abs(states[:, 0] - 520))])
    assert last != STANDING_HURDLE and abs(last[1][2]) > 1  # this run knocks it over
    fallen = near(renderer.rgb_array(raw, hurdle=last, camera_x=last[1][0]), red)
    assert (fallen[260:].sum(axis=1)).max() > 60


def test_hurdle_pose_of_a_start_is_the_standing_one(states):
    base, top = hurdle_pose(states[0])
    assert base == pytest.approx(STANDING_HURDLE[0]) and top == pytest.approx(STANDING_HURDLE[1])


def test_sand_lies_beyond_a_hundred_meters(states, renderer):
    raw = raw_from_state(states[0]).copy()
    sand = (226, 196, 132)
    assert near(renderer.rgb_array(raw), sand, 2).sum() < 50
    raw[0::5] += 1000
    picture = renderer.rgb_array(raw)
    line = near(picture[round(GROUND * renderer.scale) + 12], sand, 2)
    start, _ = at_px(renderer, raw[0], 1000, 0)
    assert line[round(start) + 20 :].mean() > 0.8 and not line[: round(start) - 20].any()


def test_the_track_scrolls(states, renderer):
    a = raw_from_state(states[0]).copy()
    b = a.copy()
    b[0::5] += 3
    one, two = renderer.rgb_array(a), renderer.rgb_array(b)
    assert (one != two).any()
    # the runner stays where he is: the shirt's pixels are the same
    assert abs(center(near(one, SHIRTS[0], 2))[0] - center(near(two, SHIRTS[0], 2))[0]) < 2


def test_ghosts_have_shirts_and_labels_of_their_own(states, renderer):
    raw = raw_from_state(states[0])
    beside = raw.copy()
    beside[0::5] += 12
    race = ghost_race([raw, beside], ["you", "demo"])
    assert [r.opacity for r in race] == [255, 120] and race[0].shirt != race[1].shirt
    alone = renderer.rgb_array([race[0]])
    both = renderer.rgb_array(race)
    half = renderer.width // 2 + 60
    assert (alone[:, half:] != both[:, half:]).any()
    solid = renderer.rgb_array([race[0], Runner(beside, shirt=SHIRTS[1])])
    blue = [near(picture[:, half:], SHIRTS[1], 4).sum() for picture in (both, solid)]
    assert blue[1] > 300 and blue[0] < 200  # the ghost lets the stand through; its label is blue as well


def test_environments_render_rgb_arrays():
    env = gymnasium.make("qwop_game/QWOP-v0", render_mode="rgb_array")
    env.reset()
    before = env.render()
    env.step(4)
    after = env.render()
    assert before.shape == after.shape == (400, 640, 3)
    # Q and O are down now
    assert near(after, KEY_DOWN, 4)[350:].sum() > near(before, KEY_DOWN, 4)[350:].sum() + 500
    check_env(QWOPEnv(render_mode="rgb_array"))

    envs = QWOPVectorEnv(2, render_mode="rgb_array")
    envs.reset()
    envs.step(np.array([0, 4]))
    pictures = envs.call("render")
    assert len(pictures) == 2 and (pictures[0] != pictures[1]).any()
    assert np.array_equal(pictures[1], after)


def test_pictures_need_no_display():
    code = (
        "import pygame, qwop_game\n"
        "env = qwop_game.QWOPEnv(render_mode='rgb_array'); env.reset()\n"
        "assert env.render().any() and not pygame.display.get_init()\n"
    )
    run_python(code, {"DISPLAY": None, "WAYLAND_DISPLAY": None, "SDL_VIDEODRIVER": None})


def test_human_mode_shows_every_frame():
    """On SDL's dummy display: one picture at the reset, and frame_skip of them a step."""
    code = (
        "import qwop_game, qwop_game.window as window\n"
        "shown = []\n"
        "draw = window.Renderer.draw\n"
        "def spy(self, surface, raw, dials, *rest):\n"
        "    shown.append((round(dials.meters, 3), dials.keys)); draw(self, surface, raw, dials, *rest)\n"
        "window.Renderer.draw = spy\n"
        "env = qwop_game.QWOPEnv(render_mode='human', frame_skip=3); env.reset()\n"
        "env.step(4); env.step(8); env.close()\n"
        "assert [keys for _, keys in shown] == [0, 5, 5, 5, 10, 10, 10], shown\n"
        "assert len({meters for meters, _ in shown}) > 4, shown\n"
    )
    run_python(code, {"SDL_VIDEODRIVER": "dummy"})


def test_human_mode_without_a_display_says_so():
    code = (
        "import qwop_game, qwop_game.window as window\n"
        "try:\n    qwop_game.QWOPEnv(render_mode='human').reset()\n"
        "except window.DisplayError as error:\n"
        "    assert 'rgb_array' in str(error) and len(str(error).splitlines()) == 1\n"
        "else:\n    raise AssertionError('a window opened')\n"
    )
    if sys.platform.startswith("linux"):
        run_python(code, {"DISPLAY": None, "WAYLAND_DISPLAY": None, "SDL_VIDEODRIVER": None})


def run_python(code: str, changes: dict[str, str | None]) -> None:
    """Run code in a process with other environment variables; its assertions are this test's."""
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    for name, value in changes.items():
        environ.pop(name, None)
        if value is not None:
            environ[name] = value
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
