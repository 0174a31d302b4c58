"""Reinforcement learning in PyTorch: PPO, DQN and Double DQN, networks, checkpoints.

Knows nothing of QWOP: any gymnasium vector environment with discrete actions and flat observations will do.
"""

from qwop_rl_core.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from qwop_rl_core.networks import ActorCritic, QNetwork
from qwop_rl_core.policy import Policy

__all__ = ["ActorCritic", "CheckpointError", "Policy", "QNetwork", "load_checkpoint", "save_checkpoint"]
