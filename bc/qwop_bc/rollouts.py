"""Rollouts of a clone under protocol P's disturbances, and the same figures of its demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from qwop_bc.metrics import segment_shares
from qwop_datasets import Episode, segment_lengths
from qwop_game import (
    DEFAULT_TRIG,
    FRAME_SECONDS,
    DisturbedVectorEnv,
    QWOPVectorEnv,
    RolloutMetrics,
    canonical_keys,
)
from qwop_rl_core import ActorCritic, Policy

MAX_SECONDS = 150.0
"""Time limit of a rollout, s of play."""
_OVER = 255  # not a key mask: marks the decisions after an episode has ended


@dataclass(frozen=True)
class RolloutSummary:
    """Figures of some runs: how they went, and how long keys were held."""

    metrics: RolloutMetrics
    """Finishes, distances, times and postures."""
    segment_frames: float
    """Median length of a key segment, frames. A segment is a stretch without a change of keys."""
    segment_shares: tuple[float, ...]
    """Share of the key segments in each bin of `SEGMENT_LENGTHS`."""


def rollout(
    network: ActorCritic,
    episodes: int,
    frame_skip: int,
    action_set: str,
    seed: int,
    sample: bool,
    max_seconds: float = MAX_SECONDS,
    trig: str = DEFAULT_TRIG,
) -> RolloutSummary:
    """Play episodes side by side and count how they go.

    Postures are those at the end of each decision.

    Args:
        network: policy to play, on any device.
        episodes: number of episodes.
        frame_skip: frames of one decision.
        action_set: action set of the network.
        seed: seed of the disturbances and of the sampled actions.
        sample: draw actions from the policy; otherwise take the most likely one.
        max_seconds: time limit of an episode, s of play.
        trig: variant of sine and cosine of the game, see `Simulator`.

    Returns:
        The figures of all episodes.
    """
    envs = DisturbedVectorEnv(
        QWOPVectorEnv(
            episodes,
            frame_skip,
            action_set,
            observation="features",
            max_frames=round(max_seconds / FRAME_SECONDS),
            trig=trig,
        )
    )
    device = next(network.parameters()).device
    policy = Policy(network, {}, device)
    generator = torch.Generator(device).manual_seed(seed)
    observation, _ = envs.reset(seed=seed)
    running = np.ones(episodes, bool)
    success, distance, time = np.zeros(episodes, bool), np.zeros(episodes), np.zeros(episodes)
    metrics = RolloutMetrics()
    held: list[NDArray[np.uint8]] = []
    while running.any():
        action = policy.act(observation, sample, generator)
        observation, _, terminated, truncated, infos = envs.step(action)
        final = infos["_final"]
        metrics.add_steps(final["raw_observation"][running])
        held.append(np.where(running, canonical_keys(final["keys"]), _OVER))
        over = running & (terminated | truncated)
        success[over], distance[over], time[over] = (
            final[name][over] for name in ("is_success", "distance", "time")
        )
        running &= ~over
    envs.close()
    metrics.add_episodes(distance, time, success)
    keys = [row[row != _OVER] for row in np.stack(held, axis=1)]
    return _summary(metrics, [segment_lengths(row) * frame_skip for row in keys])


def summarize_demonstrations(episodes: Sequence[Episode]) -> RolloutSummary:
    """Compute the figures of `rollout` for stored episodes. Postures are those at the end of each frame."""
    metrics = RolloutMetrics()
    for episode in episodes:
        metrics.add_steps(episode.raw_observations[1:])
    metrics.add_episodes(
        np.array([episode.distance for episode in episodes]),
        np.array([episode.time for episode in episodes]),
        np.array([episode.success for episode in episodes], bool),
    )
    return _summary(metrics, [segment_lengths(canonical_keys(episode.keys)) for episode in episodes])


def _summary(metrics: RolloutMetrics, segments: Sequence[NDArray[np.int64]]) -> RolloutSummary:
    """segments: lengths of the key segments of each episode, frames."""
    lengths = np.concatenate(segments)
    return RolloutSummary(metrics, float(np.median(lengths)), segment_shares(lengths))
