"""The games as LeRobot's EnvHub has them."""

import importlib.util
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from qwop_game import ACTION_SETS, QWOPVectorEnv
from qwop_game.envhub import TASK, LeRobotVectorEnv, make_env

ENV_FILE = Path(__file__).parents[2] / "docs" / "envhub" / "env.py"
KEYS = np.array([1, 2, 4, 8], np.uint8)


def test_the_file_for_the_hub_makes_the_games():
    """Called as LeRobot calls it."""
    spec = importlib.util.spec_from_file_location("hub_env", ENV_FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (games,) = module.make_env(n_envs=3, use_async_envs=False)["qwop"].values()
    assert isinstance(games, LeRobotVectorEnv) and games.num_envs == 3
    assert [env.task_description for env in games.envs] == games.call("task_description") == [TASK] * 3
    assert games.call("_max_episode_steps") == [3000] * 3
    games.close()


def test_the_same_game_as_the_vector_environments():
    rng = np.random.default_rng(0)
    ours = QWOPVectorEnv(4, frame_skip=2, action_set="full", max_episode_steps=60)
    theirs = make_env(4, frame_skip=2, max_episode_steps=60)["qwop"][0]
    assert np.array_equal(
        ours.reset(seed=1)[0], theirs.reset(seed=[1, 2, 3, 4], options={"x": 1})[0]["agent_pos"]
    )
    ended = 0
    for _ in range(130):
        actions = rng.integers(0, 16, 4)
        held = (ACTION_SETS["full"][actions][:, None] & KEYS) > 0
        continuous = np.where(held, rng.random((4, 4)) + 0.01, -rng.random((4, 4))).astype(np.float32)
        a, b = ours.step(actions), theirs.step(continuous)
        assert np.array_equal(a[0], b[0]["agent_pos"])
        for x, y in zip(a[1:4], b[1:4], strict=True):
            assert np.array_equal(x, y)
        done = a[2] | a[3]
        ended += done.sum()
        for game in np.flatnonzero(done):
            assert np.array_equal(a[4]["final_obs"][game], b[4]["final_obs"][game]["agent_pos"])
    assert ended >= 4
    copy = pickle.loads(pickle.dumps(theirs))
    zeros = np.zeros((4, 4))  # 0 is not above 0: released
    assert np.array_equal(copy.step(zeros)[0]["agent_pos"], theirs.step(zeros)[0]["agent_pos"])


def test_pictures_and_spaces():
    config = SimpleNamespace(obs_type="pixels_agent_pos", episode_length=7, task=None)
    games = make_env(2, cfg=config)["qwop"][0]
    observation, _ = games.reset()
    assert games.observation_space.contains(observation)
    assert games.call("_max_episode_steps") == [7, 7]
    picture = observation["pixels"]["game"][0]
    assert picture.shape == (200, 320, 3) and picture.std() > 10
    assert np.array_equal(picture, games.envs[0].render()) and np.array_equal(
        picture, games.call("render")[0]
    )
    for _ in range(7):
        observation, _, _, truncated, _ = games.step(np.array([[1, -1, -1, 1], [-1, 1, 1, -1]]))
    assert truncated.all() and games.action_space.contains(np.zeros((2, 4), np.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"obs_type": "sound"}, "choose state or pixels_agent_pos"),
        ({"n_envs": 0}, "n_envs is 0"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        make_env(**options)


@pytest.mark.parametrize("actions", [np.zeros(2), np.zeros((2, 9)), np.array([["Q"] * 4] * 2)])
def test_wrong_actions(actions):
    games = make_env(2)["qwop"][0]
    games.reset()
    with pytest.raises(ValueError, match=r"expected numbers \[2, 4\]"):
        games.step(actions)
    with pytest.raises(ValueError, match="NaN"):
        games.step(np.full((2, 4), np.nan))
