"""Copies of the training's games, in which expert iteration searches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_finetune.config import EnvironmentConfig
from qwop_finetune.environment import TrainingEnv, make_games
from qwop_game import REPEAT_PROBABILITY, actions_by_keys
from qwop_rewards import RewardVectorEnv, parse_options


class BranchedGames:
    """`SimulatedGames` of a `TrainingEnv`: the same game and reward, without starts and drills.

    Repeats of protocol P are the search's to draw, which shares them among the copies of one game.

    Args:
        envs: the environments of the training.
        config: their settings.
        threads: number of threads that share the games. It does not change the results.
    """

    def __init__(self, envs: TrainingEnv, config: EnvironmentConfig, threads: int = 1) -> None:
        assert isinstance(envs.env, RewardVectorEnv)
        self._source, self._config, self._threads = envs.env, config, threads
        self._envs: RewardVectorEnv | None = None
        self._action_of = actions_by_keys(envs.action_masks)
        self.frame_skip = envs.frame_skip
        self.repeat_probability = REPEAT_PROBABILITY if config.disturb else 0.0

    def branch(self, copies: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Copy the present state of each of the N games so often.

        Returns:
            Observations float32 [N * copies, D], and the action whose keys were held before, int64
            [N * copies]. The copies of a game lie side by side.
        """
        count = self._source.num_envs * copies
        if self._envs is None or self._envs.num_envs != count:
            games = make_games(self._config, count, self._threads)
            self._envs = RewardVectorEnv(
                games, self._config.reward, **parse_options(self._config.reward_option)
            )
            self._envs.reset()
        state = self._source.unwrapped.get_state() | self._source.own_state()
        snapshot = state.pop("snapshot")
        copied = {name: np.repeat(array, copies, axis=0) for name, array in state.items()}
        row_of = np.repeat(np.arange(self._source.num_envs), copies)
        self._envs.set_state({**copied, "snapshot": snapshot, "snapshot_row": row_of})
        games = self._envs.games
        return games.observations(), self._action_of[games.keys]

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Play a step of all copies: returns what `RewardVectorEnv.step` does."""
        assert self._envs is not None
        return self._envs.step(actions)
