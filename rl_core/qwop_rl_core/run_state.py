"""The state of a training run: captures for roll-back, checkpoints, and exact resume. Shared by the trainers.

A checkpoint of a run holds, besides the trainer's own tensors, `observation`, `episode_return`,
`episode_length` and, if the environments offer their state, `environment.*`. Its metadata has the network's
architecture and, under "training", the algorithm, its counters and its settings.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from qwop_rl_core.checkpoint import (
    Checkpoint,
    CheckpointError,
    check_kinds,
    load_network,
    prefixed,
    save_checkpoint,
    section,
)
from qwop_rl_core.devices import to_numpy
from qwop_rl_core.networks import ActorCritic, QNetwork
from qwop_rl_core.ranks import gathered_tensors, num_ranks, rank
from qwop_rl_core.vector_env import Environments, EpisodeStatistics, environment_state, restore_environment

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Network = TypeVar("Network", ActorCritic, QNetwork)


class RunState(Protocol):
    """The common part of the states of all trainers."""

    observation: NDArray[Any]  # [N, D], the environments' current observations
    statistics: EpisodeStatistics
    steps: int  # environment steps done


class Stateful(Protocol):
    """A module or an optimizer."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


def capture_parts(parts: Mapping[str, Stateful]) -> dict[str, Any]:
    """Return a copy of the states of modules and optimizers, for `restore_parts`."""
    return {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}


def restore_parts(parts: Mapping[str, Stateful], captured: Mapping[str, Any]) -> None:
    """Load a capture into the same modules and optimizers; the capture can be used again."""
    for name, part in parts.items():
        part.load_state_dict(copy.deepcopy(captured[name]))


def save_run(
    path: str | os.PathLike[str],
    *,
    network: ActorCritic | QNetwork,
    state: RunState,
    envs: Environments,
    config: DataclassInstance,
    tensors: Mapping[str, Tensor],
    training: Mapping[str, Any],
    metadata: Mapping[str, Any],
    own: Sequence[str] = (),
) -> None:
    """Write a checkpoint that plays (`Policy.load`) and from which the run can be resumed.

    Args:
        path: file to write.
        network: network that plays.
        state: state of the run.
        envs: environments; their state is stored if they offer it.
        config: settings of the trainer.
        tensors: the trainer's own tensors, such as the optimizer's.
        training: the trainer's own plain data: "algorithm", counters.
        metadata: what the policy needs to play, and how it was made.
        own: those of `tensors` that differ between ranks (ranks.py). All ranks have to call this together;
            rank 0 writes.

    Raises:
        CheckpointError: the file cannot be written.
    """
    environment = environment_state(envs)
    arrays = {
        "observation": state.observation,
        "episode_return": state.statistics.episode_return,
        "episode_length": state.statistics.episode_length,
    }
    arrays |= {f"environment.{name}": array for name, array in (environment or {}).items()}
    mine = {name: torch.as_tensor(array) for name, array in arrays.items()} | {n: tensors[n] for n in own}
    ranks = gathered_tensors(mine) if num_ranks() > 1 else [mine]
    if rank() > 0:
        return
    others = {f"rank{i}.{name}": t for i, part in enumerate(ranks[1:], 1) for name, t in part.items()}
    save_checkpoint(
        path,
        {**prefixed("network", network.state_dict()), **tensors, **mine, **others},
        {
            **metadata,
            **network.architecture,
            "training": {
                **training,
                "steps": state.steps,
                "environment": environment is not None,
                **({"ranks": num_ranks()} if num_ranks() > 1 else {}),
                "config": dataclasses.asdict(config),
            },
        },
    )


def load_run(
    checkpoint: Checkpoint, algorithm: str, network_type: type[Network], num_envs: int, where: str
) -> tuple[Network, dict[str, Any]]:
    """Read the network and the plain data of a stored run.

    Args:
        checkpoint: what `load_checkpoint` read.
        algorithm: "ppo", "expert-iteration", "dqn" or "pqn".
        network_type: kind of network that the algorithm trains.
        num_envs: number of environments in the current settings.
        where: name of the file, for messages.

    Returns:
        The network on the CPU, and metadata["training"].

    Raises:
        CheckpointError: it is a checkpoint of something else, or was trained with another `num_envs`.
    """
    training = checkpoint.metadata.get("training", {})
    if training.get("algorithm") != algorithm:
        raise CheckpointError(
            f"{where}: not a checkpoint of a training with {algorithm}, it cannot be resumed "
            "(use it as --init)"
        )
    network = load_network(checkpoint, where)
    if not isinstance(network, network_type):
        raise CheckpointError(
            f"{where}: the network is of kind {network.architecture['kind']!r}, which {algorithm.upper()} "
            "does not train"
        )
    if training["config"]["num_envs"] != num_envs:
        raise CheckpointError(
            f"{where}: trained with {training['config']['num_envs']} environments, not {num_envs}"
        )
    return network, training


def part_of_rank(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint with the environments and generators of this rank.

    If it was written by another number of ranks, it has none of them, and new episodes start.
    """
    training, tensors = checkpoint.metadata["training"], dict(checkpoint.tensors)
    if training.get("ranks", 1) == num_ranks():
        prefix = f"rank{rank()}."
        tensors |= {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        return checkpoint._replace(tensors=tensors)
    tensors.pop("generator", None)
    metadata = {**checkpoint.metadata, "training": {**training, "environment": False}}
    return checkpoint._replace(tensors=tensors, metadata=metadata)


def restore_run(checkpoint: Checkpoint, state: RunState, envs: Environments, *counters: str) -> None:
    """Restore the counters and, if they were stored, the environments and the running episodes.

    Args:
        checkpoint: checkpoint of the run.
        state: state to restore, in place.
        envs: environments made the same way as before.
        *counters: names of the trainer's own counters, such as "iteration".

    Raises:
        ValueError: a counter is not a whole number, or the observations are of other environments.
        KeyError: something is missing.
    """
    training, tensors = checkpoint.metadata["training"], checkpoint.tensors
    values = {name: training[name] for name in ("steps", *counters)}
    check_kinds(values, state)
    for name, value in values.items():
        setattr(state, name, value)
    if training["environment"]:
        arrays = section(tensors, "environment")
        restore_environment(envs, {name: to_numpy(t) for name, t in arrays.items()})
        observation = to_numpy(tensors["observation"])
        if observation.shape != state.observation.shape or observation.dtype != state.observation.dtype:
            raise ValueError(
                f"the stored observations are {observation.dtype} {list(observation.shape)}, "
                f"expected {state.observation.dtype} {list(state.observation.shape)}"
            )
        state.observation = observation.copy()
        state.statistics.episode_return[:] = tensors["episode_return"].numpy()
        state.statistics.episode_length[:] = tensors["episode_length"].numpy()
