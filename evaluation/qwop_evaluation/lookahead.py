"""Look-ahead: simulate N candidate continuations before acting, and follow the best one.

Every few decisions, the policy proposes N action sequences from the game's present state. The embedded game,
which is exact, plays each of them: first the sequence, then the policy's best actions up to the horizon. The
policy follows the sequence that got farthest; its critic judges the state at the horizon (as in Lowrey et al.
2019, "Plan online, learn offline"). Future disturbances are unknown to it.
"""

from __future__ import annotations

import math
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
"""Continuations to simulate side by side, unless a single episode has more."""
FINISH_WORTH, SECOND_WORTH = 1000.0, 20.0
"""Score of a finish and cost per second, m. Any finish is better than none."""


@dataclass(frozen=True)
class Lookahead:
    """Settings of the look-ahead. Raises ValueError for counts below 1 and a weight below 0."""

    candidates: int = 32
    """Continuations to simulate: the policy's best actions, and draws from its distribution."""
    segment: int = 8
    """Frames between two choices, rounded up to whole decisions."""
    horizon: int = 40
    """Frames to simulate for each continuation, rounded up to whole decisions."""
    value_weight: float = 1.0
    """Meters per unit of the critic's value. 1 for a critic of `qwop-policy critic`, about 0.5 for one that
    PPO left. 0: only the distance counts."""

    def __post_init__(self) -> None:
        for name in ("candidates", "segment", "horizon"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be 1 or more")
        if not 0 <= self.value_weight < math.inf:
            raise ValueError(f"value_weight is {self.value_weight:g}: it must be 0 or more")


class Planner:
    """The plans of n episodes that are played side by side."""

    def __init__(self, player: Player, config: Lookahead, seeds: Sequence[int]) -> None:
        """Prepare plans.

        Args:
            player: a policy with a distribution. Its `values`, if it has any, judge states at the horizon.
            config: settings.
            seeds: one per episode, [n]. The draws of an episode depend on its own seed only.
        """
        self._player, self._config = player, config
        self._masks = ACTION_SETS[player.action_set]
        self._decisions = -(-config.segment // player.frame_skip)
        self._horizon = max(self._decisions, -(-config.horizon // player.frame_skip))
        # These streams differ from those of the disturbances.
        self._generators = [np.random.default_rng([seed, 1]) for seed in seeds]
        self._plans = np.zeros((len(seeds), self._decisions), np.int64)
        self._next = np.full(len(seeds), self._decisions)  # next decision of each episode's plan
        self._made = np.zeros(len(seeds), np.int64)  # number of plans made for each episode
        self._block = max(1, BLOCK // config.candidates)  # episodes per block
        self._simulators: dict[int, Simulator] = {}  # by their number of games, a power of two

    def __getstate__(self) -> dict[str, Any]:
        return {**own_arrays(self.__dict__), "_simulators": {}}  # simulators keep nothing between calls

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(own_arrays(state))

    def provenance(self, episode: int) -> dict[str, int | float]:
        """Return the settings and the frames simulated, to store with an episode."""
        config = {f"lookahead_{name}": value for name, value in asdict(self._config).items()}
        plan = self._config.candidates * self._horizon * self._player.frame_skip
        return {**config, "frames_played": int(self._made[episode]) * plan}

    def disturbed(self, episodes: NDArray[np.int64]) -> None:
        """Discard the plans of episodes that did something else than planned.

        Args:
            episodes: their numbers, [m].
        """
        self._next[episodes] = self._decisions

    def actions(
        self,
        episodes: NDArray[np.int64],
        world: Simulator,
        hip_mode: NDArray[np.uint8],
        keys: NDArray[np.uint8],
    ) -> NDArray[np.int64]:
        """Return the next action of some episodes, planning again where a plan has ended.

        Args:
            episodes: their numbers, [m].
            world: the games of all n episodes.
            hip_mode: hip modes of all games, [n].
            keys: keys held in all games, [n].

        Returns:
            Actions, [m].
        """
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
        """Return the best continuation of each of m episodes, actions [m, segment]."""
        n = self._config.candidates
        rows = len(episodes) * n
        games = 1 << (rows - 1).bit_length()
        if games not in self._simulators:
            self._simulators[games] = Simulator(games, threads=os.cpu_count() or 1, trig=trig)
        simulator = self._simulators[games]
        # Row i * n + k is continuation k of episode i. Rows beyond repeat the last one and are not used.
        of = np.minimum(np.arange(games), rows - 1) // n
        simulator.restore(snapshots, index=of)
        hip_mode, keys = hip_mode[of], keys[of]
        shape = len(self._masks), n - 1, self._decisions
        draws = np.stack([self._generators[int(i)].standard_exponential(shape) for i in episodes])
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
        """Return the score of each simulated game, m: distance plus value; -inf after a fall."""
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
