"""Show recorded runs: in a window, as a video, as a page, in the real game."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
