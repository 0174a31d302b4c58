"""A reward function on the vector environment."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_game import QWOPVectorEnv, QWOPVectorWrapper, exclusive
from qwop_rewards.function import make_reward
from qwop_rewards.transition import Transition

_REWARD, _BEFORE = "reward.", "before."


class RewardVectorEnv(QWOPVectorWrapper):
    """`QWOPVectorEnv` with another reward: that of `make_reward(name, ...)`, with its knee rule.

    When the reward calls an episode failed, the episode ends: `terminated` is true, `truncated` is false, and
    the next episode starts within the same step, as after a fall. infos["_final"]["failed"], bool [N], tells
    such ends from the game's own.

    Args:
        env: the vector environment; all its options stay as they are.
        name: name of the reward, see `make_reward`.
        **options: options of the reward, see `make_reward`.

    Raises:
        ValueError: the reward or an option is unknown or out of range; one line.
    """

    state_prefixes = (_REWARD, _BEFORE)

    def __init__(self, env: QWOPVectorEnv | QWOPVectorWrapper, name: str = "stride", **options: Any) -> None:
        super().__init__(env)
        self._reward = make_reward(name, env.num_envs, **options)
        self._raw = np.empty((env.num_envs, 60), np.float32)
        self._time = np.empty(env.num_envs, np.float64)

    @exclusive
    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start new episodes in all games."""
        observations, infos = self.env.reset(seed=seed, options=options)
        self._reward.reset(np.ones(self.num_envs, bool))
        self._raw, self._time = infos["raw_observation"], infos["time"]
        return observations, infos

    @exclusive
    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Play the step: as `QWOPVectorEnv.step`, with rewards float32 [N]."""
        observations, _, terminated, truncated, infos = self.env.step(actions)
        final = infos["_final"]
        rewards, failed = self._reward(
            Transition(
                raw=self._raw,
                next_raw=final["raw_observation"],
                time=self._time,
                next_time=final["time"],
                terminated=terminated,
                success=final["is_success"],
                keys=final["keys"],
                frames=self.frame_skip,
            )
        )
        final["failed"] = failed
        still_running = failed & ~truncated
        if still_running.any():
            self.env.end_episodes(still_running, observations, infos)
        terminated, truncated = terminated | failed, truncated & ~failed
        self._reward.reset(terminated | truncated)
        self._raw, self._time = infos["raw_observation"], infos["time"]
        return observations, rewards, terminated, truncated, infos

    def own_state(self) -> dict[str, NDArray[Any]]:
        """Return what the reward remembers of the N games, and their last observations and clocks."""
        remembered = {_REWARD + name: array for name, array in self._reward.get_state().items()}
        return {**remembered, _BEFORE + "raw": self._raw, _BEFORE + "time": self._time}

    def set_own_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what `own_state` returned. Raises ValueError for the state of another reward."""
        before = {_BEFORE + "raw": self._raw, _BEFORE + "time": self._time}
        for name, array in before.items():
            found = state[name]
            if found.shape != array.shape or found.dtype != array.dtype:
                raise ValueError(
                    f"{name} is {found.dtype} {list(found.shape)}, expected {array.dtype} {list(array.shape)}"
                )
        self._reward.set_state({k.removeprefix(_REWARD): v for k, v in state.items() if k not in before})
        self._raw, self._time = (state[name] for name in before)
