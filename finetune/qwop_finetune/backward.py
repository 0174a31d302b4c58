"""Backward curriculum: episodes that start near the end of a demonstrated run, and earlier as success grows.

A policy that knows nothing falls within two seconds of the start and never sees the rest of a run. Near the
end of a demonstration it has to run a few meters only. Once it manages these, episodes start a little
earlier, and so on to the start of the run. One demonstration is enough (Salimans and Chen 2018, "Learning
Montezuma's Revenge from a Single Demonstration"; Florensa et al. 2017, "Reverse Curriculum Generation").
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import Episode
from qwop_finetune.demonstrations import demonstrated_states
from qwop_game import FRAME_SECONDS, QWOPVectorEnv, QWOPVectorWrapper, StartStates, exclusive

FIRST_SECONDS = 4.0
"""The curriculum begins so long before the end of the demonstrations, s."""
WINDOW_SECONDS = 2.0
"""Episodes at the front start up to so much later than the front itself, s."""
MOVE_SECONDS = 1.0
"""How much earlier the front is after a move, s."""
JUDGED_SECONDS = 5.0
"""An episode from the front succeeds once it has gone on for so long, s, or has finished."""
JUDGED_EPISODES = 100
"""Episodes from the front by which a move is decided."""
NEEDED_SUCCESS = 0.6
"""Share of them that has to succeed."""
AT_FRONT = 0.6
"""Share of the demonstrated starts that are at the front. The others are anywhere between it and the end."""

_PREFIX = "backward."


class BackwardCurriculum(QWOPVectorWrapper):
    """`QWOPVectorEnv` whose episodes start in demonstrated runs, ever farther from their end.

    Its front, the random generator, which `reset` seeds, and the count of successes are part of the
    environment's state. It takes the place of the environment's `start_states`.

    Args:
        env: the vector environment.
        episodes: demonstrations that finish. Those that do not replay bit for bit give no states.
        share: share of the episodes that start in a demonstration, above 0 to 1. The others start at the
            start of the track.

    Raises:
        DatasetError: no episode gives a state; one line.
    """

    state_prefixes = (_PREFIX,)

    def __init__(
        self, env: QWOPVectorEnv | QWOPVectorWrapper, episodes: Sequence[Episode], share: float
    ) -> None:
        super().__init__(env)
        states = demonstrated_states(episodes)
        order = np.argsort(states.seconds_left, kind="stable")
        self._left = states.seconds_left[order]  # s to the end, ascending
        self._snapshots = states.snapshots[order]
        self._modes, self._keys = states.hip_modes[order], states.last_keys[order]
        self._share = share
        self._rows = np.zeros((env.num_envs, self._snapshots.shape[1]), np.uint8)
        self._generator = np.random.default_rng()
        self._stepping = False
        self._begin()
        env.start_states = self.starts

    def _begin(self) -> None:
        self._front = min(FIRST_SECONDS, float(self._left[-1]))
        self._successes = self._failures = 0
        self._at_front = np.zeros(self.num_envs, bool)  # games whose episode is still to be judged

    @property
    def seconds_left(self) -> float:
        """How long before the end of the demonstrations the episodes at the front start, s."""
        return self._front

    @property
    def progress(self) -> float:
        """How much of the demonstrations the front has passed: 0 near their end to 1 at their start."""
        first, longest = min(FIRST_SECONDS, float(self._left[-1])), float(self._left[-1])
        return 1.0 if longest <= first else (self._front - first) / (longest - first)

    def starts(self, mask: NDArray[np.bool_]) -> StartStates:
        """Choose start states for some of the games of `mask`, bool [N], which start an episode."""
        if not self._stepping:  # a wrapper around this one ended the episode: the reward calls it failed
            self._judge(mask, np.zeros(self.num_envs, bool))
        first, end = np.searchsorted(self._left, [self._front - WINDOW_SECONDS, self._front + 1e-9])
        draws = self._generator.random((3, self.num_envs))
        chosen = mask & (draws[0] < self._share)
        at_front = draws[1] < AT_FRONT
        low = np.where(at_front, first, 0)
        states = low + (draws[2] * (end - low)).astype(np.int64)
        self._rows[chosen] = self._snapshots[states[chosen]]
        self._at_front[mask] = (chosen & at_front)[mask]
        return StartStates(chosen, self._rows, self._modes[states], self._keys[states])

    @exclusive
    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start new episodes in all games. A seed also seeds the draws and resets the front."""
        self._at_front[:] = False
        if seed is not None:
            self._generator = np.random.default_rng(seed)
            self._begin()
        return self.env.reset(seed=seed, options=options)

    @exclusive
    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Play the step: returns what `QWOPVectorEnv.step` does."""
        before = self._at_front.copy()
        self._stepping = True
        try:
            result = self.env.step(actions)
        finally:
            self._stepping = False
        started, self._at_front = self._at_front, before
        _, _, terminated, truncated, infos = result
        final, ended = infos["_final"], result[2] | result[3]
        enough = final["frame"] * FRAME_SECONDS >= JUDGED_SECONDS
        self._judge(terminated | truncated | enough, final["is_success"] | (enough & ~terminated))
        self._at_front[ended] = started[ended]
        self._move()
        return result

    def _judge(self, judged: NDArray[np.bool_], success: NDArray[np.bool_]) -> None:
        """Count the episodes from the front among the games `judged`, bool [N]."""
        judged = judged & self._at_front
        self._successes += int((judged & success).sum())
        self._failures += int((judged & ~success).sum())
        self._at_front &= ~judged

    def _move(self) -> None:
        """Move the front if enough episodes from it have succeeded."""
        count = self._successes + self._failures
        if count < JUDGED_EPISODES:
            return
        if self._successes >= NEEDED_SUCCESS * count and self._front < self._left[-1]:
            self._front = min(self._front + MOVE_SECONDS, float(self._left[-1]))
            self._at_front[:] = False
        self._successes = self._failures = 0

    def own_state(self) -> dict[str, NDArray[Any]]:
        """Return the front, the counts and the state of the generator."""
        generator = json.dumps(self._generator.bit_generator.state).encode()
        return {
            _PREFIX + "generator": np.frombuffer(generator, np.uint8),
            _PREFIX + "front": np.array([self._front]),
            _PREFIX + "counts": np.array([self._successes, self._failures]),
            _PREFIX + "at_front": self._at_front,
        }

    def set_own_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what `own_state` returned.

        Raises ValueError if the state is from an environment without a curriculum, or is damaged.
        """
        own = {name.removeprefix(_PREFIX): array for name, array in state.items()}
        if not own:
            raise ValueError("the state is from an environment without a backward curriculum")
        front, counts, at_front = own["front"], own["counts"], own["at_front"]
        if front.shape != (1,) or not 0.0 < front[0] <= self._left[-1]:
            raise ValueError(f"{_PREFIX}front is {front.tolist()}, expected up to {self._left[-1]:g} s")
        if counts.shape != (2,) or (counts < 0).any():
            raise ValueError(f"{_PREFIX}counts is {counts.tolist()}, expected two numbers of 0 or more")
        if at_front.shape != (self.num_envs,) or at_front.dtype != np.bool_:
            raise ValueError(f"{_PREFIX}at_front is {at_front.dtype} {list(at_front.shape)}")
        self._generator.bit_generator.state = json.loads(own["generator"].tobytes())
        self._front = float(front[0])
        self._successes, self._failures = (int(n) for n in counts)
        self._at_front = at_front.copy()
