"""How closely a clone matches its demonstrations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from qwop_game import action_masks, canonical_keys
from qwop_rl_core import ActorCritic, log_prob, to_numpy

SEGMENT_LENGTHS = ((1, 2), (3, 4), (5, 8), (9, 16), (17, None))
"""Bins of key segments: shortest and longest, frames. None: no upper limit."""


@dataclass(frozen=True)
class Agreement:
    """A policy compared with demonstrated decisions that it was not trained on."""

    loss: float
    """Mean negative log-likelihood of the demonstrated actions, nats."""
    accuracy: float
    """Share of the decisions in which the policy's most likely action is the demonstrated one."""
    key_f1: tuple[float, float, float, float]
    """F1 score of holding Q, W, O and P; NaN for a key that neither side holds."""


@torch.inference_mode()
def agreement(
    network: ActorCritic, features: torch.Tensor, actions: torch.Tensor, action_set: str
) -> Agreement:
    """Compare a policy with demonstrated decisions.

    Args:
        network: the policy.
        features: float32 [M, D], M >= 1, on the network's device.
        actions: the demonstrated actions, int64 [M].
        action_set: action set of the network and of the actions.

    Returns:
        Loss, accuracy and F1 scores over all M decisions.
    """
    logits = network.logits(features)
    loss = -log_prob(logits, actions).mean()
    chosen = logits.argmax(-1)
    masks = canonical_keys(action_masks(action_set))
    return Agreement(
        loss=float(loss),
        accuracy=float((chosen == actions).float().mean()),
        key_f1=key_f1(masks[to_numpy(chosen)], masks[to_numpy(actions)]),
    )


def key_f1(chosen: NDArray[np.uint8], demonstrated: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """Compute the F1 score of each key: 2 * held by both / (held by one + held by the other).

    Args:
        chosen: key masks of the policy, uint8 [M].
        demonstrated: key masks of the demonstrations, uint8 [M].

    Returns:
        The scores of Q, W, O and P; NaN for a key that is never held.
    """
    bits = 1 << np.arange(4)
    ours: NDArray[np.bool_] = chosen[:, None] & bits > 0
    theirs: NDArray[np.bool_] = demonstrated[:, None] & bits > 0
    held = ours.sum(0) + theirs.sum(0)
    both = 2.0 * (ours & theirs).sum(0)
    q, w, o, p = (float(b / h) if h else float("nan") for b, h in zip(both, held, strict=True))
    return q, w, o, p


def segment_shares(lengths: NDArray[np.int64]) -> tuple[float, ...]:
    """Compute the share of key segments in each bin of SEGMENT_LENGTHS.

    Args:
        lengths: lengths of the segments, frames, int64 [S], S >= 1.
    """
    return tuple(
        float(((lengths >= low) & (lengths <= (high or np.inf))).mean()) for low, high in SEGMENT_LENGTHS
    )
