"""Draw pictures of the game from raw observations: runners, track, hurdle, sand, stadium and dials.

It needs no display: a Renderer draws on any pygame surface. Lengths are world units unless a comment says
otherwise. The picture shows VIEW_HEIGHT units from top to bottom at any size.
"""

import itertools
import os
import random
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, cos, floor, hypot, sin
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from qwop_game import scenery
from qwop_game.body import HURDLE_BASE, HURDLE_TOP, Box
from qwop_game.figure import OUTLINE, PAPER, Color, Patch, Point, shade, shapes
from qwop_game.keys import KEY_NAMES
from qwop_game.observation import PART_INDEX, SAND_X, STATE_FIELDS, STATE_PARTS, TRACK_Y, UNITS_PER_METER
from qwop_game.scenery import CAMERA_AHEAD, GROUND, INK, KEY_DOWN, KEY_UP, SHIRTS, VIEW_HEIGHT
from qwop_game.simulator import exclusive

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")  # caused by pygame
    import pygame

SIZE = (640, 400)  # px
_REACH = 3.0  # no part is drawn farther than this from its center
SMOOTHING = 3  # runners are drawn this many times larger and scaled down, for smooth edges

# x, y, angle of the hurdle's base and top
HurdlePose = tuple[tuple[float, float, float], tuple[float, float, float]]

STANDING_HURDLE: HurdlePose = (
    (HURDLE_BASE.x, HURDLE_BASE.y, HURDLE_BASE.angle),
    (HURDLE_TOP.x, HURDLE_TOP.y, HURDLE_TOP.angle),
)


@dataclass(frozen=True)
class Runner:
    """One runner of a picture."""

    raw: NDArray[np.float32]
    """Raw observation, [60]."""
    label: str = ""
    """Shown above the head."""
    shirt: Color = SHIRTS[0]
    opacity: int = 255
    """0 to 255; less than 255 makes a ghost."""


@dataclass(frozen=True)
class Dials:
    """Numbers and keys to show over the picture; None omits an item."""

    keys: int | None = None
    """Key mask held."""
    seconds: float | None = None
    """scoreTime."""
    meters: float | None = None
    """Distance, shown with one decimal."""


def pixels(surface: pygame.Surface) -> NDArray[np.uint8]:
    """The picture on a surface, a new uint8 [height, width, 3]."""
    columns = cast("NDArray[np.uint8]", pygame.surfarray.array3d(surface))
    return columns.swapaxes(0, 1)


def hurdle_pose(state: NDArray[np.float64]) -> HurdlePose:
    """Return the pose of the hurdle in one row of `Simulator.state`, float64 [92]."""
    width = len(STATE_FIELDS)
    base, top = (width * STATE_PARTS.index(part) for part in ("hurdleBase", "hurdleTop"))
    return tuple(map(float, state[base : base + 3])), tuple(map(float, state[top : top + 3]))  # pyright: ignore


def ghost_race(
    raws: Sequence[NDArray[np.float32]], labels: Sequence[str], opacity: int = 120
) -> list[Runner]:
    """Return runners in shirts of different colors: the first one opaque, the others as ghosts behind it."""
    runners = [
        Runner(raw, label, SHIRTS[i % len(SHIRTS)], opacity)
        for i, (raw, label) in enumerate(zip(raws, labels, strict=True))
    ]
    return [replace(runners[0], opacity=255), *runners[1:]]


