"""Games of a task: starts, disturbances, rules. Environments, plays and verifications use this one class.

An episode has a seed. Its disturbances are those of protocol P (docs/guides/evaluation.md): idle frames at
the start, and decisions that repeat the previous keys. An episode that starts at 30 m has no idle frames; its
start is number `default_rng([seed, 1]).integers(20)`. An episode without a seed is not disturbed: start 0, no
idle frames, no repeats.

Rules are checked after every frame, in this order, on the raw observation in float64:

1. The goal is reached: the episode is a finish.
2. The game is over: a fall, or out of bounds.
3. "no knee": a knee's clearance is 0.01 m or less (`qwop_game.knee_clearance`).
   "one leg": once the torso has passed 1 m, a leg touches the track if its foot's or its knee's clearance is
   0.01 m or less. The episode ends when the second of the two legs touches.
4. The time limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qwop_benchmark.arrays import load_arrays
from qwop_benchmark.packing import unpacked
from qwop_benchmark.resources import data_file
from qwop_benchmark.tasks import ONE_LEG_FROM_METERS, TOUCH_METERS, Task
from qwop_evaluation import Disturbance
from qwop_game import (
    DEFAULT_TRIG,
    MAX_IDLE_FRAMES,
    GameBatch,
    Simulator,
    StartStates,
    foot_clearance,
    hip_modes,
    knee_clearance,
)
from qwop_game.rules import FLAG_FALLEN

End = Literal["", "finish", "fall", "rule", "time"]
ENDS: tuple[End, ...] = ("", "finish", "fall", "rule", "time")
"""How an episode ended; "": it has not. "fall" includes out of bounds."""
GOING, FINISH, FALL, RULE, TIME = range(5)


@cache
def start_keys(task: Task) -> tuple[NDArray[np.uint8], ...]:
    """Return the keys from the game's own start to each start of the task: S arrays uint8 [T_i]."""
    if task.start == "line":
        return (np.zeros(0, np.uint8),)
    stored = load_arrays(data_file("starts_30m.safetensors").read_bytes())
    return tuple(unpacked(stored["keys"], stored["lengths"]))


