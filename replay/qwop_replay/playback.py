"""Play runs in a window: pause, single frames, seeking, speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qwop_game import FRAME_SECONDS
from qwop_game.render import INK, PAPER, SHIRTS, Renderer, pygame
from qwop_game.window import Window
from qwop_replay.race import Race
from qwop_replay.runs import ReplayedRun

SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
HELP = (
    "space pauses, left and right step (shift: 1 s), up and down: speed, home, end, mouse: seek, esc leaves"
)
_PICTURES_PER_SECOND = 60
_BAR_HEIGHT = 22  # px below the picture: the position, which also takes clicks


@dataclass
class Playback:
    """Position, speed and pause of a replay, without a window."""

    last_frame: int
    speed: float = 1.0
    playing: bool = True
    position: float = 0.0
    """Frames from the start; the whole part is shown."""

    @property
    def frame(self) -> int:
        return int(self.position)

    def advance(self, seconds: float) -> None:
        """Move on by this much real time. The replay stops at the end."""
        if self.playing:
            self.position += seconds / FRAME_SECONDS * self.speed
            if self.position >= self.last_frame:
                self.position, self.playing = float(self.last_frame), False

    def toggle(self) -> None:
        """Pause or continue; at the end, start again."""
        if not self.playing and self.frame >= self.last_frame:
            self.position = 0.0
        self.playing = not self.playing

    def step(self, frames: int) -> None:
        """Pause and move by some frames."""
        self.playing = False
        self.seek(self.frame + frames)

    def seek(self, frame: int) -> None:
        """Go to a frame, playing or not."""
        self.position = float(min(max(frame, 0), self.last_frame))

    def change_speed(self, notches: int) -> None:
        """Change the speed by some steps of SPEEDS."""
        nearest = min(range(len(SPEEDS)), key=lambda i: abs(SPEEDS[i] - self.speed))
        self.speed = SPEEDS[min(max(nearest + notches, 0), len(SPEEDS) - 1)]

    def press(self, key: int, shift: bool = False) -> bool:
        """Handle a pygame key. Returns False if the window should close."""
        stride = round(1 / FRAME_SECONDS) if shift else 1
        if key in (pygame.K_ESCAPE, pygame.K_q):
            return False
        if key == pygame.K_SPACE:
            self.toggle()
        elif key in (pygame.K_LEFT, pygame.K_RIGHT):
            self.step(stride if key == pygame.K_RIGHT else -stride)
        elif key in (pygame.K_UP, pygame.K_DOWN):
            self.change_speed(1 if key == pygame.K_UP else -1)
        elif key == pygame.K_HOME:
            self.seek(0)
        elif key == pygame.K_END:
            self.seek(self.last_frame)
        return True


def play_in_window(
    runs: Sequence[ReplayedRun], title: str, speed: float = 1.0, size: tuple[int, int] = (960, 600)
) -> int:
    """Show runs until the window is closed.

    Args:
        runs: at least one; the first one is followed.
        title: title of the window.
        speed: times real time.
        size: width and height of the picture, px.

    Returns:
        The frame shown last.

    Raises:
        DisplayError: no window can be opened.
    """
    width, height = size
    window = Window(title, width, height + _BAR_HEIGHT)
    try:
        surface = window.surface
        race = Race(runs, Renderer(width, height))
        playback = Playback(race.last_frame, speed)
        pygame.key.set_repeat(350, 33)
        font = pygame.font.Font(None, 20)
        clock = pygame.time.Clock()
        shown: tuple[int, bool, float] | None = None
        while True:
            for event in pygame.event.get():
                if event.type == pygame.QUIT:
                    return playback.frame
                if event.type == pygame.KEYDOWN:
                    if not playback.press(event.key, bool(event.mod & pygame.KMOD_SHIFT)):
                        return playback.frame
                elif event.type in (pygame.MOUSEBUTTONDOWN, pygame.MOUSEMOTION) and _on_bar(event, height):
                    playback.seek(round(event.pos[0] / (width - 1) * playback.last_frame))
            now = (playback.frame, playback.playing, playback.speed)
            if now != shown:
                race.draw(surface, playback.frame)
                _draw_bar(surface, playback, font)
                pygame.display.flip()
                shown = now
            playback.advance(clock.tick(_PICTURES_PER_SECOND) / 1000.0)
    finally:
        window.close()


def _on_bar(event: pygame.event.Event, top: int) -> bool:
    pressed = event.type == pygame.MOUSEBUTTONDOWN or event.buttons[0]
    return bool(pressed) and event.pos[1] >= top


def _draw_bar(surface: pygame.Surface, playback: Playback, font: pygame.font.Font) -> None:
    width, height = surface.get_size()
    done = round(playback.frame / max(playback.last_frame, 1) * width)
    pygame.draw.rect(surface, INK, (0, height - _BAR_HEIGHT, width, _BAR_HEIGHT))
    pygame.draw.rect(surface, SHIRTS[0], (0, height - 4, done, 4))
    state = "playing" if playback.playing else "paused"
    text = f"frame {playback.frame} of {playback.last_frame}   {state}, {playback.speed:g} x   {HELP}"
    surface.blit(font.render(text, True, PAPER), (8, height - _BAR_HEIGHT + 2))
