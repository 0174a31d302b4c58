"""Behavioral cloning: a dataset of episodes becomes a policy that plays like them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
