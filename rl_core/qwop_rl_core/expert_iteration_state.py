"""Expert iteration's state: start, storage and resume."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from qwop_rl_core.checkpoint import (
    Checkpoint,
    explained,
    restore_optimizer,
    section,
)
from qwop_rl_core.devices import select_device
from qwop_rl_core.networks import ActorCritic
from qwop_rl_core.ppo_state import PPOState, new_parts
from qwop_rl_core.run_state import load_run, restore_run, save_run
from qwop_rl_core.vector_env import Environments

if TYPE_CHECKING:
    from qwop_rl_core.expert_iteration import ExpertIterationConfig


@dataclass
class ExpertState(PPOState):
    """Everything that changes during training: as in PPO, and the frames."""

    frames: int = 0
    """Frames simulated, those of the searches included."""


def start(config: ExpertIterationConfig, envs: Environments, policy: ActorCritic) -> ExpertState:
    """Begin a training at step 0, with environments reset and new optimizers.

    Args:
        config: settings.
        envs: environments with discrete actions and flat observations.
        policy: networks to train, in place.

    Returns:
        The state that `train` takes.

    Raises:
        TrainingError: the parts do not fit each other, or the device is not available.
    """
    device = select_device(config.device)
    policy.to(device).compute_in(torch.float32)
    return ExpertState(**new_parts(config, envs, policy, device))


def save_state(
    path: str | os.PathLike[str],
    state: ExpertState,
    envs: Environments,
    config: ExpertIterationConfig,
    metadata: Mapping[str, Any],
) -> None:
    """Write a checkpoint that plays (`Policy.load`) and from which `resume` continues exactly.

    Args:
        path: file to write.
        state: state of the training.
        envs: environments; their state is stored if they offer it (see `vector_env.environment_state`).
        config: settings.
        metadata: what the policy needs to play, and how it was made.

    Raises:
        CheckpointError: the file cannot be written.
    """
    save_run(
        path,
        network=state.policy,
        state=state,
        envs=envs,
        config=config,
        tensors={**state.optimizer_tensors(), "generator": state.generator.get_state()},
        training={"algorithm": "expert-iteration", "iteration": state.iteration, "frames": state.frames},
        metadata=metadata,
    )


def resume(
    config: ExpertIterationConfig, envs: Environments, checkpoint: Checkpoint, where: str = "checkpoint"
) -> ExpertState:
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
        CheckpointError: it is not a checkpoint of such a training.
        TrainingError: the parts do not fit each other.
    """
    with explained(where):
        policy, _ = load_run(checkpoint, "expert-iteration", ActorCritic, config.num_envs, where)
        state = start(config, envs, policy)
        for name, optimizer in state.optimizers.items():
            restore_optimizer(optimizer, section(section(checkpoint.tensors, "optimizer"), name))
        state.generator.set_state(checkpoint.tensors["generator"])
        restore_run(checkpoint, state, envs, "iteration", "frames")
    return state
