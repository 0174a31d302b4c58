"""What the protocol needs of a policy: scores for actions, and how its actions become keys."""

from __future__ import annotations

import hashlib
import os
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from qwop_datasets import storable_name
from qwop_game import PolicySpec
from qwop_rl_core import CheckpointError, Policy, QNetwork


class Player(Protocol):
    """Chooses among `action_masks` every `frame_skip` frames."""

    name: str
    """Stored with its episodes, at most 64 bytes."""
    frame_skip: int
    action_set: str
    samples: bool
    """Whether its scores are the logits of a distribution. If not, it always takes the best action."""

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.floating]:
        """features [N, D] -> logits, or action values, [N, A]."""
        ...

    def values(self, features: NDArray[np.float32]) -> NDArray[np.floating] | None:
        """features [N, D] -> the critic's state values [N]; None where there is none, or an untrained one."""
        ...


class CheckpointPlayer:
    """A policy checkpoint as a `Player`, once it has proved to fit this game's features and actions."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises CheckpointError, in one line: a missing, damaged or foreign file, or one made for other
        features, actions or frames than this version plays with."""
        self._policy = Policy.load(path)
        try:
            spec = PolicySpec.from_metadata(self._policy.metadata)
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from None
        self.action_set, self.frame_skip = spec.action_set, spec.frame_skip
        self.samples = not isinstance(self._policy.network, QNetwork)
        self.name = storable_name(Path(path).stem)
        self.sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()

    @torch.inference_mode()
    def scores(self, features: NDArray[np.float32]) -> NDArray[np.floating]:
        network = self._policy.network
        batch = torch.as_tensor(features, device=self._policy.device)
        result = network(batch) if isinstance(network, QNetwork) else network.logits(batch)
        return result.double().cpu().numpy()

    @torch.inference_mode()
    def values(self, features: NDArray[np.float32]) -> NDArray[np.floating] | None:
        network = self._policy.network
        # Cloning leaves the critic, and the scale of its returns, as they were made.
        if isinstance(network, QNetwork) or network.value_std == 1:
            return None
        return network.values(torch.as_tensor(features, device=self._policy.device)).double().cpu().numpy()


def shipped_policy_path() -> Path:
    """Where the policy that comes with the project lies: beside this package, or in the repository's demos/.

    Raises CheckpointError where it is in neither.
    """
    installed = Path(str(files("qwop_evaluation"))) / "demos" / "policy.safetensors"
    repository = Path(__file__).resolve().parents[2] / "demos" / "policy.safetensors"
    for path in (installed, repository):
        if path.is_file():
            return path
    raise CheckpointError(f"the shipped policy is missing ({repository}): name a checkpoint")
