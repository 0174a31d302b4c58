from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from qwop_game import ACTION_SETS, QWOPEnv, denormalize, encode, engines, hip_modes, normalize, raw_from_state

GOLDEN = Path(__file__).parents[1] / "golden"


def golden(name: str, trace: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with np.load(GOLDEN / f"glibc-fma_{name}.npz") as traces:
        return traces[f"actions_{trace}"], traces[f"frames_{trace}"], traces[f"states_{trace}"]


def play(env: gymnasium.Env, actions: np.ndarray) -> list[tuple]:
    """Observation, reward, terminated, truncated, info of each step, until the episode ends."""
    env.reset(seed=3)
    steps = []
    for action in actions:
        steps.append(env.step(int(action)))
        if steps[-1][2] or steps[-1][3]:
            break
    return steps


@pytest.mark.parametrize(
    "options", [{}, {"observation": "features"}, {"action_set": "full", "frame_skip": 1}]
)
def test_gymnasiums_checker_passes(options):
    check_env(gymnasium.make("qwop_game/QWOP-v0", **options).unwrapped, skip_render_check=True)


def test_spaces():
    env = QWOPEnv()
    assert env.action_space.n == 9 and env.observation_space.shape == (60,)
    assert QWOPEnv(action_set="full").action_space.n == 16
    observation, _ = QWOPEnv(observation="features").reset()
    assert observation.shape == QWOPEnv(observation="features").observation_space.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame_skip": 0}, "frame_skip is 0: it must be a whole number, 1 or more"),
        ({"frame_skip": 1.5}, "frame_skip is 1.5"),
        ({"action_set": "all"}, "action_set 'all' is unknown: choose one of full, reduced, distinct"),
        ({"observation": "pixels"}, "observation 'pixels' is unknown"),
        ({"max_frames": 0}, "max_frames is 0"),
        ({"render_mode": "ansi"}, "render_mode 'ansi' is unknown"),
        ({"engine": "turbo"}, "engine 'turbo' does not run here"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        QWOPEnv(**options)


def test_misspelt_option_is_an_error():
    with pytest.raises(TypeError, match="frame_skp"):
        gymnasium.make("qwop_game/QWOP-v0", frame_skp=2)
    env = QWOPEnv()
    with pytest.raises(ValueError, match="'snapshot'"):
        env.reset(options={"snapshot": 1})


@pytest.mark.parametrize("action", [-1, 9, 1.0])
def test_action_out_of_range(action):
    env = QWOPEnv()
    env.reset()
    with pytest.raises(ValueError, match="whole numbers from 0 to 8"):
        env.step(action)


@pytest.mark.parametrize("engine", engines())
def test_a_whole_recorded_run_through_the_environment(engine):
    """2301 frames of the real game, over the hurdle into the sand: its observations, clock and end."""
    keys, frames, states = golden("runs", 0)
    env = QWOPEnv(frame_skip=1, action_set="full", engine=engine, trig="glibc-fma")
    observation, info = env.reset()
    index_of = {int(mask): i for i, mask in enumerate(ACTION_SETS["full"])}
    row_of = {int(frame): row for row, frame in enumerate(frames)}
    clock_start = states[0, 84] - info["time"]
    modes = hip_modes(keys)
    assert observation.tobytes() == normalize(raw_from_state(states[0])).tobytes()
    for frame, mask in enumerate(keys, start=1):
        observation, _, terminated, truncated, info = env.step(index_of[int(mask)])
        assert not truncated and terminated == (frame == len(keys))
        assert info["frame"] == frame and info["keys"] == mask and info["hip_mode"] == modes[frame]
        if frame in row_of:
            state = states[row_of[frame]]
            assert info["raw_observation"].tobytes() == raw_from_state(state).tobytes()
            assert observation.tobytes() == normalize(raw_from_state(state)).tobytes()
            assert info["distance"] == state[0] / 10
            assert info["time"] + clock_start == pytest.approx(state[84], abs=1e-9)
    assert info["is_success"] and not info["fallen"]
    assert info["distance"] == pytest.approx(101.66665, abs=1e-4)


def test_a_fall_costs_ten_and_the_game_stops():
    keys, frames, states = golden("random", 1)  # falls in frame 78
    env = QWOPEnv(frame_skip=1, action_set="full", trig="glibc-fma")
    index_of = {int(mask): i for i, mask in enumerate(ACTION_SETS["full"])}
    steps = play(env, np.array([index_of[int(mask)] for mask in keys]))
    assert len(steps) == 78
    _, reward, terminated, truncated, info = steps[-1]
    assert terminated and not truncated and info["fallen"] and not info["is_success"]
    assert info["raw_observation"].tobytes() == raw_from_state(states[list(frames).index(78)]).tobytes()
    # one frame before and after, by hand: 0.01 * ds / dt - 10 * dt - 10 with dt = 1/300
    ds = steps[-1][4]["distance"] - steps[-2][4]["distance"]
    assert reward == pytest.approx(0.01 * ds * 300 - 10 / 300 - 10, abs=1e-4)


def test_reward_is_qwop_gyms():
    """The same clock and distances put into qwop-gym's own function give the same, but for rounding:
    it divides by frames_per_step in float64 or float32, depending on NumPy's version.
    """
    qwop_env = pytest.importorskip("qwop_gym.envs.v1.qwop_env")
    theirs = qwop_env.QwopEnv(browser_mock=True, frames_per_step=4)
    env = QWOPEnv()
    actions = np.random.default_rng(5).integers(0, 9, 400).repeat(3)
    last = theirs.noop_reaction  # qwop-gym's first step counts from 0 m and 0 s
    steps = play(env, actions)
    for _, reward, terminated, _, info in steps:
        time, distance = np.float32(info["time"] / 10), np.float32(info["distance"])
        reaction = qwop_env.Reaction(2 * terminated + 4 * info["is_success"], time, distance, None, None)
        assert reward == pytest.approx(float(theirs._calc_reward(reaction, last)), rel=1e-6, abs=1e-7)
        last = reaction
    assert steps[-1][2]


def test_frame_skip_holds_the_keys():
    one, four = QWOPEnv(frame_skip=1), QWOPEnv(frame_skip=4)
    one.reset(), four.reset()
    for action in (4, 8, 4, 0):
        slow = [one.step(action) for _ in range(4)]
        observation, _, _, _, info = four.step(action)
        assert observation.tobytes() == slow[-1][0].tobytes()
        assert info["frame"] == slow[-1][4]["frame"] and info["time"] == slow[-1][4]["time"]


def test_max_frames_truncates():
    env = QWOPEnv(max_frames=10)
    steps = play(env, np.zeros(100))  # standing still, no fall in 12 frames
    assert len(steps) == 3 and steps[-1][3] and not steps[-1][2]
    assert steps[-1][4]["frame"] == 12


@pytest.mark.parametrize("seed", [0, 1])
def test_same_actions_same_episode_whatever_the_seed(seed):
    actions = np.random.default_rng(7).integers(0, 9, 300)
    first, second = QWOPEnv(), QWOPEnv()
    first.reset(seed=11), second.reset(seed=seed)
    for action in actions:
        a, b = first.step(action), second.step(action)
        assert a[0].tobytes() == b[0].tobytes() and a[1:4] == b[1:4]
        if a[2]:
            first.reset(), second.reset()


def test_features_are_encode_of_what_info_tells():
    env = QWOPEnv(observation="features")
    observation, info = env.reset()
    assert observation.tobytes() == encode(info["raw_observation"], 0, 0).tobytes()
    observation, _, _, _, info = env.step(4)  # Q with O
    assert info["keys"] == 5 and info["hip_mode"] == 1
    assert observation.tobytes() == encode(info["raw_observation"], 1, 5).tobytes()


def test_observation_is_the_normalized_raw_one():
    env = QWOPEnv()
    observation, info = env.reset()
    assert np.abs(denormalize(observation) - info["raw_observation"]).max() < 1e-4


def test_out_of_bounds_ends_the_episode():
    env = QWOPEnv()
    for meters, success in ((-10.5, False), (105.2, True)):
        env.reset()
        env.games.simulator.teleport(None, 10 * meters, 0.0)
        _, _reward, terminated, _, info = env.step(0)
        assert terminated and info["is_success"] == success
        env.reset()
        env.games.simulator.teleport(None, 10 * meters * 0.9, 0.0)
        assert not env.step(0)[2]
