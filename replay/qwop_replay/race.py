"""Pictures of one or several runs in one scene, with split times and keys."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qwop_game import KEY_NAMES, UNITS_PER_METER
from qwop_game.render import INK, KEY_DOWN, PAPER, SHIRTS, Dials, Renderer, ghost_race, pygame
from qwop_replay.runs import ReplayedRun, starts

_DIM = (128, 136, 152)


class Race:
    """Draws runs by the game's clock. The camera follows the first one; the others are ghosts.

    Raises ValueError for no runs.
    """

    def __init__(self, runs: Sequence[ReplayedRun], renderer: Renderer) -> None:
        if not runs:
            raise ValueError("no runs to show")
        self.runs = tuple(runs)
        self._starts = starts(runs)
        self._renderer = renderer
        self._text_height = max(13, round(0.85 * renderer.scale))
        self._font = pygame.font.Font(None, round(1.45 * self._text_height))

    @property
    def last_frame(self) -> int:
        """Last frame of the run that ends last. Frames are those of the first run."""
        return max(start + run.last_frame for run, start in zip(self.runs, self._starts, strict=True))

    def draw(self, surface: pygame.Surface, frame: int) -> None:
        """Draw a frame, 0 to last_frame, on a surface. A run that is over stays on its last frame."""
        first, frames = self.runs[0], [frame - start for start in self._starts]
        labels = [run.name for run in self.runs] if len(self.runs) > 1 else [""]
        dials = Dials(
            keys=first.keys_at(frame),
            seconds=first.seconds_at(frame),
            meters=float(first.raw_at(frame)[0]) / UNITS_PER_METER,
        )
        runners = ghost_race([run.raw_at(own) for run, own in zip(self.runs, frames, strict=True)], labels)
        self._renderer.draw(surface, runners, dials, first.hurdle_at(frame))
        top = round(3.6 * self._renderer.scale)
        for index, (run, own) in enumerate(zip(self.runs, frames, strict=True)):
            top = self._panel(surface, run, SHIRTS[index % len(SHIRTS)], own, top)

    def _panel(
        self, surface: pygame.Surface, run: ReplayedRun, color: tuple[int, int, int], frame: int, top: int
    ) -> int:
        """Draw a run's splits, and in a race its meters and keys, at the right edge.

        Args:
            surface: where to draw.
            run: the run.
            color: color of its runner.
            frame: frame of this run to draw.
            top: upper edge, px.

        Returns:
            Upper edge of the next panel, px.
        """
        now = run.seconds_at(frame)
        cells: list[list[tuple[str, tuple[int, int, int]]]] = []
        if len(self.runs) > 1:
            meters = float(run.raw_at(frame)[0]) / UNITS_PER_METER
            held = run.keys_at(frame)
            keys = [(name, KEY_DOWN if held >> bit & 1 else _DIM) for bit, name in enumerate(KEY_NAMES)]
            cells.append([(f"{meters:.1f} m  ", PAPER), *keys])
        reached = [(at, time) for at, time in run.splits.items() if not math.isnan(time) and time <= now]
        cells += [[(f"{at} m  {time:.2f}", PAPER)] for at, time in reached]
        if not cells:
            return top
        lines = [[self._font.render(text, True, tone) for text, tone in line] for line in cells]
        height = round(1.35 * self._text_height)
        width = max(sum(piece.get_width() for piece in line) for line in lines)
        margin = round(0.55 * self._renderer.scale)
        box = pygame.Rect(0, top, width + 2 * margin, len(lines) * height + margin)
        box.right = self._renderer.width - margin
        plate = pygame.Surface(box.size, pygame.SRCALPHA)
        pygame.draw.rect(plate, (*INK, 170), plate.get_rect(), border_radius=margin)
        pygame.draw.rect(plate, (*color, 255), (0, margin // 2, 4, box.height - margin))
        surface.blit(plate, box)
        for row, line in enumerate(lines):
            left = box.right - margin - sum(piece.get_width() for piece in line)
            for piece in line:
                surface.blit(piece, (left, box.top + margin // 2 + row * height))
                left += piece.get_width()
        return box.bottom + margin // 2
