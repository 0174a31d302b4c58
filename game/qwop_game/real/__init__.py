"""The real game, in Chrome or Chromium, behind the interface of the embedded one."""

from .errors import RealGameError
from .game import RealGame

__all__ = ["RealGame", "RealGameError"]
