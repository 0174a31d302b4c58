"""What the protocol needs of a policy: scores for actions, and how its actions become keys."""

from __future__ import annotations

import hashlib
import os
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from qwop_datasets import storable_name
from qwop_game import ACTION_SETS, FEATURE_SIZE, FEATURE_VERSION
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
        metadata = self._policy.metadata
        with _naming(path):
            self._policy.require(observation="features", feature_version=FEATURE_VERSION)
            self.action_set = _known_action_set(metadata)
            self._policy.require(num_actions=len(ACTION_SETS[self.action_set]), feature_size=FEATURE_SIZE)
            self.frame_skip = _positive(metadata, "frame_skip")
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


class _naming:
    """Puts the file's name before the message of a CheckpointError."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, CheckpointError):
            raise CheckpointError(f"{self._path}: {error}") from None


def _known_action_set(metadata: dict[str, Any]) -> str:
    name = metadata.get("action_set")
    if not isinstance(name, str) or name not in ACTION_SETS:
        raise CheckpointError(f"the checkpoint's action_set is {name!r}, not one of {', '.join(ACTION_SETS)}")
    return name


def _positive(metadata: dict[str, Any], name: str) -> int:
    value = metadata.get(name)
    if not isinstance(value, int) or value < 1:
        raise CheckpointError(f"the checkpoint's {name} is {value!r}, not a whole number of 1 or more")
    return value
