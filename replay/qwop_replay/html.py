"""A self-contained web page that shows recorded runs, without server, network or library.

The page draws the recorded states; it simulates nothing.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_cli import json_text
from qwop_evaluation import SPLIT_METERS, format_number
from qwop_game import (
    FRAME_SECONDS,
    PARTS,
    SAND_X,
    TRACK_Y,
    UNITS_PER_METER,
    foot_clearance,
    knee_clearance,
    torso_tilt,
)
from qwop_game.body import BOXES, HURDLE_BASE, HURDLE_TOP
from qwop_game.gait import KNEE_NEAR_METERS, foot_contacts, gait_metrics, knee_near, upright
from qwop_game.scenery import SHIRTS, SHOES, Color
from qwop_replay.runs import ReplayedRun, starts
from qwop_web import page_files

SPEED_WINDOW_SECONDS = 1.0
_DATA, _DIAGRAM = "/*DATA*/null", "/*DIAGRAM*/"


def speed_curve(raw: NDArray[np.float32], window: float = SPEED_WINDOW_SECONDS) -> NDArray[np.float32]:
    """Compute the forward speed of the torso around each frame.

    Near the ends, the window is cut, not shifted. A single frame has speed 0.

    Args:
        raw: raw observations, [T + 1, 60].
        window: width of the window around each frame, s.

    Returns:
        Speed, m/s, float32 [T + 1].
    """
    meters = raw[:, 0].astype(np.float64) / UNITS_PER_METER
    frame = np.arange(len(raw))
    half = max(1, round(window / FRAME_SECONDS / 2))
    first, last = np.maximum(frame - half, 0), np.minimum(frame + half, len(raw) - 1)
    seconds = np.maximum(last - first, 1) * FRAME_SECONDS
    return ((meters[last] - meters[first]) / seconds).astype(np.float32)


def page(runs: Sequence[ReplayedRun], title: str, subtitle: str = "", notes: Sequence[str] = ()) -> str:
    """Return the page as text. The camera follows the first run; the others are ghosts, by the game's clock.

    Args:
        runs: at least one.
        title: heading.
        subtitle: a line under the heading.
        notes: sentences to list under the picture.

    Raises:
        ValueError: no runs.
    """
    if not runs:
        raise ValueError("no runs to show")
    data = {
        "title": title,
        "subtitle": subtitle,
        "notes": list(notes),
        "parts": [
            {"name": part, "half_width": BOXES[part].half_width, "half_height": BOXES[part].half_height}
            for part in PARTS
        ],
        "hurdle": [
            {"half_width": box.half_width, "half_height": box.half_height}
            for box in (HURDLE_BASE, HURDLE_TOP)
        ],
        "shirts": [_css(color) for color in SHIRTS],
        "shoes": [_css(color) for color in SHOES],
        "track_y": TRACK_Y,
        "sand_x": SAND_X,
        "knee_near": KNEE_NEAR_METERS,
        "columns": [
            "end",
            "meters",
            "seconds",
            *(f"{at} m" for at in SPLIT_METERS),
            "knee %",
            "upright %",
            "strides",
        ],
        "runs": [_run(run) | {"begins": begins} for run, begins in zip(runs, starts(runs), strict=True)],
    }
    template = files("qwop_replay").joinpath("page.html").read_text(encoding="utf-8")
    # The page is one file: it holds the module's text, and a script that is no module has no exports.
    diagram = page_files()["diagram.js"].read_text(encoding="utf-8")
    template = template.replace(_DIAGRAM, re.sub(r"^export ", "", diagram, flags=re.MULTILINE), 1)
    # "</" would end the script element, even inside a string.
    return template.replace(_DATA, json_text(data).replace("</", "<\\/"), 1)


def _run(run: ReplayedRun) -> dict[str, Any]:
    episode = run.episode
    raw = episode.raw_observations
    gait = gait_metrics(raw, episode.keys)
    clearance = foot_clearance(raw)
    contacts = (
        foot_contacts(clearance[:, 0]).astype(np.uint8)
        | foot_contacts(clearance[:, 1]).astype(np.uint8) << 1
        | knee_near(raw).astype(np.uint8) << 2
        | upright(raw).astype(np.uint8) << 3
    )
    # The hurdle does not move until a runner hits it. Store only the poses from then on, and one row before.
    moved = (run.hurdle != run.hurdle[0]).any(axis=(1, 2))
    hurdle_from = max(int(moved.argmax()) - 1, 0) if moved.any() else run.last_frame
    poses = raw.reshape(len(raw), len(PARTS), 5)[:, :, :3]
    return {
        "name": run.name,
        "figures": [
            run.ending,
            format_number(episode.distance, 1),
            format_number(episode.time, 2),
            *(format_number(time, 2) for time in run.splits.values()),
            format_number(100 * gait.knee_near, 1),
            format_number(100 * gait.upright, 1),
            str(gait.strides),
        ],
        "hurdle": _base64(run.hurdle[hurdle_from:], np.float32),
        "hurdle_from": hurdle_from,
        "poses": _base64(poses, np.float32),
        "times": _base64(episode.times, np.float32),
        "knee_clearance": _base64(knee_clearance(raw), np.float32),
        "torso_pitch": _base64(np.degrees(torso_tilt(raw)), np.float32),
        "speed": _base64(speed_curve(raw), np.float32),
        "contacts": _base64(contacts, np.uint8),
        "keys": _base64(episode.keys, np.uint8),
    }


def _css(color: Color) -> str:
    """RGB as CSS writes it."""
    return "#" + bytes(color).hex()


def _base64(values: NDArray[Any], dtype: type[np.generic]) -> str:
    """Little-endian bytes of an array, rows last, as text."""
    little = np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<"))
    return base64.b64encode(little.tobytes()).decode("ascii")
