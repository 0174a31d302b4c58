"""Self-imitation: the clone plays, goes back where it fails, and trains on its best decisions.

The exact simulator takes a runner back to where it was some seconds before a fall. So a clone that falls in
most of its runs still sees whole runs, and the states before falls many times. Which decisions led on is
judged by a critic, which learns how soon failures follow a state: a decision is trained on if the state that
it led to is much safer than the one before. The clone's best decisions join the demonstrations, round after
round. It needs no expert, as DAgger does, and no reward: the policy only ever imitates actions.

This is cloning of filtered rollouts (Oh et al. 2018, "Self-Imitation Learning"; Wang et al. 2020, "Critic
Regularized Regression"), with the filter applied to single decisions rather than to whole runs.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qwop_bc.cloning import Cloning, EpochReport
from qwop_game import (
    FRAME_SECONDS,
    MAX_IDLE_FRAMES,
    REPEAT_PROBABILITY,
    GameBatch,
    StartStates,
)
from qwop_game.gait import upright
from qwop_rl_core import ActorCritic, Policy, TrainingError, gae

SAVE_SECONDS = 0.5
"""Time between two states to which a game can go back, s."""
WINDOW_SECONDS = 3.0
"""The speed that `min_speed` bounds and the share of `min_upright` are measured over this time, s."""
GET_GOING_SECONDS = 12.0
"""A run may be slow for so long at its start, s. People take 10 s for the first 10 m."""
GIVE_UP = 6
"""A game that failed this often without getting on starts again from the beginning."""
LAMBDA = 0.95
"""Weight of longer returns in the advantages."""
FIRST_CRITIC_EPOCHS = 5
"""Passes of the critic over the first round of play. It makes one over each later round."""
CRITIC_BATCH = 1024
"""Decisions per gradient step of the critic."""
CRITIC_LEARNING_RATE = 1e-3
"""Adam's step size for the critic."""


@dataclass(frozen=True)
class SelfImitationConfig:
    """Settings of --method self-imitation. Raises TrainingError for a setting out of range."""

    rounds: int = 40
    """Number of rounds. The first one trains on the demonstrations alone."""
    first_epochs: int = 30
    """Passes over the demonstrations in the first round, unless it begins with a clone."""
    epochs: int = 2
    """Passes per later round, over the demonstrations and the last `kept_rounds` rounds' own decisions."""
    games: int = 128
    """Games side by side. They continue from round to round."""
    seconds: float = 40.0
    """Time that each game plays per round, s of play."""
    temperature: float = 0.8
    """The clone's logits are divided by this before its actions are sampled."""
    back_seconds: float = 2.5
    """How far a game that failed goes back, s: twice as far after the second failure in a row, and so on."""
    min_speed: float = 1.2
    """A runner slower than this over 3 s has failed, m/s."""
    min_upright: float = 0.67
    """A runner that is upright for a smaller share of 3 s has failed."""
    horizon_seconds: float = 3.0
    """A failure after this time weighs 1/e of an immediate one, s."""
    best_share: float = 0.25
    """Share of the clone's own decisions to train on: those that lead on most."""
    kept_rounds: int = 3
    """Rounds whose own decisions are trained on."""

    def __post_init__(self) -> None:
        for name in ("rounds", "first_epochs", "epochs", "games", "kept_rounds"):
            if getattr(self, name) < 1:
                raise TrainingError(f"self_imitation.{name} is {getattr(self, name)}; it must be 1 or more")
        for name in ("seconds", "temperature", "back_seconds", "horizon_seconds", "best_share"):
            if not getattr(self, name) > 0:
                raise TrainingError(f"self_imitation.{name} is {getattr(self, name)}; it must be above 0")


