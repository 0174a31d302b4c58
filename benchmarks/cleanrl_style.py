"""PPO with the structure and settings that CleanRL publishes for its ppo.py, for comparison.

It is written from their description: separate actor and critic, orthogonal layers, a forward pass of both at
every step, advantages normalized per minibatch, a clipped value loss, and no bootstrap after `done`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn
from torch.distributions.categorical import Categorical


def layer(fan_in: int, fan_out: int, gain: float = 2.0**0.5) -> nn.Linear:
    linear = nn.Linear(fan_in, fan_out)
    nn.init.orthogonal_(linear.weight, gain)
    nn.init.constant_(linear.bias, 0.0)
    return linear


def network(size: int, outputs: int, hidden: int, head_gain: float) -> nn.Sequential:
    return nn.Sequential(
        layer(size, hidden), nn.Tanh(), layer(hidden, hidden), nn.Tanh(), layer(hidden, outputs, head_gain)
    )


class Agent(nn.Module):
    def __init__(self, size: int, actions: int, hidden: int) -> None:
        super().__init__()
        self.actor = network(size, actions, hidden, 0.01)
        self.critic = network(size, 1, hidden, 1.0)

    def act(self, observation: Tensor, action: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return an action, its log-probability, the entropy and the value."""
        distribution = Categorical(logits=self.actor(observation))
        if action is None:
            action = distribution.sample()
        value = self.critic(observation).squeeze(-1)
        return action, distribution.log_prob(action), distribution.entropy(), value


def train(
    envs: VectorEnv,
    total_steps: int,
    rollout_length: int,
    epochs: int,
    minibatch_size: int,
    hidden: int,
    learning_rate: float,
    gamma: float,
    gae_lambda: float,
    clip: float,
    entropy_coef: float,
    max_grad_norm: float,
    seed: int,
    on_step: Callable[[np.ndarray, np.ndarray, Mapping[str, Any]], None],
    on_iteration: Callable[[int], None],
) -> Agent:
    """Train. on_step gets rewards, ended and infos of a step; on_iteration the steps after an update."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    num_envs, size = envs.num_envs, envs.single_observation_space.shape[0]  # pyright: ignore
    agent = Agent(size, int(envs.single_action_space.n), hidden)  # pyright: ignore
    optimizer = torch.optim.Adam(agent.parameters(), lr=learning_rate, eps=1e-5)
    batch_size = num_envs * rollout_length

    obs = torch.zeros((rollout_length, num_envs, size))
    actions = torch.zeros((rollout_length, num_envs))
    logprobs, rewards, dones, values = (torch.zeros((rollout_length, num_envs)) for _ in range(4))
    next_obs = torch.Tensor(envs.reset(seed=seed)[0])
    next_done = torch.zeros(num_envs)

    iterations = -(-total_steps // batch_size)
    for iteration in range(iterations):
        optimizer.param_groups[0]["lr"] = learning_rate * (1.0 - iteration / iterations)
        for t in range(rollout_length):
            obs[t], dones[t] = next_obs, next_done
            with torch.no_grad():
                actions[t], logprobs[t], _, values[t] = agent.act(next_obs)
            observation, reward, terminated, truncated, infos = envs.step(actions[t].long().numpy())
            ended = np.logical_or(terminated, truncated)
            rewards[t] = torch.tensor(reward).view(-1)
            next_obs, next_done = torch.Tensor(observation), torch.Tensor(ended)
            on_step(reward, ended, infos)

        with torch.no_grad():
            next_value = agent.critic(next_obs).squeeze(-1)
            advantages = torch.zeros_like(rewards)
            last = torch.zeros(num_envs)
            for t in reversed(range(rollout_length)):
                final = t == rollout_length - 1
                going_on = 1.0 - (next_done if final else dones[t + 1])
                following = next_value if final else values[t + 1]
                delta = rewards[t] + gamma * following * going_on - values[t]
                advantages[t] = last = delta + gamma * gae_lambda * going_on * last
            returns = advantages + values

        b_obs, b_actions, b_logprobs = obs.reshape(-1, size), actions.reshape(-1), logprobs.reshape(-1)
        b_advantages, b_returns, b_values = advantages.reshape(-1), returns.reshape(-1), values.reshape(-1)
        order = np.arange(batch_size)
        clip_fractions = []
        for _ in range(epochs):
            np.random.shuffle(order)
            for start in range(0, batch_size, minibatch_size):
                index = order[start : start + minibatch_size]
                _, logprob, entropy, value = agent.act(b_obs[index], b_actions.long()[index])
                log_ratio = logprob - b_logprobs[index]
                ratio = log_ratio.exp()
                with torch.no_grad():
                    clip_fractions += [((ratio - 1.0).abs() > clip).float().mean().item()]
                advantage = b_advantages[index]
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                policy_loss = torch.max(
                    -advantage * ratio, -advantage * torch.clamp(ratio, 1 - clip, 1 + clip)
                ).mean()
                near = b_values[index] + torch.clamp(value - b_values[index], -clip, clip)
                worse = torch.max((value - b_returns[index]) ** 2, (near - b_returns[index]) ** 2)
                loss = policy_loss - entropy_coef * entropy.mean() + 0.5 * 0.5 * worse.mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), max_grad_norm)
                optimizer.step()
        on_iteration((iteration + 1) * batch_size)
    return agent
