"""PQN, parallelised Q-network (Gallici et al. 2024, "Simplifying deep temporal difference learning").

`train` below is the loop; read it first. Implementation details, in the order of the code; [n] marks the
line, here, in pqn_rollout.py ([3] to [7]) or in pqn_state.py ([1], [2]):
 1. LayerNorm in the networks takes the place of the target network, many environments that of the replay
    buffer. A clone has tanh units, which are bounded, and no LayerNorm; the new value network has it.
 2. RAdam (Liu et al. 2020) as in the paper, over all weights as one vector (optimizer.py). It starts anew
    after pretraining: the policy's weights had no gradients there, and steps as large as Adam's first ones
    undo a clone.
 3. Epsilon-greedy, for each environment separately; epsilon falls linearly over exploration_steps.
 4. Demonstrations: windows of consecutive demonstrated steps, drawn anew for each rollout, lie beside the
    played ones as if other environments had played them. So they get lambda-returns in the same way.
 5. A reference policy, such as the clone, keeps the learned one near (reference.py). A state's value is then
    the soft maximum, and a step costs c (ln pi(a | s) - ln p(a | s)).
 6. Q(lambda) of Peng & Williams 1996, as in the paper: the trace is not cut at exploratory actions. With
    v = max_a Q its targets are those of TD(lambda), hence v + `gae`.
 7. Only terminations cut the bootstrap; a truncated step bootstraps from its own final observation.
 8. Pretraining: regression to the demonstrations' Monte-Carlo returns (detail 8 of dqn.py). With a reference
    policy the soft value is regressed instead, and the network's policy stays as it is.
 9. Demonstrated actions get DQfD's large-margin loss (Hester et al. 2018).
10. The learning rate falls linearly to zero.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from qwop_rl_core.buffers import Transitions
from qwop_rl_core.config_checks import (
    check_at_least_one,
    check_fraction,
    check_not_negative,
    check_positive,
)
from qwop_rl_core.devices import keep_freed_memory
from qwop_rl_core.errors import TrainingError
from qwop_rl_core.logging import Logger
from qwop_rl_core.losses import large_margin_loss, td_loss, value_loss
from qwop_rl_core.networks import ActorCritic
from qwop_rl_core.optimizer import optimizer_step, set_learning_rate
from qwop_rl_core.pqn_rollout import (
    Batch,
    collect_rollout,
    demonstrated_rollout,
    joined,
    lambda_targets,
    minibatches,
)
from qwop_rl_core.pqn_state import PQNState, resume, save_state, start
from qwop_rl_core.reference import Reference, make_reference
from qwop_rl_core.returns import monte_carlo_returns
from qwop_rl_core.schedules import linear, linear_to_zero
from qwop_rl_core.vector_env import Environments

__all__ = ["PQNConfig", "PQNState", "Progress", "resume", "save_state", "start", "train"]


@dataclass(frozen=True)
class PQNConfig:
    """Settings of PQN. Every budget is in environment steps, one decision of one environment each."""

    total_steps: int = 2_000_000
    """Environment steps to train for, all environments together; rounded up to whole rollouts."""
    num_envs: int = 128
    """Environments stepped in parallel."""
    rollout_length: int = 32
    """Steps of every environment between two updates."""
    epochs: int = 2
    """Passes over each rollout."""
    minibatch_size: int = 1024
    """Samples per gradient step, demonstrations included."""
    learning_rate: float = 5e-4
    """Adam's step size at the start."""
    anneal_learning_rate: bool = True
    """Let the step size fall linearly to 0 at total_steps."""
    gamma: float = 0.99
    """Discount per step."""
    q_lambda: float = 0.65
    """Lambda of Q(lambda): weight of longer returns."""
    exploration_start: float = 1.0
    """Share of random actions at the first step."""
    exploration_end: float = 0.02
    """Share of random actions after exploration_steps."""
    exploration_steps: int = 200_000
    """Steps over which exploration falls."""
    max_grad_norm: float = 10.0
    """Bound of the gradient's norm."""
    demo_fraction: float = 0.5
    """Share of the demonstrations in each rollout with them; the played part keeps its size."""
    margin: float = 0.8
    """Margin by which a demonstrated action's value has to exceed the others, in units of return."""
    margin_coef: float = 1.0
    """Weight of the large-margin loss on demonstrations; 0: none."""
    reference_kl_coef: float = 0.0
    """Weight of KL(policy || reference policy) in the reward, in units of return a nat. The policy is the
    softmax of the values divided by this."""
    pretrain_updates: int = 0
    """Gradient steps on the demonstrations alone, towards Monte-Carlo returns, before the first step."""
    update_normalizer: bool = True
    """Update the observation statistics with every rollout; off: keep those of the initial network."""
    seed: int = 0
    """Seed of the environments, the exploration and the minibatches."""
    device: str = "auto"
    """auto (CUDA where there is some), cpu, cuda, cuda:1, ..."""
    threads: int = 0
    """CPU threads of PyTorch; 0: its default. Another number may change the last bits of results."""

    def __post_init__(self) -> None:
        check_at_least_one(self, "total_steps", "num_envs", "rollout_length", "epochs", "minibatch_size")
        check_at_least_one(self, "exploration_steps")
        check_fraction(self, "gamma", "q_lambda", "exploration_start", "exploration_end", "demo_fraction")
        check_positive(self, "learning_rate", "max_grad_norm")
        check_not_negative(self, "margin", "margin_coef", "reference_kl_coef", "pretrain_updates", "threads")
        if self.demo_fraction == 1.0:
            raise TrainingError("demo_fraction is 1.0; expected less, a part has to be played")


