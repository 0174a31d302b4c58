"""Train a policy's critic on recorded runs, so that look-ahead and search judge by what such runs achieve.

The critic that PPO leaves behind values the policy's own play, with its falls. A run that looks ahead falls
less and runs faster, and other states are worth more to it. Here the critic learns the discounted distance
that follows in recorded runs, by regression (Lowrey et al. 2019, "Plan online, learn offline", fit theirs to
planned returns as well):

    V(s_t) = sum_k gamma^k (x_{t+k+1} - x_{t+k} - cost of a fall in frame t+k+1)    x: the torso's place, m

The sum ends at a fall.
Play with look-ahead, train the critic on these runs, look ahead with it. The policy stays as it is.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from qwop_datasets import Decisions, Episode, load_decisions
from qwop_game import PolicySpec
from qwop_game.gait import torso_x
from qwop_policy.critic_config import CriticConfig
from qwop_rl_core import (
    ActorCritic,
    CheckpointError,
    Policy,
    one_thread,
    prefixed,
    value_loss,
    without_training,
)

END_SHARE = 0.01
"""A run that is cut short or finishes says little about its last states: those of which more than this share
of the discounted frames would lie beyond its end are left out."""
HELD_OUT = 10
"""One run in so many is not trained on and measures how much the critic explains."""


@dataclass(frozen=True)
class CriticFit:
    """A policy with its new critic, and how well that predicts. `print` it for one line."""

    network: ActorCritic
    runs: int
    """Runs read, with those held out."""
    decisions: int
    """Decisions trained on."""
    explained: float
    """Share of the variance of the held-out runs' values that the critic explains; NaN without such runs."""

    def __str__(self) -> str:
        told = "" if math.isnan(self.explained) else f"; it explains {self.explained:.1%} of held-out runs"
        return f"critic of {self.decisions:,} decisions of {self.runs} runs{told}"


def train_critic(
    policy: str | os.PathLike[str] | Policy,
    runs: Sequence[str | os.PathLike[str]],
    config: CriticConfig | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> CriticFit:
    """Train a new critic for a policy on the runs of some datasets.

    Args:
        policy: a checkpoint, or a loaded policy; it is not changed.
        runs: datasets, such as `qwop-eval POLICY --lookahead --save RUNS.h5` writes.
        config: settings of the regression.
        on_batch: called after each gradient step with (steps done, steps in all).

    Returns:
        A copy of the network with the new critic.

    Raises:
        CheckpointError: the checkpoint can't be read, does not fit this game, or holds action values.
        DatasetError: a dataset is missing or damaged, or has no episode.
        ValueError: the runs are too short to say what follows a decision.
    """
    config = config or CriticConfig()
    loaded = policy if isinstance(policy, Policy) else Policy.load(policy)
    if not isinstance(loaded.network, ActorCritic):
        raise CheckpointError("a Q-network has no critic")
    try:
        spec = PolicySpec.from_metadata(loaded.metadata)
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    features: list[NDArray[np.float32]] = []
    values: list[NDArray[np.float32]] = []
    for path in runs:
        for episode, decisions in zip(*load_decisions(path, spec.frame_skip, spec.action_set), strict=True):
            known = distance_to_come(episode, decisions, config)
            features.append(decisions.features[: len(known)])
            values.append(known)
    if not sum(map(len, values)):
        raise ValueError("the runs are too short to train a critic")
    network = copy.deepcopy(loaded.network)
    explained = _fit(network, features, values, config, on_batch)
    trained = sum(len(part) for part in _training(values))
    return CriticFit(network, len(values), trained, explained)


def distance_to_come(episode: Episode, decisions: Decisions, config: CriticConfig) -> NDArray[np.float32]:
    """Return the value of each of a run's first K decisions, float32 [K], m.

    Args:
        episode: the run.
        decisions: its M decisions; K = M after a fall, else so many that the run's end hardly matters.
        config: discount and cost of a fall.
    """
    gained = np.diff(torso_x(episode.raw_observations))
    fell = episode.terminated and not episode.success
    if fell:
        gained[-1] -= config.fall_cost
    following = np.zeros(len(gained))
    total = 0.0
    for frame in reversed(range(len(gained))):
        total = float(gained[frame]) + config.gamma * total
        following[frame] = total
    starts = decisions.starts
    if not fell:
        unknown = math.log(END_SHARE) / math.log(config.gamma)  # frames
        starts = starts[starts < len(episode.raw_observations) - unknown]
    return following[starts].astype(np.float32)


def checkpoint_parts(
    policy: Policy, fit: CriticFit, config: CriticConfig, runs: Sequence[str]
) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Return tensors and metadata of a checkpoint: the policy's, without a training's state.

    Args:
        policy: the policy that the critic was trained for.
        fit: the result.
        config: settings of the regression.
        runs: SHA-256 of the datasets.
    """
    critic = {**asdict(config), "runs": fit.runs, "decisions": fit.decisions, "runs_sha256": list(runs)}
    kept = without_training(policy.metadata)
    return prefixed("network", fit.network.state_dict()), {**kept, "critic": critic}


def _training(values: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    return [part for run, part in enumerate(values) if run % HELD_OUT != HELD_OUT - 1]


@one_thread()
def _fit(
    network: ActorCritic,
    features: list[NDArray[np.float32]],
    values: list[NDArray[np.float32]],
    config: CriticConfig,
    on_batch: Callable[[int, int], None] | None,
) -> float:
    """Replace the network's critic by one of the given values. Returns the share that it explains."""
    generator = torch.Generator().manual_seed(config.seed)
    network.value = ActorCritic(network.feature_size, network.num_actions, network.hidden, generator).value
    inputs = network.normalizer(torch.from_numpy(np.concatenate(_training(features))))
    targets = torch.from_numpy(np.concatenate(_training(values)))
    network.value_mean.fill_(float(targets.mean()))
    network.value_std.fill_(max(float(targets.std(correction=0)), 1e-6))
    standardized = (targets - network.value_mean) / network.value_std
    optimizer = torch.optim.AdamW(
        network.value.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    steps = config.epochs * -(-len(inputs) // config.batch_size)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    done = 0
    for _ in range(config.epochs):
        order = torch.randperm(len(inputs), generator=generator)
        for start in range(0, len(order), config.batch_size):
            batch = order[start : start + config.batch_size]
            loss = value_loss(network.value(inputs[batch]).squeeze(-1), standardized[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            done += 1
            if on_batch is not None:
                on_batch(done, steps)
    held_out = range(HELD_OUT - 1, len(values), HELD_OUT)
    if not sum(len(values[run]) for run in held_out):
        return math.nan
    with torch.inference_mode():
        seen = torch.from_numpy(np.concatenate([features[run] for run in held_out]))
        wanted = torch.from_numpy(np.concatenate([values[run] for run in held_out]))
        error = (network.values(seen) - wanted).square().mean()
        return float(1.0 - error / wanted.var(correction=0))