def train_by_self_imitation(
    cloning: Cloning,
    config: SelfImitationConfig,
    on_epoch: Callable[[EpochReport], None],
    from_clone: bool = False,
) -> None:
    """Train a clone by self-imitation.

    Args:
        cloning: a new cloning.
        config: the settings.
        on_epoch: called after each round.
        from_clone: whether the network is a clone already. Then the first round is like the others.

    Raises:
        TrainingError: the loss is not finite.
    """
    demonstrations = cloning.batches.features, cloning.batches.actions
    own: deque[tuple[Tensor, Tensor]] = deque(maxlen=config.kept_rounds)
    practice = Practice(cloning, config)
    critic = Critic(cloning.network, config.horizon_seconds / practice.seconds, cloning.config.seed)
    settings = cloning.config
    for current in range(config.rounds):
        figures: dict[str, float] = {}
        if from_clone or current > 0:
            played = practice.play()
            own.append(best_decisions(played, critic.advantages(played), config.best_share))
            cloning.batches.replace(
                torch.cat([demonstrations[0], *(features for features, _ in own)]),
                torch.cat([demonstrations[1], *(actions for _, actions in own)]),
            )
            figures = {
                "practice/failures_per_minute": played.failed.sum() / (config.games * config.seconds / 60.0),
                "practice/finished": float(played.succeeded.sum()),
                "practice/critic_explained": critic.explained,
            }
        epochs = config.epochs if from_clone or current else config.first_epochs
        _train_with_decay(cloning, epochs, 1.0 - current / config.rounds)
        last = current + 1 == config.rounds
        play = settings.play_every > 0 and (last or (current + 1) % settings.play_every == 0)
        on_epoch(dataclasses.replace(cloning.judge(play), practice=figures))
    practice.close()


def _train_with_decay(cloning: Cloning, epochs: int, scale: float) -> None:
    """Train with a learning rate that falls from epoch to epoch to 1 / epochs of the first one's.

    A clone after steps of full size is a worse runner than one after small last steps.

    Args:
        cloning: what to train.
        epochs: number of passes.
        scale: share of the configured learning rate in the first pass.
    """
    groups = cloning.bc.optimizer.param_groups
    for epoch in range(epochs):
        for group in groups:
            group["lr"] = cloning.config.learning_rate * scale * (1.0 - epoch / epochs)
        cloning.train_epochs(1)


@dataclass(frozen=True)
class Played:
    """What a round of play gives: T decisions of each of B games, one after the other."""

    features: NDArray[np.float32]
    """Before each decision and after the last one, [T + 1, B, D]. Where a game went back or began again, the
    next row is not the one that the decision led to."""
    actions: NDArray[np.int64]
    """[T, B]"""
    own: NDArray[np.bool_]
    """Whether the action was the clone's choice, neither an idle frame nor a repeat, [T, B]."""
    failed: NDArray[np.bool_]
    """Whether the game failed in this decision: it fell, was too slow or not upright, [T, B]."""
    succeeded: NDArray[np.bool_]
    """Whether the run finished in this decision, [T, B]."""


State = tuple[NDArray[np.uint8], int, int]
"""A state to go back to: snapshot [S], hip mode, last keys."""


