"""Sweeps over training settings: many trainings on Ray, the poor ones stopped early, the best one kept."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
