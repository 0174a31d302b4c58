"""Players: policies that protocol P can play. PyTorch is loaded only for a checkpoint that it plays."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

import qwop_rl_core
from qwop_datasets import storable_name
from qwop_game import PolicySpec
from qwop_rl_core import CheckpointError, NumpyPolicy


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


@runtime_checkable
class LoadedPolicy(Protocol):
    """The network of a checkpoint: `qwop_rl_core.Policy`, or `NumpyPolicy`, which needs no PyTorch."""

    metadata: dict[str, Any]
    """Metadata of the checkpoint."""

    @property
    def is_q_network(self) -> bool:
        """Whether its scores are action values, not logits."""
        ...

    @property
    def has_values(self) -> bool:
        """Whether it has a trained critic."""
        ...

    def scores(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return logits, or action values, [N, A] of features [N, D]."""
        ...

    def values(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the critic's state values [N] of features [N, D]."""
        ...


class PolicyPlayer:
    """A loaded policy as a `Player`."""

    def __init__(self, policy: LoadedPolicy, name: str = "policy") -> None:
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
        self.samples = not policy.is_q_network
        self.name = storable_name(name)

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Return logits, or action values, float64 [N, A] of features [N, D]."""
        return self._policy.scores(features).astype(np.float64)

    def values(self, features: NDArray[np.float32]) -> NDArray[np.floating[Any]] | None:
        """Return the critic's state values float64 [N] of features [N, D]; None without a trained critic."""
        return self._policy.values(features).astype(np.float64) if self._policy.has_values else None


class CheckpointPlayer(PolicyPlayer):
    """A policy checkpoint as a `Player`, named after the file. `sha256` is the hash of the file."""

    def __init__(self, path: str | os.PathLike[str], numpy: bool = False) -> None:
        """Load a checkpoint.

        Args:
            path: the file.
            numpy: compute with NumPy instead of PyTorch, which need not be installed. The last bits of the
                scores differ.

        Raises:
            CheckpointError: the file is missing, damaged or foreign, or does not fit this game; or PyTorch is
                not installed.
        """
        self.numpy = numpy
        policy = NumpyPolicy.load(path) if numpy else _load_with_torch(path)
        try:
            super().__init__(policy, Path(path).stem)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
        self.sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _load_with_torch(path: str | os.PathLike[str]) -> LoadedPolicy:
    try:
        return qwop_rl_core.Policy.load(path)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise CheckpointError(
            "PyTorch is not installed; play with NumPy: qwop-eval --numpy, CheckpointPlayer(path, numpy=True)"
        ) from None
