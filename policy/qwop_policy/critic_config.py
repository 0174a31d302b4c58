"""Settings of `qwop-policy critic`, apart from its code because that needs PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class CriticConfig:
    """Settings of the regression. Raises ValueError for numbers out of range."""

    gamma: float = 0.98
    """Discount of a frame: the critic sees some 1 / (1 - gamma) frames far."""
    fall_cost: float = 5.0
    """Meters that a fall costs, beside the distance that it prevents."""
    epochs: int = 8
    """Passes over the decisions."""
    batch_size: int = 1024
    """Decisions of a gradient step."""
    learning_rate: float = 1e-3
    """Adam's step size at the start; it falls linearly to 0."""
    weight_decay: float = 1e-2
    """Decoupled weight decay (AdamW)."""
    seed: int = 0
    """Seed of the new critic's weights and of the order of the decisions."""

    def __post_init__(self) -> None:
        if not 0 < self.gamma < 1:
            raise ValueError(f"gamma is {self.gamma:g}: it must be between 0 and 1")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be 1 or more")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate is {self.learning_rate:g}: it must be above 0")
        if not (math.isfinite(self.fall_cost) and self.fall_cost >= 0):
            raise ValueError(f"fall_cost is {self.fall_cost:g}: it must be 0 or more")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay is {self.weight_decay:g}: it must be 0 or more")