class Renderer:
    """Draws pictures of one size. It paints the backdrop once, when it is created.

    Threads may share a renderer: it draws one picture at a time.

    width, height: px.
    """

    def __init__(self, width: int = SIZE[0], height: int = SIZE[1]) -> None:
        if width < 64 or height < 64:
            raise ValueError(f"a picture of {width} x {height} px is too small: expected 64 x 64 or more")
        pygame.font.init()
        self.lock = threading.RLock()
        self.width, self.height = int(width), int(height)
        self.scale = self.height / VIEW_HEIGHT  # px per unit
        self._ground = round(GROUND * self.scale)
        self._sky = _paint_sky(self.width, self._ground)
        self._stand = _paint_stand(self.scale)
        self._boards = _paint_boards(self.scale)
        self._surface = pygame.Surface((self.width, self.height))
        self._texts: dict[tuple[str, int, Color], pygame.Surface] = {}
        self._fonts: dict[int, pygame.font.Font] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.width, self.height)

    @exclusive
    def rgb_array(
        self,
        runners: Sequence[Runner] | NDArray[np.float32],
        dials: Dials | None = None,
        hurdle: HurdlePose = STANDING_HURDLE,
        camera_x: float | None = None,
    ) -> NDArray[np.uint8]:
        """Draw a picture and return it, a new uint8 [height, width, 3]: see `draw`."""
        self.draw(self._surface, runners, dials, hurdle, camera_x)
        pixels = np.frombuffer(pygame.image.tobytes(self._surface, "RGB"), np.uint8)
        return pixels.reshape(self.height, self.width, 3).copy()

    @exclusive
    def draw(
        self,
        surface: pygame.Surface,
        runners: Sequence[Runner] | NDArray[np.float32],
        dials: Dials | None = None,
        hurdle: HurdlePose = STANDING_HURDLE,
        camera_x: float | None = None,
    ) -> None:
        """Draw a picture on the top left [width, height] px of a surface.

        runners: runners, the first one in front; or the raw observation of one runner, [60].
        dials: text over the picture; None: none.
        hurdle: see `hurdle_pose`; the 60 numbers do not include it.
        camera_x: the x to look at; None: that of the first runner's torso.
        """
        if isinstance(runners, np.ndarray):
            runners = [Runner(runners)]
        if camera_x is None:
            camera_x = float(runners[0].raw[0])
        camera_x += CAMERA_AHEAD
        surface.blit(self._sky, (0, 0))
        self._scroll(surface, self._stand, camera_x, scenery.STAND_RATE, scenery.STAND_BOTTOM)
        self._scroll(surface, self._boards, camera_x, scenery.BOARDS_RATE, scenery.BOARDS_BOTTOM)
        self._draw_track(surface, camera_x)
        self._draw_hurdle(surface, camera_x, hurdle)
        for runner in reversed(runners):
            self._draw_runner(surface, camera_x, runner)
        for runner in runners:
            self._draw_label(surface, camera_x, runner)
        if dials is not None:
            self._draw_dials(surface, dials)

    # -- the stadium -----------------------------------------------------------------------------------

    def _at(self, camera_x: float, x: float, y: float) -> Point:
        """Convert a world point in the plane of the runners to px."""
        return self.width / 2 + (x - camera_x) * self.scale, self._ground + (y - TRACK_Y) * self.scale

    def _on_track(self, camera_x: float, x: float, depth: float) -> Point:
        """Convert a point on the track to px. It is `depth` units nearer to the camera than the runners."""
        return (
            self.width / 2 + (x - camera_x) * self.scale * (1 + scenery.PERSPECTIVE * depth),
            self._ground + depth * self.scale,
        )

    def _scroll(
        self, surface: pygame.Surface, tile: pygame.Surface, camera_x: float, rate: float, bottom: float
    ) -> None:
        """Repeat a tile across the picture, moving at `rate` of the track, `bottom` units below its line."""
        top = self._ground + round(bottom * self.scale) - tile.get_height()
        left = -round(camera_x * self.scale * rate) % tile.get_width() - tile.get_width()
        while left < self.width:
            surface.blit(tile, (left, top))
            left += tile.get_width()

    def _draw_track(self, surface: pygame.Surface, camera_x: float) -> None:
        far, near = scenery.TRACK_FAR, VIEW_HEIGHT - GROUND
        scale = self.scale
        grass = self._ground - round(-scenery.GRASS_TOP * scale)
        pygame.draw.rect(surface, scenery.GRASS, (0, grass, self.width, round(scenery.GRASS_HEIGHT * scale)))
        top = self._ground + round(far * scale)
        pygame.draw.rect(surface, scenery.TRACK, (0, top, self.width, self.height - top))
        half_view = self.width / 2 / scale + 4
        first, last = camera_x - half_view * 1.1, camera_x + half_view * 1.1

        # lanes: every second one a shade darker, lines between them
        edges = scenery.LANE_EDGES
        for i, (upper, lower) in enumerate(itertools.pairwise(edges)):
            if i % 2:
                y = self._ground + round(upper * scale)
                pygame.draw.rect(
                    surface, scenery.LANE, (0, y, self.width, round((lower - upper) * scale) + 1)
                )

        if last > SAND_X:
            corners = [(SAND_X, far), (last + 20, far), (last + 20, near + 0.1), (SAND_X, near + 0.1)]
            pygame.draw.polygon(surface, scenery.SAND, [self._on_track(camera_x, x, d) for x, d in corners])
            self._draw_sand_grains(surface, camera_x, max(first, SAND_X), last, near)

        for depth in edges[:-1]:
            stop = self._on_track(camera_x, SAND_X, depth)[0] if last > SAND_X else self.width
            y = self._ground + round(depth * scale)
            if stop > 0:
                thick = max(1, round((0.07 + 0.02 * depth) * scale))
                pygame.draw.rect(surface, scenery.LANE_LINE, (0, y, min(self.width, round(stop)), thick))

        for meter in range(floor(first / UNITS_PER_METER), ceil(last / UNITS_PER_METER) + 1):
            x = meter * UNITS_PER_METER
            if 0 <= meter < 100 and meter % 10:
                self._stripe(surface, camera_x, x, 0.08, 0.55, 0.85, scenery.TICK)
            elif 0 <= meter <= 100:
                self._stripe(surface, camera_x, x, 0.16, far, near + 0.1, scenery.METER_LINE)
                if meter < 100:
                    self._painted_number(surface, camera_x, x, str(meter))

    def _stripe(
        self,
        surface: pygame.Surface,
        camera_x: float,
        x: float,
        half_width: float,
        far: float,
        near: float,
        color: Color,
    ) -> None:
        corners = [
            (x - half_width, far),
            (x + half_width, far),
            (x + half_width, near),
            (x - half_width, near),
        ]
        pygame.draw.polygon(surface, color, [self._on_track(camera_x, a, depth) for a, depth in corners])

    def _painted_number(self, surface: pygame.Surface, camera_x: float, x: float, text: str) -> None:
        label = self._text(text, 1.5, scenery.METER_LINE)
        flat = pygame.transform.smoothscale(label, (label.get_width(), max(1, label.get_height() * 3 // 4)))
        left, top = self._on_track(camera_x, x + 0.35, 0.85)
        surface.blit(flat, (round(left), round(top)))

    def _draw_sand_grains(
        self, surface: pygame.Surface, camera_x: float, first: float, last: float, near: float
    ) -> None:
        size = max(1, round(0.1 * self.scale))
        for column in range(floor(first), ceil(last)):
            chance = random.Random(column)
            for _ in range(5):
                x, y = self._on_track(camera_x, column + chance.random(), chance.uniform(-1.0, near))
                shade = scenery.SAND_DARK if chance.random() < 0.6 else scenery.SAND_PALE
                if column + 0.0 >= SAND_X:
                    pygame.draw.rect(surface, shade, (round(x), round(y), 2 * size, size))

    def _draw_hurdle(self, surface: pygame.Surface, camera_x: float, pose: HurdlePose) -> None:
        if abs(pose[1][0] - camera_x) * self.scale > self.width:
            return
        base, top = pose
        self._shadow(surface, camera_x, base[0], 2.6)
        self._box(surface, camera_x, HURDLE_BASE, base, scenery.HURDLE_FEET)
        self._box(surface, camera_x, HURDLE_TOP, top, scenery.HURDLE_BOARD)
        # red bands across the upright board
        for low, high in scenery.HURDLE_STRIPES:
            corners = [
                (-HURDLE_TOP.half_width, low),
                (HURDLE_TOP.half_width, low),
                (HURDLE_TOP.half_width, high),
                (-HURDLE_TOP.half_width, high),
            ]
            pygame.draw.polygon(
                surface, scenery.HURDLE_STRIPE, [self._turned(camera_x, top, p) for p in corners]
            )
        outline = [(x * HURDLE_TOP.half_width, y * HURDLE_TOP.half_height) for x, y in _CORNERS]
        pygame.draw.aalines(surface, OUTLINE, True, [self._turned(camera_x, top, p) for p in outline])

    def _turned(self, camera_x: float, pose: tuple[float, float, float], local: Point) -> Point:
        x, y, angle = pose
        c, s = cos(angle), sin(angle)
        return self._at(camera_x, x + c * local[0] - s * local[1], y + s * local[0] + c * local[1])

    def _box(
        self,
        surface: pygame.Surface,
        camera_x: float,
        box: Box,
        pose: tuple[float, float, float],
        color: Color,
    ) -> None:
        corners = [(x * box.half_width, y * box.half_height) for x, y in _CORNERS]
        points = [self._turned(camera_x, pose, corner) for corner in corners]
        pygame.draw.polygon(surface, color, points)
        pygame.draw.aalines(surface, OUTLINE, True, points)

    def _shadow(self, surface: pygame.Surface, camera_x: float, x: float, half_width: float) -> None:
        width, height = round(2 * half_width * self.scale), max(2, round(0.6 * self.scale))
        shade = pygame.Surface((width, height), pygame.SRCALPHA)
        pygame.draw.ellipse(shade, scenery.SHADOW, shade.get_rect())
        left, top = self._at(camera_x, x - half_width, TRACK_Y - 0.22)
        surface.blit(shade, (round(left), round(top)))

    # -- a runner --------------------------------------------------------------------------------------

    def _draw_runner(self, surface: pygame.Surface, camera_x: float, runner: Runner) -> None:
        parts = np.asarray(runner.raw, dtype=np.float64).reshape(-1, 5)
        torso_x = float(parts[0, 0])
        if abs(torso_x - camera_x) * self.scale > self.width:
            return
        if runner.opacity == 255:
            for foot in ("leftFoot", "rightFoot"):
                x, y = parts[PART_INDEX[foot], :2]
                spread = 1.9 - 0.12 * max(0.0, min(8.0, TRACK_Y - float(y)))
                self._shadow(surface, camera_x, float(x), spread)
        # The sprite contains all parts. Its corner is at a whole px, so that the runner does not jitter.
        low, high = parts[:, :2].min(axis=0) - _REACH, parts[:, :2].max(axis=0) + _REACH
        left, top = map(floor, self._at(camera_x, *low))
        right, bottom = map(ceil, self._at(camera_x, *high))
        width, height = right - left, bottom - top
        sprite = pygame.Surface((width * SMOOTHING, height * SMOOTHING), pygame.SRCALPHA)
        origin_x, origin_y = self._at(camera_x, 0, 0)
        origin = (origin_x - left) * SMOOTHING, (origin_y - top) * SMOOTHING
        figure = _Figure(sprite, parts, self.scale * SMOOTHING, origin)
        figure.draw(runner.shirt)
        picture = pygame.transform.smoothscale(sprite, (width, height))
        if runner.opacity < 255:
            picture.set_alpha(runner.opacity)
        surface.blit(picture, (left, top))

    def _draw_label(self, surface: pygame.Surface, camera_x: float, runner: Runner) -> None:
        if not runner.label:
            return
        text = self._text(runner.label, 0.95, PAPER)
        head = 5 * PART_INDEX["head"]
        x, y = self._at(camera_x, float(runner.raw[head]), float(runner.raw[head + 1]) - 2.3)
        box = text.get_rect(center=(round(x), round(y))).inflate(
            round(0.7 * self.scale), round(0.3 * self.scale)
        )
        box.clamp_ip(surface.get_rect())
        pill = pygame.Surface(box.size, pygame.SRCALPHA)
        pygame.draw.rect(pill, (*runner.shirt, 225), pill.get_rect(), border_radius=box.height // 2)
        surface.blit(pill, box)
        surface.blit(text, text.get_rect(center=box.center))

    # -- the dials -------------------------------------------------------------------------------------

    def _draw_dials(self, surface: pygame.Surface, dials: Dials) -> None:
        margin = round(0.55 * self.scale)
        if dials.meters is not None:
            self._plate(surface, f"{dials.meters:.1f} m", (margin, margin), "topleft")
            self._progress(surface, dials.meters)
        if dials.seconds is not None:
            self._plate(surface, f"{dials.seconds:.1f} s", (self.width - margin, margin), "topright")
        if dials.keys is not None:
            size = round(2.3 * self.scale)
            step = size + round(0.35 * self.scale)
            top = self.height - margin - size
            lefts = (margin, margin + step, self.width - margin - size - step, self.width - margin - size)
            for bit, (name, left) in enumerate(zip(KEY_NAMES, lefts, strict=True)):
                self._keycap(surface, name, pygame.Rect(left, top, size, size), bool(dials.keys >> bit & 1))

    def _plate(self, surface: pygame.Surface, text: str, at: tuple[int, int], anchor: str) -> None:
        label = self._text(text, 1.9, PAPER)
        box = label.get_rect().inflate(round(1.1 * self.scale), round(0.5 * self.scale))
        setattr(box, anchor, at)
        plate = pygame.Surface(box.size, pygame.SRCALPHA)
        pygame.draw.rect(plate, (*INK, 190), plate.get_rect(), border_radius=round(0.5 * self.scale))
        surface.blit(plate, box)
        surface.blit(label, label.get_rect(center=box.center))

    def _progress(self, surface: pygame.Surface, meters: float) -> None:
        """Draw the whole track as a bar between the keys, with hurdle and runner."""
        left, right = round(0.3 * self.width), round(0.7 * self.width)
        y, thick = self.height - round(1.55 * self.scale), max(3, round(0.28 * self.scale))
        here = left + (right - left) * min(max(meters, 0.0), 100.0) / 100
        bar = pygame.Rect(left, y - thick // 2, right - left, thick)
        pygame.draw.rect(surface, INK, bar.inflate(4, 4), border_radius=thick)
        pygame.draw.rect(surface, (214, 218, 226), bar, border_radius=thick)
        done = pygame.Rect(left, bar.top, round(here) - left, thick)
        pygame.draw.rect(surface, SHIRTS[0], done, border_radius=thick)
        middle = (left + right) // 2
        pygame.draw.rect(surface, INK, (middle - 1, y - round(0.55 * self.scale), 3, round(1.1 * self.scale)))
        radius = round(0.45 * self.scale)
        pygame.draw.circle(surface, INK, (here, y), radius + 2)
        pygame.draw.circle(surface, PAPER, (here, y), radius)

    def _keycap(self, surface: pygame.Surface, name: str, rect: pygame.Rect, held: bool) -> None:
        radius, drop = round(0.45 * self.scale), max(2, round(0.22 * self.scale))
        pygame.draw.rect(surface, INK, rect.move(0, drop), border_radius=radius)
        face = rect.move(0, drop - 1) if held else rect
        pygame.draw.rect(surface, KEY_DOWN if held else KEY_UP, face, border_radius=radius)
        rim = scenery.KEY_RIM_DOWN if held else scenery.KEY_RIM
        pygame.draw.rect(surface, rim, face, max(1, round(0.12 * self.scale)), border_radius=radius)
        label = self._text(name, 1.5, INK if held else PAPER)
        surface.blit(label, label.get_rect(center=face.center))

    def _text(self, text: str, height: float, color: Color) -> pygame.Surface:
        """Return a text as a picture, `height` units high, from a cache of a few hundred."""
        pixels = max(8, round(height * self.scale * 1.25))
        key = (text, pixels, color)
        if key not in self._texts:
            if len(self._texts) > 300:
                self._texts.clear()
            if pixels not in self._fonts:
                self._fonts[pixels] = pygame.font.Font(None, pixels)
            self._texts[key] = self._fonts[pixels].render(text, True, color)
        return self._texts[key]


_CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))
_SHAPES = shapes()


class _Figure:
    """One runner on a sprite."""

    def __init__(self, surface: pygame.Surface, parts: NDArray[Any], scale: float, origin: Point) -> None:
        self._surface = surface
        self._scale = scale
        self._origin = origin
        self._parts = {
            name: (float(row[0]), float(row[1]), cos(row[2]), sin(row[2]))
            for name, row in zip(PART_INDEX, parts, strict=True)
        }

    def draw(self, shirt: Color) -> None:
        for shape in _SHAPES:
            color = shape.color if isinstance(shape.color, tuple) else shade(shirt, shape.color)
            if isinstance(shape, Patch):
                self._patch(shape, color)
            else:
                start = self._point(shape.start_part, shape.start)
                end = self._point(shape.end_part, shape.end)
                self._limb(start, end, shape.start_radius, shape.end_radius, color, shape.round_end)

    def _point(self, part: str, local: Point) -> Point:
        x, y, c, s = self._parts[part]
        return (
            self._origin[0] + (x + c * local[0] - s * local[1]) * self._scale,
            self._origin[1] + (y + s * local[0] + c * local[1]) * self._scale,
        )

    def _patch(self, patch: Patch, color: Color) -> None:
        points = [self._point(patch.part, corner) for corner in patch.corners]
        pygame.draw.polygon(self._surface, color, points)
        if patch.grow:
            for a, b in zip(points, points[1:] + points[:1], strict=True):
                self._limb(a, b, patch.grow, patch.grow, color)

    def _limb(
        self, a: Point, b: Point, a_radius: float, b_radius: float, color: Color, round_end: bool = True
    ) -> None:
        ra, rb = a_radius * self._scale, b_radius * self._scale
        pygame.draw.circle(self._surface, color, a, ra)
        length = hypot(b[0] - a[0], b[1] - a[1])
        if length < 1e-6:
            return
        if round_end:
            pygame.draw.circle(self._surface, color, b, rb)
        nx, ny = -(b[1] - a[1]) / length, (b[0] - a[0]) / length
        quad = [
            (a[0] + nx * ra, a[1] + ny * ra),
            (b[0] + nx * rb, b[1] + ny * rb),
            (b[0] - nx * rb, b[1] - ny * rb),
            (a[0] - nx * ra, a[1] - ny * ra),
        ]
        pygame.draw.polygon(self._surface, color, quad)


# -- the backdrop, painted once ------------------------------------------------------------------------


def _paint_sky(width: int, ground: int) -> pygame.Surface:
    sky = pygame.Surface((width, ground))
    for y in range(ground):
        sky.fill(
            _mix(scenery.SKY_TOP, scenery.SKY_BOTTOM, (y / ground) ** scenery.SKY_EXPONENT), (0, y, width, 1)
        )
    for x_share, y_share, size_share in scenery.clouds():
        x, y, size = x_share * width, y_share * ground, size_share * ground
        cloud = pygame.Surface((round(9 * size), round(4 * size)), pygame.SRCALPHA)
        cloud.fill((255, 255, 255, 0))
        for dx, dy, radius in scenery.CLOUD_PUFFS:
            pygame.draw.circle(
                cloud, (255, 255, 255, scenery.CLOUD_OPACITY), (dx * size, dy * size), radius * size
            )
        small = pygame.transform.smoothscale(cloud, (cloud.get_width() // 2, cloud.get_height() // 2))
        sky.blit(pygame.transform.smoothscale(small, cloud.get_size()), (x - 4 * size, y))
    return sky


def _paint_stand(scale: float) -> pygame.Surface:
    """Paint a tile that repeats seamlessly: a stand full of people under a roof, with floodlights."""
    width, height = (round(length * scale) for length in scenery.STAND_SIZE)
    tile = pygame.Surface((width, height), pygame.SRCALPHA)
    roof, first_row = round(scenery.STAND_ROOF * scale), round(scenery.STAND_FIRST_ROW * scale)
    tile.fill(scenery.STAND_WALL, (0, roof, width, height - roof))
    shaded = roof + round(0.5 * scale)
    tile.fill(scenery.STAND_SHADE, (0, shaded, width, first_row - shaded))
    chance = random.Random(7)
    row_height, dot = scenery.STAND_ROW * scale, max(1.0, scenery.STAND_HEAD * scale)
    rows = int((height - first_row) / row_height) + 1
    for row in range(rows):
        y = first_row + row * row_height
        shade = _mix(scenery.STAND_BACK, scenery.STAND_FRONT, row / rows)
        tile.fill(shade, (0, round(y), width, ceil(row_height)))
        for seat in range(scenery.STAND_SEATS):
            if chance.random() < scenery.STAND_TAKEN:
                x = (seat + 0.5 + chance.uniform(-0.15, 0.15)) * width / scenery.STAND_SEATS
                body = _mix(chance.choice(scenery.CROWD), shade, 0.35)
                pygame.draw.rect(
                    tile,
                    body,
                    (x - dot, y + 0.3 * scale, 2 * dot, row_height * 0.6),
                    border_radius=round(dot),
                )
                face = _mix(scenery.STAND_FACE, shade, 0.25)
                pygame.draw.circle(tile, face, (x, y + 0.22 * scale), dot * 0.8)
    for pillar in range(4):
        x = round((pillar + 0.5) * width / 4)
        tile.fill(scenery.STAND_PILLAR, (x, roof, max(2, round(0.3 * scale)), height - roof))
    tile.fill(scenery.STAND_EDGE, (0, roof - round(0.35 * scale), width, round(0.75 * scale)))
    tile.fill(scenery.STAND_BAND, (0, roof + round(0.4 * scale), width, max(2, round(0.14 * scale))))
    for mast in (0.25, 0.75):
        x = mast * width
        tile.fill(scenery.MAST, (round(x), round(0.6 * scale), max(2, round(0.22 * scale)), roof))
        panel = pygame.Rect(0, 0, round(3.0 * scale), round(1.0 * scale))
        panel.midtop = (round(x), 0)
        pygame.draw.rect(tile, scenery.FLOODLIGHT, panel, border_radius=3)
        for lamp in range(4):
            center = (panel.left + (lamp + 0.5) * panel.width / 4, panel.centery)
            pygame.draw.circle(tile, scenery.LAMP, center, 0.29 * scale)
    return tile


def _paint_boards(scale: float) -> pygame.Surface:
    """Paint a tile that repeats seamlessly: boards along the track in front of a hedge."""
    width, height = (round(length * scale) for length in scenery.BOARDS_SIZE)
    tile = pygame.Surface((width, height), pygame.SRCALPHA)
    hedge = round(scenery.HEDGE_TOP * scale)
    chance = random.Random(2)
    for i in range(scenery.HEDGE_BUSHES):
        x = (i + 0.5) * width / scenery.HEDGE_BUSHES
        radius = chance.uniform(*scenery.HEDGE_RADII) * scale
        for wrap in (-width, 0, width):
            pygame.draw.circle(tile, scenery.BUSH, (x + wrap, hedge), radius)
    tile.fill(scenery.HEDGE, (0, hedge, width, height - hedge))
    font = pygame.font.Font(None, round(1.75 * scale))
    board = width / len(scenery.BOARDS)
    top, board_height = round(scenery.BOARD_TOP * scale), round(scenery.BOARD_HEIGHT * scale)
    for i, (text, color) in enumerate(scenery.BOARDS):
        face = pygame.Rect(round(i * board) + 1, top, round(board) - 2, board_height)
        pygame.draw.rect(tile, color, face)
        pygame.draw.rect(tile, shade(color, 0.8), face, 1)
        label = font.render(text, True, PAPER if sum(color) < scenery.BOARD_PALE else scenery.BOARD_INK)
        tile.blit(label, label.get_rect(center=face.center))
    return tile


def _mix(a: Color, b: Color, share: float) -> Color:
    """Mix two colors: a at share 0, b at share 1."""
    return tuple(round(p + (q - p) * share) for p, q in zip(a, b, strict=True))  # pyright: ignore
