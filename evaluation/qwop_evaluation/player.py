"""Players: policies that protocol P can play."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from qwop_datasets import storable_name
from qwop_game import PolicySpec
from qwop_rl_core import CheckpointError, Policy, QNetwork, one_thread, to_numpy


class Player(Protocol):
    """A policy that chooses an action every `frame_skip` frames."""

    name: str
    """Name to store with its episodes, at most 64 bytes."""
    frame_skip: int
    """Frames of one decision."""
    action_set: str
    """Name of its action set, see `qwop_game.ACTION_SETS`."""
    samples: bool
    """Whether its scores are the logits of a distribution. If not, it always takes the best action."""

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Return logits, or action values, [N, A] of features [N, D]."""
        ...

    def values(self, features: NDArray[np.float32]) -> NDArray[np.floating[Any]] | None:
        """Return the critic's state values [N] of features [N, D]; None without a trained critic."""
        ...


class PolicyPlayer:
    """A loaded policy as a `Player`."""

    def __init__(self, policy: Policy, name: str = "policy") -> None:
        """Check that a policy fits this game.

        Args:
            policy: the policy.
            name: name to store with its episodes.

        Raises:
            CheckpointError: it was made for other features, actions or frames than this version plays with.
        """
        self._policy = policy
        try:
            spec = PolicySpec.from_metadata(policy.metadata)
        except ValueError as error:
            raise CheckpointError(str(error)) from None
        self.action_set, self.frame_skip = spec.action_set, spec.frame_skip
        self.samples = not isinstance(policy.network, QNetwork)
        self.name = storable_name(name)

    @one_thread()
    @torch.inference_mode()
    def scores(self, features: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Return logits, or action values, float64 [N, A] of features [N, D]."""
        network = self._policy.network
        batch = torch.as_tensor(features, device=self._policy.device)
        result = network(batch) if isinstance(network, QNetwork) else network.logits(batch)
        return to_numpy(result.double())

    @one_thread()
    @torch.inference_mode()
    def values(self, features: NDArray[np.float32]) -> NDArray[np.floating[Any]] | None:
        """Return the critic's state values float64 [N] of features [N, D]; None without a trained critic."""
        network = self._policy.network
        # Cloning does not train the critic, so the scale of its returns is still the initial one.
        if isinstance(network, QNetwork) or network.value_std == 1:
            return None
        return to_numpy(network.values(torch.as_tensor(features, device=self._policy.device)).double())


class CheckpointPlayer(PolicyPlayer):
    """A policy checkpoint as a `Player`, named after the file. `sha256` is the hash of the file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Load a checkpoint.

        Args:
            path: the file.

        Raises:
            CheckpointError: the file is missing, damaged or foreign, or does not fit this game.
        """
        policy = Policy.load(path)
        try:
            super().__init__(policy, Path(path).stem)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
        self.sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
