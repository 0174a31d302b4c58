"""The games that expert iteration plays ahead: what they give is what the training's own games would."""

import numpy as np
import pytest

from qwop_finetune.branches import BranchedGames
from qwop_finetune.config import EnvironmentConfig
from qwop_finetune.environment import make_environment
from qwop_game import REPEAT_PROBABILITY

SETTINGS = {
    "plain": EnvironmentConfig(frame_skip=2, disturb=False),
    "reward with a memory": EnvironmentConfig(
        reward="stride+0.5*alternation",
        reward_option=("knee_seconds=0.25",),
        frame_skip=4,
        disturb=False,
        max_seconds=3.0,
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_copies_play_on_as_the_games_themselves(name):
    """Bit for bit: observations, rewards, ends by a fall, by the knee rule and by the time limit."""
    config = SETTINGS[name]
    envs = make_environment(config, 6)
    games = BranchedGames(envs, config)
    envs.reset(seed=0)
    rng = np.random.default_rng(0)
    terminations = truncations = 0
    for _ in range(12):
        for _ in range(int(rng.integers(1, 4))):
            envs.step(rng.integers(0, 9, 6))
        _, held = games.branch(3)
        before = envs.get_state()
        assert held.shape == (18,) and (envs.action_masks[held] == np.repeat(before["keys"], 3)).all()
        going = np.ones(6, bool)
        for _ in range(6):
            actions = rng.integers(0, 9, 6)
            expected = envs.step(actions)
            played = games.step(np.repeat(actions, 3))
            final, copied = expected[4]["_final"]["observation"], played[4]["_final"]["observation"]
            for ours, theirs in ((final, copied), *zip(expected[1:4], played[1:4], strict=True)):
                assert np.array_equal(
                    np.repeat(ours, 3, axis=0)[np.repeat(going, 3)], theirs[np.repeat(going, 3)]
                )
            terminations += int((expected[2] & going).sum())
            truncations += int((expected[3] & going).sum())
            going &= ~(expected[2] | expected[3])
    assert terminations > 3
    assert truncations > 0 or name == "plain"


def test_the_played_games_stay_where_they_are():
    config = EnvironmentConfig(drills=0.5)
    envs, same = make_environment(config, 4), make_environment(config, 4)
    games = BranchedGames(envs, config)
    assert games.repeat_probability == REPEAT_PROBABILITY and games.frame_skip == envs.frame_skip
    rng = np.random.default_rng(1)
    for environment in (envs, same):
        environment.reset(seed=3)
    for _ in range(40):
        games.branch(2)
        for _ in range(3):
            games.step(rng.integers(0, 9, 8))
        actions = rng.integers(0, 9, 4)
        ours, theirs = envs.step(actions), same.step(actions)
        assert all(np.array_equal(a, b) for a, b in zip(ours[:4], theirs[:4], strict=True))
    assert BranchedGames(envs, EnvironmentConfig(disturb=False)).repeat_probability == 0.0


def test_another_number_of_copies():
    config = EnvironmentConfig()
    envs = make_environment(config, 4)
    envs.reset(seed=0)
    games = BranchedGames(envs, config)
    for copies in (2, 5, 2):
        observations, held = games.branch(copies)
        assert len(observations) == len(held) == 4 * copies
        assert np.array_equal(observations[::copies], envs.games.observations())
