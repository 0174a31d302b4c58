"""Search over keys for the fastest run: a beam of runs that a policy proposes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