class Practice:
    """Games that the clone plays under protocol P, and that go back after each failure.

    Attributes:
        games: the games.
        lengths: decisions of each game's run, without those that were undone, [B].
    """

    def __init__(self, cloning: Cloning, config: SelfImitationConfig):
        """Start the games.

        Args:
            cloning: whose network plays.
            config: the settings.
        """
        settings, number = cloning.config, config.games
        frames = settings.frame_skip
        self.cloning, self.config = cloning, config
        self.rng = np.random.default_rng(settings.seed)
        device = next(cloning.network.parameters()).device
        self.generator = torch.Generator(device).manual_seed(settings.seed)
        self.games = GameBatch(
            number, frames, settings.action_set, "features", None, "auto", trig=settings.trig
        )
        self.games.reset()
        self.seconds = frames * FRAME_SECONDS
        self.no_keys = int(np.flatnonzero(self.games.action_masks == 0)[0])
        self.previous = np.full(number, self.no_keys)
        self.idle = self._idle_decisions(number)
        self.lengths = np.zeros(number, np.int64)
        self.failed_at = np.zeros(number, np.int64)  # most decisions after which the run failed
        self.failures = np.zeros(number, np.int64)  # since the run got on
        self.unbroken = np.zeros(number, np.int64)  # decisions since the run started or went back
        window = self._decisions(WINDOW_SECONDS)
        self.meters: deque[NDArray[np.float64]] = deque(maxlen=window + 1)
        self.upright: deque[NDArray[np.bool_]] = deque(maxlen=window)
        self.saved: list[list[tuple[int, State]]] = [
            [] for _ in range(number)
        ]  # with the decisions until then
        self.steps = 0

    def _decisions(self, seconds: float) -> int:
        return max(1, round(seconds / self.seconds))

    def _idle_decisions(self, number: int) -> NDArray[np.int64]:
        """Draw protocol P's idle frames, in whole decisions."""
        return self.rng.integers(0, MAX_IDLE_FRAMES + 1, number) // self.cloning.config.frame_skip

    def play(self) -> Played:
        """Play `config.seconds` in each game."""
        games, config = self.games, self.config
        number = config.games
        policy = Policy(self.cloning.network, {}, next(self.cloning.network.parameters()).device)
        features: list[NDArray[np.float32]] = []
        actions: list[NDArray[np.int64]] = []
        own: list[NDArray[np.bool_]] = []
        failed: list[NDArray[np.bool_]] = []
        succeeded: list[NDArray[np.bool_]] = []
        for _ in range(self._decisions(config.seconds)):
            features.append(games.observations())
            if self.steps % self._decisions(SAVE_SECONDS) == 0:
                self._save()
            self.steps += 1
            chosen = policy.act(features[-1], True, self.generator, config.temperature)
            idle = self.idle > 0
            self.idle -= idle
            repeated = self.rng.random(number) < REPEAT_PROBABILITY
            self.previous = np.where(idle, self.no_keys, np.where(repeated, self.previous, chosen))
            actions.append(self.previous)
            own.append(~idle & ~repeated)
            _, terminated, _ = games.step(games.action_masks[self.previous])
            self.lengths += 1
            self.unbroken += 1
            succeeded.append(terminated & games.success)
            failed.append(~succeeded[-1] & (terminated | self._slow_or_not_upright()))
            self._continue(failed[-1], succeeded[-1])
        features.append(games.observations())
        return Played(
            np.stack(features), np.stack(actions), np.stack(own), np.stack(failed), np.stack(succeeded)
        )

    def _save(self) -> None:
        """Save the states of all games, to go back to."""
        snapshots = self.games.simulator.snapshot()
        for i, saved in enumerate(self.saved):
            state = snapshots[i].copy(), int(self.games.hip_mode[i]), int(self.games.keys[i])
            saved.append((int(self.lengths[i]), state))

    def _slow_or_not_upright(self) -> NDArray[np.bool_]:
        """Whether each game was too slow, or too seldom upright. A run has 12 s to get going."""
        simulator, window = self.games.simulator, self._decisions(WINDOW_SECONDS)
        self.meters.append(simulator.distance.astype(np.float64))
        self.upright.append(upright(simulator.raw_observation))
        slow = (self.meters[-1] - self.meters[0]) / WINDOW_SECONDS < self.config.min_speed
        low = np.mean(self.upright, axis=0) < self.config.min_upright
        return (self.unbroken > window) & (low | (slow & (self.lengths > self._decisions(GET_GOING_SECONDS))))

    def _continue(self, failed: NDArray[np.bool_], succeeded: NDArray[np.bool_]) -> None:
        """Put games that failed back, and start those anew that finished or failed too often."""
        back = self._decisions(self.config.back_seconds)
        self.failures[self.lengths > self.failed_at + back] = 0
        over = succeeded.copy()
        states: dict[int, State] = {}
        for i in map(int, np.flatnonzero(failed)):
            self.failures[i] += 1
            self.failed_at[i] = max(self.failed_at[i], self.lengths[i])
            target = self.lengths[i] - back * self.failures[i]
            saved = self.saved[i]
            while len(saved) > 1 and saved[-1][0] > target:
                saved.pop()
            over[i] = not saved or self.failures[i] >= GIVE_UP
            if not over[i]:
                self.lengths[i], states[i] = saved[-1]
        if over.any():
            self.games.reset(over)
            self.lengths[over] = self.failed_at[over] = self.failures[over] = 0
            self.idle[over] = self._idle_decisions(int(over.sum()))
            for i in map(int, np.flatnonzero(over)):
                self.saved[i] = []
        _restore(self.games, states)
        moved = over | failed
        self.previous = np.where(moved, self.no_keys, self.previous)
        self.unbroken[moved] = 0

    def close(self) -> None:
        """Close the games."""
        self.games.simulator.close()


