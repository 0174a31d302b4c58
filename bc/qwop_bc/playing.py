"""A clone in the game, under the disturbances of protocol P."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from qwop_bc.metrics import segment_lengths, segment_shares
from qwop_datasets import Episode
from qwop_game import DEFAULT_TRIG, FRAME_SECONDS, DisturbedVectorEnv, QWOPVectorEnv, canonical_keys
from qwop_game.gait import knee_near, upright
from qwop_rl_core import ActorCritic, Policy

MAX_SECONDS = 150.0
"""A run that has not ended by then is cut short, s."""


@dataclass(frozen=True)
class Runs:
    """What some runs came to.

    finish_rate: share won; distance: mean, m; median_time: of those won, s (NaN: none)
    knee_near, upright: shares of all postures; segment_frames: median length of a key segment
    segment_shares: share of the key segments of each of SEGMENT_LENGTHS
    """

    episodes: int
    finish_rate: float
    distance: float
    median_time: float
    knee_near: float
    upright: float
    segment_frames: float
    segment_shares: tuple[float, ...]


def play(
    network: ActorCritic,
    episodes: int,
    frame_skip: int,
    action_set: str,
    seed: int,
    sample: bool,
    max_seconds: float = MAX_SECONDS,
    trig: str = DEFAULT_TRIG,
) -> Runs:
    """Play `episodes` runs side by side, each until it ends or `max_seconds` of play are over.

    Postures are looked at once a decision. sample: draw actions from the policy, else take the likeliest.
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
    postures = near = up = 0
    held: list[np.ndarray] = []
    while running.any():
        action = policy.act(observation, sample, generator)
        observation, _, terminated, truncated, infos = envs.step(action)
        final = infos["_final"]
        raw = final["raw_observation"][running]
        postures += len(raw)
        near += int(knee_near(raw).sum())
        up += int(upright(raw).sum())
        held.append(np.where(running, canonical_keys(final["keys"]), 255))  # 255: no longer counted
        over = running & (terminated | truncated)
        success[over], distance[over], time[over] = (
            final[name][over] for name in ("is_success", "distance", "time")
        )
        running &= ~over
    envs.close()
    segments = np.concatenate(
        [segment_lengths(row[row != 255]) * frame_skip for row in np.stack(held, axis=1)]
    )
    return Runs(
        episodes=episodes,
        finish_rate=float(success.mean()),
        distance=float(distance.mean()),
        median_time=float(np.median(time[success])) if success.any() else float("nan"),
        knee_near=near / postures,
        upright=up / postures,
        segment_frames=float(np.median(segments)),
        segment_shares=segment_shares(segments),
    )


def demonstrated(episodes: list[Episode]) -> Runs:
    """The same figures of stored episodes."""
    raw = np.concatenate([episode.raw_observations[1:] for episode in episodes])
    won = [episode.time for episode in episodes if episode.success]
    segments = np.concatenate([segment_lengths(canonical_keys(episode.keys)) for episode in episodes])
    return Runs(
        episodes=len(episodes),
        finish_rate=len(won) / len(episodes),
        distance=float(np.mean([episode.distance for episode in episodes])),
        median_time=float(np.median(won)) if won else float("nan"),
        knee_near=float(knee_near(raw).mean()),
        upright=float(upright(raw).mean()),
        segment_frames=float(np.median(segments)),
        segment_shares=segment_shares(segments),
    )
