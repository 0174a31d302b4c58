"""The real game in Chrome, Chromium or Firefox, with the interface of the embedded one."""

from qwop_game.real.browser import BrowserLost, PageError
from qwop_game.real.errors import RealGameError
from qwop_game.real.game import RealGame

__all__ = ["BrowserLost", "PageError", "RealGame", "RealGameError"]
