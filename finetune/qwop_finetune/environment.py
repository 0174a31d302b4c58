"""What a learner plays in: the game with a reward and protocol P's disturbances, counting how it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_finetune.drills import Drills
from qwop_game import DEFAULT_TRIG, FRAME_SECONDS, DisturbedVectorEnv, QWOPVectorEnv
from qwop_game.gait import knee_near, upright
from qwop_rewards import RewardVectorEnv

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
    """`DisturbedVectorEnv` that keeps a `tally`; whoever reports it puts a new one in its place."""

    def __init__(self, env: Any, **disturbance: Any) -> None:
        super().__init__(env, **disturbance)
        self.tally = Tally()

    def step_wait(
        self, **kwargs: Any
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Play the step and count it."""
        result = super().step_wait(**kwargs)
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
    rewarded = RewardVectorEnv(practiced, reward, **reward_options)
    return (
        TrainingEnv(rewarded) if disturbed else TrainingEnv(rewarded, max_idle_frames=0, repeat_probability=0)
    )
