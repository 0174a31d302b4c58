"""The real game, in Chrome, Chromium or Firefox, behind the interface of the embedded one."""

from .errors import RealGameError
from .game import RealGame

__all__ = ["RealGame", "RealGameError"]
