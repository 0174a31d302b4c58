"""Can a policy learn what its look-ahead finds? Values of single actions, and what predicts them.

    python benchmarks/action_values.py CHECKPOINT [--labels 50000] [--horizon 40]

In states of the policy's own play, the exact game is continued once for each of 4 actions: that action for
one decision, then the policy's best actions up to the horizon, then the critic's value (rollout policy
iteration with a critic, Gabillon et al. 2011). The 4 share the repeats of protocol P. It prints:

  luck      how far the best of the 4 exceeds the policy's own choice, and how much of this is left in another
            draw of the repeats: what a look-ahead can use
  learned   the same for the choice of a network that was trained on the other states' values, by the number
            of states: what a policy can use

Values are in units of the reward below; 1 is a meter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from qwop_cli import CommandError, parse_config, run_command, text_table
from qwop_evaluation import CheckpointPlayer, Player
from qwop_game import (
    DEFAULT_TRIG,
    FEATURE_SIZE,
    REPEAT_PROBABILITY,
    DisturbedVectorEnv,
    QWOPVectorEnv,
    StartStates,
)
from qwop_rewards import RewardVectorEnv
from qwop_rl_core import CheckpointError, load_header

PROGRAM = "action_values"

REWARD, OPTIONS = "stride", {"step_cost": 0.05, "fall_cost": 20.0, "knee_seconds": 0.25}
"""The reward, as in the last stage of demos/train_policy.py, without its term for posture."""
GAMMA = 0.9985
GAMES = 128
ACTIONS = 4
"""Actions tried in each state: the policy's own choice and draws from its distribution."""
STRIDE = 8
"""Decisions between two states of a game in which actions are tried."""
WARM_UP = 200
"""Decisions before the first, so that the games are not all at the start."""
LARGEST = 3.0
"""Differences of values are bounded by this: otherwise the few falls would decide alone."""
SAMPLED = 0.3
"""Share of the decisions of play that are drawn from the policy; the others are its best actions."""
HELD_OUT = 0.2
"""Share of the states, the last ones, on which the network's choice is judged."""
EPOCHS, BATCH, LEARNING_RATE, UNITS = 4, 512, 1e-3, 512
LOG_PROBABILITY_WEIGHT = 0.02
"""How much the policy's log-probability counts beside the network's values: close calls stay as they are."""


@dataclass(frozen=True)
class ActionValuesConfig:
    """Measure how much of the values of single actions a network can predict."""

    policy: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """The policy, with the critic that qwop-finetune trained on the reward below."""
    labels: int = 50_000
    """States in which actions are tried."""
    horizon: int = 40
    """Decisions that are simulated for each action."""
    futures: int = 1_024
    """States of which the values are simulated twice, with other repeats."""
    seed: int = 0
    """Seed of all draws."""

    def __post_init__(self) -> None:
        for name in ("labels", "horizon", "futures"):
            if getattr(self, name) < 1:
                raise CommandError(f"{name} is {getattr(self, name)}; it must be 1 or more")


@dataclass(frozen=True)
class Labels:
    """Values of ACTIONS actions in each of M states."""

    features: NDArray[np.float32]
    """[M, D]"""
    scores: NDArray[np.float64]
    """The policy's log-probabilities, [M, A]."""
    actions: NDArray[np.int64]
    """The actions tried, [M, ACTIONS]; the first one is the policy's own choice."""
    values: NDArray[np.float64]
    """[M, ACTIONS], bounded to LARGEST around that of the policy's choice."""
    again: NDArray[np.float64]
    """The same of the first states, with other repeats, [M' <= M, ACTIONS]."""


