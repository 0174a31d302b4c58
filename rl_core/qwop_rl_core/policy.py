"""A policy that plays: the network of a checkpoint, with `act`."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qwop_rl_core.checkpoint import CheckpointError, load_checkpoint, load_network
from qwop_rl_core.checkpoint_file import wrong_features
from qwop_rl_core.devices import one_thread, to_numpy
from qwop_rl_core.networks import ActorCritic, QNetwork


def sample_actions(logits: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Draw actions int64 [...] from categorical distributions with logits [..., A].

    argmax(logit - ln E) with E ~ Exp(1) is the Gumbel-max trick (Maddison et al. 2014): one pass, without
    normalization and cumulative sums.

    Args:
        logits: float [..., A].
        generator: source of the draws; None: torch's global one.
    """
    noise = torch.empty_like(logits).exponential_(generator=generator)
    return (logits - noise.log_()).argmax(-1)


class Policy:
    """A network with the metadata that it needs to play.

    `metadata` is that of the checkpoint: `action_set`, `frame_skip`, `observation`, `feature_version`,
    `num_actions`, how it was made.
    """

    def __init__(
        self, network: ActorCritic | QNetwork, metadata: dict[str, Any], device: str | torch.device = "cpu"
    ):
        self.network = network.to(device).eval()
        self.metadata = metadata
        self.device = torch.device(device)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Policy:
        """Load the policy of a checkpoint.

        Args:
            path: file to read.
            device: device to play on.

        Returns:
            The policy.

        Raises:
            CheckpointError: the file is missing, damaged or foreign, or weights and metadata do not fit.
        """
        checkpoint = load_checkpoint(path)
        return cls(load_network(checkpoint, path), checkpoint.metadata, device)

    def require(self, **expected: Any) -> None:
        """Check the metadata against an environment.

        For example `policy.require(num_actions=9, action_set="distinct")`.

        Args:
            **expected: names and values that the metadata must have.

        Raises:
            CheckpointError: an entry differs; the message names the first one.
        """
        for name, value in expected.items():
            if name not in self.metadata:
                raise CheckpointError(f"the checkpoint does not say its {name}; {value!r} is needed here")
            if self.metadata[name] != value:
                raise CheckpointError(
                    f"the checkpoint has {name} {self.metadata[name]!r}; {value!r} is needed here"
                )

    @property
    def is_q_network(self) -> bool:
        """Whether its scores are action values, not logits."""
        return isinstance(self.network, QNetwork)

    @property
    def has_values(self) -> bool:
        """Whether there is a trained critic: cloning leaves the scale of its returns at 1."""
        return isinstance(self.network, ActorCritic) and bool(self.network.value_std != 1)

    @one_thread()
    @torch.inference_mode()
    def scores(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return logits, or action values, float32 [N, A] of features [N, D].

        Raises:
            CheckpointError: the network takes another number of features.
        """
        return to_numpy(self._scores(self._batch(features)))

    @one_thread()
    @torch.inference_mode()
    def values(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the critic's state values float32 [N] of features [N, D], in units of return.

        Raises:
            CheckpointError: the network takes another number of features.
            ValueError: a Q-network has no critic.
        """
        if isinstance(self.network, QNetwork):
            raise ValueError("a Q-network has no critic")
        return to_numpy(self.network.values(self._batch(features)))

    @one_thread()
    @torch.inference_mode()
    def act(
        self,
        features: NDArray[np.floating[Any]],
        sample: bool = False,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> NDArray[np.int64]:
        """Choose an action for each of N observations.

        Args:
            features: float32 [N, D].
            sample: draw from the policy's distribution; otherwise take the most likely action. A Q-network
                has no distribution and always takes its best action.
            generator: source of the draws; None: torch's global one.
            temperature: what logits are divided by before actions are drawn, above 0. Below 1, likely actions
                become more likely.

        Returns:
            int64 [N].

        Raises:
            CheckpointError: the network takes another number of features.
        """
        scores = self._scores(self._batch(features))
        draw = sample and not self.is_q_network
        return to_numpy(sample_actions(scores / temperature, generator) if draw else scores.argmax(-1))

    def _batch(self, features: NDArray[np.floating[Any]]) -> torch.Tensor:
        x = torch.as_tensor(np.asarray(features, np.float32), device=self.device)
        if x.ndim != 2 or x.shape[1] != self.network.feature_size:
            raise wrong_features(self.network.feature_size, x.shape)
        return x

    def _scores(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x) if isinstance(self.network, QNetwork) else self.network.logits(x)
