"""Expert iteration (Anthony et al. 2017): the policy learns what a short search in the exact game finds.

`train` below is the loop; read it first. It needs environments whose states can be copied. Implementation
details that matter, in the order of the code; [n] marks the line, here or in root_search.py:
 1. States are the learner's own: it plays with its present policy, which is sampled. Every state is searched.
 2. A search tries `search_actions` actions, drawn from the policy without replacement by the Gumbel-top-k
    trick (Danihelka et al. 2022, "Policy improvement by planning with Gumbel"). Each is played, and then what
    the policy draws, up to `search_horizon` decisions; the critic judges what follows. Short searches of many
    states teach more than long ones of few: docs/experiments/expert-iteration.md.
 3. The continuations of one state share their random numbers: the draws of the policy and of the
    games' repeated actions. What differs between them is then due to the first action rather than to luck.
 4. The policy's target is a distribution, softmax(logits + advantages / temperature), not the best action. An
    action that is better by luck alone moves it a little; one that is better in most states moves it far.
 5. The advantages are in units of their own standard deviation over the iteration, as in PPO.
 6. The critic learns TD(lambda) returns of the play, which bootstrap from the search's values, in units of
    their running mean and deviation (Pop-Art).
 7. The budget is in decisions of the played games, or in frames of all simulated ones, search included.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from qwop_rl_core.config_checks import (
    check_at_least_one,
    check_choice,
    check_fraction,
    check_not_negative,
    check_positive,
)
from qwop_rl_core.devices import keep_freed_memory, to_numpy
from qwop_rl_core.errors import TrainingError
from qwop_rl_core.expert_iteration_state import ExpertState, resume, save_state, start
from qwop_rl_core.logging import Logger
from qwop_rl_core.losses import cross_entropy, entropy, kl_between, value_loss
from qwop_rl_core.optimizer import OPTIMIZERS, OptimizerName, optimizer_step, set_learning_rate
from qwop_rl_core.policy import sample_actions
from qwop_rl_core.ppo_rollout import in_units_of_critic
from qwop_rl_core.returns import gae
from qwop_rl_core.root_search import Search, SimulatedGames, improved_policy, search, search_values, spread
from qwop_rl_core.schedules import linear
from qwop_rl_core.vector_env import Environments, final_observations

__all__ = ["ExpertIterationConfig", "ExpertState", "Progress", "resume", "save_state", "start", "train"]


@dataclass(frozen=True)
class ExpertIterationConfig:
    """Settings of expert iteration. Steps are environment steps, one decision of one played game each."""

    total_steps: int = 1_000_000
    """Environment steps to train for, all environments together; rounded up to whole iterations."""
    total_frames: int = 0
    """Frames of the game to simulate, those of the search included; 0: only total_steps counts."""
    num_envs: int = 256
    """Environments stepped in parallel."""
    rollout_length: int = 16
    """Steps of every environment between two updates; each is searched."""
    search_actions: int = 3
    """Actions that a search tries in each state."""
    search_rollouts: int = 1
    """Times that a search tries each of them, with different draws."""
    search_horizon: int = 2
    """Decisions that are played for each, before the critic judges."""
    search_temperature: float = 1.0
    """How little the search changes the policy, in standard deviations of the advantages a nat."""
    epochs: int = 4
    """Passes over the searched states."""
    minibatch_size: int = 512
    """Searched states per gradient step."""
    optimizer: OptimizerName = "adam"
    """adam or muon."""
    learning_rate: float = 1e-3
    """Adam's step size at the start; Muon's is in the same units."""
    anneal_learning_rate: bool = True
    """Let the step size fall linearly to 0 at the end of the budget."""
    gamma: float = 0.995
    """Discount per step."""
    search_lambda: float = 0.95
    """Lambda of the critic's targets: weight of longer returns; 0: the search's values alone."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    max_grad_norm: float = 0.5
    """Bound of the gradient's norm, for the policy and the value network each."""
    update_normalizer: bool = True
    """Update the observation statistics in every iteration; off: keep those of the initial policy."""
    critic_warmup_steps: int = 0
    """Number of first steps in which only the value network learns."""
    seed: int = 0
    """Seed of the environments, all draws and the minibatches."""
    device: str = "auto"
    """auto (CUDA where there is some), cpu, cuda, cuda:1, ..."""
    threads: int = 0
    """CPU threads of PyTorch; 0: its default. Another number may change the last bits of results."""

    def __post_init__(self) -> None:
        check_at_least_one(self, "total_steps", "num_envs", "rollout_length", "search_actions")
        check_at_least_one(self, "search_rollouts", "search_horizon", "epochs", "minibatch_size")
        check_choice(self, "optimizer", OPTIMIZERS)
        check_fraction(self, "gamma", "search_lambda")
        check_positive(self, "search_temperature", "learning_rate", "max_grad_norm")
        check_not_negative(self, "total_frames", "entropy_coef", "critic_warmup_steps", "threads")


