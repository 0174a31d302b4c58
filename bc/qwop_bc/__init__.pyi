from .adapter import NetworkPolicy
from .adversarial import AdversarialConfig, train_adversarially
from .cloning import CloneConfig, Cloning, EpochReport, Split, split_decisions
from .dagger import DaggerConfig, train_by_dagger
from .metrics import Agreement, agreement
from .result import CloneResult
from .rollouts import RolloutSummary, rollout, summarize_demonstrations
from .trainer import clone

__all__ = [
    "AdversarialConfig",
    "Agreement",
    "CloneConfig",
    "CloneResult",
    "Cloning",
    "DaggerConfig",
    "EpochReport",
    "NetworkPolicy",
    "RolloutSummary",
    "Split",
    "agreement",
    "clone",
    "rollout",
    "split_decisions",
    "summarize_demonstrations",
    "train_adversarially",
    "train_by_dagger",
]