@cache
def _starts(task: Task) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Snapshots [S, B], hip modes [S], last keys [S] of the starts; on the line after 0 to 29 idle frames."""
    sequences = list(start_keys(task))
    if task.start == "line":
        sequences = [np.zeros(frames, np.uint8) for frames in range(MAX_IDLE_FRAMES + 1)]
    simulator = Simulator(1)
    snapshots: list[NDArray[np.uint8]] = []
    for keys in sequences:
        simulator.reset()
        for held in keys:
            simulator.step(np.array([held], np.uint8))
        snapshots.append(simulator.snapshot()[0])
    simulator.close()
    modes = np.array([hip_modes(keys)[-1] for keys in sequences], np.uint8)
    last = np.array([keys[-1] if len(keys) else 0 for keys in sequences], np.uint8)
    return np.stack(snapshots), modes, last


class Disturbances:
    """What the seed of an episode determines."""

    def __init__(self, task: Task, seed: int | None, frame_skip: int) -> None:
        """Draw the disturbances of an episode, as `qwop_evaluation.play` does; None: none."""
        decisions = -(-task.max_frames // frame_skip)
        self.seed = seed
        self.start = self.idle_frames = 0
        self.repeats = np.zeros(decisions, bool)
        """Whether decision k holds the keys of the one before, bool [D]."""
        self.choices = np.zeros(decisions)
        """Number in [0, 1) that picks the action of a sampled policy, float64 [D]."""
        if seed is None:
            return
        drawn = Disturbance.drawn(seed, decisions)
        self.repeats, self.choices = drawn.repeats, drawn.choices
        if task.start == "line":
            self.idle_frames = drawn.idle_frames
        else:
            self.start = int(np.random.default_rng([seed, 1]).integers(len(start_keys(task))))


class TaskGames:
    """N games of a task side by side.

    Attributes, arrays [N]:
        end: how the episode ended, an index of ENDS, uint8.
        meters: distance from the start in the last frame of the episode, at most the task's length, float64.
        frames: length of the episode, with idle frames, int64.
        decisions: decisions so far, int64.
    """

    def __init__(
        self,
        task: Task,
        num_envs: int,
        frame_skip: int = 4,
        action_set: str = "distinct",
        observation: str = "features",
        record: bool = False,
    ) -> None:
        """Make the games. Call `begin` before anything else.

        Args:
            task: the task.
            num_envs: number of games, N.
            frame_skip: frames of a decision.
            action_set: see `qwop_game.ACTION_SETS`.
            observation: "features" or "qwop_gym".
            record: keep the keys of all frames, for `keys_of`.

        Raises:
            ValueError: an option is out of range.
        """
        if frame_skip != int(frame_skip) or not 1 <= frame_skip <= 30:
            raise ValueError(f"frame_skip is {frame_skip!r}: it must be a whole number from 1 to 30")
        self.task, self.frame_skip, self.num_envs = task, int(frame_skip), num_envs
        self.games = GameBatch(num_envs, 1, action_set, observation, None, "auto", trig=DEFAULT_TRIG)
        self.end = np.zeros(num_envs, np.uint8)
        self.meters = np.zeros(num_envs)
        self.frames = np.zeros(num_envs, np.int64)
        self.decisions = np.zeros(num_envs, np.int64)
        self.disturbances: list[Disturbances] = [Disturbances(task, None, self.frame_skip)] * num_envs
        self._held = np.zeros(num_envs, np.uint8)
        self._armed = np.zeros(num_envs, bool)  # "one leg": the torso has passed 1 m
        self._touched = np.zeros((num_envs, 2), bool)
        self._record = record
        self._keys: list[NDArray[np.uint8]] = []

    def begin(self, seeds: Sequence[int | None], mask: NDArray[np.bool_] | None = None) -> None:
        """Start episodes in the games of `mask`, bool [N] (None: all); `seeds` has an entry for each game."""
        where = np.ones(self.num_envs, bool) if mask is None else mask
        if mask is None:
            self._keys = []
        snapshots, modes, last = _starts(self.task)
        chosen = np.zeros(self.num_envs, np.int64)
        for i, begins in enumerate(where.tolist()):
            if not begins:
                continue
            drawn = Disturbances(self.task, seeds[i], self.frame_skip)
            self.disturbances[i] = drawn
            chosen[i] = drawn.idle_frames if self.task.start == "line" else drawn.start
        self.games.reset(where, StartStates(where, snapshots[chosen], modes[chosen], last[chosen]))
        self.end[where] = GOING
        self.frames[where] = chosen[where] if self.task.start == "line" else 0
        self.decisions[where] = 0
        self._held[where] = last[chosen[where]]
        self._armed[where] = False
        self._touched[where] = False
        self._measure(where)

    @property
    def going(self) -> NDArray[np.bool_]:
        """Games whose episode is not over, bool [N]."""
        return self.end == GOING

    def observations(self, where: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.float32]:
        """Return the observations of games, float32 [n, D]."""
        return self.games.observations(where)

    def repeats(self) -> NDArray[np.bool_]:
        """Return whether each game's next decision repeats the keys before, bool [N]."""
        return np.array([d.repeats[k] for d, k in zip(self.disturbances, self._next(), strict=True)])

    def choices(self) -> NDArray[np.float64]:
        """Return the number in [0, 1) that picks each game's next action of a sampled policy, [N]."""
        return np.array([d.choices[k] for d, k in zip(self.disturbances, self._next(), strict=True)])

    def step(self, actions: NDArray[np.integer[Any]]) -> None:
        """Play a decision with actions [N], or with the keys before where it is a repeat."""
        masks = self.games.action_masks[actions]
        self._held = np.where(self.repeats(), self._held, masks).astype(np.uint8)
        self.decisions += self.going
        for _ in range(self.frame_skip):
            if not self.going.any():
                return
            self.step_frame(self._held)

    def step_frame(self, keys: NDArray[np.uint8]) -> None:
        """Play a frame with keys, uint8 [N], and apply the rules. Games that are over do not change."""
        task, going = self.task, self.going
        _, over, _ = self.games.step(keys)
        self.frames += going
        self._measure(going)
        simulator = self.games.simulator
        if task.goal == "landing":
            finished = over & self.games.success
        else:
            fallen = simulator.flags & FLAG_FALLEN != 0
            finished = (simulator.distance >= task.goal_meters) & ~fallen
        late = self.frames >= task.max_frames
        end = np.select([finished, over, self._broken(), late], [FINISH, FALL, RULE, TIME], GOING)
        self.end[going] = end[going]
        if self._record:
            self._keys.append(np.array(keys, np.uint8))

    def keys_of(self, game: int) -> NDArray[np.uint8]:
        """Return the keys of one game's episode, with idle frames, uint8 [T]. All games began together."""
        idle = self.disturbances[game].idle_frames
        held = np.array([keys[game] for keys in self._keys[: int(self.frames[game]) - idle]], np.uint8)
        return np.concatenate([np.zeros(idle, np.uint8), held])

    def scores(self) -> NDArray[np.float64]:
        """Return the score of each episode as it stands, [N]."""
        rows = zip(self.meters.tolist(), self.frames.tolist(), (self.end == FINISH).tolist(), strict=True)
        return np.array([self.task.score(*row) for row in rows])

    def close(self) -> None:
        """Free the games."""
        self.games.simulator.close()

    def _next(self) -> list[int]:
        most = len(self.disturbances[0].repeats) - 1
        return np.minimum(self.decisions, most).tolist()

    def _measure(self, where: NDArray[np.bool_]) -> None:
        distance = np.minimum(self.games.simulator.distance, self.task.goal_meters) - self.task.start_meters
        self.meters[where] = distance[where]

    def _broken(self) -> NDArray[np.bool_]:
        """Whether the task's rule ends each episode now, bool [N]."""
        if not self.task.rule:
            return np.zeros(self.num_envs, bool)
        raw = self.games.simulator.raw_observation.astype(np.float64)
        knees = knee_clearance(raw) <= TOUCH_METERS  # pyright: ignore[reportArgumentType]
        if self.task.rule == "no knee":
            return knees.any(axis=1)
        feet = foot_clearance(raw) <= TOUCH_METERS  # pyright: ignore[reportArgumentType]
        self._armed |= self.games.simulator.distance >= ONE_LEG_FROM_METERS
        self._touched |= self._armed[:, None] & (knees | feet)
        return self._touched.all(axis=1)
