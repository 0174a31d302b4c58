"""Reinforcement learning in PyTorch: PPO, expert iteration, DQN, Double DQN and PQN, networks, checkpoints.

Knows nothing of QWOP: it takes any gymnasium vector environment with discrete actions and flat observations.
Names are imported at their first use, so that importing the package does not import PyTorch, and what plays a
checkpoint with NumPy never does.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
