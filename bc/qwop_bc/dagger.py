"""DAgger: the clone plays, an expert says what it would have done there, the clone learns that too.

Ross, Gordon & Bagnell 2011, "A reduction of imitation learning and structured prediction to no-regret online
learning". The demonstrations stand for the first round's expert, later rounds are the clone's own (the
paper's beta_i = [i = 1]). The expert is a policy: no person can answer for a state many times a second.
"""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from qwop_bc.cloning import Cloning, EpochReport
from qwop_bc.playing import MAX_SECONDS
from qwop_game import FRAME_SECONDS, DisturbedVectorEnv, QWOPVectorEnv
from qwop_rl_core import ActorCritic, TrainingError


@dataclass(frozen=True)
class DaggerConfig:
    """Settings of --method dagger."""

    rounds: int = 10
    """Rounds; the first learns from the demonstrations alone."""
    episodes: int = 32
    """Episodes that the clone plays and the expert corrects, a round."""
    epochs: int = 4
    """Passes over all decisions so far, a round."""

    def __post_init__(self) -> None:
        for name in ("rounds", "episodes", "epochs"):
            if getattr(self, name) < 1:
                raise TrainingError(f"dagger.{name} is {getattr(self, name)}; at least 1 is needed")


def train_by_dagger(
    cloning: Cloning, dagger: DaggerConfig, expert: ActorCritic, on_epoch: Callable[[EpochReport], None]
) -> None:
    """Train `cloning`, fresh; `on_epoch` is called after each round.

    expert: its likeliest action is the label; it takes what the clone takes and has the same actions.
    """
    from imitation.algorithms.dagger import InteractiveTrajectoryCollector
    from imitation.data import rollout

    from qwop_bc.adapter import GameVecEnv, NetworkPolicy

    config = cloning.config
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)  # of the clone's sampled actions
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
    for current in range(dagger.rounds):
        if current > 0:
            with (
                tempfile.TemporaryDirectory() as folder,
                _quiet(),
            ):  # the collector stores what it returns, too
                collector = InteractiveTrajectoryCollector(
                    envs, lambda seen: cloning.bc.policy.predict(seen)[0], beta=0.0, save_dir=folder, rng=rng
                )
                # The policy asked here is the expert; the collector plays the clone's actions in their place.
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
def _quiet() -> Iterator[None]:
    """Without the progress bar that storing shows for every episode, and a warning for every decision."""
    from datasets import disable_progress_bars, enable_progress_bars

    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "keys will default to True", DeprecationWarning)
            yield
    finally:
        enable_progress_bars()
