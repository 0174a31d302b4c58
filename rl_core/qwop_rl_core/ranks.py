"""Train one policy with several processes: the ranks that `torchrun` starts. With one process, do nothing.

Each rank steps its share of the environments, with random draws of its own, and learns from its share of
every minibatch. What the ranks compute is merged here, so that all of them take the same steps:

- gradients: the mean over the ranks, of the flat vector of a network's weights (optimizer.py);
- means and variances, of observations, returns and advantages: by the formulas for sets of any size of Chan,
  Golub & LeVeque 1979, in float64, so they are those of all samples;
- decisions, such as early stopping: from merged figures, or rank 0's.

A rank gets the same bits from a reduction as any other rank, and the same launch gives the same bits again.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, distributed

from qwop_rl_core.errors import TrainingError

T = TypeVar("T")


def num_ranks() -> int:
    """Return the number of processes that train together."""
    joined = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if joined else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if num_ranks() > 1 else 0


@contextmanager
def joined_ranks(device: str) -> Generator[None]:
    """Join the other processes of a launch by torchrun, for the length of the block.

    Args:
        device: device of the settings: auto, cpu, cuda.

    Raises:
        TrainingError: this PyTorch can't do it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or num_ranks() > 1:
        yield
        return
    if not distributed.is_available():
        raise TrainingError(
            "this build of PyTorch has no torch.distributed: start one process, without torchrun"
        )
    if _on_gpu(device):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if _on_gpu(device) else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _on_gpu(device: str) -> bool:
    return device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())


def seed_of_rank(seed: int) -> int:
    """Return this rank's seed: the given one on rank 0, and others elsewhere."""
    if rank() == 0:
        return seed
    return int(np.random.SeedSequence([seed, rank()]).generate_state(1)[0])


def share_of_rank(config: T) -> T:
    """Return a rank's part of PPO's settings: its environments, its samples of each minibatch, its GPU.

    Raises:
        TrainingError: the number of ranks does not divide them.
    """
    if num_ranks() > 1 and _on_gpu(getattr(config, "device", "cpu")):
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        config = cast("T", dataclasses.replace(cast("Any", config), device=device))
    return config if num_ranks() == 1 else _replaced(config, _divided)


def whole_of_share(config: T) -> T:
    """Undo `share_of_rank`."""
    return config if num_ranks() == 1 else _replaced(config, _multiplied)


def _replaced(config: T, change: Callable[[str, int], int]) -> T:
    changes = {name: change(name, getattr(config, name)) for name in ("num_envs", "minibatch_size")}
    return cast("T", dataclasses.replace(cast("Any", config), **changes))


def _divided(name: str, value: int) -> int:
    if value % num_ranks():
        flag = "--" + name.replace("_", "-")
        raise TrainingError(
            f"{flag} {value}: {num_ranks()} processes can't share it; give a multiple of {num_ranks()}"
        )
    return value // num_ranks()


def _multiplied(_name: str, value: int) -> int:
    return value * num_ranks()


def average(tensor: Tensor) -> Tensor:
    """Replace a tensor by its mean over the ranks, in place, and return it."""
    if num_ranks() > 1:
        distributed.all_reduce(tensor)
        tensor.div_(num_ranks())
    return tensor


def largest(tensor: Tensor) -> Tensor:
    """Replace a tensor by its maximum over the ranks, in place, and return it."""
    if num_ranks() > 1:
        distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
    return tensor


def any_rank(fact: bool) -> bool:
    """Return whether the fact holds on any rank."""
    if num_ranks() == 1:
        return fact
    return any(all_of(fact))


def all_of(value: T) -> list[T]:
    """Return a plain value of every rank, in their order."""
    if num_ranks() == 1:
        return [value]
    values: list[Any] = [None] * num_ranks()
    distributed.all_gather_object(values, value)
    return values


def merged_moments(mean: Tensor, var: Tensor, count: int) -> tuple[Tensor, Tensor, int]:
    """Merge means and population variances of the ranks' samples.

    Args:
        mean: float64 [D] or [].
        var: the same shape.
        count: number of this rank's samples.

    Returns:
        Mean, population variance and number of all samples.
    """
    if num_ranks() == 1:
        return mean, var, count
    own = torch.stack([mean, var, torch.full_like(mean, count)])
    parts = [torch.empty_like(own) for _ in range(num_ranks())]
    distributed.all_gather(parts, own)
    mean, var, total = parts[0][0], parts[0][1], parts[0][2]
    for part in parts[1:]:
        both = total + part[2]
        delta = part[0] - mean
        var = (var * total + part[1] * part[2] + delta**2 * (total * part[2] / both)) / both
        mean, total = mean + delta * (part[2] / both), both
    return mean, var, int(total.flatten()[0])


def mean_and_std(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean [] and standard deviation [], Bessel-corrected, of the samples of all ranks."""
    if num_ranks() == 1:
        return samples.mean(), samples.std()
    own = samples.double()
    mean, var, count = merged_moments(own.mean(), own.var(correction=0), samples.numel())
    std = (var * (count / max(count - 1, 1))).sqrt()
    return mean.to(samples.dtype), std.to(samples.dtype)


def merged_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Merge the ranks' figures of an iteration.

    Returns:
        Counts and speeds: sums. Figures of episodes: means, weighted by the ranks' episodes. Others: means.
    """
    if num_ranks() == 1:
        return dict(metrics)
    ranks = all_of(dict(metrics))
    merged: dict[str, float] = {}
    for name in dict.fromkeys(name for own in ranks for name in own):
        having = [own for own in ranks if name in own]
        if name in ("episode/count", "speed/steps_per_second"):
            merged[name] = sum(own[name] for own in having)
            continue
        weights = [own.get("episode/count", 1.0) if name.startswith("episode/") else 1.0 for own in having]
        merged[name] = sum(w * own[name] for w, own in zip(weights, having, strict=True)) / sum(weights)
    return merged


def gathered_tensors(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the ranks' tensors, in their order. They may differ in names and shapes."""
    return all_of({name: tensor.cpu() for name, tensor in tensors.items()})
