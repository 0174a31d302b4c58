"""Helpers for vector environments: space checks, final observations, episode statistics, stored state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

import gymnasium
import numpy as np
from numpy.typing import NDArray

from qwop_rl_core.errors import TrainingError


class Environments(Protocol):
    """What the trainers need of a `gymnasium.vector.VectorEnv`, with the types that Gymnasium leaves out."""

    num_envs: int
    metadata: dict[str, Any]

    @property
    def single_observation_space(self) -> gymnasium.Space[Any]: ...

    @property
    def single_action_space(self) -> gymnasium.Space[Any]: ...

    def reset(self, *, seed: int | None = None) -> tuple[NDArray[Any], dict[str, Any]]: ...

    def step(
        self, actions: NDArray[Any], /
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]: ...


def check_spaces(envs: Environments, num_envs: int, feature_size: int, num_actions: int) -> None:
    """Check that the environments and the network fit each other.

    Args:
        envs: vector environment.
        num_envs: number of environments in the configuration.
        feature_size: number of features D that the network takes.
        num_actions: number of actions A that the network gives.

    Raises:
        TrainingError: they do not fit, or the reset of an ended episode takes a separate step, which learners
            would count as a decision.
    """
    mode = (envs.metadata or {}).get("autoreset_mode")  # Gymnasium 0.29 has none: it resets in the same step
    if mode is not None and getattr(mode, "name", mode) != "SAME_STEP":
        raise TrainingError(
            f"the environment has autoreset_mode {getattr(mode, 'name', mode)}; "
            "make it with autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP"
        )
    observation, action = envs.single_observation_space, envs.single_action_space
    if not isinstance(action, gymnasium.spaces.Discrete):
        raise TrainingError(f"the environment's actions are {action}; only Discrete actions are supported")
    if not isinstance(observation, gymnasium.spaces.Box) or len(observation.shape) != 1:
        raise TrainingError(f"the environment's observations are {observation}; expected a flat Box")
    if envs.num_envs != num_envs:
        raise TrainingError(f"{envs.num_envs} environments were made, the configuration says {num_envs}")
    if observation.shape[0] != feature_size:
        raise TrainingError(
            f"the environment gives {observation.shape[0]} features, the network takes {feature_size}"
        )
    if action.n != num_actions:
        raise TrainingError(f"the environment has {action.n} actions, the network {num_actions}")


def final_observations(
    infos: Mapping[str, Any], ended: NDArray[np.bool_], next_observation: NDArray[Any]
) -> NDArray[Any]:
    """Return the observation that followed each step, before any reset.

    A vector environment resets an ended episode in the same step. `next_observation` then belongs to the next
    episode, and the final observation of the ended one is in `infos`: in an object array under "final_obs"
    (gymnasium 1) or "final_observation" (0.29), or in an array [N, D] under infos["_final"]["observation"].

    Args:
        infos: infos of the step.
        ended: bool [N], environments whose final observation is wanted.
        next_observation: [N, D], what the step returned.

    Returns:
        [N, D]: `next_observation` itself if nothing ended, else a copy.
    """
    if not ended.any():
        return next_observation
    followed = next_observation.copy()
    final = infos.get("_final")
    if final is not None:
        followed[ended] = final["observation"][ended]
    else:
        name = "final_obs" if "final_obs" in infos else "final_observation"
        followed[ended] = np.stack(infos[name][ended])
    return followed


def final_scalars(infos: Mapping[str, Any], ended: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Return the numbers that the environment reports about the episodes that ended in a step.

    They come from infos["_final"] or, in gymnasium 1's form, from the dict under "final_info" (arrays [N];
    unsigned ones are codes, not amounts, and are omitted) or, in 0.29's, from the dicts there.

    Args:
        infos: infos of the step.
        ended: bool [N], environments whose episode ended.

    Returns:
        {name: [number of ended episodes]}.
    """
    final = infos.get("_final", infos.get("final_info"))
    if final is None:
        return {}
    if isinstance(final, Mapping):
        arrays = cast("Mapping[str, Any]", final)
        return {
            k: v[ended]
            for k, v in arrays.items()
            if not k.startswith("_")
            and isinstance(v, np.ndarray)
            and v.ndim == 1
            and v.dtype.kind in "bif"
            and arrays.get("_" + k, ended)[ended].all()
        }
    dicts: list[dict[str, Any]] = list(final[ended])
    numbers = (bool, int, float, np.number, np.bool_)
    names = [
        name
        for name, value in dicts[0].items()
        if isinstance(value, numbers) and all(name in d for d in dicts)
    ]
    return {name: np.array([d[name] for d in dicts], np.float64) for name in names}


class EpisodeStatistics:
    """Returns and lengths of the running episodes, and means over those that ended since `flush`."""

    def __init__(self, num_envs: int):
        self.episode_return = np.zeros(num_envs)
        self.episode_length = np.zeros(num_envs, np.int64)
        self._ended: dict[str, list[NDArray[np.float64]]] = {}

    def step(
        self, reward: NDArray[np.floating[Any]], ended: NDArray[np.bool_], infos: Mapping[str, Any]
    ) -> None:
        """Count one step of every environment.

        Args:
            reward: float [N].
            ended: bool [N], terminated or truncated.
            infos: infos of the step.
        """
        self.episode_return += reward
        self.episode_length += 1
        if not ended.any():
            return
        figures = final_scalars(infos, ended)
        figures |= {"return": self.episode_return[ended], "length": self.episode_length[ended]}
        for name, values in figures.items():
            self._ended.setdefault(name, []).append(np.asarray(values, np.float64))
        self.episode_return[ended] = 0.0
        self.episode_length[ended] = 0

    def flush(self) -> dict[str, float]:
        """Return the means over the ended episodes and forget these episodes.

        Returns:
            {"episode/count": ..., "episode/return": mean, "episode/length": mean, ...}.
        """
        figures = {f"episode/{name}": float(np.concatenate(v).mean()) for name, v in self._ended.items()}
        figures["episode/count"] = float(sum(len(v) for v in self._ended.get("return", [])))
        self._ended.clear()
        return figures


def environment_state(envs: Environments) -> dict[str, NDArray[Any]] | None:
    """Return the environment's state for `restore_environment`, or None if it cannot give one.

    An environment that can has `get_state() -> dict[str, ndarray]` and `set_state(state)`. Without them a
    resumed training starts new episodes and differs from an uninterrupted one.
    """
    get_state = getattr(envs, "get_state", None)
    return None if get_state is None else dict(get_state())


def restore_environment(envs: Environments, state: Mapping[str, NDArray[Any]]) -> None:
    """Load a state from `environment_state` into environments made the same way."""
    envs.set_state(dict(state))  # pyright: ignore[reportAttributeAccessIssue]
