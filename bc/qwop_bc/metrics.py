"""How close a clone comes to its demonstrations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from qwop_game import action_masks, canonical_keys
from qwop_rl_core import ActorCritic, log_prob

KEY_NAMES = "QWOP"
SEGMENT_LENGTHS = ((1, 2), (3, 4), (5, 8), (9, 16), (17, None))
"""Bins of key segments: shortest and longest, frames; None: no longest."""


@dataclass(frozen=True)
class Agreement:
    """A policy beside demonstrated decisions that it was not trained on.

    loss: mean negative log-likelihood of the demonstrated actions, nats
    accuracy: share of decisions in which the policy's most likely action is the demonstrated one
    key_f1: harmonic mean of precision and recall of holding Q, W, O and P; NaN for a key that neither holds
    """

    loss: float
    accuracy: float
    key_f1: tuple[float, float, float, float]


@torch.inference_mode()
def agreement(
    network: ActorCritic, features: torch.Tensor, actions: torch.Tensor, action_set: str
) -> Agreement:
    """features float32 [M, D], actions int64 [M], M >= 1."""
    logits = network.logits(features)
    loss = -log_prob(logits, actions).mean()
    chosen = logits.argmax(-1)
    masks = canonical_keys(action_masks(action_set))
    return Agreement(
        loss=float(loss),
        accuracy=float((chosen == actions).float().mean()),
        key_f1=key_f1(masks[chosen.cpu().numpy()], masks[actions.cpu().numpy()]),
    )


def key_f1(chosen: np.ndarray, demonstrated: np.ndarray) -> tuple[float, float, float, float]:
    """F1 of each key: masks uint8 [M] -> 2 both / (chosen + demonstrated), for Q, W, O, P."""
    bits = 1 << np.arange(4)
    ours, theirs = (masks[:, None] & bits > 0 for masks in (chosen, demonstrated))
    held = ours.sum(0) + theirs.sum(0)
    both = 2.0 * (ours & theirs).sum(0)
    q, w, o, p = (float(b / h) if h else float("nan") for b, h in zip(both, held, strict=True))
    return q, w, o, p


def segment_lengths(keys: np.ndarray) -> np.ndarray:
    """Lengths in frames of the stretches without a change of keys: uint8 [T], T >= 1 -> int64 [segments]."""
    changes = np.flatnonzero(np.diff(keys)) + 1
    return np.diff(np.concatenate([[0], changes, [len(keys)]]))


def segment_shares(lengths: np.ndarray) -> tuple[float, ...]:
    """Share of the segments in each of SEGMENT_LENGTHS: int64 [segments], at least one."""
    return tuple(
        float(((lengths >= low) & (lengths <= (high or np.inf))).mean()) for low, high in SEGMENT_LENGTHS
    )
