"""The recorder's window: it draws the session and turns keys into commands."""

import os
import sys
import textwrap

from qwop_game import UNITS_PER_METER
from qwop_game.render import INK, PAPER, STANDING_HURDLE, Color, Dials, Renderer, ghost_race, hurdle_pose
from qwop_recorder.errors import RecorderError
from qwop_recorder.ghost import Ghost
from qwop_recorder.key_events import KeyQueue
from qwop_recorder.key_sources import KeySource
from qwop_recorder.loop import SLOW_FRAMES
from qwop_recorder.phases import Command, Phase
from qwop_recorder.quiet_pygame import pygame
from qwop_recorder.session import Session
from qwop_recorder.texts import counts, help_lines, title

WIDTH, HEIGHT = 800, 500
STRIP = 56
"""Height of the strip below the picture, which lists the keys, px."""
COMMAND_KEYS: dict[int, Command] = {
    pygame.K_SPACE: Command.GO,
    pygame.K_RETURN: Command.GO,
    pygame.K_r: Command.RESTART,
    pygame.K_BACKSPACE: Command.DISCARD,
    pygame.K_LEFT: Command.BACK,
    pygame.K_RIGHT: Command.FORWARD,
    pygame.K_ESCAPE: Command.FINISH,
}

GREY, RED, AMBER, GREEN = (160, 168, 182), (255, 96, 96), (255, 190, 60), (120, 224, 140)
SMALL, MEDIUM, LARGE = 22, 28, 64  # px, font sizes


