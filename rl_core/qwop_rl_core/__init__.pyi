from . import dqn, ppo, pqn, ranks
from .buffers import ReplayBuffer, Transitions
from .checkpoint import (
    Checkpoint,
    CheckpointError,
    check_kinds,
    explained,
    load_checkpoint,
    load_network,
    optimizer_tensors,
    prefixed,
    restore_optimizer,
    save_checkpoint,
    section,
)
from .devices import one_thread, select_device, to_numpy
from .dqn import DQNConfig
from .errors import TrainingError
from .logging import EVENTS, Logger, default_log_directory, set_aside
from .losses import entropy, kl_between, log_prob
from .networks import ActorCritic, QNetwork
from .policy import Policy, sample_actions
from .ppo import Demonstrations, PPOConfig
from .pqn import PQNConfig
from .returns import gae

__all__ = [
    "EVENTS",
    "ActorCritic",
    "Checkpoint",
    "CheckpointError",
    "DQNConfig",
    "Demonstrations",
    "Logger",
    "PPOConfig",
    "PQNConfig",
    "Policy",
    "QNetwork",
    "ReplayBuffer",
    "TrainingError",
    "Transitions",
    "check_kinds",
    "default_log_directory",
    "dqn",
    "entropy",
    "explained",
    "gae",
    "kl_between",
    "load_checkpoint",
    "load_network",
    "log_prob",
    "one_thread",
    "optimizer_tensors",
    "ppo",
    "pqn",
    "prefixed",
    "ranks",
    "restore_optimizer",
    "sample_actions",
    "save_checkpoint",
    "section",
    "select_device",
    "set_aside",
    "to_numpy",
]
