"""QWOP as a benchmark: fixed tasks, offline data, and submissions that anybody replays bit for bit."""

import lazy_loader

from qwop_benchmark.registration import register_tasks

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
register_tasks()  # Gymnasium 1 has no entry points that would
