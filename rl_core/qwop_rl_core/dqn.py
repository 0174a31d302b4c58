"""DQN (Mnih et al. 2015) and Double DQN (van Hasselt et al. 2016), one loop read from the top.

Implementation details, in the order of the code; the marks [1]... stand at their lines.
 1. Epsilon-greedy, each environment for itself; epsilon falls linearly over exploration_steps.
 2. Next observations at the end of an episode are the episode's own final ones; only terminations cut the
    bootstrap, time limits do not.
 3. n-step returns are made when sampling and never cross the end of an episode (Rainbow, Hessel et al. 2018;
    no off-policy correction, as there).
 4. Observations are normalised when they enter a network, by running statistics of everything played and
    demonstrated. The target network shares them: both see the same input at any time.
 5. One flag between DQN and Double DQN: who chooses the next action (losses.q_target).
 6. Squared error, not Huber (losses.td_loss says why); with prioritised replay weighted by importance (Schaul
    et al. 2016), beta rising to 1.
 7. DQfD (Hester et al. 2018): demonstrations stay in the buffer for good, the large-margin loss applies to
    them alone, pretrain_updates gradient steps come before the first environment step. Of its four losses
    the 1-step and the n-step TD loss are one here, with n as configured; L2 is Adam's weight decay.
 8. Those first gradient steps do not bootstrap: they draw values to the returns of the whole demonstrations.
    A clone's logits rank actions, but stand at no particular height, and a bootstrap makes up only
    1 - gamma^n of what they lack with each copy to the target network; until then states are ahead of one
    another for no reason of theirs. First of all the values are shifted as one, which changes no ranking, to
    the demonstrations' mean return.
 9. The target network is replaced as a whole every target_interval environment steps.
10. The learning rate falls linearly to zero: the policy that stays is one moment of a network that moves.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import nn
from tqdm import tqdm

from qwop_rl_core.buffers import ReplayBuffer, Transitions
from qwop_rl_core.checkpoint import (
    Checkpoint,
    CheckpointError,
    check_kinds,
    explained,
    load_network,
    optimizer_tensors,
    prefixed,
    restore_optimizer,
    save_checkpoint,
    section,
)
from qwop_rl_core.logging import Logger
from qwop_rl_core.losses import large_margin_loss, q_target, td_loss
from qwop_rl_core.networks import QNetwork
from qwop_rl_core.training import (
    EpisodeStatistics,
    TrainingError,
    check_spaces,
    environment_state,
    final_observations,
    restore_environment,
    restored,
    select_device,
)


@dataclass(frozen=True)
class DQNConfig:
    """Settings of DQN. Every budget and interval is in environment steps unless it says otherwise."""

    total_steps: int = 2_000_000
    """Environment steps to train for, all environments together; rounded up to whole vector steps."""
    num_envs: int = 32
    """Environments stepped side by side."""
    double: bool = True
    """Double DQN: the online network chooses the next action, the target network values it."""
    dueling: bool = False
    """Dueling head: state value and advantages apart (for a network made from nothing)."""
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
    prioritised: bool = False
    """Prioritised replay."""
    priority_alpha: float = 0.6
    """Exponent of the priorities: 0 would be uniform."""
    priority_beta: float = 0.4
    """Exponent of the importance weights at the start; it rises to 1 at total_steps."""
    demo_fraction: float = 0.25
    """Share of each batch drawn from the demonstrations; with prioritised replay the priorities decide."""
    margin: float = 0.8
    """Margin by which a demonstrated action's value has to exceed the others, in units of return."""
    margin_coef: float = 1.0
    """Weight of the large-margin loss on demonstrations; 0: none."""
    pretrain_updates: int = 0
    """Gradient steps on the demonstrations alone, towards their whole returns, before the first step."""
    update_normaliser: bool = True
    """Let the observation statistics follow what is played; turn off to keep those of the initial network."""
    log_interval: int = 10_000
    """Steps between two reports: log lines, callback."""
    seed: int = 0
    """Seed of the environments, the exploration and the replay."""
    device: str = "auto"
    """auto (CUDA where there is some), cpu, cuda, cuda:1, ..."""
    threads: int = 0
    """CPU threads of PyTorch; 0: as PyTorch chooses. Another number may change the last bits of results."""

    def __post_init__(self) -> None:
        for name in ("total_steps", "num_envs", "n_step", "batch_size", "steps_per_update", "buffer_size",
                     "target_interval", "exploration_steps", "log_interval"):  # fmt: skip
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; at least 1 is needed")
        for name in ("gamma", "exploration_start", "exploration_end", "demo_fraction", "priority_beta"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise TrainingError(f"{name} is {getattr(self, name)}; it has to lie in [0, 1]")
        for name in ("learning_rate", "max_grad_norm", "priority_alpha"):
            if not getattr(self, name) > 0.0:
                raise TrainingError(f"{name} is {getattr(self, name)}; it has to be above 0")
        for name in (
            "weight_decay",
            "learning_starts",
            "margin",
            "margin_coef",
            "pretrain_updates",
            "threads",
        ):
            if getattr(self, name) < 0:
                raise TrainingError(f"{name} is {getattr(self, name)}; it cannot be negative")


@dataclass
class DQNState:
    """Everything that changes while training. `steps` counts environment steps, `updates` gradient steps."""

    network: QNetwork
    target: QNetwork
    optimizer: torch.optim.Adam
    rng: np.random.Generator
    buffer: ReplayBuffer
    statistics: EpisodeStatistics
    observation: np.ndarray  # [N, D], what the environments show now
    steps: int = 0
    updates: int = 0

    def capture(self) -> Any:
        """A copy of the networks and the optimizer, for `roll_back`."""
        return copy.deepcopy(
            (self.network.state_dict(), self.target.state_dict(), self.optimizer.state_dict())
        )

    def roll_back(self, captured: Any) -> None:
        """Return networks and optimizer to a capture; steps, schedules, replay and environments go on."""
        network, target, optimizer = copy.deepcopy(captured)
        self.network.load_state_dict(network)
        self.target.load_state_dict(target)
        self.optimizer.load_state_dict(optimizer)


@dataclass(frozen=True)
class Progress:
    """What the callback sees every log_interval steps."""

    state: DQNState
    config: DQNConfig
    envs: VectorEnv
    metrics: dict[str, float]

    @property
    def steps(self) -> int:
        return self.state.steps

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, Any], replay: bool = False) -> None:
        save_state(path, self.state, self.envs, self.config, metadata, replay)


