"""Fine-tuning: train a runner by reinforcement learning, from a clone or from nothing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
