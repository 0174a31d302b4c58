"""DQN (Mnih et al. 2015) and Double DQN (van Hasselt et al. 2016).

`train` below is the loop; read it first. Implementation details, in the order of the code; [n] marks the
line, here, in dqn_state.py ([4]) or in dqn_report.py ([10]):
 1. Epsilon-greedy, for each environment separately; epsilon falls linearly over exploration_steps.
 2. The next observation at the end of an episode is the episode's own final one. Only terminations cut the
    bootstrap; time limits do not.
 3. n-step returns are computed when sampling and never cross the end of an episode (Rainbow, Hessel et al.
    2018; without off-policy correction, as there).
 4. Observations are normalized when they enter a network, by running statistics of everything played and
    demonstrated. The target network shares them, so both networks always see the same input.
 5. One flag chooses between DQN and Double DQN: which network selects the next action (losses.q_target).
 6. Squared error, not Huber (losses.td_loss says why). With prioritized replay it is weighted by importance
    (Schaul et al. 2016), and beta rises to 1.
 7. DQfD (Hester et al. 2018): demonstrations stay in the buffer, the large-margin loss applies to them only,
    and pretrain_updates gradient steps come before the first environment step. Of its four losses the 1-step
    and the n-step TD loss are one here, with n as configured; L2 is Adam's weight decay.
 8. Pretraining does not bootstrap; it regresses to the demonstrations' Monte-Carlo returns. A clone's logits
    have an arbitrary offset for each state, and a bootstrap would remove only 1 - gamma^n of it with every
    copy to the target network. Before pretraining all values are shifted by one number, which changes no
    ranking, to the demonstrations' mean return.
 9. The target network is replaced as a whole every target_interval environment steps.
10. The learning rate falls linearly to zero: otherwise the final policy is one random moment of a network
    that keeps moving.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from qwop_rl_core.buffers import Batch
from qwop_rl_core.config_checks import (
    check_at_least_one,
    check_fraction,
    check_not_negative,
    check_positive,
)
from qwop_rl_core.devices import to_numpy
from qwop_rl_core.dqn_report import Report, epsilon_at, learning_rate_at
from qwop_rl_core.dqn_state import DQNState, resume, save_state, start
from qwop_rl_core.logging import Logger
from qwop_rl_core.losses import large_margin_loss, q_target, td_loss
from qwop_rl_core.optimizer import set_learning_rate
from qwop_rl_core.schedules import linear
from qwop_rl_core.vector_env import Environments, final_observations

__all__ = ["DQNConfig", "DQNState", "Progress", "resume", "save_state", "start", "train"]


@dataclass(frozen=True)
class DQNConfig:
    """Settings of DQN. Every budget and interval is in environment steps unless it says otherwise."""

    total_steps: int = 2_000_000
    """Environment steps to train for, all environments together; rounded up to whole vector steps."""
    num_envs: int = 32
    """Environments stepped in parallel."""
    double: bool = True
    """Double DQN: the online network chooses the next action, the target network evaluates it."""
    dueling: bool = False
    """Dueling head: state value and advantages separately (for a network that starts from nothing)."""
    n_step: int = 3
    """Steps of the return before the bootstrap."""
    learning_rate: float = 2.5e-4
    """Adam's step size at the start."""
    anneal_learning_rate: bool = True
    """Let the step size fall linearly to 0 at total_steps."""
    weight_decay: float = 0.0
    """L2 penalty; DQfD uses 1e-5."""
    gamma: float = 0.995
    """Discount per step."""
    batch_size: int = 256
    """Transitions per gradient step."""
    steps_per_update: int = 8
    """Environment steps per gradient step."""
    buffer_size: int = 500_000
    """Transitions kept for replay; 8 bytes a feature each."""
    learning_starts: int = 10_000
    """Steps collected before the first gradient step."""
    target_interval: int = 10_000
    """Steps between two copies of the online network to the target network."""
    exploration_start: float = 1.0
    """Share of random actions at the first step."""
    exploration_end: float = 0.02
    """Share of random actions after exploration_steps."""
    exploration_steps: int = 200_000
    """Steps over which exploration falls."""
    max_grad_norm: float = 10.0
    """Bound of the gradient's norm."""
    prioritized: bool = False
    """Prioritized replay."""
    priority_alpha: float = 0.6
    """Exponent of the priorities: 0 would be uniform."""
    priority_beta: float = 0.4
    """Exponent of the importance weights at the start; it rises to 1 at total_steps."""
    demo_fraction: float = 0.25
    """Share of each batch drawn from the demonstrations; with prioritized replay the priorities decide."""
    margin: float = 0.8
    """Margin by which a demonstrated action's value has to exceed the others, in units of return."""
    margin_coef: float = 1.0
    """Weight of the large-margin loss on demonstrations; 0: none."""
    pretrain_updates: int = 0
    """Gradient steps on the demonstrations alone, towards Monte-Carlo returns, before the first step."""
    update_normalizer: bool = True
    """Update the observation statistics with every step; off: keep those of the initial network."""
    log_interval: int = 10_000
    """Steps between two reports: log lines, callback."""
    seed: int = 0
    """Seed of the environments, the exploration and the replay."""
    device: str = "auto"
    """auto (CUDA where there is some), cpu, cuda, cuda:1, ..."""
    threads: int = 0
    """CPU threads of PyTorch; 0: its default. Another number may change the last bits of results."""

    def __post_init__(self) -> None:
        check_at_least_one(self, "total_steps", "num_envs", "n_step", "batch_size", "steps_per_update")
        check_at_least_one(self, "buffer_size", "target_interval", "exploration_steps", "log_interval")
        check_fraction(
            self, "gamma", "exploration_start", "exploration_end", "demo_fraction", "priority_beta"
        )
        check_positive(self, "learning_rate", "max_grad_norm", "priority_alpha")
        check_not_negative(self, "weight_decay", "learning_starts", "margin", "margin_coef")
        check_not_negative(self, "pretrain_updates", "threads")


