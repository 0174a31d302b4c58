"""The training: `imitation`'s behavioral cloning on our network, until the validation says enough."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from qwop_bc.metrics import Agreement, agreement
from qwop_bc.playing import Runs, play
from qwop_datasets import Decisions
from qwop_game import DEFAULT_TRIG, Trig
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
    """How a clone is trained."""

    frame_skip: int = 4
    """Frames that one decision lasts."""
    action_set: str = "distinct"
    """Action set of the clone: distinct, full or reduced."""
    hidden: tuple[int, ...] = (256, 256)
    """Sizes of the hidden layers."""
    epochs: int = 200
    """Passes over the training decisions, at most."""
    patience: int = 20
    """Stop after so many epochs without an improvement."""
    batch_size: int = 256
    """Decisions per gradient step; fewer where there are fewer."""
    learning_rate: float = 5e-4
    """Adam's step size."""
    entropy_coef: float = 1e-3
    """Weight of the entropy bonus, against overconfidence."""
    l2_coef: float = 0.0
    """Weight of the L2 penalty."""
    balance: float = 0.0
    """Draw decisions by 1 / (frequency of their action)^balance: 0 as they come, 1 all actions alike."""
    validation: float = 0.15
    """Share of the episodes held out, at least one; of a single episode its last part."""
    play_every: int = 10
    """Epochs between two plays in the game, which choose the best epoch by finishes and distance; 0: never,
    the validation loss chooses."""
    play_episodes: int = 32
    """Runs per play."""
    trig: Trig = DEFAULT_TRIG
    """Sine and cosine of the game that is played: those of the browser whose game it equals bit for bit.
    Demonstrations of any variant are cloned alike."""
    seed: int = 0
    """Seed of the weights, the split, the batches and the plays."""
    device: str = "auto"
    """auto (CUDA where there is some), cpu, cuda, cuda:1, ..."""
    threads: int = 0
    """CPU threads of PyTorch; 0: as PyTorch chooses."""

    def __post_init__(self) -> None:
        for name in ("frame_skip", "epochs", "patience", "batch_size", "play_episodes"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; at least 1 is needed")
        for name in ("entropy_coef", "l2_coef", "balance", "play_every", "threads"):
            if not getattr(self, name) >= 0:
                raise TrainingError(f"{name} is {getattr(self, name)}; it cannot be negative")
        if not 0.0 < self.validation < 1.0:
            raise TrainingError(f"validation is {self.validation}; it has to lie between 0 and 1")
        if not self.learning_rate > 0.0:
            raise TrainingError(f"learning_rate is {self.learning_rate}; it has to be above 0")


@dataclass(frozen=True)
class Split:
    """Decisions for training and, from other episodes, for validation."""

    features: Tensor  # float32 [M, D]
    actions: Tensor  # int64 [M]
    validation_features: Tensor
    validation_actions: Tensor
    validation_episodes: tuple[int, ...]  # their numbers; empty: the last part of the only episode
    validation_lengths: tuple[int, ...]  # decisions of each, in the order of validation_features


def split_decisions(decisions: list[Decisions], share: float, seed: int) -> Split:
    """Hold out whole episodes: neighboring decisions are so alike that holding some out tests nothing.

    Of a single episode the last part is held out. Raises TrainingError where a single decision is left.
    """
    order = np.random.default_rng(seed).permutation(len(decisions))
    held_out = tuple(sorted(int(i) for i in order[: max(1, round(share * len(decisions)))]))
    if len(decisions) > 1:
        held_out = held_out[: len(decisions) - 1]
        training = [(d.features[:-1], d.actions) for i, d in enumerate(decisions) if i not in held_out]
        validation = [(decisions[i].features[:-1], decisions[i].actions) for i in held_out]
    else:
        only = decisions[0]
        if len(only) < 2:
            raise TrainingError(f"the only episode has {len(only)} decisions; at least 2 are needed")
        cut = len(only) - max(1, round(share * len(only)))
        training = [(only.features[:cut], only.actions[:cut])]
        validation = [(only.features[cut:-1], only.actions[cut:])]
        held_out = ()

    def joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor]:
        return (
            torch.from_numpy(np.concatenate([features for features, _ in parts])),
            torch.from_numpy(np.concatenate([actions for _, actions in parts])),
        )

    lengths = tuple(len(actions) for _, actions in validation)
    return Split(*joined(training), *joined(validation), held_out, lengths)


