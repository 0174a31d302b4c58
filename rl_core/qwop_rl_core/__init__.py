"""Reinforcement learning in PyTorch: PPO, DQN and Double DQN, networks, checkpoints.

Knows nothing of QWOP: it takes any gymnasium vector environment with discrete actions and flat observations.
Names are imported at their first use, so that importing the package does not import PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qwop_rl_core import dqn, ppo
    from qwop_rl_core.buffers import ReplayBuffer, Transitions
    from qwop_rl_core.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
    from qwop_rl_core.dqn import DQNConfig
    from qwop_rl_core.errors import TrainingError
    from qwop_rl_core.logging import Logger
    from qwop_rl_core.networks import ActorCritic, QNetwork
    from qwop_rl_core.policy import Policy
    from qwop_rl_core.ppo import Demonstrations, PPOConfig

__all__ = [
    "ActorCritic",
    "Checkpoint",
    "CheckpointError",
    "DQNConfig",
    "Demonstrations",
    "Logger",
    "PPOConfig",
    "Policy",
    "QNetwork",
    "ReplayBuffer",
    "TrainingError",
    "Transitions",
    "dqn",
    "load_checkpoint",
    "ppo",
    "save_checkpoint",
]

_MODULES = {
    "buffers": ("ReplayBuffer", "Transitions"),
    "checkpoint": ("Checkpoint", "CheckpointError", "load_checkpoint", "save_checkpoint"),
    "dqn": ("DQNConfig",),
    "errors": ("TrainingError",),
    "logging": ("Logger",),
    "networks": ("ActorCritic", "QNetwork"),
    "policy": ("Policy",),
    "ppo": ("Demonstrations", "PPOConfig"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in ("dqn", "ppo"):
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