@dataclass(frozen=True)
class Progress:
    """What the callback sees after every iteration."""

    state: ExpertState
    config: ExpertIterationConfig
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


class Batch(NamedTuple):
    """M searched states.

    inputs: normalized observations, float32 [M, D]; targets: probabilities of the improved policy, float32
    [M, A]; values: float32 [M], the critic's targets, in standard deviations of the returns
    """

    inputs: Tensor
    targets: Tensor
    values: Tensor


def train(
    config: ExpertIterationConfig,
    envs: Environments,
    games: SimulatedGames,
    state: ExpertState,
    *,
    logger: Logger | None = None,
    callback: Callback | None = None,
    progress_bar: bool = False,
) -> ExpertState:
    """Train `state` until its budget is spent, in place.

    Args:
        config: settings.
        envs: environments that the policy plays.
        games: copies of their games, in which it searches.
        state: what `start` or `resume` returned.
        logger: receives the metrics of every iteration.
        callback: called after every iteration; may log, evaluate, save or roll back; returns True to stop.
        progress_bar: show one on stderr.

    Returns:
        `state`.

    Raises:
        TrainingError: losses or rewards are no longer finite.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    keep_freed_memory()
    policy = state.policy
    bar = tqdm(
        total=config.total_steps, initial=state.steps, unit="step", unit_scale=True, disable=not progress_bar
    )
    with bar:
        while (spent := share_spent(config, state)) < 1.0:
            started = time.perf_counter()
            warming_up = state.steps < config.critic_warmup_steps
            learning_rate = config.learning_rate
            if config.anneal_learning_rate:
                learning_rate = linear(config.learning_rate, 0.0, spent)
            for optimizer in state.optimizers.values():
                set_learning_rate(optimizer, learning_rate)

            steps = state.steps
            rollout = collect(config, envs, games, state)
            search_seconds = time.perf_counter() - started
            samples, metrics = targets_of(config, state, rollout)
            figures = [
                update(config, state, batch, warming_up)
                for batch in minibatches(samples, config.epochs, config.minibatch_size, state.generator)
            ]
            if config.update_normalizer and not warming_up:
                policy.normalizer.update(rollout.features.flatten(0, 1))
            state.iteration += 1

            metrics |= {
                f"expert/{name}": float(torch.stack([each[name] for each in figures]).mean())
                for name in figures[0]
            }
            if not all(math.isfinite(value) for value in metrics.values()):
                raise TrainingError(
                    f"training diverged: a loss is not finite at step {state.steps}; lower the learning rate"
                )
            seconds = time.perf_counter() - started
            metrics |= state.statistics.flush()
            metrics |= {
                "expert/learning_rate": learning_rate,
                "expert/frames": float(state.frames),
                "speed/steps_per_second": (state.steps - steps) / seconds,
                "speed/rollout_share": search_seconds / seconds,
            }
            bar.update(state.steps - steps)
            bar.set_postfix({"return": f"{metrics.get('episode/return', math.nan):.2f}"}, refresh=False)
            if logger is not None:
                logger.scalars(metrics, state.steps)
            if callback is not None and callback(Progress(state, config, envs, metrics)):
                break
    return state


def share_spent(config: ExpertIterationConfig, state: ExpertState) -> float:
    """Return how much of the budget is spent, 0 to 1 and above."""  # [7]
    frames = state.frames / config.total_frames if config.total_frames else 0.0
    return max(state.steps / config.total_steps, frames)


@dataclass(frozen=True)
class Rollout:
    """T steps of N environments, each searched before it was played."""

    features: Tensor
    """float32 [T, N, D], the observations."""
    found: Search
    """Of all states, [T N]."""
    rewards: Tensor
    """float32 [T, N]."""
    terminated: Tensor
    """bool [T, N]."""
    truncated: Tensor
    """bool [T, N]."""
    next_values: Tensor
    """float32 [N], the critic's values of the observations after the last step."""
    final_values: Tensor
    """float32 [K], those of the final observations of the truncated steps, in their order."""


