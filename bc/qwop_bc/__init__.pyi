from .adapter import NetworkPolicy
from .adversarial import AdversarialConfig, train_adversarially
from .cli import Options, parse
from .cloning import CloneConfig, Cloning, EpochReport, Split, split_decisions
from .dagger import DaggerConfig, train_by_dagger
from .metrics import Agreement, agreement
from .result import CloneResult
from .rollouts import RolloutSummary, rollout, summarize_demonstrations
from .self_imitation import SelfImitationConfig, train_by_self_imitation
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
    "Options",
    "RolloutSummary",
    "SelfImitationConfig",
    "Split",
    "agreement",
    "clone",
    "parse",
    "rollout",
    "split_decisions",
    "summarize_demonstrations",
    "train_adversarially",
    "train_by_dagger",
    "train_by_self_imitation",
]
