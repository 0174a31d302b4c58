"""A window that shows the game at its own pace, 30 frames a second."""

import os
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qwop_game.render import SIZE, STANDING_HURDLE, Dials, HurdlePose, Renderer, Runner, pygame

FRAMES_PER_SECOND = 30


class DisplayError(RuntimeError):
    """There is no display to open a window on."""


class Window:
    """A window that opens when it is created. Draw on `surface`; the user's closing sets `closed`.

    Raises DisplayError if no window can be opened.
    """

    def __init__(self, title: str = "QWOP", width: int = SIZE[0], height: int = SIZE[1]) -> None:
        variables = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
        if sys.platform.startswith("linux") and not any(map(os.environ.get, variables)):
            # Otherwise SDL would try every driver, and print their messages.
            raise DisplayError(_no_display("DISPLAY is not set"))
        try:
            pygame.display.init()
            wanted = os.environ.get("SDL_VIDEODRIVER")
            driver = pygame.display.get_driver()
            if driver in ("dummy", "offscreen") and wanted != driver:
                raise DisplayError(_no_display("none was found"))
            self.surface = pygame.display.set_mode((width, height))
        except pygame.error as error:
            raise DisplayError(_no_display(str(error))) from None
        pygame.display.set_caption(title)
        self.renderer = Renderer(width, height)
        self.closed = False
        self._clock = pygame.time.Clock()

    def show(
        self,
        runners: Sequence[Runner] | NDArray[np.float32],
        dials: Dials | None = None,
        hurdle: HurdlePose = STANDING_HURDLE,
        camera_x: float | None = None,
    ) -> None:
        """Draw with the arguments of `Renderer.draw` and wait until the frame's time is over."""
        if self.closed:
            return
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                self.close()
                return
        self.renderer.draw(self.surface, runners, dials, hurdle, camera_x)
        pygame.display.flip()
        self._clock.tick(FRAMES_PER_SECOND)

    def close(self) -> None:
        """Close the window. Calling it again does nothing."""
        if not self.closed:
            self.closed = True
            pygame.display.quit()


def _no_display(reason: str) -> str:
    return f"no window can be opened ({reason}): use render_mode='rgb_array', a desktop or xvfb-run"
