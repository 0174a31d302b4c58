"""N games played by decisions: the common part of QWOPEnv (one game) and QWOPVectorEnv (many).

It adds to the simulator the action set, the frame skip, the hip mode and the last keys, the length of each
episode, and qwop-gym's rules: when a run is over, when it is a success, and the reward of a step.
"""

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from qwop_game.encoder import FEATURE_SIZE, encode
from qwop_game.episodes import Episodes, agrees, observe
from qwop_game.keys import (
    HIP_AS_CREATED,
    KEY_NAMES,
    action_masks,
    actions_by_keys,
    check_keys_and_modes,
    next_hip_modes,
)
from qwop_game.observation import FRAME_SECONDS, OBSERVATION_SIZE, normalize
from qwop_game.rules import FLAG_FALLEN, default_reward, has_finished, is_over
from qwop_game.simulator import DEFAULT_TRIG, Simulator, exclusive

if TYPE_CHECKING:  # pygame is loaded with the first picture only
    from qwop_game.real.game import RealGame
    from qwop_game.render import Dials, HurdlePose

OBSERVATIONS = ("qwop_gym", "features")


@dataclass(frozen=True)
class StartStates:
    """States to start episodes from instead of the canonical start, for example frames of demonstrations.

    Rows where `mask` is false are not read.
    """

    mask: NDArray[np.bool_]
    """bool [N]: the games that start from their row; the others start at the canonical start."""
    snapshots: NDArray[np.uint8]
    """uint8 [N, S]: rows of `Simulator.snapshot()`, of any trigonometry variant."""
    hip_mode: NDArray[np.uint8]
    """uint8 [N]: the hip mode there, see `hip_modes`."""
    last_keys: NDArray[np.uint8]
    """uint8 [N]: key mask of the frame before, see `last_keys`."""


def seed_generators(*owners: Any) -> None:
    """Seed the owners' `np_random` now, not at the first draw, so that a copy draws the same numbers."""
    for owner in owners:
        _ = owner.np_random


def own_arrays(attributes: dict[str, Any]) -> dict[str, Any]:
    """Copy the arrays among the attributes of an object that is copied or unpickled.

    Arrays from a pickle may be read-only or shared: those of Ray are views of an object store.
    """
    return {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in attributes.items()}


