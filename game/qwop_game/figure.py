"""The runner's picture as shapes: limbs between the joints, drawn from the far side to the near one.

The shapes are plain data, so that pygame (in `render`) and a web page's canvas draw the same runner. Lengths
are world units in a part's own axes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from qwop_game.body import BOXES, JOINTS

Color = tuple[int, int, int]
Point = tuple[float, float]

OUTLINE_WIDTH = 0.13
SLEEVE, STRIPE = 0.72, 1.25
"""Factors of the shirt's color: the far sleeve is darker, the stripe on the side is paler."""

# Far (left) limbs are darker than near (right) ones, and each side has its own color of shoes.
OUTLINE: Color = (38, 30, 44)
SKIN, SKIN_FAR = (236, 178, 134), (190, 132, 100)
HAIR: Color = (70, 42, 34)
SHORTS, SHORTS_FAR = (44, 62, 110), (32, 44, 82)
SHOE_RIGHT, SHOE_LEFT = (240, 92, 52), (58, 150, 214)
SOCK, SOCK_FAR = (250, 250, 250), (206, 210, 222)
PAPER: Color = (250, 250, 246)


@dataclass(frozen=True)
class Limb:
    """Two circles and the quadrilateral between them."""

    start_part: str
    start: Point
    end_part: str
    end: Point
    start_radius: float
    end_radius: float
    color: Color | float
    """RGB; or a factor of the shirt's color, 1 for the shirt itself."""
    round_end: bool = True


@dataclass(frozen=True)
class Patch:
    """A polygon, `grow` units larger all round."""

    part: str
    corners: tuple[Point, ...]
    color: Color | float
    grow: float = 0.0


Shape = Limb | Patch


def shade(color: Color, factor: float) -> Color:
    """A darker (factor < 1) or paler color."""
    return tuple(min(255, round(channel * factor)) for channel in color)  # pyright: ignore


def between(a: Point, b: Point, share: float) -> Point:
    """The point at `share` of the way from a to b."""
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share


def shapes() -> tuple[Shape, ...]:
    """Every shape of a runner, in the order in which they are drawn."""
    return (
        *_arm("left", SKIN_FAR, SLEEVE),
        *_leg("left", SKIN_FAR, SHORTS_FAR, SOCK_FAR, SHOE_LEFT),
        *_trunk(),
        *_leg("right", SKIN, SHORTS, SOCK, SHOE_RIGHT),
        *_head(),
        *_arm("right", SKIN, 1.0),
    )


def _limb(
    part: str,
    start: Point,
    end: Point,
    start_radius: float,
    end_radius: float,
    color: Color | float,
    round_end: bool = True,
) -> Limb:
    return Limb(part, start, part, end, start_radius, end_radius, color, round_end)


def _leg(side: str, skin: Color, shorts: Color, sock: Color, shoe: Color) -> Iterator[Shape]:
    thigh, calf, foot = side + "Thigh", side + "Calf", side + "Foot"
    hip, knee_on_thigh = JOINTS[side + "Hip"].local_a, JOINTS[side + "Knee"].local_b
    knee, ankle_on_calf = JOINTS[side + "Knee"].local_a, JOINTS[side + "Ankle"].local_b
    ankle = JOINTS[side + "Ankle"].local_a
    half_w, half_h = BOXES[foot].half_width, BOXES[foot].half_height
    sole = ((-half_w, half_h - 0.3), (half_w, half_h - 0.3), (half_w, half_h), (-half_w + 0.1, half_h))
    upper = (
        (-half_w, half_h - 0.25),
        (-half_w + 0.02, -half_h * 0.75),
        (ankle[0] + 0.5, -half_h),
        (ankle[0] + 0.85, -half_h * 0.35),
        (half_w * 0.75, -0.02),
        (half_w, half_h - 0.3),
    )
    # the middle of a limb, for clothes that cover only half of it
    half_thigh = between(hip, knee_on_thigh, 0.62)
    half_calf = between(knee, ankle_on_calf, 0.66)
    for grow, colors in ((OUTLINE_WIDTH, [OUTLINE] * 6), (0.0, [sock, skin, skin, shorts, shoe, PAPER])):
        yield _limb(calf, half_calf, ankle_on_calf, 0.52 + grow, 0.46 + grow, colors[0])
        yield _limb(calf, knee, half_calf, 0.74 + grow, 0.53 + grow, colors[1])
        yield _limb(thigh, hip, knee_on_thigh, 1.02 + grow, 0.76 + grow, colors[2])
        yield _limb(thigh, hip, half_thigh, 1.08 + grow, 1.0 + grow, colors[3], round_end=False)
        yield Patch(foot, upper, colors[4], grow)
        yield Patch(foot, sole, colors[5], grow)


