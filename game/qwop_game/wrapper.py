"""Base class of the wrappers of `QWOPVectorEnv`: attributes, start states, and the wrapper's own state."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from qwop_game.game_batch import GameBatch, StartStates, own_arrays
from qwop_game.simulator import exclusive
from qwop_game.vector_env import QWOPVectorEnv


class QWOPVectorWrapper(VectorEnv):
    """Base class of wrappers of `QWOPVectorEnv`, or of another wrapper of it.

    It has the attributes of the environment. It works with Gymnasium 0.29 and 1, whose base classes of vector
    wrappers differ in name and methods. It shares the environment's `lock`, and is copied and pickled with
    it.

    A wrapper with state sets `state_prefixes` and overrides `own_state` and `set_own_state`.
    """

    env: QWOPVectorEnv | QWOPVectorWrapper
    state_prefixes: ClassVar[tuple[str, ...]] = ()
    """Prefixes of the names of the wrapper's own entries in the state."""
    is_vector_env = True  # Gymnasium 0.29's tools ask for it

    def __init__(self, env: QWOPVectorEnv | QWOPVectorWrapper) -> None:
        self.env = env
        self.num_envs = env.num_envs
        self.single_observation_space = env.single_observation_space
        self.single_action_space = env.single_action_space
        self.observation_space = env.observation_space
        self.action_space = env.action_space
        self.frame_skip = env.frame_skip
        self.trig = env.trig
        self.action_masks = env.action_masks
        self.metadata = env.metadata
        self.render_mode = env.render_mode
        self.spec = env.spec

    @property
    def lock(self) -> threading.RLock:  # pyright: ignore[reportInvalidTypeForm]
        """The games' lock: see `Simulator`."""
        return self.env.lock

    @property
    def games(self) -> GameBatch:
        """The games themselves."""
        return self.env.games

    @property
    def start_states(self) -> Callable[[NDArray[np.bool_]], StartStates | None] | None:
        """Where episodes start: see `QWOPVectorEnv`. It may be replaced at any time."""
        return self.env.start_states

    @start_states.setter
    def start_states(self, value: Callable[[NDArray[np.bool_]], StartStates | None] | None) -> None:
        self.env.start_states = value

    @property
    def unwrapped(self) -> QWOPVectorEnv:
        """The environment without wrappers."""
        env = self.env
        while isinstance(env, QWOPVectorWrapper):
            env = env.env
        return env

    @property
    def closed(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] (Gymnasium 1)
        """Whether `close` has freed the games."""
        return self.env.closed

    def close(self, **kwargs: Any) -> None:
        """Free the games."""
        self.env.close(**kwargs)

    @property
    def np_random(self) -> np.random.Generator:
        """The generator of the environment, which `reset(seed)` seeds."""
        return self.env.np_random

    @np_random.setter
    def np_random(self, value: np.random.Generator) -> None:
        self.env.np_random = value

    @exclusive
    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start new episodes in all games: see `QWOPVectorEnv`."""
        return self.env.reset(seed=seed, options=options)

    @exclusive
    def step(
        self, actions: NDArray[np.integer[Any]]
    ) -> tuple[
        NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]
    ]:
        """Play a step of all games: see `QWOPVectorEnv`."""
        return self.env.step(actions)

    def end_episodes(
        self, ended: NDArray[np.bool_], observations: NDArray[np.float32], infos: dict[str, Any]
    ) -> None:
        """See `QWOPVectorEnv`."""
        self.env.end_episodes(ended, observations, infos)

    @exclusive
    def get_state(self) -> dict[str, NDArray[Any]]:
        """Return all that `set_state` needs to continue bit for bit from here, as arrays."""
        own = {name: array.copy() for name, array in self.own_state().items()}
        return {**self.env.get_state(), **own}

    @exclusive
    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore the state that `get_state` returned.

        Args:
            state: what `get_state` returned.

        Raises:
            ValueError: the state is from another environment or is damaged. The message is one line.
            KeyError: an entry is missing.
        """
        own = {name: array.copy() for name, array in state.items() if name.startswith(self.state_prefixes)}
        self.set_own_state(own)
        self.env.set_state({name: array for name, array in state.items() if name not in own})

    def own_state(self) -> dict[str, NDArray[Any]]:
        """Return the wrapper's own entries of the state, whose names start with `state_prefixes`."""
        return {}

    def set_own_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what `own_state` returned; raises as `set_state` does. The arrays are the wrapper's own."""

    def render(self) -> tuple[NDArray[np.uint8], ...]:
        """The picture of every game: see `QWOPVectorEnv`."""
        return self.env.render()

    def call(self, name: str, *args: Any, **kwargs: Any) -> list[Any]:
        """See `QWOPVectorEnv`."""
        return self.env.call(name, *args, **kwargs)

    def get_attr(self, name: str) -> list[Any]:
        """See `QWOPVectorEnv`."""
        return self.env.get_attr(name)

    def set_attr(self, name: str, values: Any) -> None:
        """See `QWOPVectorEnv`."""
        self.env.set_attr(name, values)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(own_arrays(state))

    def __copy__(self) -> QWOPVectorWrapper:
        return copy.deepcopy(self)

    def __del__(self) -> None:
        """Do nothing: in Gymnasium 0.29 a deleted wrapper would close the environment."""
