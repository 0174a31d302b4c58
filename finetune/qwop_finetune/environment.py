"""What a learner plays in: the game with a reward and protocol P's disturbances, counting how it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from qwop_finetune.drills import Drills
from qwop_game import DEFAULT_TRIG, FRAME_SECONDS, DisturbedVectorEnv, QWOPVectorEnv, RolloutMetrics
from qwop_rewards import RewardVectorEnv

_LATEST_IDLE_START = 1.5
"""Episodes whose clock starts later than this, s, did not start at the start."""


def training_figures(metrics: RolloutMetrics) -> dict[str, float]:
    """Return a report's figures under their names in the log; shares in [0, 1], s and m.

    A figure that nothing was counted for is left out.
    """
    figures = {
        "gait/knee_near": metrics.knee_near_share,
        "gait/upright": metrics.upright_share,
        "finish/rate": metrics.finish_rate,
        "finish/distance": metrics.mean_distance,
        "finish/median_seconds": metrics.median_time,
        "finish/best_seconds": metrics.best_time,
    }
    return {name: value for name, value in figures.items() if not math.isnan(value)}


class TrainingEnv(DisturbedVectorEnv):
    """`DisturbedVectorEnv` that counts its rollouts in `metrics`; replace them after each report.

    Postures are those at the end of each decision. Episodes that did not start at the start, and drills, do
    not count.
    """

    def __init__(self, env: Any, **disturbance: Any) -> None:
        super().__init__(env, **disturbance)
        self.metrics = RolloutMetrics()

    def step_wait(
        self, **kwargs: Any
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Play the step and count it."""
        result = super().step_wait(**kwargs)
        _, _, terminated, truncated, infos = result
        final = infos["_final"]
        self.metrics.add_steps(final["raw_observation"])
        ended = terminated | truncated
        if ended.any():
            started = final["time"] - final["frame"] * FRAME_SECONDS
            counted = ended & (started < _LATEST_IDLE_START)
            if "drill" in final:
                counted &= ~final["drill"]
            self.metrics.add_episodes(
                final["distance"][counted], final["time"][counted], final["is_success"][counted]
            )
        return result


def make_environment(
    num_envs: int,
    frame_skip: int,
    action_set: str,
    reward: str,
    reward_options: Mapping[str, Any],
    max_seconds: float,
    disturbed: bool,
    drills: float = 0.0,
    drill_meters: float = 20.0,
    drill_falls: float = 0.0,
    threads: int = 1,
    trig: str = DEFAULT_TRIG,
) -> TrainingEnv:
    """`num_envs` games that show features, pay `reward` and cut episodes short after `max_seconds` of play.

    drills, drill_meters, drill_falls: share of the episodes that are drills, how long these are, and which
    share of them starts before a fall (see `Drills`).
    threads: how many cores share the games; the bits are the same with any number.
    trig: the games' variant of sine and cosine, see `Simulator`.

    Raises ValueError for an unknown action set, reward or option, or one out of range, in one line.
    """
    if not (math.isfinite(max_seconds) and max_seconds > 0):
        raise ValueError(f"max_seconds is {max_seconds}: it must be above 0")
    games = QWOPVectorEnv(
        num_envs,
        frame_skip=frame_skip,
        action_set=action_set,
        observation="features",
        max_frames=max(1, round(max_seconds / FRAME_SECONDS)),
        threads=threads,
        trig=trig,
    )
    # Below the reward, which then sees a drill's end as it sees any other.
    practiced = Drills(games, drills, drill_meters, drill_falls) if drills else games
    rewarded = RewardVectorEnv(practiced, reward, **reward_options)  # pyright: ignore[reportArgumentType]
    return (
        TrainingEnv(rewarded) if disturbed else TrainingEnv(rewarded, max_idle_frames=0, repeat_probability=0)
    )
