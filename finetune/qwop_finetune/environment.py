"""The environment that a learner trains in: reward, starts, protocol P's disturbances, and gait figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_finetune.config import EnvironmentConfig
from qwop_finetune.demonstrations import DemonstratedStarts, Demonstrations
from qwop_finetune.drills import Drills
from qwop_game import FRAME_SECONDS, DisturbedVectorEnv, QWOPVectorEnv, exclusive
from qwop_game.gait import knee_near, upright
from qwop_rewards import RewardVectorEnv, parse_options

_LATEST_IDLE_START = 1.5
"""Episodes whose clock starts later than this, s, did not start at the start."""


@dataclass
class Tally:
    """How the runner ran since the last report. Postures are those at the end of each decision."""

    steps: int = 0
    knee_near: int = 0
    upright: int = 0
    episodes: int = 0
    """Episodes that ended, of those that started at the start and are no drills; so are the next two."""
    meters: float = 0.0
    finish_times: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Shares in [0, 1], s and m; what nothing was counted for is left out."""
        figures: dict[str, float] = {}
        if self.steps:
            figures["gait/knee_near"] = self.knee_near / self.steps
            figures["gait/upright"] = self.upright / self.steps
        if self.episodes:
            figures["finish/rate"] = len(self.finish_times) / self.episodes
            figures["finish/distance"] = self.meters / self.episodes
        if self.finish_times:
            figures["finish/median_seconds"] = float(np.median(self.finish_times))
            figures["finish/best_seconds"] = min(self.finish_times)
        return figures

    def state(self) -> dict[str, Any]:
        """Plain data from which `Tally(**state)` goes on."""
        return asdict(self)


class TrainingEnv(DisturbedVectorEnv):
    """`DisturbedVectorEnv` that counts in `tally`; after a report, replace it with a new one."""

    def __init__(self, env: Any, **disturbance: Any) -> None:
        super().__init__(env, **disturbance)
        self.tally = Tally()

    @exclusive
    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Play the step and count it: returns what `QWOPVectorEnv.step` does."""
        result = super().step(actions)
        _, _, terminated, truncated, infos = result
        final, tally = infos["_final"], self.tally
        tally.steps += self.num_envs
        tally.knee_near += int(np.count_nonzero(knee_near(final["raw_observation"])))
        tally.upright += int(np.count_nonzero(upright(final["raw_observation"])))
        ended = terminated | truncated
        if ended.any():
            started = final["time"] - final["frame"] * FRAME_SECONDS
            counted = ended & (started < _LATEST_IDLE_START)
            if "drill" in final:
                counted &= ~final["drill"]
            tally.episodes += int(np.count_nonzero(counted))
            tally.meters += float(final["distance"][counted].sum())
            tally.finish_times += final["time"][counted & final["is_success"]].tolist()
        return result


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
    spec = config.policy_spec
    games = QWOPVectorEnv(
        num_envs,
        frame_skip=spec.frame_skip,
        action_set=spec.action_set,
        observation="features",
        max_frames=max(1, round(config.max_seconds / FRAME_SECONDS)),
        threads=threads,
        trig=config.trig,
    )
    # Below the reward, which then sees a drill's end as it sees any other.
    drilled = (
        Drills(games, config.drills, config.drill_meters, config.drill_falls) if config.drills else games
    )
    rewarded = RewardVectorEnv(drilled, config.reward, **parse_options(config.reward_option))
    undisturbed = {} if config.disturb else {"max_idle_frames": 0, "repeat_probability": 0.0}
    envs = TrainingEnv(rewarded, **undisturbed)
    if config.demo_starts > 0.0 and demonstrations is not None:
        envs.start_states = DemonstratedStarts(
            demonstrations.episodes, config.demo_starts, num_envs, envs.generator
        )
    return envs
