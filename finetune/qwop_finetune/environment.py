"""The environment that a learner trains in: reward, starts, protocol P's disturbances, and gait figures."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from qwop_finetune.backward import BackwardCurriculum
from qwop_finetune.config import EnvironmentConfig
from qwop_finetune.demonstrations import DemonstratedStarts, Demonstrations
from qwop_finetune.drills import Drills
from qwop_game import (
    FRAME_SECONDS,
    DisturbedVectorEnv,
    QWOPVectorEnv,
    QWOPVectorWrapper,
    RolloutMetrics,
    exclusive,
)
from qwop_rewards import RewardVectorEnv, parse_options

_LATEST_IDLE_START = 1.5
"""Episodes whose clock starts later than this, s, did not start at the start."""


def training_figures(metrics: RolloutMetrics) -> dict[str, float]:
    """Return a report's figures under their names in the log; shares in [0, 1], s and m.

    A figure without any count is omitted.
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
        self.curriculum: BackwardCurriculum | None = None

    @exclusive
    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Play the step and count it: returns what `QWOPVectorEnv.step` does."""
        result = super().step(actions)
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


def make_games(config: EnvironmentConfig, num_envs: int, threads: int = 1) -> QWOPVectorEnv:
    """Make games that show features, with the frame skip, actions, length and trigonometry of the settings.

    Raises ValueError if a setting is out of range.
    """
    spec = config.policy_spec
    return QWOPVectorEnv(
        num_envs,
        frame_skip=spec.frame_skip,
        action_set=spec.action_set,
        observation="features",
        max_frames=max(1, round(config.max_seconds / FRAME_SECONDS)),
        threads=threads,
        trig=config.trig,
    )


def make_environment(
    config: EnvironmentConfig,
    num_envs: int,
    demonstrations: Demonstrations | None = None,
    threads: int = 1,
) -> TrainingEnv:
    """Make the environment that the learner trains in: games that show features and pay a reward.

    Args:
        config: its settings. Without frame skip and action set, those of `PolicySpec()` hold.
        num_envs: number of games.
        demonstrations: where episodes start if `config.demo_starts` is above 0.
        threads: number of threads that share the games. It does not change the results.

    Returns:
        The environment.

    Raises:
        ValueError: an action set, reward or option is unknown or out of range, or demonstrations are missing;
            one line.
        DatasetError: no demonstration is long enough to start from.
    """
    if config.demo_starts > 0.0 and demonstrations is None:
        raise ValueError("demo_starts is above 0, but there are no demonstrations")
    games = make_games(config, num_envs, threads)
    started: QWOPVectorEnv | QWOPVectorWrapper = games
    curriculum = None
    if config.drills:  # below the reward, which then sees a drill's end as it sees any other
        started = Drills(games, config.drills, config.drill_meters, config.drill_falls)
    elif demonstrations is not None and config.demo_starts > 0.0 and config.demo_order == "backward":
        started = curriculum = BackwardCurriculum(games, demonstrations.episodes, config.demo_starts)
    rewarded = RewardVectorEnv(started, config.reward, **parse_options(config.reward_option))
    undisturbed = {} if config.disturb else {"max_idle_frames": 0, "repeat_probability": 0.0}
    envs = TrainingEnv(rewarded, **undisturbed)
    envs.curriculum = curriculum
    if config.demo_starts > 0.0 and demonstrations is not None and curriculum is None:
        envs.start_states = DemonstratedStarts(
            demonstrations.episodes, config.demo_starts, num_envs, envs.generator
        )
    return envs
