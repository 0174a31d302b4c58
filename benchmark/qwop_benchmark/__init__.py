"""QWOP as a benchmark: fixed tasks, offline data, and submissions that anybody replays bit for bit."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
