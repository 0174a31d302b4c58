"""Our network and our game as Stable-Baselines3, and so `imitation`, has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from imitation.algorithms.bc import BCTrainingMetrics
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from qwop_game import DisturbedVectorEnv
from qwop_rl_core import ActorCritic, entropy, log_prob, sample_actions


class NetworkPolicy(ActorCriticPolicy):
    """Stable-Baselines3's interface around an `ActorCritic`; it has no weights of its own.

    Algorithms of `imitation` call `evaluate_actions` and optimize `parameters()`, which are the network's.
    """

    def __init__(self, network: ActorCritic):
        box = gymnasium.spaces.Box(-np.inf, np.inf, (network.feature_size,), np.float32)
        actions = gymnasium.spaces.Discrete(network.num_actions)
        super().__init__(box, actions, lr_schedule=lambda _: 0.0)
        self.network = network

    def _build(self, lr_schedule: object) -> None:
        """Stable-Baselines3 would make its own networks and optimizer here."""

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """obs [N, D] -> actions int64 [N], values [N, 1], log-probabilities [N]."""
        logits, values = self.network(obs)
        actions = logits.argmax(-1) if deterministic else sample_actions(logits, None)
        return actions, values.unsqueeze(-1), log_prob(logits, actions)

    def evaluate_actions(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pyright: ignore
        """obs [N, D], actions int64 [N] -> zeros [N, 1], log-probabilities [N], entropies [N].

        Cloning has no use for the values that belong in the first place: half of its time would go there.
        """
        logits = self.network.logits(obs)
        return logits.new_zeros(len(obs), 1), log_prob(logits, actions.long().flatten()), entropy(logits)

    def predict_values(self, obs: Tensor) -> Tensor:  # pyright: ignore
        """obs [N, D] -> [N, 1]."""
        return self.network.values(obs).unsqueeze(-1)

    def _predict(self, observation: Tensor, deterministic: bool = False) -> Tensor:  # pyright: ignore
        with torch.no_grad():
            logits = self.network.logits(observation)
            return logits.argmax(-1) if deterministic else sample_actions(logits, None)


class CloningLoss:
    """The loss of `imitation`'s BC, with which an epoch takes three quarters of the time.

    loss = -mean log pi(a|s) - entropy_coef * mean entropy + l2_coef * sum of squared weights / 2

    The probabilities are normalized once for both terms, and without l2_coef no weight is squared. Only the
    policy's weights count: cloning leaves the value network alone.
    """

    def __init__(self, entropy_coef: float, l2_coef: float):
        self.entropy_coef = entropy_coef
        self.l2_coef = l2_coef

    def __call__(self, policy: NetworkPolicy, obs: Tensor, acts: Tensor) -> BCTrainingMetrics:
        """obs [N, D], acts int64 [N]; what `BC.loss_calculator` returns. Only `loss` carries a gradient."""
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
    """Our vector environment through Stable-Baselines3's interface; all games still step in one call."""

    def __init__(self, env: DisturbedVectorEnv):
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> np.ndarray:
        return self.env.reset()[0]

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Observations [N, D], rewards [N], dones [N], and for each game a dict: how it ended."""
        observations, rewards, terminated, truncated, infos = self.env.step(self._actions)
        each: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(terminated | truncated):
            each[i]["terminal_observation"] = infos["_final"]["observation"][i]
            each[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
        return observations, rewards.astype(np.float32), terminated | truncated, each

    def close(self) -> None:
        self.env.close()

    def get_attr(self, attr_name: str, indices: object = None) -> list[Any]:
        return [getattr(self.env, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: object = None) -> None:
        raise NotImplementedError("the games share their settings")

    def env_method(self, method_name: str, *args: Any, indices: object = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError("the games share their methods")

    def env_is_wrapped(self, wrapper_class: type, indices: object = None) -> Sequence[bool]:  # pyright: ignore
        return [False] * self.num_envs
