"""Record a person's runs at 30 frames per second as verified episodes in an HDF5 file: see `record`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
