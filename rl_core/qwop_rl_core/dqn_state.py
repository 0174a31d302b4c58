"""DQN's state: start, storage and resume."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from qwop_rl_core.buffers import ReplayBuffer, Transitions
from qwop_rl_core.checkpoint import (
    Checkpoint,
    CheckpointError,
    explained,
    optimizer_tensors,
    prefixed,
    restore_optimizer,
    section,
)
from qwop_rl_core.devices import select_device, to_numpy
from qwop_rl_core.errors import TrainingError
from qwop_rl_core.networks import QNetwork
from qwop_rl_core.run_state import capture_parts, load_run, restore_parts, restore_run, save_run
from qwop_rl_core.vector_env import Environments, EpisodeStatistics, check_spaces

if TYPE_CHECKING:
    from qwop_rl_core.dqn import DQNConfig


@dataclass
class DQNState:
    """Everything that changes during training."""

    network: QNetwork
    target: QNetwork
    optimizer: torch.optim.Adam
    rng: np.random.Generator
    buffer: ReplayBuffer
    statistics: EpisodeStatistics
    observation: NDArray[Any]
    """[N, D], the environments' current observations."""
    steps: int = 0
    """Environment steps done."""
    updates: int = 0
    """Gradient steps done."""

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return next(self.network.parameters()).device

    def capture(self) -> dict[str, Any]:
        """Return a copy of the networks and the optimizer, for `roll_back`."""
        return capture_parts(self._parts)

    def roll_back(self, captured: Mapping[str, Any]) -> None:
        """Return networks and optimizer to a capture; steps, schedules, replay and environments stay."""
        restore_parts(self._parts, captured)

    @property
    def _parts(self) -> dict[str, Any]:
        return {"network": self.network, "target": self.target, "optimizer": self.optimizer}


def start(
    config: DQNConfig, envs: Environments, network: QNetwork, demonstrations: Transitions | None = None
) -> DQNState:
    """Begin a training at step 0, with environments reset and a new optimizer.

    Args:
        config: settings.
        envs: environments with discrete actions and flat observations.
        network: network to train, in place.
        demonstrations: transitions that stay in the replay buffer.

    Returns:
        The state that `train` takes.

    Raises:
        TrainingError: the parts do not fit each other, or the device is not available.
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
            alpha=config.priority_alpha if config.prioritized else 0.0,
        )
    except ValueError as error:
        raise TrainingError(str(error)) from error
    if demonstrations and config.update_normalizer:
        network.normalizer.update(torch.as_tensor(demonstrations.observation))  # detail 4 of dqn.py
    observation, _ = envs.reset(seed=config.seed)
    network = network.to(device)
    target = copy.deepcopy(network).requires_grad_(False)
    target.normalizer = network.normalizer  # detail 4
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


def save_state(
    path: str | os.PathLike[str],
    state: DQNState,
    envs: Environments,
    config: DQNConfig,
    metadata: Mapping[str, Any],
    replay: bool = False,
) -> None:
    """Write a checkpoint that plays (`Policy.load`) and from which `resume` continues.

    Args:
        path: file to write.
        state: state of the training.
        envs: environments; their state is stored if they offer it (see `vector_env.environment_state`).
        config: settings.
        metadata: what the network needs to play, and how it was made.
        replay: store the replay buffer as well; without it a resumed training first fills a new one.

    Raises:
        CheckpointError: the file cannot be written.
    """
    buffer_arrays, buffer_scalars = state.buffer.state() if replay else ({}, None)
    save_run(
        path,
        network=state.network,
        state=state,
        envs=envs,
        config=config,
        tensors={
            **prefixed("target", state.target.state_dict()),
            **prefixed("optimizer", optimizer_tensors(state.optimizer)),
            **prefixed("buffer", {name: torch.as_tensor(array) for name, array in buffer_arrays.items()}),
        },
        training={
            "algorithm": "dqn",
            "updates": state.updates,
            "rng": state.rng.bit_generator.state,
            "buffer": buffer_scalars,
        },
        metadata=metadata,
    )


def resume(
    config: DQNConfig,
    envs: Environments,
    checkpoint: Checkpoint,
    demonstrations: Transitions | None = None,
    where: str = "checkpoint",
) -> DQNState:
    """Continue a training that `save_state` stored.

    With the same settings and a stored replay buffer the results equal those of an uninterrupted training bit
    for bit (CPU, same number of threads), provided that the environments can be restored. Otherwise new
    episodes start.

    Args:
        config: settings.
        envs: environments made the same way as before.
        checkpoint: what `load_checkpoint` read.
        demonstrations: the same as before.
        where: name of the file, for messages.

    Returns:
        The state that `train` takes.

    Raises:
        CheckpointError: it is not a checkpoint of a DQN training.
        TrainingError: the parts do not fit each other.
    """
    with explained(where):
        network, training = load_run(checkpoint, "dqn", QNetwork, config.num_envs, where)
        normalizer = copy.deepcopy(network.normalizer.state_dict())
        state = start(config, envs, network, demonstrations)
        state.network.normalizer.load_state_dict(normalizer)  # `start` has counted the demonstrations again
        state.target.load_state_dict(section(checkpoint.tensors, "target"))
        restore_optimizer(state.optimizer, section(checkpoint.tensors, "optimizer"))
        state.rng.bit_generator.state = training["rng"]
        if training["buffer"] is not None:
            arrays = section(checkpoint.tensors, "buffer")
            try:
                state.buffer.restore({name: to_numpy(t) for name, t in arrays.items()}, training["buffer"])
            except ValueError as error:
                raise CheckpointError(f"{where}: {error}") from error
            if not ((state.buffer.action >= 0) & (state.buffer.action < network.num_actions)).all():
                raise CheckpointError(f"{where}: the replay buffer holds an action that does not exist")
        restore_run(checkpoint, state, envs, "updates")
    return state
