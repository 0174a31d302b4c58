"""Measure how much of its clone a policy has forgotten, and detect when its gait collapses."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qwop_finetune.demonstrations import Demonstrations
from qwop_rl_core import ActorCritic, QNetwork, kl_between

MEASURED_DECISIONS = 4096
"""Most demonstrated decisions that the meter compares, evenly spread over all of them."""


def scores(network: ActorCritic | QNetwork, features: Tensor) -> Tensor:
    """Return what a network ranks actions by, logits or action values: [N, D] -> [N, A]."""
    return network(features) if isinstance(network, QNetwork) else network.logits(features)


class ForgettingMeter:
    """Measures how far a network has moved from its clone and from the demonstrations.

    Args:
        clone: network that the training started from, or None. It must not change during the training.
        demonstrations: decisions to compare the network with, or None.
    """

    def __init__(self, clone: ActorCritic | QNetwork | None, demonstrations: Demonstrations | None) -> None:
        self._clone = clone
        self._features: Tensor | None = None
        if demonstrations is not None:
            features, actions = demonstrations.features, demonstrations.actions
            picked = np.linspace(0, len(actions) - 1, min(MEASURED_DECISIONS, len(actions))).astype(int)
            self._features = torch.as_tensor(features[picked])
            self._actions = torch.as_tensor(actions[picked])

    @torch.inference_mode()
    def measure(self, network: ActorCritic | QNetwork, observation: NDArray[np.float32]) -> dict[str, float]:
        """Compare a network with the clone and the demonstrations.

        Args:
            network: the network in training.
            observation: features from its own play, float32 [N, D].

        Returns:
            "forgetting/demo_agreement": share of the demonstrated decisions that equal its best action.
            "forgetting/clone_agreement": share of its observations on which its best action is the clone's.
            "forgetting/clone_kl": KL(network || clone) on its observations, nats; policies only.
        """
        figures: dict[str, float] = {}
        device = next(network.parameters()).device
        if self._features is not None:
            best = scores(network, self._features.to(device)).argmax(-1).cpu()
            figures["forgetting/demo_agreement"] = float((best == self._actions).float().mean())
        if self._clone is not None:
            seen = torch.as_tensor(observation, dtype=torch.float32, device=device)
            now, then = scores(network, seen), scores(self._clone.to(device), seen)
            same = now.argmax(-1) == then.argmax(-1)
            figures["forgetting/clone_agreement"] = float(same.float().mean())
            if isinstance(network, ActorCritic) and isinstance(self._clone, ActorCritic):
                figures["forgetting/clone_kl"] = float(kl_between(now, then).mean())
        return figures


@dataclass
class GaitGuard:
    """Detects a collapsed gait.

    A gait has collapsed when its share of upright postures is more than `margin` below the best report of the
    training so far, or its share of knees near the track more than `margin` above.
    """

    margin: float
    best_upright: float = 0.0
    least_knee_near: float = 1.0
    collapses: int = 0

    def check(self, figures: dict[str, float]) -> Literal["healthy", "collapsed"]:
        """Check the "gait/upright" and "gait/knee_near" of a report, and remember the best ones."""
        upright, knee_near = figures["gait/upright"], figures["gait/knee_near"]
        if upright < self.best_upright - self.margin or knee_near > self.least_knee_near + self.margin:
            self.collapses += 1
            return "collapsed"
        self.best_upright = max(self.best_upright, upright)
        self.least_knee_near = min(self.least_knee_near, knee_near)
        return "healthy"

    def state(self) -> dict[str, Any]:
        """Return plain data for `GaitGuard(**state)`."""
        return asdict(self)
