"""Play, record and replay the episodes of a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qwop_benchmark.env import TaskEnv
from qwop_benchmark.games import ENDS, FINISH, Disturbances, TaskGames, start_keys
from qwop_benchmark.tasks import Task
from qwop_evaluation import choose
from qwop_game import action_masks, canonical_keys

LANES = 128
"""Episodes played side by side."""
TOLERANCE = 1e-3
"""How much worse than the best action's score that of a recorded action may be. Another processor rounds
matrix products in another way, so two nearly equal actions may swap."""
DRAW_TOLERANCE = 1e-5
"""The same for the number in [0, 1) that picks the action of a sampled policy."""
MAX_SWAPS = 1 / 2000
"""Share of the decisions in which actions may swap. Otherwise a network whose scores are all nearly equal
would choose any keys."""

MakePolicy: TypeAlias = Callable[[], Callable[[NDArray[np.float32]], Any]]
"""Any Python policy: called once for each episode, it returns a function of an observation float32 [D] that
returns an action. The function may remember what it likes."""


class ReplayError(Exception):
    """Keys are not what they should be. The message names the episode and the first frame that differs."""


class Scores(Protocol):
    """A policy that `play` can play: a `qwop_evaluation.Player`, or `RandomKeys`."""

    frame_skip: int
    action_set: str
    samples: bool

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Return logits, or action values, [N, A] of features [N, D]."""
        ...


@dataclass
class RandomKeys:
    """Random keys: every action is as likely. Its mean score is 0 by definition."""

    frame_skip: int = 4
    action_set: str = "distinct"
    samples: bool = True

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Return equal logits, float64 [N, A]."""
        return np.zeros((len(features), len(action_masks(self.action_set))))


@dataclass(frozen=True)
class Played:
    """An episode of a task."""

    seed: int | None
    """None: not disturbed."""
    keys: NDArray[np.uint8]
    """From the task's start to its end, with idle frames, uint8 [T]."""
    meters: float
    """From the start."""
    end: str
    """finish, fall, rule or time."""
    score: float

    @property
    def finished(self) -> bool:
        """Whether it reached the goal."""
        return self.end == ENDS[FINISH]

    @property
    def frames(self) -> int:
        """T."""
        return len(self.keys)


def play(task: Task, player: Scores, seeds: Sequence[int | None], sample: bool = False) -> list[Played]:
    """Play a policy on some episodes of a task.

    Args:
        task: the task.
        player: the policy.
        seeds: one for each episode; None: not disturbed.
        sample: draw actions; otherwise take the best one.

    Returns:
        Episodes in the order of the seeds.
    """
    played: list[Played] = []
    for first in range(0, len(seeds), LANES):
        batch = seeds[first : first + LANES]
        games = TaskGames(task, len(batch), player.frame_skip, player.action_set, record=True)
        games.begin(batch)
        while games.going.any():
            going = np.flatnonzero(games.going)
            scores = player.scores(games.observations(going))
            actions = np.zeros(len(batch), np.int64)
            drawn = sample and player.samples
            actions[going] = choose(scores, games.choices()[going] if drawn else None)
            games.step(actions)
        played += _results(games, [games.keys_of(i) for i in range(len(batch))])
        games.close()
    return played


def record(
    task: Task,
    make_policy: MakePolicy,
    seeds: Sequence[int],
    frame_skip: int = 4,
    action_set: str = "distinct",
    observation: str = "features",
) -> list[Played]:
    """Play any Python policy on some episodes, one after the other. See `MakePolicy` and `TaskEnv`."""
    env = TaskEnv(task.id, frame_skip, action_set, observation)
    played: list[Played] = []
    for seed in seeds:
        seen, _ = env.reset(seed=seed)
        policy, over = make_policy(), False
        while not over:
            seen, _, terminated, truncated, _ = env.step(policy(seen))
            over = terminated or truncated
        played += _results(env.games, [env.keys])
    env.close()
    return played


def replay(
    task: Task, keys: Sequence[NDArray[np.uint8]], seeds: Sequence[int | None], frame_skip: int = 1
) -> list[Played]:
    """Replay the keys of some episodes and judge them.

    Args:
        task: the task.
        keys: of each episode, uint8 [T_i], as `Played.keys`.
        seeds: one for each; None: not disturbed. Otherwise the keys must obey the disturbances.
        frame_skip: frames of a decision.

    Raises:
        ReplayError: keys do not exist, do not obey the disturbances, go on after the episode's end, or stop
            before it.
    """
    for number, (held, seed) in enumerate(zip(keys, seeds, strict=True)):
        _check_disturbances(task, held, seed, frame_skip, number)
    played: list[Played] = []
    for first in range(0, len(keys), LANES):
        batch = keys[first : first + LANES]
        games = TaskGames(task, len(batch), frame_skip)
        games.begin(seeds[first : first + LANES])
        for held in _by_frame(games, batch):
            games.step_frame(held)
        for i, run in enumerate(batch):
            name = f"episode {first + i}"
            if games.end[i] == 0:
                raise ReplayError(f"{name}: the keys stop at frame {len(run)}, and the run is not over there")
            if games.frames[i] < len(run):
                over, given = int(games.frames[i]), len(run)
                raise ReplayError(f"{name}: the run is over at frame {over}, and the keys go on to {given}")
        played += _results(games, batch)
        games.close()
    return played


