"""PQN's state: start, storage and resume."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from qwop_rl_core.checkpoint import (
    Checkpoint,
    explained,
    optimizer_tensors,
    prefixed,
    restore_optimizer,
    section,
)
from qwop_rl_core.devices import select_device
from qwop_rl_core.networks import QNetwork
from qwop_rl_core.optimizer import flatten_parameters
from qwop_rl_core.run_state import capture_parts, load_run, restore_parts, restore_run, save_run
from qwop_rl_core.vector_env import Environments, EpisodeStatistics, check_spaces

if TYPE_CHECKING:
    from qwop_rl_core.pqn import PQNConfig


@dataclass
class PQNState:
    """Everything that changes during training."""

    network: QNetwork
    optimizer: torch.optim.RAdam
    rng: np.random.Generator
    statistics: EpisodeStatistics
    observation: NDArray[Any]
    """[N, D], the environments' current observations."""
    steps: int = 0
    """Environment steps done."""
    iteration: int = 0
    """Rollouts done."""
    updates: int = 0
    """Gradient steps done."""

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return next(self.network.parameters()).device

    def capture(self) -> dict[str, Any]:
        """Return a copy of the network and the optimizer, for `roll_back`."""
        return capture_parts({"network": self.network, "optimizer": self.optimizer})

    def roll_back(self, captured: Mapping[str, Any]) -> None:
        """Return network and optimizer to a capture; steps, schedules and environments stay."""
        restore_parts({"network": self.network, "optimizer": self.optimizer}, captured)


def start(config: PQNConfig, envs: Environments, network: QNetwork) -> PQNState:
    """Begin a training at step 0, with environments reset and a new optimizer.

    Args:
        config: settings.
        envs: environments with discrete actions and flat observations.
        network: network to train, in place.

    Returns:
        The state that `train` takes.

    Raises:
        TrainingError: the parts do not fit each other, or the device is not available.
    """
    device = select_device(config.device)
    check_spaces(envs, config.num_envs, network.feature_size, network.num_actions)
    observation, _ = envs.reset(seed=config.seed)
    network = network.to(device)
    return PQNState(
        network=network,
        optimizer=torch.optim.RAdam(  # detail 2 of pqn.py
            [flatten_parameters(network)], lr=config.learning_rate, eps=1e-5
        ),
        rng=np.random.default_rng(config.seed),
        statistics=EpisodeStatistics(config.num_envs),
        observation=observation,
    )


def save_state(
    path: str | os.PathLike[str],
    state: PQNState,
    envs: Environments,
    config: PQNConfig,
    metadata: Mapping[str, Any],
) -> None:
    """Write a checkpoint that plays (`Policy.load`) and from which `resume` continues exactly.

    Args:
        path: file to write.
        state: state of the training.
        envs: environments; their state is stored if they offer it (see `vector_env.environment_state`).
        config: settings.
        metadata: what the network needs to play, and how it was made.

    Raises:
        CheckpointError: the file cannot be written.
    """
    save_run(
        path,
        network=state.network,
        state=state,
        envs=envs,
        config=config,
        tensors=prefixed("optimizer", optimizer_tensors(state.optimizer)),
        training={
            "algorithm": "pqn",
            "iteration": state.iteration,
            "updates": state.updates,
            "rng": state.rng.bit_generator.state,
        },
        metadata=metadata,
    )


def resume(
    config: PQNConfig, envs: Environments, checkpoint: Checkpoint, where: str = "checkpoint"
) -> PQNState:
    """Continue a training that `save_state` stored.

    With the same settings the results equal those of an uninterrupted training bit for bit (CPU, same number
    of threads), provided that the environments can be restored. Otherwise new episodes start.

    Args:
        config: settings.
        envs: environments made the same way as before.
        checkpoint: what `load_checkpoint` read.
        where: name of the file, for messages.

    Returns:
        The state that `train` takes.

    Raises:
        CheckpointError: it is not a checkpoint of a PQN training.
        TrainingError: the parts do not fit each other.
    """
    with explained(where):
        network, training = load_run(checkpoint, "pqn", QNetwork, config.num_envs, where)
        state = start(config, envs, network)
        restore_optimizer(state.optimizer, section(checkpoint.tensors, "optimizer"))
        state.rng.bit_generator.state = training["rng"]
        restore_run(checkpoint, state, envs, "iteration", "updates")
    return state