class Continuations:
    """Games that continue from given states, ACTIONS of each."""

    def __init__(self, player: Player, horizon: int, rng: np.random.Generator):
        self.player, self.horizon, self.rng = player, horizon, rng
        games = QWOPVectorEnv(
            GAMES * ACTIONS, player.frame_skip, player.action_set, "features", trig=DEFAULT_TRIG
        )
        games.start_states = lambda mask: self.start
        self.envs = RewardVectorEnv(games, REWARD, **OPTIONS)
        self.start: StartStates | None = None

    def values(self, games: QWOPVectorEnv, actions: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the value of each of the actions [GAMES, ACTIONS] in the games' present states."""
        snapshots, mode, keys = (
            np.repeat(array, ACTIONS, axis=0)
            for array in (games.games.simulator.snapshot(), games.games.hip_mode, games.games.keys)
        )
        self.start = StartStates(np.ones(len(keys), bool), snapshots, mode, keys)
        observations, _ = self.envs.reset()
        total, discount, going = np.zeros(len(keys)), 1.0, np.ones(len(keys), bool)
        held = actions.reshape(-1)
        for decision in range(self.horizon):
            if decision > 0:
                best = self.player.scores(observations).argmax(axis=1)
                repeated = np.repeat(self.rng.random(GAMES) < REPEAT_PROBABILITY, ACTIONS)
                held = np.where(repeated, held, best)
            observations, reward, terminated, truncated, _ = self.envs.step(held)
            total += discount * reward * going
            discount *= GAMMA
            going &= ~(terminated | truncated)
        values = self.player.values(observations)
        assert values is not None
        total = (total + discount * values * going).reshape(actions.shape)
        return total[:, :1] + np.clip(total - total[:, :1], -LARGEST, LARGEST)


def collect(player: Player, config: ActionValuesConfig) -> Labels:
    """Play protocol P, and try actions in every STRIDE-th state."""
    rng = np.random.default_rng(config.seed)
    games = QWOPVectorEnv(GAMES, player.frame_skip, player.action_set, "features", trig=DEFAULT_TRIG)
    envs = DisturbedVectorEnv(games)
    observations, _ = envs.reset(seed=config.seed)
    continuations = Continuations(player, config.horizon, rng)
    parts: list[tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]] = []
    again: list[NDArray[np.float64]] = []
    with tqdm(total=config.labels, unit="state", unit_scale=True) as bar:
        for decision in range(WARM_UP + -(-config.labels // GAMES) * STRIDE):
            scores = log_softmax(player.scores(observations))
            drawn = scores + rng.gumbel(size=scores.shape)
            if decision >= WARM_UP and decision % STRIDE == 0:
                order = drawn.copy()
                order[np.arange(GAMES), scores.argmax(axis=1)] = np.inf  # the policy's choice first
                actions = np.argsort(-order, axis=1, kind="stable")[:, :ACTIONS]
                values = continuations.values(games, actions)
                parts.append((observations.copy(), scores, actions, values))
                if len(again) * GAMES < config.futures:
                    again.append(continuations.values(games, actions))
                bar.update(GAMES)
            sampled = rng.random((GAMES, 1)) < SAMPLED
            observations, *_ = envs.step(np.where(sampled, drawn, scores).argmax(axis=1))
    envs.close()
    features, scores, actions, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Labels(features, scores, actions, values, np.concatenate(again))


def log_softmax(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the logarithms of softmax probabilities [N, A]."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def with_error(gains: NDArray[np.float64]) -> str:
    """Return a mean and its standard error as text."""
    return f"{gains.mean():+.4f} +- {gains.std() / np.sqrt(len(gains)):.4f}"


def luck(labels: Labels) -> list[list[str]]:
    """Compare the best action with the policy's choice, in the same and in another draw of the repeats."""
    values, again = labels.values[: len(labels.again)], labels.again
    best = values.argmax(axis=1)[:, None]
    found = {"the best of 4 actions": values, "the same actions, other repeats": again}
    return [
        [name, with_error((np.take_along_axis(those, best, 1) - those[:, :1])[:, 0])]
        for name, those in found.items()
    ]


def learned(labels: Labels, seed: int) -> list[list[str]]:
    """Train networks on growing parts of the states, and judge their choices on the held-out ones."""
    log_probabilities = torch.from_numpy(labels.scores).float()
    features = torch.from_numpy(labels.features)
    known = round(len(features) * (1.0 - HELD_OUT))
    mean, std = features[:known].mean(0), features[:known].std(0) + 1e-6
    inputs = torch.cat([(features - mean) / std, log_probabilities.clamp(min=-8.0)], dim=1)
    actions = torch.from_numpy(labels.actions)
    advantages = torch.from_numpy(labels.values - labels.values.mean(axis=1, keepdims=True)).float()
    advantages = advantages.clamp(-1.0, 1.0)
    gains = labels.values[known:] - labels.values[known:, :1]
    rows: list[list[str]] = []
    for share in (1 / 16, 1 / 4, 1):
        count = round(known * share)
        predicted = fit(inputs[:count], actions[:count], advantages[:count], seed)(inputs[known:])
        predicted = predicted.gather(1, actions[known:])
        predicted = predicted - predicted.mean(1, keepdim=True)
        explained = (
            1.0 - (predicted - advantages[known:]).square().mean() / advantages[known:].square().mean()
        )
        ranked = predicted + LOG_PROBABILITY_WEIGHT * log_probabilities[known:].gather(1, actions[known:])
        choice = ranked.argmax(dim=1).numpy()[:, None]
        rows.append(
            [
                f"a network's choice, {count} states",
                with_error(np.take_along_axis(gains, choice, 1)[:, 0]),
                f"explains {100 * float(explained):.1f} %, changes {100 * (choice > 0).mean():.0f} %",
            ]
        )
    return rows


def fit(inputs: Tensor, actions: Tensor, advantages: Tensor, seed: int) -> nn.Module:
    """Train a network that predicts the advantages [M, ACTIONS] of actions from inputs [M, D]."""
    torch.manual_seed(seed)
    layers = nn.Linear(inputs.shape[1], UNITS), nn.ReLU(), nn.Linear(UNITS, UNITS), nn.ReLU()
    network = nn.Sequential(*layers, nn.Linear(UNITS, int(actions.max()) + 1))
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=1e-2)
    for epoch in range(EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1.0 - epoch / EPOCHS)
        for batch in torch.randperm(len(inputs)).split(BATCH):
            predicted = network(inputs[batch]).gather(1, actions[batch])
            loss = (predicted - predicted.mean(1, keepdim=True) - advantages[batch]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.requires_grad_(False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    return run_command(
        PROGRAM, lambda: _measure(parse_config(PROGRAM, ActionValuesConfig, arguments)), CheckpointError
    )


def _measure(config: ActionValuesConfig) -> None:
    torch.set_num_threads(1)
    player = CheckpointPlayer(config.policy)
    values = player.values(np.zeros((1, FEATURE_SIZE), np.float32)) if player.samples else None
    if values is None or "critic" in load_header(config.policy).metadata:  # of qwop-policy critic
        raise CommandError(f"{config.policy}: needs a policy with the critic that qwop-finetune trained")
    labels = collect(player, config)
    rows = [[*row, ""] for row in luck(labels)] + learned(labels, config.seed)
    print(text_table(["choice", "better than the policy's", ""], rows))


if __name__ == "__main__":
    raise SystemExit(main())
