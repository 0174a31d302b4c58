"""GAIL and AIRL: PPO trains the clone against a discriminator.

The discriminator learns to tell the clone's decisions from the demonstrated ones, and its output is the
clone's reward. Ho & Ermon 2016, "Generative adversarial imitation learning"; Fu, Luo & Levine 2018, "Learning
robust rewards with adversarial inverse reinforcement learning". Both are implementations of `imitation`,
which requires Stable-Baselines3's PPO; the policy that they train is this project's network.

Both assume episodes of one length, but runs differ in length. GAIL's reward is positive, so staying alive
pays whatever the clone does. AIRL's may be negative, so an early fall may pay. Results:
docs/experiments/cloning.md.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qwop_bc.cloning import Cloning, EpochReport
from qwop_bc.rollouts import MAX_SECONDS
from qwop_datasets import Decisions
from qwop_game import FRAME_SECONDS, DisturbedVectorEnv, QWOPVectorEnv
from qwop_rl_core import TrainingError


@dataclass(frozen=True)
class AdversarialConfig:
    """Settings of --method gail and airl. Raises TrainingError for a setting out of range."""

    steps: int = 1_000_000
    """Decisions that the clone plays, in all games together; at least one rollout."""
    num_envs: int = 128
    """Number of games side by side."""
    rollout: int = 32
    """Decisions per game between two updates."""
    epochs: int = 4
    """Passes of PPO over a rollout."""
    discriminator_updates: int = 8
    """Batches per rollout that train the discriminator."""
    gamma: float = 0.99
    """Discount of the reward per decision."""
    reports: int = 20
    """How often the clone is measured during training."""

    def __post_init__(self) -> None:
        for name in ("steps", "num_envs", "rollout", "epochs", "discriminator_updates", "reports"):
            if getattr(self, name) < 1:
                raise TrainingError(f"adversarial.{name} is {getattr(self, name)}; it must be 1 or more")
        if not 0.0 < self.gamma < 1.0:
            raise TrainingError(f"adversarial.gamma is {self.gamma}; it must lie between 0 and 1")


def train_adversarially(
    cloning: Cloning,
    method: str,
    adversarial: AdversarialConfig,
    decisions: Sequence[Decisions],
    on_epoch: Callable[[EpochReport], None],
) -> None:
    """Train a clone against a discriminator, starting from its present weights.

    Args:
        cloning: the cloning.
        method: "gail" or "airl".
        adversarial: the settings.
        decisions: those that `cloning` was made from. The held-out ones are not used.
        on_epoch: called after each report.

    Raises:
        TrainingError: the loss is not finite.
    """
    import gymnasium
    from imitation.algorithms.adversarial.airl import AIRL
    from imitation.algorithms.adversarial.gail import GAIL
    from imitation.rewards.reward_nets import BasicRewardNet, BasicShapedRewardNet
    from imitation.util import logger, networks
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecNormalize

    from qwop_bc.adapter import GameVecEnv, NetworkPolicy

    class Generator(NetworkPolicy):
        """The clone's policy with what PPO needs besides: values and an optimizer."""

        def __init__(
            self, space: gymnasium.Space[Any], actions: gymnasium.Space[Any], schedule: Any, **_: Any
        ):
            super().__init__(cloning.network)
            self.optimizer = torch.optim.Adam(self.network.parameters(), schedule(1), eps=1e-5)

        def evaluate_actions(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pyright: ignore
            _, log_probs, entropies = super().evaluate_actions(obs, actions)
            return self.predict_values(obs), log_probs, entropies

    config = cloning.config
    device = next(cloning.network.parameters()).device
    games = QWOPVectorEnv(
        adversarial.num_envs,
        config.frame_skip,
        config.action_set,
        observation="features",
        max_frames=round(MAX_SECONDS / FRAME_SECONDS),
        trig=config.trig,
    )
    envs = GameVecEnv(DisturbedVectorEnv(games, seed=config.seed))
    demonstrations = _transitions(cloning, decisions)
    torch.manual_seed(config.seed)
    make_trainer, make_net = (GAIL, BasicRewardNet) if method == "gail" else (AIRL, BasicShapedRewardNet)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You have specified a mini-batch size", UserWarning)
        ppo = PPO(
            Generator,
            envs,
            learning_rate=config.learning_rate,
            n_steps=adversarial.rollout,
            batch_size=config.batch_size,
            n_epochs=adversarial.epochs,
            gamma=adversarial.gamma,
            ent_coef=config.entropy_coef,
            seed=config.seed,
            device=device,
        )
        trainer = make_trainer(
            demonstrations=demonstrations,
            demo_batch_size=min(1024, len(demonstrations)),
            venv=envs,
            gen_algo=ppo,
            reward_net=make_net(
                envs.observation_space, envs.action_space, normalize_input_layer=networks.RunningNorm
            ),
            allow_variable_horizon=True,
            custom_logger=logger.configure(folder, []),
        )
        # Returns of several tens would saturate a new value network.
        ppo.set_env(VecNormalize(trainer.venv_train, norm_obs=False, gamma=adversarial.gamma))
        rounds = max(1, adversarial.steps // (adversarial.num_envs * adversarial.rollout))
        reports = {round(rounds * (i + 1) / adversarial.reports) for i in range(adversarial.reports)} | {
            rounds
        }
        for current in range(1, rounds + 1):
            trainer.train_gen()
            for _ in range(adversarial.discriminator_updates):
                with networks.training(trainer.reward_train):
                    trainer.train_disc()
            if current in reports:
                on_epoch(cloning.judge(play=config.play_every > 0))
    envs.close()


def _transitions(cloning: Cloning, decisions: Sequence[Decisions]) -> Any:
    """Return the training split as `imitation`'s Transitions."""
    from imitation.data.types import Transitions

    held_out = cloning.split.validation_episodes
    kept = [d for i, d in enumerate(decisions) if i not in held_out]
    # Of a single episode, only the first part is for training.
    lengths = [len(d) for d in kept] if held_out else [len(cloning.split.actions)]
    cut = list(zip(kept, lengths, strict=True))
    return Transitions(
        obs=np.concatenate([d.features[:n] for d, n in cut]),
        acts=np.concatenate([d.actions[:n] for d, n in cut]),
        next_obs=np.concatenate([d.features[1 : n + 1] for d, n in cut]),
        dones=np.concatenate([np.arange(len(d))[:n] == len(d) - 1 for d, n in cut]),
        infos=np.array([dict[str, Any]()] * sum(lengths)),
    )