class Window:
    """The window of a session. It opens when it is created.

    Args:
        name: Its title.
        ghost: A run to draw beside the player's.

    Raises:
        RecorderError: There is no display.
    """

    def __init__(self, name: str, ghost: Ghost | None = None) -> None:
        self._ghost = ghost
        environ = os.environ
        if sys.platform.startswith("linux") and not any(
            environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
        ):
            # Otherwise SDL would try every driver, and print their messages.
            raise RecorderError(_no_display("none is set"))
        try:
            pygame.display.init()
            pygame.font.init()
        except pygame.error as error:
            raise RecorderError(_no_display(str(error))) from None
        driver = pygame.display.get_driver()
        if driver in ("dummy", "offscreen") and environ.get("SDL_VIDEODRIVER") != driver:
            pygame.display.quit()
            raise RecorderError(_no_display("none was found"))
        try:
            self.surface = pygame.display.set_mode((WIDTH, HEIGHT + STRIP))
        except pygame.error as error:
            pygame.display.quit()
            raise RecorderError(_no_display(str(error))) from None
        pygame.display.set_caption(name)
        pygame.key.stop_text_input()  # no input method between the keyboard and the game
        self._focused: bool | None = None
        self._renderer = Renderer(WIDTH, HEIGHT)
        self._texts: dict[tuple[str, int, Color], pygame.Surface] = {}
        self._fonts: dict[int, pygame.font.Font] = {}

    def close(self) -> None:
        """Close the window."""
        pygame.quit()

    def poll(self, source: KeySource, queue: KeyQueue) -> list[Command]:
        """Handle the window's events: pass game keys to their source, and return commands."""
        commands: list[Command] = []
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                commands.append(Command.CLOSE)
            elif event.type == pygame.KEYDOWN and event.key in COMMAND_KEYS:
                commands.append(COMMAND_KEYS[event.key])
            else:
                source.handle(event)
        focused = pygame.key.get_focused()
        if focused != self._focused:
            self._focused = focused
            queue.set_focus(focused)
            commands.append(Command.FOCUS_GAINED if focused else Command.FOCUS_LOST)
        return commands

    # -- pictures ------------------------------------------------------------------------------------

    def draw(self, session: Session) -> None:
        """Draw the session in the window."""
        state, time = session.game_state, session.run.times[session.cursor]
        raws = [session.observation]
        if self._ghost is not None:
            raws.append(self._ghost.observation(time))
        meters = [float(raw[0]) / UNITS_PER_METER for raw in raws]
        self._renderer.draw(
            self.surface,
            ghost_race(raws, [""] * len(raws)),
            Dials(session.shown_keys, time, meters[0]),
            STANDING_HURDLE if state is None else hurdle_pose(state),
        )
        if self._ghost is not None:
            lead = meters[1] - meters[0]
            words = f"ghost {abs(lead):.1f} m {'behind' if lead < 0 else 'ahead'}"
            self._plate([(words, SMALL, PAPER)], (12, 108), "midleft")
        self._status(session)
        self._banner(session)
        self.surface.fill(INK, (0, HEIGHT, WIDTH, STRIP))
        lines = help_lines(session)
        for i, line in enumerate(lines):
            label = self._rendered(line, SMALL, PAPER)
            middle = HEIGHT + STRIP // 2 + 24 * i - 12 * (len(lines) - 1)
            self.surface.blit(label, label.get_rect(center=(WIDTH // 2, middle)))
        pygame.display.flip()

    def _status(self, session: Session) -> None:
        """Draw the number of runs, and the player's best."""
        best = session.best
        if best.distance is not None:
            self._plate([(f"best {best.distance:.1f} m", SMALL, PAPER)], (12, 76), "midleft")
        if best.time is not None:
            self._plate([(f"best {best.time:.1f} s", SMALL, PAPER)], (WIDTH - 12, 76), "midright")
        playing = session.phase is Phase.PLAYING
        state, color = ("practice", AMBER) if session.practice else ("REC", RED if playing else GREY)
        self._plate([(state, SMALL, color), (counts(session), SMALL, PAPER)], (WIDTH // 2, 22))
        if playing and session.timing.slow:
            late = f"{session.timing.recent_late} of the last {SLOW_FRAMES} frames were late"
            self._plate([(f"slow: {late}; close other programs", SMALL, INK)], (WIDTH // 2, 54), paint=AMBER)

    def _banner(self, session: Session) -> None:
        """Draw the phase in the middle; during play, the latest message."""
        phase, line = session.phase, session.message
        at, color = (WIDTH // 2, 170), PAPER
        heading = title(session)
        if heading is None:
            if line:
                self._plate([(line, SMALL, PAPER)], (WIDTH // 2, 54 + 32 * session.timing.slow))
            return
        if phase is Phase.COUNTDOWN:
            at = (WIDTH * 7 // 10, 170)  # beside the runner
        elif phase is Phase.ENDED and session.run.success:
            color = GREEN
        self._plate([(heading, LARGE, color)], at)
        for i, part in enumerate(textwrap.wrap(line, 64)):
            color = RED if session.problem else PAPER
            self._plate([(part, MEDIUM, color)], (at[0], at[1] + 52 + 32 * i))

    def _plate(
        self,
        words: list[tuple[str, int, Color]],
        at: tuple[int, int],
        anchor: str = "center",
        paint: Color = INK,
    ) -> None:
        """Draw words (text, size, color) next to each other on a plate."""
        labels = [self._rendered(*word) for word in words]
        gap, height = 10, max(label.get_height() for label in labels)
        width = sum(label.get_width() for label in labels) + gap * (len(labels) - 1)
        plate = pygame.Surface((width + 22, height + 8), pygame.SRCALPHA)
        pygame.draw.rect(plate, (*paint, 205), plate.get_rect(), border_radius=min(12, height // 2 + 4))
        x = 11
        for label in labels:
            plate.blit(label, (x, 4 + (height - label.get_height()) // 2))
            x += label.get_width() + gap
        self.surface.blit(plate, plate.get_rect(**{anchor: at}))

    def _rendered(self, text: str, size: int, color: Color) -> pygame.Surface:
        """Render a text. The last few hundred are cached, because most stay the same between frames."""
        key = (text, size, color)
        if key not in self._texts:
            if len(self._texts) > 300:
                self._texts.clear()
            if size not in self._fonts:
                self._fonts[size] = pygame.font.Font(None, size)
            self._texts[key] = self._fonts[size].render(text, True, color)
        return self._texts[key]


def _no_display(reason: str) -> str:
    return f"no display to play on ({reason}): start it on a desktop" + (
        ", or set DISPLAY" if sys.platform.startswith("linux") else ""
    )