Callback = Callable[[Progress], bool | None]  # True stops the training


def start(
    config: DQNConfig, envs: VectorEnv, network: QNetwork, demonstrations: Transitions | None = None
) -> DQNState:
    """A training at step 0: environments reset, optimizer fresh, demonstrations in the buffer.

    Raises TrainingError where things do not fit.
    """
    device = select_device(config.device)
    check_spaces(envs, config.num_envs, network.feature_size, network.num_actions)
    if config.pretrain_updates and not demonstrations:
        raise TrainingError("pretrain_updates is set, but there are no demonstrations")
    try:
        buffer = ReplayBuffer(
            capacity=config.buffer_size,
            num_envs=config.num_envs,
            feature_size=network.feature_size,
            gamma=config.gamma,
            n=config.n_step,
            demonstrations=demonstrations,
            alpha=config.priority_alpha if config.prioritised else 0.0,
        )
    except ValueError as error:
        raise TrainingError(str(error)) from error
    if demonstrations and config.update_normaliser:
        network.normaliser.update(torch.as_tensor(demonstrations.observation))  # [4]
    observation, _ = envs.reset(seed=config.seed)
    network = network.to(device)
    target = copy.deepcopy(network).requires_grad_(False)
    target.normaliser = network.normaliser  # [4]
    return DQNState(
        network=network,
        target=target,
        optimizer=torch.optim.Adam(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        ),
        rng=np.random.default_rng(config.seed),
        buffer=buffer,
        statistics=EpisodeStatistics(config.num_envs),
        observation=observation,
    )


