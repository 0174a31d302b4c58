"""The disturbances of protocol P, for training. docs/guides/evaluation.md describes the protocol.

The game is deterministic: without disturbances, a policy memorizes one sequence of keys.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_game.game_batch import StartStates
from qwop_game.keys import HIP_AS_CREATED, actions_by_keys
from qwop_game.simulator import Simulator, exclusive
from qwop_game.vector_env import QWOPVectorEnv
from qwop_game.wrapper import QWOPVectorWrapper

MAX_IDLE_FRAMES = 29
"""Maximum number of frames without keys before the first decision; the number is uniform from 0."""
REPEAT_PROBABILITY = 0.02
"""Probability, at every decision, that the previous action is repeated."""

_PREFIX = "disturbance."


class DisturbedVectorEnv(QWOPVectorWrapper):
    """`QWOPVectorEnv`, or a wrapper of it, with idle starts and repeated decisions.

    Each episode starts after 0 to `max_idle_frames` frames without keys; the number is uniform, and the clock
    runs during them. At each decision, with `repeat_probability`, the keys of the previous step are held
    again instead of those of the action (in the first step of an episode: no keys). One generator draws for
    all games; `reset(seed)` seeds it.

    start_states: as in QWOPVectorEnv. Episodes that it starts elsewhere have no idle frames.
    generator: the source of all draws. A `start_states` that also draws from it resumes exactly.

    Raises ValueError for options out of range.
    """

    state_prefixes = (_PREFIX,)

    def __init__(
        self,
        env: QWOPVectorEnv | QWOPVectorWrapper,
        max_idle_frames: int = MAX_IDLE_FRAMES,
        repeat_probability: float = REPEAT_PROBABILITY,
        seed: int | None = None,
    ) -> None:
        super().__init__(env)
        if max_idle_frames < 0:
            raise ValueError(f"max_idle_frames is {max_idle_frames}: it must be 0 or more")
        if not 0.0 <= repeat_probability <= 1.0:
            raise ValueError(f"repeat_probability is {repeat_probability}: it must be 0 to 1")
        self._start_states = env.start_states
        env.start_states = self._start
        self.generator = np.random.default_rng(seed)
        self._repeat_probability = repeat_probability
        self._idle = _idle_snapshots(max_idle_frames, env.trig)
        self._action_of = actions_by_keys(env.action_masks)
        self._previous = np.zeros(env.num_envs, np.int64)  # action whose keys the step before held
        self._start_row = np.zeros((env.num_envs, self._idle.shape[1]), np.uint8)

    @property
    def start_states(self) -> Callable[[NDArray[np.bool_]], StartStates | None] | None:
        """Start states of the episodes that do not start after idle frames: see `QWOPVectorEnv`."""
        return self._start_states

    @start_states.setter
    def start_states(self, value: Callable[[NDArray[np.bool_]], StartStates | None] | None) -> None:
        self._start_states = value

    @exclusive
    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start new episodes in all games. A seed also seeds the disturbances."""
        if seed is not None:
            self.generator.bit_generator.state = np.random.default_rng(seed).bit_generator.state
        observations, infos = self.env.reset(seed=seed, options=options)
        self._previous = self._action_of[infos["keys"]]
        return observations, infos

    @exclusive
    def step(
        self, actions: NDArray[np.integer[Any]]
    ) -> tuple[
        NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]
    ]:
        """Draw which of the actions, whole numbers [N], are replaced by a repeat, and play the step."""
        repeated = self.generator.random(self.num_envs) < self._repeat_probability
        actions = np.asarray(actions).reshape(self.num_envs)
        result = self.env.step(np.where(repeated, self._previous, actions))
        self._previous = self._action_of[result[4]["keys"]]  # after the resets: 0 where an episode starts
        return result

    def own_state(self) -> dict[str, NDArray[Any]]:
        """Return the state of the generator and the actions of the step before."""
        state = json.dumps(self.generator.bit_generator.state).encode()
        return {_PREFIX + "generator": np.frombuffer(state, np.uint8), _PREFIX + "previous": self._previous}

    def set_own_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what `own_state` returned.

        Raises ValueError for the state of another environment, or for actions that do not exist.
        """
        if _PREFIX + "generator" not in state:
            raise ValueError("the state is from an environment without disturbances")
        previous = state[_PREFIX + "previous"].astype(np.int64)
        actions = len(self.env.action_masks)
        if previous.shape != (self.num_envs,) or (previous < 0).any() or (previous >= actions).any():
            raise ValueError(
                f"the state's previous actions: expected {self.num_envs} numbers from 0 to {actions - 1}"
            )
        self.generator.bit_generator.state = json.loads(state[_PREFIX + "generator"].tobytes())
        self._previous = previous

    def _start(self, mask: NDArray[np.bool_]) -> StartStates:
        elsewhere = None if self._start_states is None else self._start_states(mask)
        placed = np.zeros(self.num_envs, bool) if elsewhere is None else mask & elsewhere.mask
        hip_mode = np.full(self.num_envs, HIP_AS_CREATED, np.uint8)
        last_keys = np.zeros(self.num_envs, np.uint8)
        if elsewhere is not None:
            self._start_row[placed] = elsewhere.snapshots[placed]
            hip_mode[placed], last_keys[placed] = elsewhere.hip_mode[placed], elsewhere.last_keys[placed]
        idle = mask & ~placed
        self._start_row[idle] = self._idle[self.generator.integers(0, len(self._idle), int(idle.sum()))]
        return StartStates(mask, self._start_row, hip_mode, last_keys)


def _idle_snapshots(max_idle_frames: int, trig: str) -> NDArray[np.uint8]:
    """The canonical start after 0, 1, ... frames without keys, uint8 [max_idle_frames + 1, S]."""
    simulator = Simulator(1, trig=trig)
    snapshots = [simulator.snapshot()[0]]
    for _ in range(max_idle_frames):
        simulator.step(np.zeros(1, np.uint8))
        snapshots.append(simulator.snapshot()[0])
    simulator.close()
    return np.stack(snapshots)