@dataclass(frozen=True)
class Progress:
    """What the callback sees after every iteration."""

    state: PQNState
    config: PQNConfig
    envs: Environments
    metrics: dict[str, float]

    @property
    def steps(self) -> int:
        """Environment steps done."""
        return self.state.steps

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, Any]) -> None:
        """Write a checkpoint; see `save_state`."""
        save_state(path, self.state, self.envs, self.config, metadata)


Callback = Callable[[Progress], bool | None]  # True stops the training


def train(
    config: PQNConfig,
    envs: Environments,
    state: PQNState,
    *,
    reference: ActorCritic | None = None,
    demonstrations: Transitions | None = None,
    logger: Logger | None = None,
    callback: Callback | None = None,
    progress_bar: bool = False,
) -> PQNState:
    """Train `state` until config.total_steps, in place.

    Args:
        config: settings.
        envs: environments.
        state: what `start` or `resume` returned.
        reference: policy whose log-probabilities count, needed if config.reference_kl_coef > 0.
        demonstrations: transitions that each rollout is mixed with.
        logger: receives the metrics of every iteration.
        callback: called after every iteration; may log, evaluate, save or roll back; returns True to stop.
        progress_bar: show one on stderr.

    Returns:
        `state`.

    Raises:
        TrainingError: something that the settings need is missing, or losses or rewards are not finite.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.pretrain_updates and not demonstrations:
        raise TrainingError("pretrain_updates is set, but there are no demonstrations")
    prior = make_reference(reference, config.reference_kl_coef, state.device)  # [5]
    keep_freed_memory()
    if demonstrations is not None and config.pretrain_updates > state.updates:
        metrics = pretrain(config, state, demonstrations, prior, progress_bar)  # [8]
        if logger is not None:
            logger.scalars(metrics, state.steps)
    bar = tqdm(
        total=config.total_steps, initial=state.steps, unit="step", unit_scale=True, disable=not progress_bar
    )
    with bar:
        while state.steps < config.total_steps:
            started = time.perf_counter()
            learning_rate = learning_rate_at(config, state.steps)
            epsilon = epsilon_at(config, state.steps)
            set_learning_rate(state.optimizer, learning_rate)

            rollout = collect_rollout(config, envs, state, epsilon)
            rollout_seconds = time.perf_counter() - started
            if demonstrations and config.demo_fraction > 0:
                rollout = joined(rollout, demonstrated_rollout(config, state, demonstrations))  # [4]
            targets = lambda_targets(rollout, state.network, prior, config.gamma, config.q_lambda)  # [6]
            figures = [
                update_network(config, state, batch)
                for batch in minibatches(
                    rollout, targets.values, config.epochs, config.minibatch_size, state.rng
                )
            ]
            if config.update_normalizer:
                state.network.normalizer.update(rollout.observation[:-1])
            state.steps += config.rollout_length * config.num_envs
            state.iteration += 1

            metrics = means(figures, state.steps) | state.statistics.flush()
            seconds = time.perf_counter() - started
            metrics |= {
                "pqn/epsilon": epsilon,
                "pqn/learning_rate": learning_rate,
                "pqn/updates": float(state.updates),
                "speed/steps_per_second": config.rollout_length * config.num_envs / seconds,
                "speed/rollout_share": rollout_seconds / seconds,
            }
            if prior is not None:
                metrics["pqn/reference_kl"] = float(targets.log_ratio[:, : config.num_envs].mean())
            bar.update(config.rollout_length * config.num_envs)
            bar.set_postfix({"return": f"{metrics.get('episode/return', math.nan):.2f}"}, refresh=False)
            if logger is not None:
                logger.scalars(metrics, state.steps)
            if callback is not None and callback(Progress(state, config, envs, metrics)):
                break
    return state


def update_network(config: PQNConfig, state: PQNState, batch: Batch) -> dict[str, Tensor]:
    """Take one gradient step on one minibatch. Returns figures for the log, each []."""
    q = state.network(batch.observation)
    loss, _ = td_loss(q, batch.action, batch.target)
    figures = {"td_loss": loss, "q": q.mean()}
    if batch.is_demonstration.any():
        figures["demo_agreement"] = (q.argmax(-1) == batch.action)[batch.is_demonstration].float().mean()
        if config.margin_coef > 0:  # [9]
            margin = large_margin_loss(q, batch.action, config.margin)
            figures["margin_loss"] = (margin * batch.is_demonstration).mean()
            loss = loss + config.margin_coef * figures["margin_loss"]
    optimizer_step(loss, state.optimizer, config.max_grad_norm)
    state.updates += 1
    return {name: figure.detach() for name, figure in figures.items()}


def pretrain(
    config: PQNConfig,
    state: PQNState,
    demonstrations: Transitions,
    reference: Reference | None,
    progress_bar: bool,
) -> dict[str, float]:
    """Take pretrain_updates gradient steps on the demonstrations. Returns the figures' means.

    What would follow a time limit counts as 0.
    """
    ended = demonstrations.terminated, demonstrations.truncated
    returns, _, _ = monte_carlo_returns(demonstrations.reward, *ended, config.gamma)

    def draw(size: int) -> Batch:
        index = state.rng.integers(0, len(returns), size)
        chosen = demonstrations.observation[index], demonstrations.action[index], returns[index]
        return Batch(
            *(torch.as_tensor(array, device=state.device) for array in (*chosen, np.ones(size, bool)))
        )

    shift_values_to_returns(state, draw(4096))
    set_learning_rate(state.optimizer, config.learning_rate)
    figures: list[dict[str, Tensor]] = []
    for _ in tqdm(range(config.pretrain_updates), desc="demonstrations", disable=not progress_bar):
        batch = draw(config.minibatch_size)
        if reference is None:
            figures.append(update_network(config, state, batch))
        else:
            loss = value_loss(reference.state_values(state.network(batch.observation)), batch.target)
            optimizer_step(loss, state.optimizer, config.max_grad_norm)
            state.updates += 1
            figures.append({"td_loss": loss.detach()})
    state.optimizer.state.clear()  # [2]
    return means(figures, state.steps)


@torch.no_grad()
def shift_values_to_returns(state: PQNState, batch: Batch) -> None:
    """Add one number to every action value, so that the demonstrated ones are right on average."""
    q = state.network(batch.observation).gather(-1, batch.action.unsqueeze(-1))
    head = state.network.value or state.network.advantage
    head[-1].get_parameter("bias").add_(batch.target.mean() - q.mean())


def means(figures: list[dict[str, Tensor]], steps: int) -> dict[str, float]:
    """Return the mean of each figure over the gradient steps that have it, by its name in the log.

    Raises:
        TrainingError: a figure is not finite.
    """
    names = dict.fromkeys(name for step in figures for name in step)
    metrics = {
        f"pqn/{name}": float(torch.stack([step[name] for step in figures if name in step]).mean())
        for name in names
    }
    if not all(math.isfinite(value) for value in metrics.values()):
        raise TrainingError(
            f"training diverged: a loss is not finite at step {steps}; lower the learning rate"
        )
    return metrics


def epsilon_at(config: PQNConfig, steps: int) -> float:
    """Return the share of random actions after `steps` environment steps: linear, then constant."""  # [3]
    progress = min(steps / config.exploration_steps, 1.0)
    return linear(config.exploration_start, config.exploration_end, progress)


def learning_rate_at(config: PQNConfig, steps: int) -> float:
    """Return Adam's step size after `steps` environment steps."""  # [10]
    if not config.anneal_learning_rate:
        return config.learning_rate
    return linear_to_zero(config.learning_rate, steps, config.total_steps)