def train(
    config: DQNConfig,
    envs: VectorEnv,
    state: DQNState,
    *,
    logger: Logger | None = None,
    callback: Callback | None = None,
    progress_bar: bool = False,
) -> DQNState:
    """Train `state` (from `start` or `resume`) until config.total_steps, in place.

    callback: called every log_interval steps; may log, evaluate, save, roll back; returns True to stop
    Raises TrainingError when losses or rewards are no longer finite.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    network, buffer, rng = state.network, state.buffer, state.rng
    device = next(network.parameters()).device
    num_envs, num_actions = config.num_envs, network.num_actions
    sums: dict[str, float] = {}
    counted = 0

    def report(started: float, steps_before: int) -> dict[str, float]:
        metrics = {f"dqn/{name}": total / max(counted, 1) for name, total in sums.items()}
        metrics |= state.statistics.flush()
        metrics |= {
            "dqn/epsilon": epsilon_at(config, state.steps),
            "dqn/learning_rate": learning_rate_at(config, state.steps),
            "dqn/updates": float(state.updates),
            "dqn/buffer": float(len(buffer)),
            "speed/steps_per_second": (state.steps - steps_before) / (time.perf_counter() - started),
        }
        if not all(math.isfinite(total) for total in sums.values()):
            raise TrainingError(
                f"training diverged: a loss is not finite at step {state.steps}; lower the learning rate, "
                "or look for NaN in the rewards"
            )
        return metrics

    if config.pretrain_updates and state.updates == 0:
        shift_values_to_returns(state)  # [8]
    for _ in tqdm(
        range(state.updates, config.pretrain_updates), desc="demonstrations", disable=not progress_bar
    ):  # [7]
        for name, figure in update(config, state, whole_episodes=True).items():
            sums[name] = sums.get(name, 0.0) + figure
        counted += 1
        if (
            state.updates % 1000 == 0 or state.updates == config.pretrain_updates
        ):  # [9], before there are steps
            state.target.load_state_dict(network.state_dict())
    if counted and logger is not None:
        logger.scalars(report(time.perf_counter(), state.steps), state.steps)
    sums.clear()
    counted = 0

    bar = tqdm(
        total=config.total_steps, initial=state.steps, unit="step", unit_scale=True, disable=not progress_bar
    )
    started, steps_before = time.perf_counter(), state.steps
    while state.steps < config.total_steps:
        # Act.
        seen = np.array(state.observation, np.float32)  # a copy: environments may write over their array
        with torch.inference_mode():
            features = torch.as_tensor(seen, device=device)
            action = network(features).argmax(-1).cpu().numpy()
        explore = rng.random(num_envs) < epsilon_at(config, state.steps)  # [1]
        action = np.where(explore, rng.integers(0, num_actions, num_envs), action)
        observation, reward, terminated, truncated, infos = envs.step(action)
        ended = terminated | truncated
        followed = final_observations(infos, ended, observation)  # [2]
        buffer.add(seen, action, reward, followed, terminated, truncated)
        state.statistics.step(reward, ended, infos)
        if config.update_normaliser:  # [4]
            network.normaliser.update(features)
        state.observation = observation
        before, state.steps = state.steps, state.steps + num_envs

        # Learn, once there is enough to draw from.
        if len(buffer) and buffer.filled * num_envs >= min(config.learning_starts, buffer.rows * num_envs):
            for _ in range(state.steps // config.steps_per_update - before // config.steps_per_update):
                for name, figure in update(config, state).items():
                    sums[name] = sums.get(name, 0.0) + figure
                counted += 1
        if before // config.target_interval != state.steps // config.target_interval:  # [9]
            state.target.load_state_dict(network.state_dict())

        # Report.
        if (
            before // config.log_interval != state.steps // config.log_interval
            or state.steps >= config.total_steps
        ):
            metrics = report(started, steps_before)
            sums.clear()
            counted = 0
            started, steps_before = time.perf_counter(), state.steps
            bar.update(state.steps - bar.n)
            bar.set_postfix({"return": f"{metrics.get('episode/return', math.nan):.2f}"}, refresh=False)
            if logger is not None:
                logger.scalars(metrics, state.steps)
            if callback is not None and callback(Progress(state, config, envs, metrics)):
                break
    bar.close()
    return state


def epsilon_at(config: DQNConfig, steps: int) -> float:
    """Share of random actions after `steps` environment steps: linear, then constant."""
    progress = min(steps / config.exploration_steps, 1.0)
    return config.exploration_start + progress * (config.exploration_end - config.exploration_start)


def learning_rate_at(config: DQNConfig, steps: int) -> float:
    """Adam's step size after `steps` environment steps."""  # [10]
    if not config.anneal_learning_rate:
        return config.learning_rate
    return config.learning_rate * max(1.0 - steps / config.total_steps, 0.0)


