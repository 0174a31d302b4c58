from . import dqn, expert_iteration, ppo, pqn, ranks
from .buffers import ReplayBuffer, Transitions
from .checkpoint import (
    Checkpoint,
    check_kinds,
    explained,
    load_checkpoint,
    load_network,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from .checkpoint_file import (
    CheckpointArrays,
    CheckpointError,
    CheckpointHeader,
    load_arrays,
    load_header,
    prefixed,
    section,
    without_training,
)
from .devices import one_thread, select_device, to_numpy
from .dqn import DQNConfig
from .errors import TrainingError
from .expert_iteration import ExpertIterationConfig
from .logging import EVENTS, Logger, default_log_directory, set_aside
from .losses import entropy, kl_between, log_prob, value_loss
from .networks import ActorCritic, QNetwork
from .numpy_policy import NumpyPolicy
from .policy import Policy, sample_actions
from .ppo import Demonstrations, PPOConfig
from .pqn import PQNConfig
from .returns import gae

__all__ = [
    "EVENTS",
    "ActorCritic",
    "Checkpoint",
    "CheckpointArrays",
    "CheckpointError",
    "CheckpointHeader",
    "DQNConfig",
    "Demonstrations",
    "ExpertIterationConfig",
    "Logger",
    "NumpyPolicy",
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
    "expert_iteration",
    "explained",
    "gae",
    "kl_between",
    "load_arrays",
    "load_checkpoint",
    "load_header",
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
    "value_loss",
    "without_training",
]
