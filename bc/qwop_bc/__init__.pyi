from .adapter import NetworkPolicy
from .adversarial import AdversarialConfig, train_adversarially
from .cloning import CloneConfig, Cloning, EpochReport, Split, split_decisions
from .dagger import DaggerConfig, train_by_dagger
from .metrics import Agreement, agreement

__all__ = [
    "AdversarialConfig",
    "Agreement",
    "CloneConfig",
    "Cloning",
    "DaggerConfig",
    "EpochReport",
    "NetworkPolicy",
    "Split",
    "agreement",
    "split_decisions",
    "train_adversarially",
    "train_by_dagger",
]
