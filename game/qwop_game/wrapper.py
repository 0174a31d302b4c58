"""What wrappers of `QWOPVectorEnv` have in common."""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnvWrapper

from qwop_game.game_batch import GameBatch, own_arrays
from qwop_game.simulator import exclusive
from qwop_game.vector_env import QWOPVectorEnv


class QWOPVectorWrapper(VectorEnvWrapper):
    """A wrapper with the environment's attributes as its own: finding them in `env` warns at every look.

    Gymnasium's own finds some of them, such as `metadata` and `render_mode`, not in `env` but in its class.
    It shares the environment's `lock`, and is copied and pickled with it.
    """

    env: QWOPVectorEnv

    def __init__(self, env: QWOPVectorEnv) -> None:
        super().__init__(env)
        self.is_vector_env = True
        self.num_envs = env.num_envs
        self.single_observation_space = env.single_observation_space
        self.single_action_space = env.single_action_space
        self.observation_space = env.observation_space
        self.action_space = env.action_space
        self.frame_skip = env.frame_skip
        self.trig = env.trig
        self.action_masks = env.action_masks
        self.metadata = env.metadata
        self.render_mode = env.render_mode
        self.spec = env.spec

    @property
    def lock(self) -> threading.RLock:  # pyright: ignore[reportInvalidTypeForm]
        """The games' lock: see `Simulator`."""
        return self.env.lock

    @property
    def games(self) -> GameBatch:
        """The games themselves."""
        return self.env.games

    @property
    def closed(self) -> bool:
        """Whether `close` has freed the games."""
        return self.env.closed

    @property
    def np_random(self) -> np.random.Generator:
        """The environment's own generator, which `reset(seed)` starts anew."""
        return self.env.np_random

    @np_random.setter
    def np_random(self, value: np.random.Generator) -> None:
        self.env.np_random = value

    @exclusive
    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start new episodes in all games: see `QWOPVectorEnv`."""
        return super().reset(seed=seed, options=options)

    @exclusive
    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Play a step of all games: see `QWOPVectorEnv`."""
        return super().step(actions)

    def end_episodes(self, ended: np.ndarray, observations: np.ndarray, infos: dict[str, Any]) -> None:
        """See `QWOPVectorEnv`."""
        self.env.end_episodes(ended, observations, infos)

    def render(self) -> tuple[np.ndarray, ...]:
        """The picture of every game: see `QWOPVectorEnv`."""
        return self.env.render()

    def call_async(self, name: str, *args: Any, **kwargs: Any) -> None:
        """See `QWOPVectorEnv.call`."""
        self.env.call_async(name, *args, **kwargs)

    def call_wait(self, **kwargs: Any) -> list[Any]:
        """See `QWOPVectorEnv.call`."""
        return self.env.call_wait(**kwargs)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(own_arrays(state))

    def __copy__(self) -> QWOPVectorWrapper:
        return copy.deepcopy(self)

    def __del__(self) -> None:
        if "env" in self.__dict__:  # not where a copy or a constructor failed half-way
            super().__del__()
