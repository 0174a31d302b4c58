"""PPO's anchors for fine-tuning a cloned policy: a reference policy and demonstrations.

Numbers in brackets are the implementation details listed in ppo.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from qwop_rl_core.errors import TrainingError
from qwop_rl_core.networks import ActorCritic
from qwop_rl_core.ppo_rollout import Targets
from qwop_rl_core.schedules import half_life_decay

if TYPE_CHECKING:
    from qwop_rl_core.ppo import PPOConfig


@dataclass(frozen=True)
class Demonstrations:
    """Demonstrated decisions: features float32 [M, D] as the policy sees them, actions int64 [M]."""

    features: Tensor
    actions: Tensor

    def __post_init__(self) -> None:
        if len(self.features) != len(self.actions) or len(self.actions) == 0:
            raise TrainingError(
                f"{len(self.features)} demonstrated observations, {len(self.actions)} actions; "
                "expected as many of both, and at least one"
            )
        if not torch.isfinite(self.features).all():
            raise TrainingError("the demonstrations contain NaN or infinity")


class Anchors(NamedTuple):
    """What ties the policy to a reference and to demonstrations in one iteration."""

    reference_logits: Tensor | None
    """float32 [B, A], the reference policy's, for every sample of the rollout."""
    reference_kl_coef: float
    demonstrations: Demonstrations | None
    demo_weight: Tensor | None
    """float32 [], weight of the demonstrations in the loss; None: only measure agreement with them."""


@torch.no_grad()
def make_anchors(
    config: PPOConfig,
    steps: int,
    features: Tensor,
    targets: Targets,
    reference: ActorCritic | None,
    demonstrations: Demonstrations | None,
) -> Anchors:
    """Compute the anchors of one iteration.

    Args:
        config: settings.
        steps: environment steps done.
        features: float32 [B, D], the rollout's observations.
        targets: what the networks learn from the rollout.
        reference: reference policy, or None.
        demonstrations: demonstrated decisions, or None.

    Returns:
        The reference's logits for the rollout, and both weights after decay.
    """
    kl_coef = half_life_decay(config.reference_kl_coef, config.reference_kl_half_life, steps)  # [15]
    demo_coef = half_life_decay(config.demo_coef, config.demo_half_life, steps)  # [16]
    return Anchors(
        reference_logits=None if reference is None else reference.logits(features),
        reference_kl_coef=0.0 if reference is None else kl_coef,
        demonstrations=demonstrations,
        demo_weight=demo_coef * targets.max_advantage if config.demo_coef > 0 else None,
    )
