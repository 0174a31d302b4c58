"""Behavioral cloning with `imitation`'s BC on this project's network, with early stopping."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qwop_bc.metrics import Agreement, agreement
from qwop_bc.rollouts import RolloutSummary, rollout
from qwop_datasets import Decisions
from qwop_game import ACTION_SETS, DEFAULT_TRIG, Trig, action_masks
from qwop_rl_core import (
    ActorCritic,
    Checkpoint,
    CheckpointError,
    TrainingError,
    check_kinds,
    explained,
    load_network,
    optimizer_tensors,
    prefixed,
    restore_optimizer,
    section,
    select_device,
)


@dataclass(frozen=True)
class CloneConfig:
    """Settings of a cloning. Raises TrainingError for a setting out of range."""

    frame_skip: int = 4
    """Frames that one decision lasts."""
    action_set: str = "distinct"
    """Action set of the clone: distinct, full or reduced."""
    hidden: tuple[int, ...] = (256, 256)
    """Sizes of the hidden layers."""
    epochs: int = 200
    """Maximum number of passes over the training decisions."""
    patience: int = 20
    """Early stopping: epochs without an improvement before training ends."""
    batch_size: int = 256
    """Decisions per gradient step; fewer if the dataset has fewer."""
    learning_rate: float = 5e-4
    """Adam's step size."""
    entropy_coef: float = 1e-3
    """Weight of the entropy bonus, which prevents overconfidence."""
    l2_coef: float = 0.0
    """Weight of the L2 penalty."""
    balance: float = 0.0
    """Draw decisions by 1 / (frequency of their action)^balance. 0: as they are; 1: all actions equally."""
    validation: float = 0.15
    """Share of the episodes to hold out, at least one. Of a single episode, its last part is held out."""
    play_every: int = 10
    """Epochs between two plays in the game. Plays choose the best epoch, by finishes and then by distance.
    0: never play; the validation loss chooses."""
    play_episodes: int = 32
    """Episodes per play."""
    trig: Trig = DEFAULT_TRIG
    """Sine and cosine of the game that the clone plays: those of the browser whose game it equals bit for
    bit. Demonstrations of all variants are cloned alike."""
    drop_undetermined: bool = False
    """Train on no frames whose keys the record of a converted episode does not determine."""
    seed: int = 0
    """Seed of the weights, the split, the batches and the plays."""
    device: str = "auto"
    """Device to train on: auto (CUDA if available), cpu, cuda, cuda:1, ..."""
    threads: int = 0
    """CPU threads of PyTorch. 0: PyTorch's own choice."""

    def __post_init__(self) -> None:
        if self.action_set not in ACTION_SETS:
            raise TrainingError(f"action_set is {self.action_set!r}; choose one of {', '.join(ACTION_SETS)}")
        for name in ("frame_skip", "epochs", "patience", "batch_size", "play_episodes"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        for name in ("entropy_coef", "l2_coef", "balance", "play_every", "threads"):
            if not getattr(self, name) >= 0:
                raise TrainingError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        if not 0.0 < self.validation < 1.0:
            raise TrainingError(f"validation is {self.validation}; it must lie between 0 and 1")
        if not self.learning_rate > 0.0:
            raise TrainingError(f"learning_rate is {self.learning_rate}; it must be above 0")


@dataclass(frozen=True)
class Split:
    """Decisions for training and, from other episodes, for validation."""

    features: Tensor
    """Of the training decisions, float32 [M, D]."""
    actions: Tensor
    """Of the training decisions, int64 [M]."""
    validation_features: Tensor
    """float32 [V, D]"""
    validation_actions: Tensor
    """int64 [V]"""
    validation_episodes: tuple[int, ...]
    """Numbers of the held-out episodes; empty if the last part of the only episode is held out."""
    validation_lengths: tuple[int, ...]
    """Decisions of each held-out episode, in the order of `validation_features`."""


def split_decisions(
    decisions: list[Decisions], share: float, seed: int, drop_undetermined: bool = False
) -> Split:
    """Hold out whole episodes for validation, chosen at random.

    Neighboring decisions are so alike that holding out single ones would test nothing. Of a single episode,
    the last part is held out.

    Args:
        decisions: those of each episode.
        share: share of the episodes to hold out, above 0 and below 1; at least one is held out.
        seed: seed of the choice.
        drop_undetermined: train on no decision of whose frames the record does not determine all keys.

    Raises:
        TrainingError: there is a single episode of a single decision.
    """
    order = np.random.default_rng(seed).permutation(len(decisions))
    held_out = tuple(sorted(int(i) for i in order[: max(1, round(share * len(decisions)))]))
    if len(decisions) > 1:
        held_out = held_out[: len(decisions) - 1]
        training = [
            _chosen(d, slice(len(d)), drop_undetermined) for i, d in enumerate(decisions) if i not in held_out
        ]
        validation = [(decisions[i].features[:-1], decisions[i].actions) for i in held_out]
    else:
        only = decisions[0]
        if len(only) < 2:
            raise TrainingError(
                f"the dataset has one episode of {len(only)} decisions; record more, or lower frame_skip"
            )
        cut = len(only) - max(1, round(share * len(only)))
        training = [_chosen(only, slice(cut), drop_undetermined)]
        validation = [(only.features[cut:-1], only.actions[cut:])]
        held_out = ()

    def joined(parts: list[tuple[NDArray[np.float32], NDArray[np.int64]]]) -> tuple[Tensor, Tensor]:
        return (
            torch.from_numpy(np.concatenate([features for features, _ in parts])),
            torch.from_numpy(np.concatenate([actions for _, actions in parts])),
        )

    lengths = tuple(len(actions) for _, actions in validation)
    return Split(*joined(training), *joined(validation), held_out, lengths)


def _chosen(
    decisions: Decisions, part: slice, drop_undetermined: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features and actions of a part of an episode's decisions."""
    features, actions = decisions.features[:-1][part], decisions.actions[part]
    if drop_undetermined and decisions.determined is not None:
        known = decisions.determined[part]
        features, actions = features[known], actions[known]
    return features, actions


class Batches:
    """Batches of one size, one epoch per iteration, in the form that `imitation` expects.

    A batch is never larger than the dataset, because `imitation` requires at least one full batch.
    """

    def __init__(self, split: Split, batch_size: int, balance: float, seed: int):
        self.features, self.actions = split.features, split.actions
        self.size = min(batch_size, len(self.actions))
        self.generator = torch.Generator().manual_seed(seed)
        self.balance = balance
        self._weigh()

    def extend(self, features: Tensor, actions: Tensor) -> None:
        """Add decisions. The size of the batches stays.

        Args:
            features: float32 [M, D].
            actions: int64 [M].
        """
        self.features = torch.cat([self.features, features])
        self.actions = torch.cat([self.actions, actions])
        self._weigh()

    def replace(self, features: Tensor, actions: Tensor) -> None:
        """Take other decisions in place of those so far. The size of the batches stays.

        Args:
            features: float32 [M, D].
            actions: int64 [M].
        """
        self.features, self.actions = features, actions
        self._weigh()

    def _weigh(self) -> None:
        counts = torch.bincount(self.actions).double()
        self.weights = None if self.balance == 0 else counts[self.actions] ** -self.balance

    def __iter__(self) -> Iterator[Mapping[str, Tensor]]:
        total = len(self.actions)
        if self.weights is None:
            order = torch.randperm(total, generator=self.generator)
        else:
            order = torch.multinomial(self.weights, total, replacement=True, generator=self.generator)
        for index in torch.split(order[: total - total % self.size], self.size):
            yield {"obs": self.features[index], "acts": self.actions[index]}


@dataclass(frozen=True)
class EpochReport:
    """Figures of one epoch (of DAgger and self-imitation: one round; of GAIL and AIRL: one report)."""

    epoch: int
    """Its number, from 1."""
    training_loss: float
    """Mean negative log-likelihood of (up to 4096) training decisions, nats."""
    agreement: Agreement
    """Agreement with the held-out decisions."""
    rollouts: RolloutSummary | None
    """The clone's plays with sampled actions; None if it did not play."""
    best: bool
    """Whether this is the best epoch so far."""
    practice: Mapping[str, float] = field(default_factory=dict[str, float])
    """Figures of self-imitation's own play, by their names in the log."""

    def figures(self) -> dict[str, float]:
        """Return the scalars for the log by name; those that are not finite are omitted."""
        figures = {
            "bc/training_loss": self.training_loss,
            "bc/validation_loss": self.agreement.loss,
            "bc/accuracy": self.agreement.accuracy,
        }
        figures |= self.practice
        figures |= {f"bc/f1_{key}": f1 for key, f1 in zip("QWOP", self.agreement.key_f1, strict=True)}
        if self.rollouts is not None:
            metrics = self.rollouts.metrics
            figures |= {
                "play/episodes": float(metrics.episodes),
                "play/finish_rate": metrics.finish_rate,
                "play/distance": metrics.mean_distance,
                "play/median_time": metrics.median_time,
                "play/knee_near": metrics.knee_near_share,
                "play/upright": metrics.upright_share,
                "play/segment_frames": self.rollouts.segment_frames,
            }
        return {name: value for name, value in figures.items() if math.isfinite(value)}


class Cloning:
    """A cloning in progress: the network, its optimizer, its data and the best epoch so far.

    Attributes:
        network: the policy as the last epoch left it.
        best: state dict of the policy of the best epoch.
        best_score: finish rate and distance of the best epoch's plays, or -inf and the negative loss.
        best_loss: lowest validation loss so far, nats.
        stale: epochs since the last improvement.
    """

    def __init__(self, config: CloneConfig, decisions: list[Decisions]):
        """Prepare a cloning.

        Args:
            config: the settings.
            decisions: those of each episode, at the frame skip and in the action set of `config`.

        Raises:
            TrainingError: the data or the device can't be used for training.
        """
        # These imports take a second; a mistyped command should fail before them.
        from imitation.algorithms.bc import BC
        from imitation.util.logger import HierarchicalLogger
        from stable_baselines3.common.logger import Logger

        from qwop_bc.adapter import CloningLoss, NetworkPolicy

        if config.threads:
            torch.set_num_threads(config.threads)
        device = select_device(config.device)
        self.config = config
        self.split = split_decisions(decisions, config.validation, config.seed, config.drop_undetermined)
        self.batches = Batches(self.split, config.batch_size, config.balance, config.seed)
        self.network = ActorCritic(
            self.split.features.shape[1],
            len(action_masks(config.action_set)),
            config.hidden,
            torch.Generator().manual_seed(config.seed),
        )
        self.network.normalizer.update(self.split.features)
        policy = NetworkPolicy(self.network)
        self.bc = BC(
            observation_space=policy.observation_space,
            action_space=policy.action_space,
            rng=np.random.default_rng(config.seed),  # unused: the batches have their own generator
            policy=policy,
            demonstrations=self.batches,  # pyright: ignore[reportArgumentType] (dicts are mappings)
            batch_size=self.batches.size,
            optimizer_kwargs={"lr": config.learning_rate, "fused": True},
            ent_weight=config.entropy_coef,
            l2_weight=config.l2_coef,
            device=device,
            custom_logger=HierarchicalLogger(Logger(None, []), []),
        )
        self.bc.loss_calculator = CloningLoss(  # pyright: ignore[reportAttributeAccessIssue]
            config.entropy_coef, config.l2_coef
        )
        self.epoch = 0
        self.best_epoch = 0
        self.best_score = (-math.inf, -math.inf)
        self.best = copy.deepcopy(self.network.state_dict())
        self.best_loss = math.inf
        self.stale = 0

    def run(self, on_epoch: Callable[[EpochReport], None]) -> None:
        """Train until `config.epochs` or early stopping.

        Args:
            on_epoch: called after each epoch.

        Raises:
            TrainingError: the loss is not finite.
        """
        config = self.config
        while self.epoch < config.epochs and self.stale < config.patience:
            self.train_epochs(1)
            last = self.epoch + 1 == config.epochs
            play = config.play_every > 0 and (last or (self.epoch + 1) % config.play_every == 0)
            on_epoch(self.judge(play))

    def train_epochs(self, epochs: int) -> None:
        """Make `epochs` passes of `imitation`'s BC over the batches."""
        with warnings.catch_warnings():
            # `imitation` converts a loss that carries a gradient into a number; torch warns about it.
            warnings.filterwarnings("ignore", "Converting a tensor with requires_grad", UserWarning)
            self.bc.train(n_epochs=epochs, log_interval=1_000_000, progress_bar=False)

    def judge(self, play: bool) -> EpochReport:
        """End an epoch: measure the network, and keep a copy if it is the best so far.

        Args:
            play: also play in the game. Plays choose the best epoch; an epoch without one is compared by its
                validation loss, and never beats an epoch with one.

        Returns:
            The figures of the epoch.

        Raises:
            TrainingError: the loss is not finite.
        """
        split, action_set = self.split, self.config.action_set
        device = next(self.network.parameters()).device
        held_out = split.validation_features.to(device), split.validation_actions.to(device)
        sample = split.features[:4096].to(device), split.actions[:4096].to(device)
        self.epoch += 1
        result = agreement(self.network, *held_out, action_set)
        training = agreement(self.network, *sample, action_set)
        if not math.isfinite(result.loss):
            raise TrainingError(f"the loss is not finite after epoch {self.epoch}; lower learning_rate")
        rollouts = None
        score = (-math.inf, -result.loss)
        if play:
            rollouts = self.play(self.network, sample=True)
            score = (rollouts.metrics.finish_rate, rollouts.metrics.mean_distance)
        improved = score > self.best_score
        if improved:
            self.best_score, self.best_epoch = score, self.epoch
            self.best = copy.deepcopy(self.network.state_dict())
        if improved or result.loss < self.best_loss:
            self.stale = 0
        else:
            self.stale += 1
        self.best_loss = min(self.best_loss, result.loss)
        return EpochReport(self.epoch, training.loss, result, rollouts, improved)

    def start_from(self, network: ActorCritic) -> None:
        """Copy the weights and the normalizer of a network of the same sizes. Call it before training."""
        self.network.load_state_dict(network.state_dict())
        self.best = copy.deepcopy(self.network.state_dict())

    def best_network(self) -> ActorCritic:
        """Return a copy of the clone of the best epoch so far."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.best)
        return network

    def play(self, network: ActorCritic, sample: bool) -> RolloutSummary:
        """Play a network in the game, under the settings of this cloning.

        Args:
            network: the policy.
            sample: draw actions from it; otherwise take the most likely one.
        """
        config = self.config
        return rollout(
            network,
            config.play_episodes,
            config.frame_skip,
            config.action_set,
            config.seed,
            sample,
            trig=config.trig,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of a checkpoint: the best network, and the state to resume from."""
        return {
            **prefixed("network", self.best),
            **prefixed("last", self.network.state_dict()),
            **prefixed("optimizer", optimizer_tensors(self.bc.optimizer)),
            "generator": self.batches.generator.get_state(),
        }

    def progress(self) -> dict[str, object]:
        """Return the plain data of a checkpoint that belongs to `tensors`."""
        finite = [None if math.isinf(x) else x for x in (*self.best_score, self.best_loss)]
        return {
            "algorithm": "bc",
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best": finite,
            "stale": self.stale,
        }

    def resume(self, checkpoint: Checkpoint, where: str | Path) -> None:
        """Continue from a checkpoint, with the same bits as if training had not stopped.

        Args:
            checkpoint: what `tensors` and `progress` gave, as read from a file.
            where: the file, for messages.

        Raises:
            CheckpointError: it belongs to another kind of training, has other layers, or is damaged.
        """
        with explained(where):
            training = checkpoint.metadata.get("training", {})
            if training.get("algorithm") != "bc":
                raise CheckpointError(f"{where}: not a checkpoint of qwop-bc; omit --resume")
            if checkpoint.metadata.get("hidden") != list(self.network.hidden):
                raise CheckpointError(
                    f"{where}: its hidden layers are {checkpoint.metadata.get('hidden')}, "
                    f"not {list(self.network.hidden)}"
                )
            self.best = load_network(checkpoint, where).state_dict()
            self.network.load_state_dict(section(checkpoint.tensors, "last"))
            restore_optimizer(self.bc.optimizer, section(checkpoint.tensors, "optimizer"))
            self.batches.generator.set_state(checkpoint.tensors["generator"])
            check_kinds({name: training[name] for name in ("epoch", "best_epoch", "stale")}, self)
            self.epoch, self.best_epoch, self.stale = (training[n] for n in ("epoch", "best_epoch", "stale"))
            first, second, loss = (None if x is None else float(x) for x in training["best"])
            self.best_score = (-math.inf if first is None else first, -math.inf if second is None else second)
            self.best_loss = math.inf if loss is None else loss
