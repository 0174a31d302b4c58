"""The stadium as plain data, which `render` and the web page draw around the runners.

Lengths are world units unless a comment says otherwise. Depths are units nearer than the
runners. Colors are RGB. `web/build.py` exports every name in capitals.
"""

import random

from qwop_game.figure import OUTLINE, PAPER, SHOE_LEFT, SHOE_RIGHT, Color

VIEW_HEIGHT = 23.0  # from top to bottom of the picture, at any size
GROUND = 18.4  # from the picture's top to the line that feet touch
CAMERA_AHEAD = 3.0  # the camera looks this far ahead of the runner
PERSPECTIVE = 0.075  # a unit of depth makes the track this much wider

SHIRTS: tuple[Color, ...] = ((226, 60, 66), (60, 140, 220), (252, 186, 50), (86, 176, 98), (160, 96, 200))
SHOES = SHOE_LEFT, SHOE_RIGHT
INK: Color = (24, 28, 40)
KEY_UP: Color = (52, 60, 78)
KEY_DOWN: Color = (255, 190, 60)
KEY_RIM: Color = (108, 118, 140)
KEY_RIM_DOWN: Color = (255, 232, 170)
LINE, LABEL = OUTLINE, PAPER  # around the hurdle; of labels

SKY_TOP: Color = (96, 168, 226)
SKY_BOTTOM: Color = (226, 240, 246)
SKY_EXPONENT = 0.8  # of the share of the height, in the gradient
CLOUD_PUFFS = (
    (2, 2.6, 1.1),
    (3.6, 2.1, 1.6),
    (5.4, 2.4, 1.4),
    (6.9, 2.8, 1.0),
)  # x, y, radius in cloud sizes
CLOUD_OPACITY = 190  # of 255

# The stand moves at STAND_RATE of the track's speed, and ends STAND_BOTTOM below the runners' line.
STAND_SIZE, STAND_RATE, STAND_BOTTOM = (48.0, 11.5), 0.12, -3.6
STAND_ROOF, STAND_FIRST_ROW, STAND_ROW, STAND_HEAD = 3.0, 4.3, 0.75, 0.23
STAND_SEATS, STAND_TAKEN = 64, 0.82  # seats per row, and the share that is taken
STAND_WALL: Color = (126, 140, 168)
STAND_SHADE: Color = (84, 96, 124)
STAND_BACK: Color = (112, 124, 152)
STAND_FRONT: Color = (142, 156, 182)
STAND_FACE: Color = (214, 160, 124)
STAND_PILLAR: Color = (226, 230, 238)
STAND_EDGE: Color = (236, 240, 246)
STAND_BAND: Color = (200, 74, 74)
MAST: Color = (150, 158, 174)
FLOODLIGHT: Color = (116, 124, 142)
LAMP: Color = (255, 250, 224)
CROWD: tuple[Color, ...] = (
    (206, 92, 88),
    (88, 128, 190),
    (228, 196, 112),
    (118, 170, 124),
    (222, 222, 226),
    (150, 116, 172),
)

BOARDS_SIZE, BOARDS_RATE, BOARDS_BOTTOM = (56.0, 3.4), 0.55, -1.7
BOARD_TOP, BOARD_HEIGHT = 1.55, 1.85
HEDGE_TOP, HEDGE_BUSHES, HEDGE_RADII = 1.1, 60, (0.55, 0.8)
BUSH: Color = (66, 128, 74)
HEDGE: Color = (58, 116, 66)
BOARD_INK: Color = (40, 72, 140)
BOARDS: tuple[tuple[str, Color], ...] = (
    ("STRIDE", (40, 72, 140)),
    ("Q  W", (246, 246, 240)),
    ("100 METERS", (196, 60, 60)),
    ("O  P", (246, 246, 240)),
    ("UPRIGHT", (36, 110, 104)),
    ("HURDLE 50 M", (246, 196, 76)),
    ("NO KNEES", (246, 246, 240)),
)
BOARD_PALE = 420  # a board with a larger sum of RGB has BOARD_INK on it, others PAPER

TRACK_FAR = -1.15
LANE_EDGES = (TRACK_FAR, -0.62, 0.55, 2.1, VIEW_HEIGHT - GROUND + 0.1)
GRASS_TOP, GRASS_HEIGHT = -1.9, 0.8
GRASS: Color = (118, 176, 84)
TRACK: Color = (200, 86, 62)
LANE: Color = (190, 78, 56)
LANE_LINE: Color = (244, 226, 214)
TICK: Color = (236, 196, 178)
METER_LINE: Color = (250, 240, 232)
SAND: Color = (226, 196, 132)
SAND_DARK: Color = (206, 172, 106)
SAND_PALE: Color = (242, 220, 164)
SHADOW = (60, 16, 16, 80)  # RGBA

HURDLE_FEET: Color = (70, 76, 92)
HURDLE_BOARD: Color = (246, 246, 242)
HURDLE_STRIPE: Color = (220, 54, 60)
HURDLE_STRIPES = ((-3.65, -2.4), (-1.0, 0.25), (1.65, 2.9))  # from the board's center, along it


def clouds() -> list[tuple[float, float, float]]:
    """Each cloud's x as a share of the width, and its y and size as shares of the sky's height."""
    chance = random.Random(4)
    return [(chance.uniform(0, 1), chance.uniform(0.04, 0.3), chance.uniform(0.03, 0.06)) for _ in range(5)]
