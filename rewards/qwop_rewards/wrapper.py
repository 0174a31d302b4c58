"""A reward function on the vector environment."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_game import QWOPVectorEnv, QWOPVectorWrapper, exclusive
from qwop_rewards.function import make_reward
from qwop_rewards.transition import Transition

_PREFIX = "reward."


class RewardVectorEnv(QWOPVectorWrapper):
    """`QWOPVectorEnv` with another reward: what `make_reward(name, ...)` gives, and its knee rule.

    An episode that the reward calls failed ends there: `terminated` is true, `truncated` is not, and the next
    episode starts within the same step as after a fall. infos["_final"]["failed"], bool [N], tells such ends
    from the game's own.

    env: the vector environment; all its options stay as they are.
    name, options: of the reward, see `make_reward`.

    Raises ValueError as `make_reward` does.
    """

    def __init__(self, env: QWOPVectorEnv, name: str = "stride", **options: Any) -> None:
        super().__init__(env)
        self._reward = make_reward(name, env.num_envs, **options)
        self._raw = np.empty((env.num_envs, 60), np.float32)
        self._time = np.empty(env.num_envs, np.float64)

    @property
    def start_states(self) -> Any:
        """See `QWOPVectorEnv`; may be exchanged here too."""
        return self.env.start_states

    @start_states.setter
    def start_states(self, value: Any) -> None:
        self.env.start_states = value

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

    @exclusive
    def get_state(self) -> dict[str, NDArray[Any]]:
        """All that `set_state` needs to go on bit for bit from here, as arrays [N, ...]."""
        remembered = {_PREFIX + name: array for name, array in self._reward.get_state().items()}
        return {
            **self.env.get_state(),
            **remembered,
            "before.raw": self._raw.copy(),
            "before.time": self._time.copy(),
        }

    @exclusive
    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Put games and reward where `get_state` was called. Raises ValueError for another reward."""
        remembered = {k.removeprefix(_PREFIX): v for k, v in state.items() if k.startswith(_PREFIX)}
        self._reward.set_state(remembered)
        before = {"before.raw": self._raw, "before.time": self._time}
        for name, array in before.items():
            if state[name].shape != array.shape or state[name].dtype != array.dtype:
                raise ValueError(
                    f"{name} is {state[name].dtype} {list(state[name].shape)}, expected "
                    f"{array.dtype} {list(array.shape)}"
                )
        self._raw, self._time = state["before.raw"].copy(), state["before.time"].copy()
        own = {k: v for k, v in state.items() if not k.startswith((_PREFIX, "before."))}
        self.env.set_state(own)