class Batches:
    """One epoch of batches per iteration, in the form that `imitation` takes; all of the same size.

    A batch is never larger than the data: `imitation` refuses fewer demonstrations than a batch.
    """

    def __init__(self, split: Split, batch_size: int, balance: float, seed: int):
        self.features, self.actions = split.features, split.actions
        self.size = min(batch_size, len(self.actions))
        self.generator = torch.Generator().manual_seed(seed)
        self.balance = balance
        self._weigh()

    def extend(self, features: Tensor, actions: Tensor) -> None:
        """More decisions, float32 [M, D] and int64 [M]; the batches keep their size."""
        self.features = torch.cat([self.features, features])
        self.actions = torch.cat([self.actions, actions])
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
        for index in order[: total - total % self.size].split(self.size):
            yield {"obs": self.features[index], "acts": self.actions[index]}


@dataclass(frozen=True)
class EpochReport:
    """What one epoch came to. runs: of the play, where there was one. best: it is the best epoch so far."""

    epoch: int
    training_loss: float
    agreement: Agreement
    runs: Runs | None
    best: bool

    def figures(self) -> dict[str, float]:
        """Scalars for the log."""
        figures = {
            "bc/training_loss": self.training_loss,
            "bc/validation_loss": self.agreement.loss,
            "bc/accuracy": self.agreement.accuracy,
        }
        figures |= {f"bc/f1_{key}": f1 for key, f1 in zip("QWOP", self.agreement.key_f1, strict=True)}
        if self.runs is not None:
            plays = {name: value for name, value in vars(self.runs).items() if name != "segment_shares"}
            figures |= {f"play/{name}": float(value) for name, value in plays.items()}
        return {name: value for name, value in figures.items() if math.isfinite(value)}


