"""The real game as a Gymnasium environment: "qwop_game/QWOP-real-v0"."""

import os
import time

import gymnasium
import numpy as np
from numpy.typing import NDArray

from qwop_game.env import QWOPEnv
from qwop_game.game_batch import GameBatch
from qwop_game.observation import FRAME_SECONDS
from qwop_game.real.game import RealGame
from qwop_game.simulator import DEFAULT_TRIG, exclusive


class QWOPRealEnv(QWOPEnv):
    """QWOP in a browser, with the observations, actions, rewards, episode ends, info and clock of `QWOPEnv`.

    Each reset loads the page again, unless `keep_page`. The same actions give the same episode as in
    `QWOPEnv`, bit for bit.

    frame_skip, action_set, observation, max_frames: see `QWOPEnv`.
    render_mode: None, "rgb_array" (`render()` gives the game's own picture) or "human" (the browser's window
        shows every frame, 30 a second). Only "human" needs a display.
    browser, driver: paths; None: those in QWOP_BROWSER and QWOP_DRIVER, on PATH, or in the usual folders.
    trig: sine and cosine, see `Simulator`; None: the browser's own, see `RealGame`.
    keep_page: reset the game in the same page, as its R key does. Then an episode depends on those before it:
        `game.episode_start` is what to store as its start.

    `reset` and `step` raise `RealGameError`, one line, if the game can't be started or is lost. Without a
    window, a browser that dies within an episode is replaced and the episode restored exactly, with a
    warning: see `RealGame`.
    """

    def __init__(
        self,
        frame_skip: int = 4,
        action_set: str = "distinct",
        observation: str = "qwop_gym",
        max_frames: int | None = None,
        render_mode: str | None = None,
        browser: str | os.PathLike[str] | None = None,
        driver: str | os.PathLike[str] | None = None,
        trig: str | None = DEFAULT_TRIG,
        keep_page: bool = False,
    ) -> None:
        game = RealGame(render_mode != "human", browser, driver, trig=trig, keep_page=keep_page)
        self._set_up(render_mode, GameBatch(1, frame_skip, action_set, observation, max_frames, "auto", game))
        self._due = 0.0

    @property
    def game(self) -> RealGame:
        """The game in the browser."""
        assert isinstance(self.games.simulator, RealGame)
        return self.games.simulator

    @exclusive
    def render(self) -> NDArray[np.uint8] | None:
        """Return the game's current picture, uint8 [400, 640, 3]; None in "human", where `step` shows it."""
        if self.render_mode == "rgb_array":
            return self.game.picture()
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() needs a render_mode: make the environment with 'rgb_array' or 'human'"
            )
        return None

    def _show(self) -> None:
        # The page has drawn the frame: only wait until its time is over.
        now = time.perf_counter()
        self._due = max(self._due + FRAME_SECONDS, now)
        time.sleep(self._due - now)
