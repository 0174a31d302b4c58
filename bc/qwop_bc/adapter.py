"""Our network as the Stable-Baselines3 policy that `imitation` trains."""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from qwop_rl_core import ActorCritic
from qwop_rl_core.losses import entropy, log_prob
from qwop_rl_core.policy import sample_actions


class NetworkPolicy(ActorCriticPolicy):
    """Stable-Baselines3's interface around an `ActorCritic`; it has no weights of its own.

    Algorithms of `imitation` call `evaluate_actions` and optimise `parameters()`, which are the network's.
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
            return self.forward(observation, deterministic)[0]
