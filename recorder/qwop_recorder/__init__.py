"""The recorder: a person's keys, 30 times a second, become verified episodes in an HDF5 file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
