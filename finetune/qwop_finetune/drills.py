"""Drills: short episodes that start at states that the runner was in, for practice on all of the track.

A runner that falls early rarely sees the rest of the track. One that runs well spends only a sixth of its
time before the hurdle at 50 m, where most falls have their cause. The start states are recent ones of the
runner itself, so unlike those of demonstrations they fit its present gait.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_game import (
    QWOPVectorEnv,
    QWOPVectorWrapper,
    Simulator,
    StartStates,
    check_keys_and_modes,
    exclusive,
)
from qwop_game.gait import upright

PLACE_METERS = 5.0
"""Length of a place. The 100 m have places 0 to 19."""
WEIGHTS = np.array([7, 1, 1, 1, 1, 1, 1, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2], np.float64)
"""Relative frequency of drills at each place. Place 0 is the start. The approach to the hurdle at 50 m begins
at 35 m; from 85 m on the finish is in reach."""
KEPT = 32
"""States kept per place, 14 KB each; new ones replace the oldest."""
KEEP_EVERY, KEEP_AT_MOST = 8, 24
"""Every so many steps, states of at most so many games are kept."""
LOOK_BACK_FRAMES = 40
"""A drill before a fall starts 40 to 80 frames, 1.3 to 2.7 s, before it. Later is too late to prevent it."""

_FALLS = len(WEIGHTS)  # the row of states before falls, behind those of the places

_PREFIX = "drills."


class Drills(QWOPVectorWrapper):
    """`QWOPVectorEnv` in which a share of the episodes are drills.

    A drill starts at a place drawn by `WEIGHTS` among the places that have states: at a state kept there, or,
    at place 0, as other episodes do. A drill before a fall starts at a state before an earlier fall. Once the
    runner is `meters` farther the drill is truncated, not terminated. infos["_final"]["drill"], bool [N],
    tells which episodes are drills.

    The states kept per place are those at the end of a step in which the runner is upright and its episode
    goes on. They and the random generator, which `reset` seeds, are part of the environment's state.

    Args:
        env: the vector environment.
        share: share of the episodes that are drills, 0 to 1.
        meters: length of a drill, above 0.
        falls: share of the drills that start before a fall, 0 to 1. Only falls by the game's rules count, not
            ends by a reward.

    Raises:
        ValueError: an option is out of range.
    """

    state_prefixes = (_PREFIX,)

    def __init__(
        self, env: QWOPVectorEnv | QWOPVectorWrapper, share: float, meters: float = 20.0, falls: float = 0.0
    ) -> None:
        super().__init__(env)
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"drills is {share}, expected a share between 0 and 1")
        if not meters > 0.0:
            raise ValueError(f"drill_meters is {meters}, expected a number above 0")
        if not 0.0 <= falls <= 1.0:
            raise ValueError(f"drill_falls is {falls}, expected a share between 0 and 1")
        self._share, self._meters, self._fall_share = share, meters, falls
        self._generator = np.random.default_rng()
        self._steps = 0
        self._limit = np.full(env.num_envs, np.inf)  # m, where a game's drill ends
        size, rows = env.games.simulator.snapshot().shape[1], _FALLS + 1
        self._count = np.zeros(rows, np.int64)  # states ever kept in each row
        self._snapshots = np.zeros((rows, KEPT, size), np.uint8)
        self._modes, self._keys = (np.zeros((rows, KEPT), np.uint8) for _ in range(2))
        self._meters_at = np.zeros((rows, KEPT))
        self._rows = np.zeros((env.num_envs, size), np.uint8)
        self._look_back = max(1, LOOK_BACK_FRAMES // env.frame_skip)
        self._past: list[dict[str, NDArray[Any]]] = []  # all games, up to 80 and up to 40 frames ago
        env.start_states = self.starts

    def starts(self, mask: NDArray[np.bool_]) -> StartStates:
        """Choose start states for some of the games of `mask`, bool [N], which start an episode."""
        placed = np.zeros(self.num_envs, bool)
        modes, keys = np.zeros(self.num_envs, np.uint8), np.zeros(self.num_envs, np.uint8)
        weights = WEIGHTS * ((self._count[:_FALLS] > 0) | (np.arange(_FALLS) == 0))
        self._limit[mask] = np.inf
        for game in np.flatnonzero(mask & (self._generator.random(self.num_envs) < self._share)):
            self._limit[game] = self._meters
            if self._fall_share and self._count[_FALLS] and self._generator.random() < self._fall_share:
                row = _FALLS
            else:
                row = self._generator.choice(_FALLS, p=weights / weights.sum())
            if row > 0:
                slot = row, int(self._generator.integers(min(int(self._count[row]), KEPT)))
                placed[game] = True
                self._rows[game] = self._snapshots[slot]
                modes[game], keys[game] = self._modes[slot], self._keys[slot]
                self._limit[game] += self._meters_at[slot]
        return StartStates(placed, self._rows, modes, keys)

    @exclusive
    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start new episodes in all games. A seed also seeds the draws and forgets all kept states."""
        if seed is not None:
            self._generator = np.random.default_rng(seed)
            self._steps = 0
            self._count[:] = 0
        self._past = []
        return self.env.reset(seed=seed, options=options)

    @exclusive
    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Play the step: returns what `QWOPVectorEnv.step` does."""
        drill = np.isfinite(self._limit)
        limit = self._limit.copy()  # of the episodes that this step belongs to; resets draw new ones
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        final = infos["_final"]
        final["drill"] = drill
        if self._fall_share:
            self._keep_before(terminated & ~final["is_success"], final["frame"])
        over = (final["distance"] > limit) & ~terminated & ~truncated
        if over.any():
            self.env.end_episodes(over, observations, infos)
            truncated = truncated | over
        self._steps += 1
        if self._steps % KEEP_EVERY == 0:
            self._keep(final, ~(terminated | truncated))
        if self._fall_share and self._steps % self._look_back == 0:
            now = {"snapshot": self.env.games.simulator.snapshot(), "distance": infos["distance"].copy()}
            now |= {name: infos[name].copy() for name in ("hip_mode", "keys")}
            self._past = [*self._past[-1:], now]
        return observations, rewards, terminated, truncated, infos

    def _keep(self, final: dict[str, NDArray[Any]], going_on: NDArray[np.bool_]) -> None:
        """Keep the states of some upright runners between the first place and the last."""
        place = np.floor(final["distance"] / PLACE_METERS).astype(np.int64)
        fit = going_on & upright(final["raw_observation"]) & (place > 0) & (place < _FALLS)
        games = np.flatnonzero(fit)
        if not len(games):
            return
        now = {**final, "snapshot": self.env.games.simulator.snapshot()}
        for game in self._generator.permutation(games)[:KEEP_AT_MOST]:
            self._store(int(place[game]), now, int(game))

    def _keep_before(self, fell: NDArray[np.bool_], frames: NDArray[np.int64]) -> None:
        """Keep the states of the fallen games 40 to 80 frames before, if their episodes are that old."""
        if len(self._past) == 2:
            for game in np.flatnonzero(fell & (frames > 2 * LOOK_BACK_FRAMES)):
                self._store(_FALLS, self._past[0], int(game))

    def _store(self, row: int, states: dict[str, NDArray[Any]], game: int) -> None:
        slot = row, self._count[row] % KEPT
        self._snapshots[slot], self._meters_at[slot] = states["snapshot"][game], states["distance"][game]
        self._modes[slot], self._keys[slot] = states["hip_mode"][game], states["keys"][game]
        self._count[row] += 1

    def own_state(self) -> dict[str, NDArray[Any]]:
        """Return draws and kept states: up to 9 MB, and 14 KB per game where drills start before falls."""
        generator = json.dumps(self._generator.bit_generator.state).encode()
        own = {
            "generator": np.frombuffer(generator, np.uint8),
            "steps": np.array([self._steps]),
            "limit": self._limit,
            "count": self._count,
            "snapshots": self._snapshots,
            "modes": self._modes,
            "keys": self._keys,
            "meters_at": self._meters_at,
        }
        for i, states in enumerate(self._past):
            own |= {f"past{i}.{name}": array for name, array in states.items()}
        return {_PREFIX + name: array for name, array in own.items()}

    def set_own_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what `own_state` returned.

        Raises ValueError if the state is from an environment without drills, or is damaged.
        """
        own = {name.removeprefix(_PREFIX): array for name, array in state.items()}
        if not own:
            raise ValueError("the state is from an environment without drills")
        for name in ("limit", "count", "snapshots", "modes", "keys", "meters_at"):
            before = getattr(self, f"_{name}")
            if own[name].shape != before.shape or own[name].dtype != before.dtype:
                raise ValueError(f"{_PREFIX}{name} is {own[name].dtype} {list(own[name].shape)}")
        past = {name: array for name, array in own.items() if name.startswith("past")}
        for name, array in past.items():
            shape = (self.num_envs, self._rows.shape[1]) if name.endswith("snapshot") else (self.num_envs,)
            if array.shape != shape:
                raise ValueError(f"{_PREFIX}{name} is {list(array.shape)}")
        if (own["count"] < 0).any():
            raise ValueError(f"{_PREFIX}count is negative")
        check_keys_and_modes(own["keys"], own["modes"])
        for i in range(len(past) // 4):
            check_keys_and_modes(own[f"past{i}.keys"], own[f"past{i}.hip_mode"])
        kept = np.arange(KEPT) < own["count"][:, None]
        for snapshots in (own["snapshots"][kept], *(a for n, a in past.items() if n.endswith("snapshot"))):
            if len(snapshots):
                with contextlib.closing(Simulator(len(snapshots), trig=self.env.trig)) as simulator:
                    simulator.restore(snapshots)  # raises ValueError for bytes that are no states
        self._generator.bit_generator.state = json.loads(own["generator"].tobytes())
        self._steps = int(own["steps"][0])
        self._limit, self._count, self._meters_at = own["limit"], own["count"], own["meters_at"]
        self._snapshots, self._modes, self._keys = own["snapshots"], own["modes"], own["keys"]
        self._past = [
            {name: own[f"past{i}.{name}"] for name in ("snapshot", "distance", "hip_mode", "keys")}
            for i in range(2)
            if f"past{i}.keys" in own
        ]
