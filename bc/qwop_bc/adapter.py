"""Adapters: this project's network and game behind the interfaces of Stable-Baselines3 and `imitation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from imitation.algorithms.bc import BCTrainingMetrics
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from qwop_game import DisturbedVectorEnv
from qwop_rl_core import ActorCritic, entropy, log_prob, sample_actions


class NetworkPolicy(ActorCriticPolicy):
    """An `ActorCritic` as a policy of Stable-Baselines3. It uses the network's weights.

    Algorithms of `imitation` call `evaluate_actions` and optimize `parameters()`, which are the network's.
    """

    def __init__(self, network: ActorCritic):
        """Wrap a network."""
        box = gymnasium.spaces.Box(-np.inf, np.inf, (network.feature_size,), np.float32)
        actions = gymnasium.spaces.Discrete(network.num_actions)
        super().__init__(box, actions, lr_schedule=lambda _: 0.0)
        self.network = network

    def _build(self, lr_schedule: object) -> None:
        """Do nothing: Stable-Baselines3 would make its own networks and optimizer here."""

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Choose actions.

        Args:
            obs: features, float32 [N, D].
            deterministic: take the most likely action; otherwise sample.

        Returns:
            Actions int64 [N], values [N, 1], log-probabilities [N].
        """
        logits, values = self.network(obs)
        actions = logits.argmax(-1) if deterministic else sample_actions(logits, None)
        return actions, values.unsqueeze(-1), log_prob(logits, actions)

    def evaluate_actions(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pyright: ignore
        """Evaluate actions.

        Args:
            obs: features, float32 [N, D].
            actions: int64 [N].

        Returns:
            Zeros [N, 1], log-probabilities [N], entropies [N]. Zeros replace the values: cloning does not
            use them, and they would take half of its time.
        """
        logits = self.network.logits(obs)
        return logits.new_zeros(len(obs), 1), log_prob(logits, actions.long().flatten()), entropy(logits)

    def predict_values(self, obs: Tensor) -> Tensor:  # pyright: ignore
        """Return the critic's values [N, 1] of features [N, D]."""
        return self.network.values(obs).unsqueeze(-1)

    def _predict(self, observation: Tensor, deterministic: bool = False) -> Tensor:  # pyright: ignore
        with torch.no_grad():
            logits = self.network.logits(observation)
            return logits.argmax(-1) if deterministic else sample_actions(logits, None)


class CloningLoss:
    """The loss of `imitation`'s BC, computed faster: an epoch takes three quarters of the time.

    loss = -mean log pi(a|s) - entropy_coef * mean entropy + l2_coef * sum of squared weights / 2

    Both terms share one log-softmax, and no weight is squared if l2_coef is 0. Only the policy's weights
    count, because cloning does not train the value network.
    """

    def __init__(self, entropy_coef: float, l2_coef: float):
        """Set the weights of the entropy bonus and of the L2 penalty."""
        self.entropy_coef = entropy_coef
        self.l2_coef = l2_coef

    def __call__(self, policy: NetworkPolicy, obs: Tensor, acts: Tensor) -> BCTrainingMetrics:
        """Compute the loss.

        Args:
            policy: the policy.
            obs: features, float32 [N, D].
            acts: demonstrated actions, int64 [N].

        Returns:
            What `imitation`'s `BC.loss_calculator` returns. Only `loss` carries a gradient.
        """
        log_probs = torch.log_softmax(policy.network.logits(obs), -1)
        neglogp = torch.nn.functional.nll_loss(log_probs, acts)
        mean_entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
        l2_norm = torch.zeros(())
        if self.l2_coef:
            squares = [weight.square().sum() for weight in policy.network.policy.parameters()]
            l2_norm = torch.stack(squares).sum() / 2
        loss = neglogp - self.entropy_coef * mean_entropy + self.l2_coef * l2_norm
        with torch.no_grad():
            return BCTrainingMetrics(
                neglogp=neglogp.detach(),
                entropy=mean_entropy.detach(),
                ent_loss=-self.entropy_coef * mean_entropy,
                prob_true_act=log_probs.gather(1, acts[:, None]).exp().mean(),
                l2_norm=l2_norm.detach(),
                l2_loss=self.l2_coef * l2_norm,
                loss=loss,
            )


class GameVecEnv(VecEnv):
    """A vector environment of games as Stable-Baselines3's `VecEnv`. All games step in one call."""

    def __init__(self, env: DisturbedVectorEnv):
        """Wrap an environment."""
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> NDArray[np.float32]:
        """Start all games; return the observations [N, D]."""
        return self.env.reset()[0]

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Take the actions of the next step, [N]."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Play the step.

        Returns:
            Observations float32 [N, D], rewards float32 [N], dones bool [N], and one dict per game. The dict
            of a game that ended has `terminal_observation` and `TimeLimit.truncated`.
        """
        observations, rewards, terminated, truncated, infos = self.env.step(self._actions)
        each: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(terminated | truncated):
            each[i]["terminal_observation"] = infos["_final"]["observation"][i]
            each[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
        return observations, rewards.astype(np.float32), terminated | truncated, each

    def close(self) -> None:
        """Close the games."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: object = None) -> list[Any]:
        """Return an attribute of the environment, once per game."""
        return [getattr(self.env, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: object = None) -> None:
        """Not supported: the games share their settings."""
        raise NotImplementedError("the games share their settings")

    def env_method(self, method_name: str, *args: Any, indices: object = None, **kwargs: Any) -> list[Any]:
        """Not supported: the games share their methods."""
        raise NotImplementedError("the games share their methods")

    def env_is_wrapped(self, wrapper_class: type, indices: object = None) -> Sequence[bool]:  # pyright: ignore
        """Return False for every game."""
        return [False] * self.num_envs
