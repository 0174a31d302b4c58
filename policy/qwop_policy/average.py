"""The mean of several policies' weights: a "model soup" (Wortsman et al. 2022, arXiv 2203.05482).

Fine-tunings of one policy, with other seeds or settings, stay so close to each other that the mean of their
weights plays too, and often better than each of them: what one training happened to unlearn, the others still
know (Izmailov et al. 2018 average along one training). Policies that were not trained from a common one have
no such mean.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from qwop_game import PolicySpec
from qwop_rl_core import CheckpointError, Policy, prefixed, without_training


def average_policies(
    checkpoints: Sequence[str | os.PathLike[str]],
) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Average the networks of policies: weights, statistics of the observations, and critics.

    Args:
        checkpoints: two or more, trained from a common policy.

    Returns:
        Tensors and metadata of a checkpoint, without the state of a training. The metadata are those of the
        first one, and `average_of` has the SHA-256 of all files.

    Raises:
        CheckpointError: a checkpoint can't be read, or does not play as the first one does or has other
            layers.
        ValueError: there are fewer than two, or this release can't play one.
    """
    if len(checkpoints) < 2:
        raise ValueError("name two or more checkpoints")
    policies = [Policy.load(path) for path in checkpoints]
    expected, *others = map(_kind, policies)
    for path, kind in zip(checkpoints[1:], others, strict=True):
        for name, value in expected.items():
            if kind.get(name) != value:
                raise CheckpointError(f"{path}: {name} is {kind.get(name)}, of {checkpoints[0]} {value}")
    states = [policy.network.state_dict() for policy in policies]
    mean = {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(tensor.dtype)
        for name, tensor in states[0].items()
    }
    files = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in checkpoints]
    return prefixed("network", mean), {**without_training(policies[0].metadata), "average_of": files}


def _kind(policy: Policy) -> dict[str, Any]:
    """Return the network's layers and how it plays."""
    return {**policy.network.architecture, **PolicySpec.from_metadata(policy.metadata).metadata()}