def check_choices(
    task: Task,
    player: Scores,
    keys: Sequence[NDArray[np.uint8]],
    seeds: Sequence[int],
    sample: bool = False,
) -> None:
    """Check that a policy chooses the recorded keys in every state of a replay.

    Args:
        task: the task.
        player: the policy.
        keys: of each episode, uint8 [T_i], which `replay` has accepted.
        seeds: one for each.
        sample: whether actions were drawn.

    Raises:
        ReplayError: at some frame the policy chooses other keys, and its choice is not close; or it does so
            too often.
    """
    masks = action_masks(player.action_set)
    decisions = swaps = 0
    swapped = ""
    for first in range(0, len(keys), LANES):
        batch, several = keys[first : first + LANES], seeds[first : first + LANES]
        games = TaskGames(task, len(batch), player.frame_skip, player.action_set)
        games.begin(list(several))
        longest = max(map(len, batch))
        padded = np.stack([np.pad(run, (0, longest - len(run))) for run in batch])
        lanes = np.arange(len(batch))
        while games.going.any():
            deciding = np.flatnonzero(games.going & ~games.repeats())
            held = padded[lanes, np.minimum(games.frames, longest - 1)]
            wanted = (masks[None, :] == held[:, None]).argmax(axis=1)
            if len(deciding):
                scores = player.scores(games.observations(deciding))
                chosen = wanted[deciding]
                known = masks[chosen] == held[deciding]
                drawn = sample and player.samples
                uniform = games.choices()[deciding] if drawn else None
                other = chosen != choose(scores, uniform)
                decisions, swaps = decisions + len(deciding), swaps + int(other.sum())
                if uniform is not None:
                    close = np.zeros(len(deciding), bool)
                    for shift in (-DRAW_TOLERANCE, DRAW_TOLERANCE):
                        close |= chosen == choose(scores, np.clip(uniform + shift, 0.0, 1.0))
                else:
                    of_chosen = scores[np.arange(len(deciding)), chosen]
                    close = of_chosen >= scores.max(axis=1) - TOLERANCE
                wrong = ~(known & close)
                if wrong.any() or (other.any() and not swapped):
                    i = int(deciding[(wrong if wrong.any() else other).argmax()])
                    swapped = (
                        f"episode {first + i} (seed {several[i]}): at frame {int(games.frames[i])} the "
                        "policy chooses other keys than those recorded"
                    )
                if wrong.any():
                    raise ReplayError(swapped)
            games.step(wanted)
        games.close()
    if swaps > 1 + MAX_SWAPS * decisions:
        raise ReplayError(f"{swapped}, and so it does in {swaps} of {decisions} decisions")


def _by_frame(games: TaskGames, batch: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Keys frame by frame, uint8 [N] each: a game begins after its idle frames, which are left out."""
    runs = [run[d.idle_frames :] for run, d in zip(batch, games.disturbances, strict=True)]
    longest = max(map(len, runs))
    return list(np.stack([np.pad(run, (0, longest - len(run))) for run in runs], axis=1))


def _check_disturbances(
    task: Task, keys: NDArray[np.uint8], seed: int | None, frame_skip: int, number: int
) -> None:
    name = f"episode {number}" + ("" if seed is None else f" (seed {seed})")
    if len(keys) > task.max_frames:
        raise ReplayError(f"{name}: {len(keys)} frames, and {task.id} ends after {task.max_frames}")
    if (keys > 15).any():
        raise ReplayError(f"{name}: at frame {int((keys > 15).argmax())} the keys are no mask from 0 to 15")
    if seed is None:
        return
    drawn = Disturbances(task, seed, frame_skip)
    idle = drawn.idle_frames
    if keys[:idle].any():
        frame = int(keys[:idle].argmax())
        raise ReplayError(f"{name}: a key is held at frame {frame}; the seed's first {idle} frames are idle")
    if len(keys) <= idle:
        raise ReplayError(f"{name}: the keys stop at frame {len(keys)}, and the run is not over there")
    frames = np.arange(len(keys) - idle)
    decisions = frames // frame_skip
    held = keys[idle:]
    first = held[decisions * frame_skip]  # the keys at the start of each frame's decision
    if (held != first).any():
        frame = idle + int((held != first).argmax())
        raise ReplayError(
            f"{name}: the keys change at frame {frame}, within a decision of {frame_skip} frames"
        )
    starts = held[::frame_skip]
    before = np.concatenate([[_keys_before(task, drawn)], starts[:-1]])
    repeats = drawn.repeats[: len(starts)]
    wrong = np.flatnonzero(repeats & (canonical_keys(starts) != canonical_keys(before.astype(np.uint8))))
    if len(wrong):
        frame = idle + int(wrong[0]) * frame_skip
        raise ReplayError(f"{name}: at frame {frame} the seed repeats the keys before, and others are held")


def _keys_before(task: Task, drawn: Disturbances) -> int:
    keys = start_keys(task)[drawn.start]
    return int(keys[-1]) if len(keys) else 0


def _results(games: TaskGames, keys: Sequence[NDArray[np.uint8]]) -> list[Played]:
    return [
        Played(games.disturbances[i].seed, run, float(games.meters[i]), ENDS[int(games.end[i])], float(score))
        for i, (run, score) in enumerate(zip(keys, games.scores(), strict=True))
    ]