class Cloning:
    """A cloning in progress: `run` trains until the budget or the patience is used up.

    network: the policy being trained, as the last epoch left it.
    """

    def __init__(self, config: CloneConfig, decisions: list[Decisions]):
        """Raises TrainingError for data or settings that cannot be trained on."""
        # a second's import that a mistyped command need not wait for
        from imitation.algorithms.bc import BC
        from imitation.util.logger import HierarchicalLogger
        from stable_baselines3.common.logger import Logger

        from qwop_bc.adapter import CloningLoss, NetworkPolicy
        from qwop_game import action_masks

        if config.threads:
            torch.set_num_threads(config.threads)
        device = select_device(config.device)
        self.config = config
        self.split = split_decisions(decisions, config.validation, config.seed)
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
            rng=np.random.default_rng(
                config.seed
            ),  # draws nothing here: the batches have their own generator
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
        self.stale = 0  # epochs without an improvement

    def run(self, on_epoch: Callable[[EpochReport], None]) -> None:
        """Train on; `on_epoch` is called after each epoch.

        Raises TrainingError when the loss is no longer finite.
        """
        config = self.config
        while self.epoch < config.epochs and self.stale < config.patience:
            self.train_epochs(1)
            last = self.epoch + 1 == config.epochs
            play = config.play_every > 0 and (last or (self.epoch + 1) % config.play_every == 0)
            on_epoch(self.judge(play))

    def train_epochs(self, epochs: int) -> None:
        """Passes of `imitation`'s BC over the batches."""
        with warnings.catch_warnings():
            # `imitation` turns a loss that carries a gradient into a number, which torch warns of
            warnings.filterwarnings("ignore", "Converting a tensor with requires_grad", UserWarning)
            self.bc.train(n_epochs=epochs, log_interval=1_000_000, progress_bar=False)

    def judge(self, play: bool) -> EpochReport:
        """End an epoch: measure the network, keep it where it is the best so far.

        play: in the game as well; plays choose the best epoch, or the validation loss where there is none.
        Raises TrainingError when the loss is no longer finite.
        """
        split, action_set = self.split, self.config.action_set
        device = next(self.network.parameters()).device
        held_out = split.validation_features.to(device), split.validation_actions.to(device)
        sample = split.features[:4096].to(device), split.actions[:4096].to(device)
        self.epoch += 1
        result = agreement(self.network, *held_out, action_set)
        training = agreement(self.network, *sample, action_set)
        if not math.isfinite(result.loss):
            raise TrainingError(f"the loss is not finite after epoch {self.epoch}; lower the learning rate")
        runs = None
        score = (-math.inf, -result.loss)
        if play:
            runs = self.play(self.network, sample=True)
            score = (runs.finish_rate, runs.distance)
        improved = score > self.best_score
        if improved:
            self.best_score, self.best_epoch = score, self.epoch
            self.best = copy.deepcopy(self.network.state_dict())
        if improved or result.loss < self.best_loss:
            self.stale = 0
        else:
            self.stale += 1
        self.best_loss = min(self.best_loss, result.loss)
        return EpochReport(self.epoch, training.loss, result, runs, improved)

    def start_from(self, network: ActorCritic) -> None:
        """Take a network's weights and its normalizer, before any training. The sizes are the same."""
        self.network.load_state_dict(network.state_dict())
        self.best = copy.deepcopy(self.network.state_dict())

    def best_network(self) -> ActorCritic:
        """The clone of the best epoch so far, a copy."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.best)
        return network

    def play(self, network: ActorCritic, sample: bool) -> Runs:
        """Play a network under this cloning's settings."""
        config = self.config
        return play(
            network,
            config.play_episodes,
            config.frame_skip,
            config.action_set,
            config.seed,
            sample,
            trig=config.trig,
        )

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint: the best network to play, the last one and all else to go on from."""
        return {
            **prefixed("network", self.best),
            **prefixed("last", self.network.state_dict()),
            **prefixed("optimizer", optimizer_tensors(self.bc.optimizer)),
            "generator": self.batches.generator.get_state(),
        }

    def progress(self) -> dict[str, object]:
        """The plain data beside `tensors`."""
        finite = [None if math.isinf(x) else x for x in (*self.best_score, self.best_loss)]
        return {
            "algorithm": "bc",
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best": finite,
            "stale": self.stale,
        }

    def resume(self, checkpoint: Checkpoint, where: str | Path) -> None:
        """Go on from a checkpoint, exactly. Raises CheckpointError where it is of another training."""
        with explained(where):
            training = checkpoint.metadata.get("training", {})
            if training.get("algorithm") != "bc":
                raise CheckpointError(f"{where}: not a checkpoint of a cloning; leave --resume away")
            if checkpoint.metadata.get("hidden") != list(self.network.hidden):
                raise CheckpointError(f"{where}: its hidden layers are {checkpoint.metadata.get('hidden')}")
            self.best = load_network(checkpoint, where).state_dict()
            self.network.load_state_dict(section(checkpoint.tensors, "last"))
            restore_optimizer(self.bc.optimizer, section(checkpoint.tensors, "optimizer"))
            self.batches.generator.set_state(checkpoint.tensors["generator"])
            check_kinds({name: training[name] for name in ("epoch", "best_epoch", "stale")}, self)
            self.epoch, self.best_epoch, self.stale = (training[n] for n in ("epoch", "best_epoch", "stale"))
            first, second, loss = (None if x is None else float(x) for x in training["best"])
            self.best_score = (-math.inf if first is None else first, -math.inf if second is None else second)
            self.best_loss = math.inf if loss is None else loss
