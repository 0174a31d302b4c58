"""Drills: short episodes that start where the runner itself has been, so that all of the track is practised.

A runner that falls early sees little of what comes later, and one that runs well still spends a sixth of its
time before the hurdle at 50 m, where most falls have their cause. Drills start at states that the runner was
in a moment ago: unlike those of demonstrations they keep up with its gait.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnvWrapper
from numpy.typing import NDArray

from qwop_gait import upright
from qwop_game import QWOPVectorEnv, StartStates

PLACE_METRES = 5.0
"""Length of a place: drills start at places 0 to 19 of the 100 m."""
WEIGHTS = np.array([7, 1, 1, 1, 1, 1, 1, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2], np.float64)
"""How often drills start at each place. Place 0 is the start itself; whether the hurdle, at 50 m, is met well
is decided from 35 m on; from 85 m on the finish is in reach."""
KEPT = 32
"""States kept of each place, 14 KB each; new ones replace the oldest."""
KEEP_EVERY, KEEP_AT_MOST = 8, 24
"""Every so many steps, at most so many games' states are kept."""

_PREFIX = "drills."


class Drills(VectorEnvWrapper):
    """`QWOPVectorEnv` in which a share of the episodes are drills.

    A drill starts at a place drawn by `WEIGHTS` (of those that have states), from a state kept there, or like
    any other episode (place 0). It is truncated, not terminated, once the runner is `metres` past the end of
    its first place, or past `metres` in a drill from the start. infos["final"]["drill"], bool [N], tells
    which episodes are drills.

    Kept are states at the end of a step in which the runner is upright and its episode goes on. They, and
    the generator that all draws come from (seeded by `reset`), are part of the state.

    share: of the episodes that start, 0 to 1. metres: above 0.

    Raises ValueError for options out of range.
    """

    env: QWOPVectorEnv

    def __init__(self, env: QWOPVectorEnv, share: float, metres: float = 20.0) -> None:
        super().__init__(env)
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"drills is {share}: a share lies between 0 and 1")
        if not metres > 0.0:
            raise ValueError(f"drill_metres is {metres}: it must be above 0")
        # Plain attributes: the wrapper's way of finding them in `env` warns at every look.
        self.num_envs = env.num_envs
        self.single_observation_space = env.single_observation_space
        self.single_action_space = env.single_action_space
        self.observation_space = env.observation_space
        self.action_space = env.action_space
        self.frame_skip = env.frame_skip
        self.action_masks = env.action_masks

        self._share, self._metres = share, metres
        self._generator = np.random.default_rng()
        self._steps = 0
        self._limit = np.full(env.num_envs, np.inf)  # m, where a game's drill ends
        size, places = env.games.simulator.snapshot().shape[1], len(WEIGHTS)
        self._count = np.zeros(places, np.int64)  # states ever kept of each place
        self._snapshots = np.zeros((places, KEPT, size), np.uint8)
        self._modes = np.zeros((places, KEPT), np.uint8)
        self._keys = np.zeros((places, KEPT), np.uint8)
        self._rows = np.zeros((env.num_envs, size), np.uint8)
        env.start_states = self.starts

    @property
    def start_states(self) -> Any:
        """See `QWOPVectorEnv`: `starts`, or what a wrapper that asks it has put in its place."""
        return self.env.start_states

    @start_states.setter
    def start_states(self, value: Any) -> None:
        self.env.start_states = value

    def end_episodes(
        self, ended: NDArray[np.bool_], observations: NDArray[Any], infos: dict[str, Any]
    ) -> None:
        """See `QWOPVectorEnv`."""
        self.env.end_episodes(ended, observations, infos)

    def starts(self, mask: NDArray[np.bool_]) -> StartStates:
        """Which games of `mask`, bool [N], that start an episode start it elsewhere, and where."""
        placed = np.zeros(self.num_envs, bool)
        modes, keys = np.zeros(self.num_envs, np.uint8), np.zeros(self.num_envs, np.uint8)
        weights = WEIGHTS * ((self._count > 0) | (np.arange(len(WEIGHTS)) == 0))
        self._limit[mask] = np.inf
        for game in np.flatnonzero(mask & (self._generator.random(self.num_envs) < self._share)):
            place = self._generator.choice(len(WEIGHTS), p=weights / weights.sum())
            self._limit[game] = self._metres
            if place > 0:
                kept = self._generator.integers(min(self._count[place], KEPT))
                placed[game] = True
                self._limit[game] += PLACE_METRES * (place + 1)
                self._rows[game] = self._snapshots[place, kept]
                modes[game], keys[game] = self._modes[place, kept], self._keys[place, kept]
        return StartStates(placed, self._rows, modes, keys)

    def reset_wait(
        self, seed: int | list[int] | None = None, **kwargs: Any
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start new episodes in all games; a seed starts the draws anew and forgets all states."""
        if seed is not None:
            self._generator = np.random.default_rng(seed)
            self._steps = 0
            self._count[:] = 0
        return self.env.reset_wait(seed=seed, **kwargs)

    def step_wait(
        self, **kwargs: Any
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Play the step: as `QWOPVectorEnv.step_wait`."""
        drill = np.isfinite(self._limit)
        limit = self._limit.copy()  # of the episodes that this step belongs to; resets draw new ones
        observations, rewards, terminated, truncated, infos = self.env.step_wait(**kwargs)
        final = infos["final"]
        final["drill"] = drill
        over = (final["distance"] > limit) & ~terminated & ~truncated
        if over.any():
            self.env.end_episodes(over, observations, infos)
            truncated = truncated | over
        self._steps += 1
        if self._steps % KEEP_EVERY == 0:
            self._keep(final, ~(terminated | truncated))
        return observations, rewards, terminated, truncated, infos

    def _keep(self, final: dict[str, NDArray[Any]], going_on: NDArray[np.bool_]) -> None:
        """Keep the states of some upright runners, beyond the first place and not past the last."""
        place = np.floor(final["distance"] / PLACE_METRES).astype(np.int64)
        fit = going_on & upright(final["raw_observation"]) & (place > 0) & (place < len(WEIGHTS))
        games = np.flatnonzero(fit)
        if not len(games):
            return
        snapshots = self.env.games.simulator.snapshot()
        for game in self._generator.permutation(games)[:KEEP_AT_MOST]:
            slot = (place[game], self._count[place[game]] % KEPT)
            self._snapshots[slot] = snapshots[game]
            self._modes[slot], self._keys[slot] = final["hip_mode"][game], final["keys"][game]
            self._count[place[game]] += 1

    def get_state(self) -> dict[str, NDArray[Any]]:
        """All that `set_state` needs to go on bit for bit from here: up to 9 MB of kept states among it."""
        generator = json.dumps(self._generator.bit_generator.state).encode()
        held = min(KEPT, int(self._count.max()))
        own = {
            "generator": np.frombuffer(generator, np.uint8).copy(),
            "steps": np.array([self._steps]),
            "limit": self._limit.copy(),
            "count": self._count.copy(),
            "snapshots": self._snapshots[:, :held].copy(),
            "modes": self._modes[:, :held].copy(),
            "keys": self._keys[:, :held].copy(),
        }
        return {**self.env.get_state(), **{_PREFIX + name: array for name, array in own.items()}}

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Put games, draws and kept states where `get_state` was called. Raises ValueError without drills."""
        own = {k.removeprefix(_PREFIX): v for k, v in state.items() if k.startswith(_PREFIX)}
        if not own:
            raise ValueError("the state is that of an environment without drills")
        self._generator.bit_generator.state = json.loads(own["generator"].tobytes())
        self._steps = int(own["steps"][0])
        self._limit, self._count = own["limit"].copy(), own["count"].copy()
        held = own["keys"].shape[1]
        self._snapshots[:, :held] = own["snapshots"]
        self._modes[:, :held], self._keys[:, :held] = own["modes"], own["keys"]
        self.env.set_state({name: a for name, a in state.items() if not name.startswith(_PREFIX)})
