"""Demonstrations for the learner: episodes of a dataset as decisions, as transitions, as start states."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import DatasetError, Decisions, Episode, load_decisions
from qwop_game import FRAME_SECONDS, Simulator, StartStates, hip_modes, last_keys
from qwop_rewards import run_rewards
from qwop_rl_core import Transitions

START_SECONDS = 2.0
"""Start states are at least this far into a demonstration: every episode visits earlier states anyway."""
START_EVERY_FRAMES = 7
"""Frames between two start states of a demonstration; odd, so that all phases of a decision occur."""
MAX_STARTS = 2000
"""Most start states kept, 14 KB each."""


@dataclass(frozen=True)
class Demonstrations:
    """Episodes of a dataset and their decisions, in the same order."""

    episodes: tuple[Episode, ...]
    decisions: tuple[Decisions, ...]
    frame_skip: int

    @property
    def features(self) -> NDArray[np.float32]:
        """Features before each of the M decisions of all episodes, float32 [M, D]."""
        return np.concatenate([d.features[:-1] for d in self.decisions])

    @property
    def actions(self) -> NDArray[np.int64]:
        """Actions of the M decisions of all episodes, int64 [M]."""
        return np.concatenate([d.actions for d in self.decisions])

    @property
    def sha256(self) -> str:
        """SHA-256 of features and actions; a resumed training must have the same."""
        return hashlib.sha256(self.features.tobytes() + self.actions.tobytes()).hexdigest()

    def transitions(self, reward: str, options: Mapping[str, Any]) -> Transitions:
        """Return the demonstrations for a replay buffer, with the rewards that the environment would pay.

        An episode ends early where the reward calls it failed.

        Args:
            reward: name of the reward, see `make_reward`.
            options: options of the reward.

        Returns:
            The transitions of all episodes.

        Raises:
            ValueError: the reward or an option is unknown.
        """
        runs = [_from(int(d.starts[0]), e) for e, d in zip(self.episodes, self.decisions, strict=True)]
        columns: dict[str, list[NDArray[Any]]] = {name: [] for name in Transitions.__dataclass_fields__}
        rewarded = run_rewards(reward, runs, self.frame_skip, **options)
        for run, d, result in zip(runs, self.decisions, rewarded, strict=True):
            steps = len(result.rewards)  # fewer than there are decisions where the run failed
            last = np.arange(steps) == steps - 1
            terminated = last & (run.terminated or result.failed_frame is not None)
            columns["observation"].append(d.features[:steps])
            columns["action"].append(d.actions[:steps])
            columns["reward"].append(result.rewards)
            columns["next_observation"].append(d.features[1 : steps + 1])
            columns["terminated"].append(terminated)
            columns["truncated"].append(last & ~terminated)
        return Transitions(**{name: np.concatenate(parts) for name, parts in columns.items()})


def load_demonstrations(
    path: str | os.PathLike[str], frame_skip: int, action_set: str, where: str = ""
) -> Demonstrations:
    """Load episodes of a dataset and cut them into decisions.

    Args:
        path: the dataset.
        frame_skip: frames per decision.
        action_set: name of the action set.
        where: filter of the episodes, such as "success"; all without it.

    Raises:
        DatasetError: the file is missing or damaged, or no episode matches; one line.
    """
    episodes, decisions = load_decisions(path, frame_skip, action_set, where)
    return Demonstrations(tuple(episodes), tuple(decisions), frame_skip)


def _from(frame: int, episode: Episode) -> Episode:
    """Return the rest of an episode, without what only the whole episode has."""
    return Episode(
        keys=episode.keys[frame:],
        raw_observations=episode.raw_observations[frame:],
        times=episode.times[frame:],
        terminated=episode.terminated,
        truncated=episode.truncated,
        success=episode.success,
        source=episode.source,
        action_set=episode.action_set,
    )


class DemonstratedStarts:
    """Start a share of the episodes at states of the demonstrations (`QWOPVectorEnv.start_states`).

    With this reset curriculum a learner practices early what comes late in a run, such as the hurdle at 50 m.

    Args:
        episodes: demonstrations. Those that do not replay bit for bit in this simulator give no states.
        share: share of the episodes, 0 to 1.
        num_envs: number N of games.
        generator: source of the draws.

    Raises:
        DatasetError: no episode gives a state; one line.
    """

    def __init__(
        self, episodes: Sequence[Episode], share: float, num_envs: int, generator: np.random.Generator
    ) -> None:
        self._share = share
        self._generator = generator
        states = demonstrated_states(episodes)
        self._snapshots, self._modes, self._keys = states.snapshots, states.hip_modes, states.last_keys
        self._rows = np.zeros((num_envs, self._snapshots.shape[1]), np.uint8)

    def __call__(self, mask: NDArray[np.bool_]) -> StartStates:
        """Choose start states for some of the games of `mask`, bool [N], which start an episode."""
        chosen = mask & (self._generator.random(len(mask)) < self._share)
        states = self._generator.integers(0, len(self._snapshots), len(mask))
        self._rows[chosen] = self._snapshots[states[chosen]]
        return StartStates(chosen, self._rows, self._modes[states], self._keys[states])


@dataclass(frozen=True)
class DemonstratedStates:
    """States of replayed demonstrations, K <= MAX_STARTS of them."""

    snapshots: NDArray[np.uint8]
    """[K, S]"""
    hip_modes: NDArray[np.uint8]
    """[K]"""
    last_keys: NDArray[np.uint8]
    """[K]"""
    seconds_left: NDArray[np.float64]
    """Time to the end of the demonstration, s, [K]"""


def demonstrated_states(episodes: Sequence[Episode]) -> DemonstratedStates:
    """Return states of demonstrations, every seventh frame or rarer where these are too many.

    States of the last second are omitted, because no decision can change the end any more.

    Raises:
        DatasetError: no demonstration replays in this game for long enough; one line.
    """
    first, margin = round(START_SECONDS / FRAME_SECONDS), round(1 / FRAME_SECONDS)
    candidates = sum(len(range(first, len(e) - margin, START_EVERY_FRAMES)) for e in episodes)
    every = START_EVERY_FRAMES * max(1, -(-candidates // MAX_STARTS))
    simulators = {trig: Simulator(1, trig=trig) for trig in {episode.trig for episode in episodes}}
    snapshots: list[NDArray[np.uint8]] = []
    modes: list[np.uint8] = []
    keys: list[np.uint8] = []
    left: list[float] = []
    for episode in episodes:
        simulator = simulators[episode.trig]
        mode, held = hip_modes(episode.keys), last_keys(episode.keys)
        simulator.begin(episode.start)
        for frame in range(len(episode) - margin):
            if frame >= first and (frame - first) % every == 0:
                if (simulator.raw_observation[0] != episode.raw_observations[frame]).any():
                    break
                snapshots.append(simulator.snapshot()[0])
                modes.append(mode[frame])
                keys.append(held[frame])
                left.append((len(episode) - frame) * FRAME_SECONDS)
            simulator.step(episode.keys[frame : frame + 1])
    for simulator in simulators.values():
        simulator.close()
    if not snapshots:
        raise DatasetError(
            f"no demonstration of more than {START_SECONDS:g} s replays in this game: omit --demo-starts"
        )
    return DemonstratedStates(
        np.stack(snapshots), np.array(modes, np.uint8), np.array(keys, np.uint8), np.array(left)
    )