class GameBatch:
    """The games, their clocks and their rules. Arrays are [num_envs], or [num_envs, ...].

    num_envs: number of games.
    frame_skip: frames that one action is held.
    action_set: "distinct" (9), "full" (16, qwop-gym's) or "reduced" (9, qwop-gym's).
    observation: "qwop_gym" (60 normalized numbers) or "features" (see `encode`).
    max_frames: frames after which an episode is truncated, at the end of a step; None: never.
    engine, threads, trig: see `Simulator`.
    simulator: games to use instead of the embedded ones, with the same interface.

    Threads may share a batch as they may share a `Simulator`; `lock` is that of the simulator. Copies and
    pickles have their own games, which continue bit for bit.

    Raises ValueError for options out of range.
    """

    def __init__(
        self,
        num_envs: int,
        frame_skip: int,
        action_set: str,
        observation: str,
        max_frames: int | None,
        engine: str,
        simulator: "Simulator | RealGame | None" = None,
        threads: int = 1,
        trig: str = DEFAULT_TRIG,
    ) -> None:
        if not isinstance(frame_skip, int | np.integer) or frame_skip < 1:
            raise ValueError(f"frame_skip is {frame_skip!r}: it must be a whole number, 1 or more")
        if observation not in OBSERVATIONS:
            raise ValueError(
                f"observation {observation!r} is unknown: choose one of {', '.join(OBSERVATIONS)}"
            )
        if max_frames is not None and max_frames < 1:
            raise ValueError(f"max_frames is {max_frames}: it must be 1 or more, or None for no limit")
        self.action_masks = action_masks(action_set)
        self._mask_list: list[int] = self.action_masks.tolist()
        self.frame_skip = int(frame_skip)
        self.observation = observation
        self.max_frames = max_frames
        self.num_envs = num_envs
        self.action_space = spaces.Discrete(len(self.action_masks))
        if observation == "features":
            self.observation_space = spaces.Box(-np.inf, np.inf, (FEATURE_SIZE,), np.float32)
        else:
            self.observation_space = spaces.Box(-1, 1, (OBSERVATION_SIZE,), np.float32)

        self.keys = np.zeros(num_envs, np.uint8)  # held in the step before, 0 at an episode's start
        self.hip_mode = np.zeros(num_envs, np.uint8)
        self.frame = np.zeros(num_envs, np.int64)  # of the episode
        self.success = np.zeros(num_envs, bool)
        # At the last step, for qwop-gym's reward: m and tens of seconds; 0 before an episode's first step.
        self._last_distance = np.zeros(num_envs, np.float32)
        self._last_tenths = np.zeros(num_envs, np.float32)

        self.simulator: Simulator | RealGame
        self._native: Episodes | None = None
        if simulator is not None:
            self.simulator = simulator
        else:
            self.simulator = Simulator(num_envs, engine=engine, threads=threads, trig=trig)
            self._native = self._episodes()

    def _episodes(self) -> Episodes | None:
        """The native side, which plays on this object's arrays; None if it can't be used."""
        if not (isinstance(self.simulator, Simulator) and agrees()):
            return None
        state = {
            "keys": self.keys,
            "hip_mode": self.hip_mode,
            "frame": self.frame,
            "success": self.success,
            "last_distance": self._last_distance,
            "last_tenths": self._last_tenths,
        }
        return Episodes(
            self.simulator,
            state,
            self.frame_skip,
            self.max_frames,
            self.observation == "features",
        )

    @property
    def lock(self) -> threading.RLock:  # pyright: ignore[reportInvalidTypeForm]
        """The lock of the simulator: see `Simulator`."""
        return self.simulator.lock

    @property
    def frames_per_second(self) -> float:
        """Steps in a second of play: the frame rate of a video with one picture per step.

        A whole number is an int, because Gymnasium 1's `play` accepts no float.
        """
        rate = 1 / FRAME_SECONDS / self.frame_skip
        return int(rate) if rate.is_integer() else rate

    @exclusive
    def __getstate__(self) -> dict[str, Any]:
        # The native side has only addresses of the arrays, so a copy makes a new one. `simulator` is copied
        # here, under the lock, so that it fits the arrays.
        native = None if self._native is None else True
        return {**own_arrays(self.__dict__), "simulator": copy.copy(self.simulator), "_native": native}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(own_arrays(state))
        if state["_native"]:
            self._native = self._episodes()

    def __copy__(self) -> "GameBatch":
        return copy.deepcopy(self)

    @exclusive
    def reset(self, mask: NDArray[np.bool_] | None = None, start: StartStates | None = None) -> None:
        """Start new episodes in the games of `mask` (bool; None: all), from `start` if given."""
        where = np.ones(self.num_envs, bool) if mask is None else mask
        self.simulator.reset(mask)
        self.keys[where] = 0
        self.hip_mode[where] = HIP_AS_CREATED
        self.frame[where] = 0
        self.success[where] = False
        self._last_distance[where] = 0
        self._last_tenths[where] = 0
        if start is not None:
            given = where & start.mask
            self.simulator.restore(start.snapshots, given, convert=True)
            self.keys[given] = start.last_keys[given]
            self.hip_mode[given] = start.hip_mode[given]

    def keys_of(self, actions: NDArray[np.integer[Any]] | np.integer[Any] | int) -> NDArray[np.uint8]:
        """Convert actions to key masks, uint8 [num_envs]. Raises ValueError for actions out of range."""
        actions = np.asarray(actions).reshape(self.num_envs)
        if actions.dtype.kind not in "iu" or actions.min() < 0 or actions.max() >= len(self.action_masks):
            last = len(self.action_masks) - 1
            raise ValueError(f"actions must be whole numbers from 0 to {last}, got {actions.tolist()}")
        return self.action_masks[actions]

    def mask_of(self, action: np.integer[Any] | int) -> int:
        """Convert the action of a single game to a key mask. Raises ValueError for an action out of range."""
        try:
            number = index(action)  # type: ignore[arg-type]
            if number >= 0:
                return self._mask_list[number]
        except (TypeError, IndexError):
            pass
        return int(self.keys_of(action)[0])

    def keys_to_action(self) -> dict[tuple[str, ...], int]:
        """Return the action with the same effect for each combination of the keys q, w, o, p.

        The mapping omits action 0, no keys: Gymnasium 1's `play` accepts no empty combination.
        """
        actions = actions_by_keys(self.action_masks)
        held = [tuple(key.lower() for i, key in enumerate(KEY_NAMES) if mask >> i & 1) for mask in range(16)]
        return {keys: int(action) for keys, action in zip(held, actions, strict=True) if keys}

    def step_one(self, mask: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]] | None:
        """Play a step of a single game as `QWOPEnv.step` does; None if native code can't play it."""
        return None if self._native is None else self._native.play_one(mask)

    @exclusive
    def step(
        self, keys: NDArray[np.uint8], after_frame: Callable[[], None] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        """Play frame_skip frames with `keys`, uint8 [num_envs], held.

        after_frame: called after every frame, for a window that shows them all.

        returns: qwop-gym's reward float32, terminated bool, truncated bool. A game that ends stops for the
            rest of its step, so its last step may be shorter.
        """
        self.keys[:] = keys
        native = self._native
        if native is not None and after_frame is None:
            native.play()
            return native.reward.copy(), native.terminated.copy(), native.truncated.copy()
        simulator = self.simulator
        before = simulator.time.copy()
        if after_frame is None:
            simulator.step(keys, self.frame_skip)
        else:
            for _ in range(self.frame_skip):
                simulator.step(keys, 1)
                after_frame()
        # The clock stops in the frame that ends the run.
        self.frame += np.rint((simulator.time - before) / FRAME_SECONDS).astype(np.int64)
        self.hip_mode[:] = next_hip_modes(self.hip_mode, keys)

        distance = simulator.distance
        terminated = is_over(simulator.flags, distance)
        self.success[:] = terminated & has_finished(simulator.flags, distance)
        if self.max_frames is None:
            truncated = np.zeros(self.num_envs, bool)
        else:
            truncated = (self.frame >= self.max_frames) & ~terminated
        return self._reward(terminated), terminated, truncated

    @exclusive
    def observations(
        self, where: NDArray[np.bool_] | NDArray[np.intp] | slice = slice(None)
    ) -> NDArray[np.float32]:
        """Return the observations of the games `where` (an index of axis 0), a new float32 [n, D]."""
        raw = self.simulator.raw_observation[where]
        if self._native is not None:
            return observe(self.observation == "features", raw, self.hip_mode[where], self.keys[where])
        if self.observation == "features":
            return encode(raw, self.hip_mode[where], self.keys[where])
        return normalize(raw)

    @exclusive
    def facts(self) -> dict[str, NDArray[Any]]:
        """Return the entries of an info dict as new arrays [num_envs]: see `QWOPEnv`."""
        simulator = self.simulator
        return {
            "time": simulator.time.copy(),
            "distance": simulator.distance.copy(),
            "is_success": self.success.copy(),
            "fallen": (simulator.flags & FLAG_FALLEN) != 0,
            "keys": self.keys.copy(),
            "hip_mode": self.hip_mode.copy(),
            "frame": self.frame.copy(),
            "raw_observation": simulator.raw_observation.copy(),
        }

    @exclusive
    def scene(self, game: int) -> "tuple[NDArray[np.float32], Dials, HurdlePose]":
        """Return the arguments of `Renderer.draw` for the picture of one game."""
        from qwop_game.render import Dials, hurdle_pose

        simulator = self.simulator
        dials = Dials(
            keys=int(self.keys[game]),
            seconds=float(simulator.time[game]),
            meters=float(simulator.distance[game]),
        )
        return simulator.raw_observation[game].copy(), dials, hurdle_pose(simulator.state[game])

    @exclusive
    def get_state(self) -> dict[str, NDArray[Any]]:
        """Return all that `set_state` needs to continue bit for bit from here, as arrays [num_envs, ...]."""
        return {
            "snapshot": self.simulator.snapshot(),
            "keys": self.keys.copy(),
            "hip_mode": self.hip_mode.copy(),
            "frame": self.frame.copy(),
            "last_distance": self._last_distance.copy(),
            "last_tenths": self._last_tenths.copy(),
        }

    @exclusive
    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Put all games into the state that `get_state` returned.

        An entry "snapshot_row", int [num_envs], says which row of "snapshot", uint8 [M, S], each game gets.
        Without it, each gets its own.

        Raises ValueError for another number of games, and for keys and modes that do not exist.
        """
        if isinstance(self.simulator, Simulator):
            self.simulator.restore(state["snapshot"], index=state.get("snapshot_row"))
        else:
            self.simulator.restore(state["snapshot"])
        check_keys_and_modes(state["keys"], state["hip_mode"])
        self.keys[:] = state["keys"]
        self.hip_mode[:] = state["hip_mode"]
        self.frame[:] = state["frame"]
        self.success[:] = False
        self._last_distance[:] = state["last_distance"]
        self._last_tenths[:] = state["last_tenths"]

    def _reward(self, terminated: NDArray[np.bool_]) -> NDArray[np.float32]:
        """`default_reward`, float32 [num_envs]. As in qwop-gym, an episode starts from s = t = 0."""
        distance = self.simulator.distance.astype(np.float32)
        tenths = (self.simulator.time / 10).astype(np.float32)
        ds, dt = distance - self._last_distance, tenths - self._last_tenths
        self._last_distance[:], self._last_tenths[:] = distance, tenths
        return default_reward(ds, dt, self.frame_skip, terminated, self.success)
