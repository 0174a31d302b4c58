"""A policy that tries its ideas out before it acts: the best of N continuations, played in the embedded game.

The embedded game is exact, so what a continuation leads to need not be guessed. Every few decisions the
policy proposes N ways to go on from the game's present state; each is played to the end of the segment, then
on by the policy's best actions, and the one that got furthest is followed. What lies beyond that the policy's
critic judges (as in Lowrey et al. 2019, "Plan online, learn offline"). Disturbances to come are not known.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_evaluation.player import Player
from qwop_game import ACTION_SETS, Simulator, features, next_hip_modes, own_arrays
from qwop_game.rules import FLAG_GAME_ENDED, has_landed

BLOCK = 512
"""Continuations that are played side by side, at most, if one episode has no more."""
FINISH_WORTH, SECOND_WORTH = 1000.0, 20.0
"""Meters that a finish is worth and that each second costs: any finish is better than none."""


@dataclass(frozen=True)
class Lookahead:
    """How far ahead, and how often. Raises ValueError for counts below 1."""

    candidates: int = 16
    """Continuations tried: the policy's best actions, and draws from its distribution."""
    segment: int = 8
    """Frames between two choices, rounded up to whole decisions."""
    horizon: int = 40
    """Frames that a continuation is played in all, likewise."""
    value_weight: float = 0.5
    """Meters that one unit of the critic's value is worth; 0: the distance alone decides."""

    def __post_init__(self) -> None:
        for name in ("candidates", "segment", "horizon"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be 1 or more")


class Planner:
    """The plans of n episodes.

    player: a policy with a distribution; its `values`, where it has any, judge what lies beyond the horizon.
    seeds: of the episodes, [n]; the draws of an episode come from its own, whatever else is played.
    """

    def __init__(self, player: Player, config: Lookahead, seeds: Sequence[int]) -> None:
        self._player, self._config = player, config
        self._masks = ACTION_SETS[player.action_set]
        self._decisions = -(-config.segment // player.frame_skip)
        self._horizon = max(self._decisions, -(-config.horizon // player.frame_skip))
        # Another stream than that of the disturbances.
        self._generators = [np.random.default_rng([seed, 1]) for seed in seeds]
        self._plans = np.zeros((len(seeds), self._decisions), np.int64)
        self._next = np.full(len(seeds), self._decisions)  # decisions of its plan that an episode has made
        self._made = np.zeros(len(seeds), np.int64)  # plans
        self._block = max(1, BLOCK // config.candidates)  # episodes
        self._simulators: dict[int, Simulator] = {}  # by their number of games, a power of two

    def __getstate__(self) -> dict[str, Any]:
        return {**own_arrays(self.__dict__), "_simulators": {}}  # no plan outlasts a call

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(own_arrays(state))

    def provenance(self, episode: int) -> dict[str, int | float]:
        """How an episode was planned and what that cost, for its provenance."""
        config = {f"lookahead_{name}": value for name, value in asdict(self._config).items()}
        plan = self._config.candidates * self._horizon * self._player.frame_skip
        return {**config, "frames_played": int(self._made[episode]) * plan}

    def disturbed(self, episodes: NDArray[np.int64]) -> None:
        """These did something else than planned: their plans are void."""
        self._next[episodes] = self._decisions

    def actions(
        self,
        episodes: NDArray[np.int64],
        world: Simulator,
        hip_mode: NDArray[np.uint8],
        keys: NDArray[np.uint8],
    ) -> NDArray[np.int64]:
        """The next action of each of `episodes`, [m]; world, hip_mode and keys are those of all n."""
        due = episodes[self._next[episodes] == self._decisions]
        if len(due):
            snapshots = world.snapshot()
            for block in np.split(due, range(self._block, len(due), self._block)):
                self._plans[block] = self._best(
                    block, world.trig, snapshots[block], hip_mode[block], keys[block]
                )
            self._next[due] = 0
            self._made[due] += 1
        actions = self._plans[episodes, self._next[episodes]]
        self._next[episodes] += 1
        return actions

    def _best(
        self,
        episodes: NDArray[np.int64],
        trig: str,
        snapshots: NDArray[np.uint8],
        hip_mode: NDArray[np.uint8],
        keys: NDArray[np.uint8],
    ) -> NDArray[np.int64]:
        """The best of each episode's continuations, actions [m, segment]."""
        n = self._config.candidates
        rows = len(episodes) * n
        games = 1 << (rows - 1).bit_length()
        if games not in self._simulators:
            self._simulators[games] = Simulator(games, threads=os.cpu_count() or 1, trig=trig)
        simulator = self._simulators[games]
        # Row i * n + k is continuation k of episode i; rows beyond repeat the last, and nobody reads them.
        of = np.minimum(np.arange(games), rows - 1) // n
        simulator.restore(snapshots[of])
        hip_mode, keys = hip_mode[of], keys[of]
        shape = len(self._masks), n - 1, self._decisions
        draws = np.stack([self._generators[i].standard_exponential(shape) for i in episodes])
        tried = np.zeros((rows, self._decisions), np.int64)
        for decision in range(self._horizon):
            scores = self._player.scores(features(simulator.raw_observation, hip_mode, keys))
            actions = scores.argmax(axis=1)
            if decision < self._decisions:
                # The Gumbel-max trick: argmax(logit - ln E), E ~ Exp(1), draws from the distribution.
                proposals = scores[:rows].reshape(len(episodes), n, -1)[:, 1:]
                noise = np.log(draws[..., decision]).transpose(0, 2, 1)
                actions[:rows].reshape(len(episodes), n)[:, 1:] = (proposals - noise).argmax(axis=2)
                tried[:, decision] = actions[:rows]
            keys = self._masks[actions]
            simulator.step(keys, self._player.frame_skip)
            hip_mode = next_hip_modes(hip_mode, keys)
        worth = self._worth(simulator, hip_mode, keys)[:rows].reshape(len(episodes), n)
        return tried.reshape(len(episodes), n, -1)[np.arange(len(episodes)), worth.argmax(axis=1)]

    def _worth(
        self, simulator: Simulator, hip_mode: NDArray[np.uint8], keys: NDArray[np.uint8]
    ) -> NDArray[np.float64]:
        """What the continuations have come to, m."""
        worth = simulator.distance.copy()
        if self._config.value_weight:
            values = self._player.values(features(simulator.raw_observation, hip_mode, keys))
            if values is not None:
                worth += self._config.value_weight * values
        ended = simulator.flags & FLAG_GAME_ENDED != 0
        landed = has_landed(simulator.flags)
        worth[ended] = -np.inf
        worth[landed] = FINISH_WORTH - SECOND_WORTH * simulator.time[landed]
        return worth