def _arm(side: str, skin: Color, sleeve: float) -> Iterator[Shape]:
    arm, forearm = side + "Arm", side + "Forearm"
    shoulder, elbow_on_arm = JOINTS[side + "Shoulder"].local_a, JOINTS[side + "Elbow"].local_b
    elbow = JOINTS[side + "Elbow"].local_a
    hand_x = -BOXES[forearm].half_width if elbow[0] > 0 else BOXES[forearm].half_width
    hand = (hand_x * 0.8, 0.0)
    cuff = between(shoulder, elbow_on_arm, 0.55)
    for grow, colors in ((OUTLINE_WIDTH, [OUTLINE] * 4), (0.0, [skin, skin, skin, sleeve])):
        yield _limb(forearm, elbow, hand, 0.5 + grow, 0.36 + grow, colors[0])
        yield _limb(forearm, hand, hand, 0.5 + grow, 0.5 + grow, colors[1])
        yield _limb(arm, shoulder, elbow_on_arm, 0.62 + grow, 0.5 + grow, colors[2])
        yield _limb(arm, shoulder, cuff, 0.72 + grow, 0.68 + grow, colors[3], round_end=False)


def _trunk() -> Iterator[Shape]:
    neck_on_torso, neck_on_head = JOINTS["neck"].local_b, JOINTS["neck"].local_a
    hips = between(JOINTS["leftHip"].local_b, JOINTS["rightHip"].local_b, 0.5)
    shoulders = between(JOINTS["leftShoulder"].local_b, JOINTS["rightShoulder"].local_b, 0.5)
    shoulders = (shoulders[0] - 0.1, shoulders[1])
    waist = between(hips, shoulders, 0.3)
    nape = (neck_on_head[0], neck_on_head[1] - 0.6)
    for grow, colors in ((OUTLINE_WIDTH, [OUTLINE] * 4), (0.0, [SKIN, SHORTS, 1.0, 1.0])):
        yield Limb("torso", neck_on_torso, "head", nape, 0.6 + grow, 0.55 + grow, colors[0])
        yield _limb("torso", hips, waist, 1.2 + grow, 1.16 + grow, colors[1])
        yield _limb("torso", waist, shoulders, 1.12 + grow, 1.36 + grow, colors[2])
    yield _limb("torso", between(waist, shoulders, 0.1), shoulders, 0.22, 0.22, STRIPE)


def _head() -> Iterator[Shape]:
    half_w, half_h = BOXES["head"].half_width, BOXES["head"].half_height
    skull, chin = (-0.05, -half_h + 1.05), (0.12, half_h - 0.72)
    nose = ((half_w - 0.25, -0.15), (half_w + 0.2, 0.3), (half_w - 0.3, 0.42))
    crown = (
        (half_w - 0.25, -half_h + 0.42),
        (0.45, -half_h - 0.12),
        (-0.35, -half_h - 0.12),
        (-half_w - 0.02, -half_h + 0.6),
        (-half_w - 0.08, 0.2),
        (-0.55, 0.35),
        (-0.5, -0.35),
        (0.1, -0.62),
    )
    for grow, skin, hair in ((OUTLINE_WIDTH, OUTLINE, OUTLINE), (0.0, SKIN, HAIR)):
        yield _limb("head", skull, chin, 1.06 + grow, 0.74 + grow, skin)
        yield Patch("head", nose, skin, grow)
        yield Patch("head", crown, hair, grow)
    headband = ((half_w - 0.04, -0.75), (half_w, -0.45), (-half_w + 0.02, -0.2), (-half_w, -0.52))
    yield Patch("head", headband, PAPER)
    yield _limb("head", (0.62, 0.02), (0.62, 0.12), 0.13, 0.13, OUTLINE)
    yield _limb("head", (0.5, 0.78), (0.8, 0.74), 0.06, 0.06, OUTLINE)
