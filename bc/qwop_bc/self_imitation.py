"""Self-imitation: the clone plays, goes back where it fails, and trains on what led on.

The exact simulator takes a runner back to where it was some seconds before a fall. So a clone that falls in
most of its runs still plays whole runs: each attempt that falls, slows down or rests on a knee is undone and
tried again with other samples. What is left is what the clone does where it does well, in the states that it
gets into; these decisions join the demonstrations. It needs no expert, as DAgger does, and no reward.

This is cloning of filtered rollouts (Oh et al. 2018, "Self-Imitation Learning"; Gulcehre et al. 2023,
"Reinforced Self-Training (ReST) for Language Modeling"), with the filter applied every few seconds rather
than once per run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from qwop_bc.cloning import Cloning, EpochReport
from qwop_bc.rollouts import MAX_SECONDS
from qwop_game import (
    FRAME_SECONDS,
    MAX_IDLE_FRAMES,
    REPEAT_PROBABILITY,
    GameBatch,
    StartStates,
)
from qwop_game.gait import knee_near
from qwop_rl_core import Policy, TrainingError

SAVE_SECONDS = 0.5
"""Time between two states to which a game can go back, s."""
SPEED_SECONDS = 3.0
"""The speed that `min_speed` bounds is measured over this time, s."""
KNEE_SECONDS = 1.0
"""A knee near the track for this long without a break is a failure, s."""
FARTHER_BACK = 4
"""After each such number of failures in a row a game goes back by another `back_seconds`."""
GIVE_UP = 24
"""A game that failed this often without getting on starts again from the beginning."""


@dataclass(frozen=True)
class SelfImitationConfig:
    """Settings of --method self-imitation. Raises TrainingError for a setting out of range."""

    rounds: int = 12
    """Number of rounds. The first one trains on the demonstrations alone."""
    first_epochs: int = 60
    """Passes over the demonstrations in the first round."""
    epochs: int = 4
    """Passes per later round, over the demonstrations and the last `kept_rounds` rounds' own runs."""
    games: int = 192
    """Games side by side."""
    seconds: float = 80.0
    """Time that each game plays per round, s of play."""
    temperature: float = 0.8
    """The clone's logits are divided by this before its actions are sampled."""
    back_seconds: float = 2.5
    """How far a game that failed goes back, s."""
    min_speed: float = 0.8
    """A runner slower than this over 3 s has failed, m/s."""
    kept_rounds: int = 5
    """Rounds whose own runs are trained on."""

    def __post_init__(self) -> None:
        for name in ("rounds", "first_epochs", "epochs", "games", "kept_rounds"):
            if getattr(self, name) < 1:
                raise TrainingError(f"self_imitation.{name} is {getattr(self, name)}; it must be 1 or more")
        for name in ("seconds", "temperature", "back_seconds"):
            if not getattr(self, name) > 0:
                raise TrainingError(f"self_imitation.{name} is {getattr(self, name)}; it must be above 0")


@dataclass(frozen=True)
class Practice:
    """What a round of play gives."""

    features: NDArray[np.float32]
    """Before each decision that was not undone, [M, D]."""
    actions: NDArray[np.int64]
    """[M]"""
    finished: int
    """Runs that finished."""
    failures: int
    """Attempts that were undone."""


def train_by_self_imitation(
    cloning: Cloning, config: SelfImitationConfig, on_epoch: Callable[[EpochReport], None]
) -> None:
    """Train a clone by self-imitation.

    Args:
        cloning: a new cloning.
        config: the settings.
        on_epoch: called after each round.

    Raises:
        TrainingError: the loss is not finite.
    """
    demonstrations = cloning.batches.features, cloning.batches.actions
    own: deque[tuple[torch.Tensor, torch.Tensor]] = deque(maxlen=config.kept_rounds)
    for current in range(config.rounds):
        if current > 0:
            played = practice(cloning, config, seed=cloning.config.seed + current)
            own.append((torch.from_numpy(played.features), torch.from_numpy(played.actions)))
            cloning.batches.replace(
                torch.cat([demonstrations[0], *(features for features, _ in own)]),
                torch.cat([demonstrations[1], *(actions for _, actions in own)]),
            )
        _train_with_decay(cloning, config.epochs if current else config.first_epochs)
        on_epoch(cloning.judge(play=cloning.config.play_every > 0))


def _train_with_decay(cloning: Cloning, epochs: int) -> None:
    """Train with a learning rate that falls from epoch to epoch to 1 / epochs of the first one's.

    A clone after steps of full size is a worse runner than one after small last steps.
    """
    groups = cloning.bc.optimizer.param_groups
    for epoch in range(epochs):
        for group in groups:
            group["lr"] = cloning.config.learning_rate * (1.0 - epoch / epochs)
        cloning.train_epochs(1)


@dataclass
class _Attempt:
    """The run of one game so far."""

    features: list[NDArray[np.float32]] = field(default_factory=list[NDArray[np.float32]])
    """[D] before each decision."""
    actions: list[int] = field(default_factory=list[int])
    """The clone's choices; -1 where a repeat was played instead."""
    meters: list[float] = field(default_factory=list[float])
    """Before each decision, m."""
    knee: list[bool] = field(default_factory=list[bool])
    """Whether a knee was near the track before each decision."""
    saved: list[tuple[int, NDArray[np.uint8], int, int]] = field(
        default_factory=list[tuple[int, NDArray[np.uint8], int, int]]
    )
    """States to go back to: decisions until then, snapshot [S], hip mode, last keys."""
    idle: int = 0
    """Decisions without keys that are left before the first one."""
    failures: int = 0
    """Failures since the runner got on."""
    farthest: int = 0
    """Most decisions that it has reached."""

    def back_to(self, decisions: int) -> None:
        for column in (self.features, self.actions, self.meters, self.knee):
            del column[decisions:]