@torch.no_grad()
def shift_values_to_returns(state: DQNState, batch_size: int = 4096) -> None:
    """Add one number to every action value, so that demonstrated ones are right on average.

    Learnt instead, step by step of a small learning rate, it would have to come out of all the weights.
    """
    batch = state.buffer.sample(batch_size, state.rng, 1.0, whole_episodes=True)
    device = next(state.network.parameters()).device
    q = state.network(torch.from_numpy(batch.observation).to(device)).cpu()
    shown = q.gather(-1, torch.from_numpy(batch.action).unsqueeze(-1))
    head = state.network.value or state.network.advantage
    head[-1].get_parameter("bias").add_(float(batch.returns.mean()) - float(shown.mean()))
    state.target.load_state_dict(state.network.state_dict())


def update(config: DQNConfig, state: DQNState, whole_episodes: bool = False) -> dict[str, float]:
    """One gradient step on one batch of the buffer; returns its figures.

    whole_episodes: draw the values of demonstrations to the returns of whole episodes, not of n steps
    """
    network, target = state.network, state.target
    device = next(network.parameters()).device
    progress = min(state.steps / config.total_steps, 1.0)
    beta = config.priority_beta + (1.0 - config.priority_beta) * progress
    batch = state.buffer.sample(
        config.batch_size, state.rng, config.demo_fraction, beta, whole_episodes
    )  # [3]
    observation = torch.from_numpy(batch.observation).to(device)
    next_observation = torch.from_numpy(batch.next_observation).to(device)
    action = torch.from_numpy(batch.action).to(device)

    with torch.no_grad():
        goal = q_target(  # [5]
            torch.from_numpy(batch.returns).to(device),
            torch.from_numpy(batch.discount).to(device),
            target(next_observation),
            network(next_observation) if config.double else None,
            config.double,
        )
    q = network(observation)
    loss, error = td_loss(q, action, goal, torch.from_numpy(batch.weight).to(device))  # [6]
    figures = {"td_loss": loss}
    if batch.is_demonstration.any() and config.margin_coef > 0:  # [7]
        demonstrated = torch.from_numpy(batch.is_demonstration).to(device)
        margin_loss = (large_margin_loss(q, action, config.margin) * demonstrated).mean()
        loss = loss + config.margin_coef * margin_loss
        agreement = (q.argmax(-1) == action)[demonstrated].float().mean()
        figures |= {"margin_loss": margin_loss, "demo_agreement": agreement}
    state.optimizer.param_groups[0]["lr"] = learning_rate_at(config, state.steps)
    state.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), config.max_grad_norm)
    state.optimizer.step()
    state.buffer.update_priorities(batch.index, error.cpu().numpy())
    state.updates += 1
    return {name: float(figure.detach()) for name, figure in figures.items()} | {
        "q": float(q.detach().mean())
    }