@torch.no_grad()
def collect(
    config: ExpertIterationConfig, envs: Environments, games: SimulatedGames, state: ExpertState
) -> Rollout:
    """Search and play rollout_length steps of every environment.

    Raises:
        TrainingError: a reward is NaN or infinite.
    """
    policy, device = state.policy, state.generator.device
    shape = config.rollout_length, config.num_envs
    rewards = np.zeros(shape, np.float32)
    terminated, truncated = np.zeros(shape, bool), np.zeros(shape, bool)
    observed: list[Tensor] = []
    found: list[Search] = []
    final: list[NDArray[Any]] = []
    for t in range(config.rollout_length):
        observed.append(torch.as_tensor(state.observation, dtype=torch.float32, device=device))
        found.append(  # [2]
            search(
                games,
                policy,
                observed[-1],
                actions=config.search_actions,
                rollouts=config.search_rollouts,
                horizon=config.search_horizon,
                gamma=config.gamma,
                generator=state.generator,
            )
        )
        actions = to_numpy(sample_actions(found[-1].logits, state.generator))  # [1]
        observation, rewards[t], terminated[t], truncated[t], infos = envs.step(actions)
        if truncated[t].any():
            final.append(final_observations(infos, truncated[t], observation)[truncated[t]])
        state.statistics.step(rewards[t], terminated[t] | truncated[t], infos)
        state.observation = observation
    result = Search(*(torch.cat([getattr(each, name) for each in found]) for name in Search.__annotations__))
    if not (np.isfinite(rewards).all() and result.q.isfinite().all()):
        raise TrainingError(
            f"a reward is NaN or infinite, near step {state.steps}; look at the reward function"
        )
    tried = min(config.search_actions, policy.num_actions) * config.search_rollouts
    state.steps += math.prod(shape)
    state.frames += math.prod(shape) * (1 + tried * config.search_horizon) * games.frame_skip
    after = torch.as_tensor(state.observation, dtype=torch.float32, device=device)
    return Rollout(
        features=torch.stack(observed),
        found=result,
        rewards=torch.as_tensor(rewards, device=device),
        terminated=torch.as_tensor(terminated, device=device),
        truncated=torch.as_tensor(truncated, device=device),
        next_values=policy.values(after),
        final_values=policy.values(torch.as_tensor(np.concatenate(final), dtype=torch.float32, device=device))
        if final
        else torch.zeros(0, device=device),
    )


@torch.no_grad()
def targets_of(
    config: ExpertIterationConfig, state: ExpertState, rollout: Rollout
) -> tuple[Batch, dict[str, float]]:
    """Compute what the networks learn, and move the critic's units towards those of its targets.

    Returns:
        The samples, [T N], and figures for the log.
    """
    policy, found = state.policy, rollout.found
    scale = spread(found) + 1e-8  # [5]
    targets = improved_policy(found, config.search_temperature * scale)  # [4]
    value_tm1 = search_values(found).view_as(rollout.rewards)  # [6]
    value_t = torch.cat((value_tm1[1:], rollout.next_values.unsqueeze(0)))
    value_t[rollout.truncated] = rollout.final_values
    ended = rollout.terminated, rollout.truncated
    error = gae(rollout.rewards, value_tm1, value_t, *ended, config.gamma, config.search_lambda)
    values = (value_tm1 + error).flatten() if config.search_lambda > 0 else value_tm1.flatten()
    metrics = {
        "expert/spread": float(scale),
        "expert/target_kl": float(kl_between(targets.clamp_min(1e-30).log(), found.logits).mean()),
        "expert/explained_variance": float(1.0 - (values - found.values).var() / (values.var() + 1e-8)),
    }
    inputs = policy.normalizer(rollout.features).flatten(0, 1)
    return Batch(inputs, targets, in_units_of_critic(policy, values, state.iteration)), metrics


def update(
    config: ExpertIterationConfig, state: ExpertState, batch: Batch, warming_up: bool
) -> dict[str, Tensor]:
    """Take a gradient step of each network. Returns figures for the log, each []."""
    policy = state.policy
    loss_of_values = value_loss(policy.value(batch.inputs).squeeze(-1), batch.values)
    optimizer_step(loss_of_values, state.optimizers["value"], config.max_grad_norm)
    figures = {"value_loss": loss_of_values.detach()}
    if warming_up:
        return figures
    logits = policy.policy(batch.inputs)
    loss = cross_entropy(logits, batch.targets)
    spread_out = entropy(logits).mean()
    optimizer_step(loss - config.entropy_coef * spread_out, state.optimizers["policy"], config.max_grad_norm)
    return figures | {"policy_loss": loss.detach(), "entropy": spread_out.detach()}


def minibatches(
    samples: Batch, epochs: int, minibatch_size: int, generator: torch.Generator
) -> Iterator[Batch]:
    """Yield all samples in minibatches of `minibatch_size` or fewer, in a new random order every epoch."""
    for _ in range(epochs):
        order = torch.randperm(len(samples.values), generator=generator, device=generator.device)
        shuffled = [array.index_select(0, order) for array in samples]
        for part in zip(*(torch.split(array, minibatch_size) for array in shuffled), strict=True):
            yield Batch(*part)