@dataclass(frozen=True)
class Progress:
    """What the callback sees every log_interval steps."""

    state: DQNState
    config: DQNConfig
    envs: Environments
    metrics: dict[str, float]

    @property
    def steps(self) -> int:
        """Environment steps done."""
        return self.state.steps

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, Any], replay: bool = False) -> None:
        """Write a checkpoint; see `save_state`."""
        save_state(path, self.state, self.envs, self.config, metadata, replay)


Callback = Callable[[Progress], bool | None]  # True stops the training


def train(
    config: DQNConfig,
    envs: Environments,
    state: DQNState,
    *,
    logger: Logger | None = None,
    callback: Callback | None = None,
    progress_bar: bool = False,
) -> DQNState:
    """Train `state` until config.total_steps, in place.

    Args:
        config: settings.
        envs: environments.
        state: what `start` or `resume` returned.
        logger: receives the metrics every log_interval steps.
        callback: called every log_interval steps; may log, evaluate, save or roll back; returns True to stop.
        progress_bar: show one on stderr.

    Returns:
        `state`.

    Raises:
        TrainingError: losses or rewards are no longer finite.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.pretrain_updates > state.updates:
        report = pretrain(config, state, progress_bar)  # [7]
        if logger is not None:
            logger.scalars(report.metrics(config, state), state.steps)
    enough = min(config.learning_starts, state.buffer.rows * config.num_envs)
    bar = tqdm(
        total=config.total_steps, initial=state.steps, unit="step", unit_scale=True, disable=not progress_bar
    )
    report = Report(state.steps)
    with bar:
        while state.steps < config.total_steps:
            before = state.steps
            collect_step(config, envs, state)
            if len(state.buffer) and state.buffer.filled * config.num_envs >= enough:
                for _ in range(state.steps // config.steps_per_update - before // config.steps_per_update):
                    report.add(update_network(config, state))
            if state.steps // config.target_interval > before // config.target_interval:  # [9]
                state.target.load_state_dict(state.network.state_dict())
            finished = state.steps >= config.total_steps
            if finished or state.steps // config.log_interval > before // config.log_interval:
                metrics = report.metrics(config, state)
                report = Report(state.steps)
                bar.update(state.steps - bar.n)
                bar.set_postfix({"return": f"{metrics.get('episode/return', math.nan):.2f}"}, refresh=False)
                if logger is not None:
                    logger.scalars(metrics, state.steps)
                if callback is not None and callback(Progress(state, config, envs, metrics)):
                    break
    return state


def pretrain(config: DQNConfig, state: DQNState, progress_bar: bool) -> Report:
    """Take those of the pretrain_updates gradient steps on the demonstrations that are not done yet."""
    if state.updates == 0:
        shift_values_to_returns(state)  # [8]
    report = Report(state.steps)
    updates = range(state.updates, config.pretrain_updates)
    for _ in tqdm(updates, desc="demonstrations", disable=not progress_bar):
        report.add(update_network(config, state, monte_carlo=True))
        if state.updates % 1000 == 0 or state.updates == config.pretrain_updates:  # [9], without steps
            state.target.load_state_dict(state.network.state_dict())
    return report


@torch.no_grad()
def shift_values_to_returns(state: DQNState, batch_size: int = 4096) -> None:
    """Add one number to every action value, so that the demonstrated ones are right on average.

    To learn this offset instead, a small learning rate would have to change all the weights.

    Args:
        state: state of the training.
        batch_size: demonstrated transitions from which the offset is estimated.
    """
    batch = state.buffer.sample(batch_size, state.rng, 1.0, monte_carlo=True)
    q = state.network(torch.from_numpy(batch.observation).to(state.device)).cpu()
    demonstrated = q.gather(-1, torch.from_numpy(batch.action).unsqueeze(-1))
    head = state.network.value or state.network.advantage
    head[-1].get_parameter("bias").add_(float(batch.returns.mean()) - float(demonstrated.mean()))
    state.target.load_state_dict(state.network.state_dict())


def collect_step(config: DQNConfig, envs: Environments, state: DQNState) -> None:
    """Play one step of every environment, epsilon-greedily, and add it to the replay buffer."""
    network = state.network
    observation = np.array(state.observation, np.float32)  # a copy: environments may write over their array
    with torch.inference_mode():
        features = torch.as_tensor(observation, device=state.device)
        action = to_numpy(network(features).argmax(-1))
    explore = state.rng.random(config.num_envs) < epsilon_at(config, state.steps)  # [1]
    action = np.where(explore, state.rng.integers(0, network.num_actions, config.num_envs), action)
    state.observation, reward, terminated, truncated, infos = envs.step(action)
    ended = terminated | truncated
    next_observation = final_observations(infos, ended, state.observation)  # [2]
    state.buffer.add(observation, action, reward, next_observation, terminated, truncated)
    state.statistics.step(reward, ended, infos)
    if config.update_normalizer:  # [4]
        network.normalizer.update(features)
    state.steps += config.num_envs


def update_network(config: DQNConfig, state: DQNState, monte_carlo: bool = False) -> dict[str, float]:
    """Take one gradient step on one batch of the replay buffer.

    Args:
        config: settings.
        state: state of the training.
        monte_carlo: regress the values of demonstrations to Monte-Carlo returns, not to n-step returns.

    Returns:
        Figures for the log.
    """
    device = state.device
    beta = linear(config.priority_beta, 1.0, min(state.steps / config.total_steps, 1.0))
    fraction = config.demo_fraction
    batch = state.buffer.sample(config.batch_size, state.rng, fraction, beta, monte_carlo)  # [3]
    target = compute_targets(config, state, batch)
    action = torch.from_numpy(batch.action).to(device)
    q = state.network(torch.from_numpy(batch.observation).to(device))
    loss, error = td_loss(q, action, target, torch.from_numpy(batch.weight).to(device))  # [6]
    figures = {"td_loss": loss, "q": q.mean()}
    if batch.is_demonstration.any() and config.margin_coef > 0:  # [7]
        demonstrated = torch.from_numpy(batch.is_demonstration).to(device)
        figures["margin_loss"] = (large_margin_loss(q, action, config.margin) * demonstrated).mean()
        figures["demo_agreement"] = (q.argmax(-1) == action)[demonstrated].float().mean()
        loss = loss + config.margin_coef * figures["margin_loss"]
    set_learning_rate(state.optimizer, learning_rate_at(config, state.steps))
    state.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(state.network.parameters(), config.max_grad_norm)
    state.optimizer.step()
    state.buffer.update_priorities(batch.index, to_numpy(error))
    state.updates += 1
    return {name: float(figure.detach()) for name, figure in figures.items()}


@torch.no_grad()
def compute_targets(config: DQNConfig, state: DQNState, batch: Batch) -> Tensor:
    """Return the values float32 [K] to which the batch's action values are regressed."""
    next_observation = torch.from_numpy(batch.next_observation).to(state.device)
    return q_target(  # [5]
        torch.from_numpy(batch.returns).to(state.device),
        torch.from_numpy(batch.discount).to(state.device),
        state.target(next_observation),
        state.network(next_observation) if config.double else None,
        config.double,
    )
