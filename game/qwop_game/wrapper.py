"""What wrappers of `QWOPVectorEnv` have in common."""

from __future__ import annotations

from gymnasium.vector import VectorEnvWrapper

from qwop_game.vector_env import QWOPVectorEnv


class QWOPVectorWrapper(VectorEnvWrapper):
    """A wrapper with the environment's attributes as its own: finding them in `env` warns at every look."""

    env: QWOPVectorEnv

    def __init__(self, env: QWOPVectorEnv) -> None:
        super().__init__(env)
        self.num_envs = env.num_envs
        self.single_observation_space = env.single_observation_space
        self.single_action_space = env.single_action_space
        self.observation_space = env.observation_space
        self.action_space = env.action_space
        self.frame_skip = env.frame_skip
        self.action_masks = env.action_masks
        self.trig = env.trig