def _restore(games: GameBatch, states: Mapping[int, State]) -> None:
    """Put games into states, by the game's number."""
    if not states:
        return
    rows = games.simulator.snapshot()
    hip_mode, last_keys = games.hip_mode.copy(), games.keys.copy()
    where = np.zeros(games.num_envs, bool)
    for game, state in states.items():
        where[game] = True
        rows[game], hip_mode[game], last_keys[game] = state
    games.reset(where, StartStates(where, rows, hip_mode, last_keys))


class Critic:
    """Learns how soon failures follow a state.

    Its value is minus the expected exp(-time to the failure / horizon): 0 in safety, -1 in a fall. It is the
    value MLP of the clone's network.

    Attributes:
        explained: share of the variance of the last round's returns that it explained beforehand.
    """

    def __init__(self, network: ActorCritic, horizon: float, seed: int):
        """Start with an untrained critic.

        Args:
            network: the clone's.
            horizon: decisions after which a failure weighs 1/e of an immediate one.
            seed: seed of the batches.
        """
        self.network, self.gamma = network, math.exp(-1.0 / horizon)
        self.optimizer = torch.optim.Adam(network.value.parameters(), CRITIC_LEARNING_RATE)
        self.generator = torch.Generator().manual_seed(seed)
        self.explained = math.nan

    def advantages(self, played: Played) -> Tensor:
        """Judge the decisions of a round of play, and learn from the round.

        In the first round the critic learns before it judges.

        Returns:
            How much more than expected each decision led away from failures, [T, B].
        """
        features = torch.from_numpy(played.features)
        first = math.isnan(self.explained)
        values = self._values(features)
        returns = self._advantages(played, values, 1.0) + values[:-1]
        for _ in range(FIRST_CRITIC_EPOCHS if first else 1):
            self._learn(features[:-1].flatten(0, 1), returns.flatten())
        errors = (returns - values[:-1]).square().mean() / returns.var()
        self.explained = 1.0 - float(errors)
        return self._advantages(played, self._values(features) if first else values, LAMBDA)

    def _learn(self, features: Tensor, returns: Tensor) -> None:
        """Make one pass of gradient steps: features [M, D], returns [M]."""
        order = torch.randperm(len(returns), generator=self.generator)
        for index in torch.split(order, CRITIC_BATCH):
            loss = (self.network.values(features[index]) - returns[index]).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    @torch.no_grad()
    def _values(self, features: Tensor) -> Tensor:
        """Values [T] of features [T, B, D], [T, B]: row by row, as all at once would need much memory."""
        return torch.stack([self.network.values(rows) for rows in features])

    def _advantages(self, played: Played, values: Tensor, lambda_: float) -> Tensor:
        failed, over = torch.from_numpy(played.failed), torch.from_numpy(played.failed | played.succeeded)
        return gae(
            -failed.float(), values[:-1], values[1:], over, torch.zeros_like(over), self.gamma, lambda_
        )


def best_decisions(played: Played, advantages: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Choose the clone's own decisions with the largest advantages.

    Args:
        played: a round of play.
        advantages: of its decisions, [T, B].
        share: share of the own decisions to choose.

    Returns:
        Features [M, D] and actions [M].
    """
    own = torch.from_numpy(played.own)
    count = max(1, round(share * int(own.sum())))
    threshold = advantages[own].topk(count).values[-1]
    chosen = own & (advantages >= threshold)
    return torch.from_numpy(played.features)[:-1][chosen], torch.from_numpy(played.actions)[chosen]