def practice(cloning: Cloning, config: SelfImitationConfig, seed: int) -> Practice:
    """Play for `config.seconds` in `config.games` games under protocol P, and go back after each failure.

    Args:
        cloning: whose network plays.
        config: the settings.
        seed: seed of the samples and the disturbances.

    Returns:
        The decisions of all runs that were not undone. Of a run that has not ended, the last `back_seconds`
        are left out: it may be about to fall.
    """
    settings = cloning.config
    frames = settings.frame_skip
    seconds = frames * FRAME_SECONDS
    back, save, speed, knee, limit = (
        max(1, round(t / seconds))
        for t in (config.back_seconds, SAVE_SECONDS, SPEED_SECONDS, KNEE_SECONDS, MAX_SECONDS)
    )
    rng = np.random.default_rng(seed)
    device = next(cloning.network.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    policy = Policy(cloning.network, {}, device)
    games = GameBatch(config.games, frames, settings.action_set, "features", None, "auto", trig=settings.trig)
    games.reset()
    simulator = games.simulator
    no_keys = int(np.flatnonzero(games.action_masks == 0)[0])
    attempts = [_begin(rng, frames) for _ in range(config.games)]
    previous = np.full(config.games, no_keys)
    kept: list[_Attempt] = []
    finished = failures = 0

    for step in range(round(config.seconds / seconds)):
        observations = games.observations()
        actions = policy.act(observations, True, generator, config.temperature)
        repeated = rng.random(config.games) < REPEAT_PROBABILITY
        played = np.where(repeated, previous, actions)
        meters = simulator.distance.copy()
        near = knee_near(simulator.raw_observation)
        snapshots = simulator.snapshot() if step % save == 0 else None
        for i, attempt in enumerate(attempts):
            if attempt.idle:
                attempt.idle -= 1
                played[i] = no_keys
                continue
            if snapshots is not None:
                state = snapshots[i].copy(), int(games.hip_mode[i]), int(games.keys[i])
                attempt.saved.append((len(attempt.actions), *state))
            attempt.features.append(observations[i])
            attempt.actions.append(-1 if repeated[i] else int(actions[i]))
            attempt.meters.append(float(meters[i]))
            attempt.knee.append(bool(near[i]))
        _, terminated, _ = games.step(games.action_masks[played])
        previous = played
        again = np.zeros(config.games, bool)  # games to start anew
        undone = np.zeros(config.games, bool)  # games to put back
        for i, attempt in enumerate(attempts):
            length = len(attempt.actions)
            if terminated[i] and games.success[i]:
                kept.append(attempt)
                finished += 1
                again[i] = True
            elif terminated[i] or length >= limit or _fails(attempt, speed, speed * seconds, config, knee):
                failures += 1
                attempt.failures += 1
                target = length - back * (1 + attempt.failures // FARTHER_BACK)
                while attempt.saved and attempt.saved[-1][0] > target:
                    attempt.saved.pop()
                undone[i] = bool(attempt.saved) and attempt.failures < GIVE_UP
                again[i] = not undone[i]
            elif length > attempt.farthest + back:
                attempt.farthest, attempt.failures = length, 0
        for i in np.flatnonzero(again).tolist():
            attempts[i], previous[i] = _begin(rng, frames), no_keys
        if again.any():
            games.reset(again)
        if undone.any():
            _go_back(games, attempts, undone, previous, no_keys)
    simulator.close()

    for attempt in attempts:
        attempt.back_to(max(0, len(attempt.actions) - back))
    kept += attempts
    features = [row for attempt in kept for row in attempt.features]
    chosen = np.array([action for attempt in kept for action in attempt.actions], np.int64)
    own = chosen >= 0
    stacked = np.array(features, np.float32).reshape(len(chosen), cloning.network.feature_size)
    return Practice(stacked[own], chosen[own], finished, failures)


def _begin(rng: np.random.Generator, frames: int) -> _Attempt:
    """Start a run with protocol P's idle frames, in whole decisions."""
    return _Attempt(idle=int(rng.integers(0, MAX_IDLE_FRAMES + 1)) // frames)


def _fails(attempt: _Attempt, speed: int, seconds: float, config: SelfImitationConfig, knee: int) -> bool:
    """Whether a run is too slow or on a knee. It has six seconds to get going."""
    meters = attempt.meters
    slow = len(meters) > 2 * speed and (meters[-1] - meters[-speed]) / seconds < config.min_speed
    return slow or (len(attempt.knee) >= knee and all(attempt.knee[-knee:]))


def _go_back(
    games: GameBatch,
    attempts: list[_Attempt],
    undone: NDArray[np.bool_],
    previous: NDArray[np.int64],
    no_keys: int,
) -> None:
    """Put the games `undone`, bool [N], at the last saved state of their attempt."""
    rows = games.simulator.snapshot()
    hip_mode, last_keys = games.hip_mode.copy(), games.keys.copy()
    for i, attempt in enumerate(attempts):
        if undone[i]:
            decisions, rows[i], hip_mode[i], last_keys[i] = attempt.saved[-1]
            attempt.back_to(decisions)
            played = attempt.actions[-1] if attempt.actions else -1
            previous[i] = no_keys if played < 0 else played
    games.reset(undone, StartStates(undone, rows, hip_mode, last_keys))
