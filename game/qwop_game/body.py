"""The runner's body as measured in the game: boxes and joints, in world units and radians.

Geometry, features and pictures use these numbers. The engine has the same ones in constants.hpp;
tests/game/test_body.py compares the two.
"""

from dataclasses import dataclass
from math import cos, sin


@dataclass(frozen=True)
class Box:
    """Half extents of a part's box and its pose (center, angle) when the runner is created."""

    half_width: float
    half_height: float
    x: float
    y: float
    angle: float

    def local(self, x: float, y: float) -> tuple[float, float]:
        """Convert a world point of the creation pose to the box's own axes."""
        dx, dy = x - self.x, y - self.y
        c, s = cos(self.angle), sin(self.angle)
        return c * dx + s * dy, c * dy - s * dx


@dataclass(frozen=True)
class Joint:
    """A revolute joint between part_a and part_b.

    world_a and world_b are its anchors on the two parts, as world points of the creation pose. They differ by
    up to 0.001 units, as they do in the game. The joint's angle is
    angle_b - angle_a - reference_angle, within [lower_angle, upper_angle]. O and P change the limits of the
    hips.
    """

    part_a: str
    part_b: str
    world_a: tuple[float, float]
    world_b: tuple[float, float]
    reference_angle: float
    lower_angle: float
    upper_angle: float

    @property
    def local_a(self) -> tuple[float, float]:
        """The anchor in part_a's own axes."""
        return BOXES[self.part_a].local(*self.world_a)

    @property
    def local_b(self) -> tuple[float, float]:
        """The anchor in part_b's own axes."""
        return BOXES[self.part_b].local(*self.world_b)


BOXES: dict[str, Box] = {
    "torso": Box(3.275, 1.425, 2.5111726226000157, -1.8709517533957938, -1.2514497119301329),
    "head": Box(1.075, 1.325, 3.888130278719558, -5.621802929095265, 0.06448415835225099),
    "leftArm": Box(1.85, 0.625, 4.417861014480877, -2.806563606410589, 0.9040095895272826),
    "leftCalf": Box(2.5, 0.75, 3.12585731974087, 5.525511655361298, -1.5903971528225265),
    "leftFoot": Box(1.35, 0.675, 3.926921842806667, 8.08884032049622, 0.12027524643408766),
    "leftForearm": Box(1.75, 0.55, 5.830008603424893, -2.8733539631159584, -1.2049772618421237),
    "leftThigh": Box(2.525, 1.0, 2.5648987628203876, 1.648090668682522, -2.0177234426823394),
    "rightArm": Box(1.95, 0.75, 1.1812303663272852, -3.5000256518601014, -0.5222217404634386),
    "rightCalf": Box(2.5, 0.75, -0.07253905736790486, 5.347881871063159, -0.7588859967104447),
    "rightFoot": Box(1.35, 0.725, -1.1254742643908706, 7.567193169625567, 0.5897605418219602),
    "rightForearm": Box(2.225, 0.675, 0.4078206420797428, -1.0599953233084172, -1.7553358283857299),
    "rightThigh": Box(2.65, 1.0, 1.6120186135678773, 2.0615320561881516, 1.4849422964528027),
}
HURDLE_BASE = Box(1.675, 0.3, 500.0, 8.775, 0.0)
HURDLE_TOP = Box(0.5375, 3.65, 500.86499999999995, 5.0575, 0.0)

JOINTS: dict[str, Joint] = {
    "neck": Joint(
        "head",
        "torso",
        (3.5885141908253755, -4.526224223627244),
        (3.588733341630704, -4.526434658500262),
        -1.308996406363529,
        -0.5,
        0.0,
    ),
    "rightShoulder": Joint(
        "rightArm",
        "torso",
        (2.228476821818547, -4.086468732185028),
        (2.228929993886102, -4.08707555939957),
        -0.7853907065463961,
        -0.5,
        1.5,
    ),
    "leftShoulder": Joint(
        "leftArm",
        "torso",
        (3.6241979856895377, -3.5334881618011442),
        (3.6241778782207157, -3.533950434531982),
        -2.09438311816829,
        -2.0,
        0.0,
    ),
    "leftHip": Joint(
        "leftThigh",
        "torso",
        (2.0030339754142847, 0.23737160622781284),
        (2.003367181376716, 0.23802590387419476),
        0.7258477508944043,
        -1.5,
        0.5,
    ),
    "rightHip": Joint(
        "rightThigh",
        "torso",
        (1.2475900729227194, -0.011046642863645761),
        (1.2470052823973599, -0.011635347168778898),
        -2.719359381718199,
        -1.3,
        0.7,
    ),
    "leftElbow": Joint(
        "leftForearm",
        "leftArm",
        (5.525375332758792, -1.63856204930891),
        (5.52537532948459, -1.6385620366077662),
        2.09438311816829,
        -0.1,
        0.5,
    ),
    "rightElbow": Joint(
        "rightForearm",
        "rightArm",
        (-0.006090859076100963, -2.8004758838752157),
        (-0.0060908611708438976, -2.8004758929205846),
        1.2968199012274688,
        -0.1,
        0.5,
    ),
    "leftKnee": Joint(
        "leftCalf",
        "leftThigh",
        (3.384323411985692, 3.5168931240916876),
        (3.3844684376952108, 3.5174122997898016),
        -0.3953113764119829,
        -1.6,
        0.0,
    ),
    "rightKnee": Joint(
        "rightCalf",
        "rightThigh",
        (1.4982369235492752, 4.175600306005656),
        (1.4982043532615996, 4.17493520671361),
        2.2893406247158676,
        -1.3,
        0.3,
    ),
    "leftAnkle": Joint(
        "leftFoot",
        "leftCalf",
        (3.312322507818897, 7.947704853895541),
        (3.3123224825088817, 7.947704836256229),
        -1.7244327585010226,
        -0.5,
        0.5,
    ),
    "rightAnkle": Joint(
        "rightFoot",
        "rightCalf",
        (-1.6562855402197227, 6.961551452557676),
        (-1.655726670462596, 6.961493826969391),
        -1.5708045825942758,
        -0.5,
        0.5,
    ),
}
