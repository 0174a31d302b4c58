"""DAgger: the clone plays, an expert labels the states it visits, and the clone trains on these labels too.

Ross, Gordon & Bagnell 2011, "A reduction of imitation learning and structured prediction to no-regret online
learning". The first round trains on the demonstrations; in later rounds the clone plays alone (the paper's
beta_i = [i = 1]). The expert is a policy, because a person can't label 30 states a second.
"""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from qwop_bc.cloning import Cloning, EpochReport
from qwop_bc.rollouts import MAX_SECONDS
from qwop_game import FRAME_SECONDS, DisturbedVectorEnv, QWOPVectorEnv
from qwop_rl_core import ActorCritic, TrainingError


@dataclass(frozen=True)
class DaggerConfig:
    """Settings of --method dagger. Raises TrainingError for a setting out of range."""

    rounds: int = 10
    """Number of rounds. The first one trains on the demonstrations alone."""
    episodes: int = 32
    """Episodes per round that the clone plays and the expert labels."""
    epochs: int = 4
    """Passes per round over all decisions collected so far."""

    def __post_init__(self) -> None:
        for name in ("rounds", "episodes", "epochs"):
            if getattr(self, name) < 1:
                raise TrainingError(f"dagger.{name} is {getattr(self, name)}; it must be 1 or more")


def train_by_dagger(
    cloning: Cloning, dagger: DaggerConfig, expert: ActorCritic, on_epoch: Callable[[EpochReport], None]
) -> None:
    """Train a clone by DAgger.

    Args:
        cloning: a new cloning.
        dagger: the settings.
        expert: policy with the features and actions of the clone. Its most likely action is the label.
        on_epoch: called after each round.

    Raises:
        TrainingError: the loss is not finite.
    """
    from imitation.algorithms.dagger import InteractiveTrajectoryCollector
    from imitation.data import rollout

    from qwop_bc.adapter import GameVecEnv, NetworkPolicy

    config = cloning.config
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)  # for the clone's sampled actions
    games = QWOPVectorEnv(
        dagger.episodes,
        config.frame_skip,
        config.action_set,
        observation="features",
        max_frames=round(MAX_SECONDS / FRAME_SECONDS),
        trig=config.trig,
    )
    envs = GameVecEnv(DisturbedVectorEnv(games, seed=config.seed))
    device = next(cloning.network.parameters()).device
    teacher = NetworkPolicy(expert).to(device)

    def choose(seen: NDArray[np.float32]) -> NDArray[np.int64]:
        return cast("NDArray[np.int64]", cloning.bc.policy.predict(seen)[0])

    for current in range(dagger.rounds):
        if current > 0:
            # The collector also writes to disk what it returns.
            with tempfile.TemporaryDirectory() as folder, _quiet():
                collector = InteractiveTrajectoryCollector(envs, choose, beta=0.0, save_dir=folder, rng=rng)
                # `teacher` chooses the labels; the collector plays the clone's actions instead.
                runs = rollout.generate_trajectories(
                    teacher,
                    collector,
                    rollout.make_min_episodes(dagger.episodes),
                    rng,
                    deterministic_policy=True,
                )
            labeled = rollout.flatten_trajectories(runs)
            cloning.batches.extend(
                torch.from_numpy(np.array(labeled.obs, np.float32)),
                torch.from_numpy(np.array(labeled.acts, np.int64)),
            )
        cloning.train_epochs(dagger.epochs)
        on_epoch(cloning.judge(play=config.play_every > 0))
    envs.close()


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Hide the collector's progress bar for every episode and its warning for every decision."""
    from datasets import disable_progress_bars, enable_progress_bars

    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "keys will default to True", DeprecationWarning)
            yield
    finally:
        enable_progress_bars()
