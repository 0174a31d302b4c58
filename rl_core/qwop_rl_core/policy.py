"""A policy that plays: a checkpoint's network behind `act`."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from qwop_rl_core.checkpoint import CheckpointError, load_checkpoint, load_network
from qwop_rl_core.networks import ActorCritic, QNetwork


def sample_actions(logits: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Draw from the categorical distributions of logits [..., A] -> int64 [...].

    argmax(logit - ln E) with E ~ Exp(1) is the Gumbel-max trick (Maddison et al. 2014): one pass, no
    normalisation, no cumulative sums.
    """
    noise = torch.empty_like(logits).exponential_(generator=generator)
    return (logits - noise.log_()).argmax(-1)


class Policy:
    """A network and what it needs to know to play.

    metadata: everything the checkpoint says of itself: `action_set`, `frame_skip`, `observation`,
    `feature_version`, `num_actions`, how it was made.
    """

    def __init__(
        self, network: ActorCritic | QNetwork, metadata: dict[str, Any], device: str | torch.device = "cpu"
    ):
        self.network = network.to(device).eval()
        self.metadata = metadata
        self.device = torch.device(device)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Policy:
        """Raises CheckpointError: missing, damaged or foreign file, weights that do not fit the metadata."""
        checkpoint = load_checkpoint(path)
        return cls(load_network(checkpoint, path), checkpoint.metadata, device)

    def require(self, **expected: Any) -> None:
        """Check metadata against what an environment offers: require(num_actions=9, action_set="distinct").

        Raises CheckpointError, naming the first entry that differs.
        """
        for name, value in expected.items():
            if name not in self.metadata:
                raise CheckpointError(f"the checkpoint does not say its {name}; {value!r} is needed here")
            if self.metadata[name] != value:
                raise CheckpointError(
                    f"the checkpoint has {name} {self.metadata[name]!r}; {value!r} is needed here"
                )

    @torch.inference_mode()
    def act(
        self, features: np.ndarray, sample: bool = False, generator: torch.Generator | None = None
    ) -> np.ndarray:
        """Choose an action for each of N observations: float32 [N, D] -> int64 [N].

        sample: draw from the policy's distribution with `generator` (None: torch's global one); else take
            the most likely action. A Q-network has no distribution: it takes its best action either way.
        Raises CheckpointError when D is not what the network was made for.
        """
        x = torch.as_tensor(np.asarray(features, np.float32), device=self.device)
        if x.ndim != 2 or x.shape[1] != self.network.feature_size:
            raise CheckpointError(
                f"the policy takes [N, {self.network.feature_size}] features, not {list(x.shape)}: "
                "it was made for another encoding of the observation"
            )
        if isinstance(self.network, QNetwork):
            return self.network(x).argmax(-1).cpu().numpy()
        logits = self.network.logits(x)
        action = sample_actions(logits, generator) if sample else logits.argmax(-1)
        return action.cpu().numpy()