def save_state(
    path: str | os.PathLike[str],
    state: DQNState,
    envs: VectorEnv,
    config: DQNConfig,
    metadata: Mapping[str, Any],
    replay: bool = False,
) -> None:
    """Write a checkpoint that plays (`Policy.load`) and from which `resume` goes on.

    replay: store the replay buffer too, without which the resumed training first fills a new one.
    """
    environment = environment_state(envs)
    buffer_arrays, buffer_scalars = state.buffer.state() if replay else ({}, None)
    tensors = {
        **prefixed("network", state.network.state_dict()),
        **prefixed("target", state.target.state_dict()),
        **prefixed("optimizer", optimizer_tensors(state.optimizer)),
        "observation": torch.as_tensor(state.observation),
        "episode_return": torch.as_tensor(state.statistics.episode_return),
        "episode_length": torch.as_tensor(state.statistics.episode_length),
        **prefixed("environment", {name: torch.as_tensor(a) for name, a in (environment or {}).items()}),
        **prefixed("buffer", {name: torch.as_tensor(a) for name, a in buffer_arrays.items()}),
    }
    training = {
        "algorithm": "dqn",
        "steps": state.steps,
        "updates": state.updates,
        "rng": state.rng.bit_generator.state,
        "environment": environment is not None,
        "buffer": buffer_scalars,
        "config": dataclasses.asdict(config),
    }
    save_checkpoint(path, tensors, {**metadata, **state.network.architecture, "training": training})


def resume(
    config: DQNConfig,
    envs: VectorEnv,
    checkpoint: Checkpoint,
    demonstrations: Transitions | None = None,
    where: str = "checkpoint",
) -> DQNState:
    """The training that `save_state` stored, in environments made the same way, with the same demonstrations.

    With the same config and a stored replay buffer it goes on bit for bit as if it had not been interrupted
    (CPU, same number of threads) where the environments can be restored; otherwise new episodes start.
    Raises CheckpointError where it is no checkpoint of a DQN training, TrainingError where it does not fit.
    """
    with explained(where):
        training = checkpoint.metadata.get("training", {})
        if training.get("algorithm") != "dqn":
            raise CheckpointError(
                f"{where}: not a checkpoint of a DQN training, it cannot be resumed (use it as --init)"
            )
        network = load_network(checkpoint, where)
        if not isinstance(network, QNetwork):
            raise CheckpointError(f"{where}: holds a policy, DQN needs a Q-network")
        if training["config"]["num_envs"] != config.num_envs:
            raise CheckpointError(
                f"{where}: trained with {training['config']['num_envs']} environments, not {config.num_envs}"
            )
        normaliser = copy.deepcopy(network.normaliser.state_dict())
        state = start(config, envs, network, demonstrations)
        state.network.normaliser.load_state_dict(
            normaliser
        )  # `start` has counted the demonstrations once more
        state.target.load_state_dict(section(checkpoint.tensors, "target"))
        restore_optimizer(state.optimizer, section(checkpoint.tensors, "optimizer"))
        check_kinds({name: training[name] for name in ("steps", "updates")}, state)
        state.steps, state.updates = training["steps"], training["updates"]
        state.rng.bit_generator.state = training["rng"]
        if training["buffer"] is not None:
            arrays = section(checkpoint.tensors, "buffer")
            try:
                state.buffer.restore({name: t.numpy() for name, t in arrays.items()}, training["buffer"])
            except ValueError as error:
                raise CheckpointError(f"{where}: {error}") from error
            if not ((state.buffer.action >= 0) & (state.buffer.action < network.num_actions)).all():
                raise CheckpointError(f"{where}: the replay buffer holds an action that does not exist")
        if training["environment"]:
            arrays = section(checkpoint.tensors, "environment")
            restore_environment(envs, {name: t.numpy() for name, t in arrays.items()})
            state.observation = restored(checkpoint.tensors["observation"].numpy(), state.observation)
            state.statistics.episode_return[:] = checkpoint.tensors["episode_return"].numpy()
            state.statistics.episode_length[:] = checkpoint.tensors["episode_length"].numpy()
        return state
