"""Gait metrics of QWOP runs, computed from raw observations.

All inputs are raw observations (float [..., 60], world units, unclipped). The thresholds of `knee_near`
and `upright` separate human record runs (pelvis at 0.82 m, a knee near the track in 0.3-0.6 % of the frames,
upright in 94-98 %) from knee scrapers (0.41 m, 98.9 %, 0.2 %).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_game import geometry
from qwop_game.observation import FRAME_SECONDS, PARTS, UNITS_PER_METER

KNEE_NEAR_METERS = 0.12
"""A knee closer to the track than this is "near": scraping, or about to."""
UPRIGHT_PELVIS_METERS = 0.65
"""An upright runner's pelvis is at least this high; a scraper's is at 0.41 m."""
UPRIGHT_TILT_RADIANS = math.radians(45.0)
"""An upright runner's torso leans at most this far from the vertical, either way."""

TOUCH_METERS = 0.01
"""A foot whose clearance falls to this touches the track. A standing foot rests within 0.002 m."""
LIFT_METERS = 0.03
"""A foot has left the track once its clearance reaches this. Between the two thresholds its state stays as it
was, so that a foot that jitters on the track is one contact, not ten."""

_FOOT_X = np.array([5 * PARTS.index("leftFoot"), 5 * PARTS.index("rightFoot")])
_TORSO_X = 5 * PARTS.index("torso")


@dataclass(frozen=True)
class GaitMetrics:
    """Gait of one run.

    Shares are of the T + 1 stored frames, in [0, 1]. A figure that can't be computed (no stride, no keys) is
    NaN.
    """

    frames: int
    """Stored frames, T + 1."""
    distance: float
    """Torso x in the last frame, m."""
    knee_near: float
    """Share of frames with a knee's clearance below 0.12 m."""
    knee_longest: float
    """Longest time that the knees stayed near without a break, s (frames / 30)."""
    upright: float
    """Share of frames with pelvis >= 0.65 m, both knees' clearance >= 0.12 m and |tilt| <= 45 degrees."""
    pelvis_height: float
    """Mean height of the pelvis above the track, m."""
    steps: int
    """Touchdowns that follow a touchdown of the other foot. Repeated touchdowns of one foot (a scuff, then
    the landing) count as one, at the last of them."""
    strides: int
    """Whole cycles of two steps, steps // 2: from a foot's touchdown, over the other foot's, to its next."""
    stride_length: float
    """Mean distance between two touchdowns of one foot, m."""
    cadence: float
    """Steps per minute of play, from the first touchdown to the last; NaN if they share a frame."""
    flight: float
    """Share of frames in which no foot touches the track and no knee is near it."""
    symmetry: float
    """The two feet's mean step lengths divided, the one nearer to 0 by the other: -1 to 1. The step length is
    how far a foot lands ahead of the other, m; in long leaps it lands behind. 1: even steps. 0: one foot
    always lands level with the other. Below 0: one foot lands ahead, the other behind. QWOP's runner is not
    symmetric, and its fast runs are near 0 or below."""
    torso_pitch: float
    """Mean lean of the torso from the vertical, degrees, forward positive."""
    torso_pitch_std: float
    """Standard deviation of that lean, degrees."""
    key_switches: float
    """Changes of the held keys per second of play."""


def knee_near(raw: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Whether a knee is within 0.12 m of the track: raw [..., 60] -> bool [...]."""
    return geometry.knee_clearance(raw).min(axis=-1) < KNEE_NEAR_METERS


def upright(raw: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Whether the runner is upright (see `GaitMetrics.upright`): raw [..., 60] -> bool [...]."""
    return (
        (geometry.pelvis_height(raw) >= UPRIGHT_PELVIS_METERS)
        & ~knee_near(raw)
        & (np.abs(geometry.torso_tilt(raw)) <= UPRIGHT_TILT_RADIANS)
    )


def longest_run(flags: NDArray[np.bool_]) -> int:
    """Length of the longest unbroken run of True: bool [T] -> frames."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def foot_contacts(clearance: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Whether a foot is down: clearance [T + 1] in m -> bool [T + 1].

    A foot goes down at 0.01 m and up at 0.03 m; in between it stays as it was. A run that starts in between
    starts down: at the canonical start both feet are 0.017 m above the track, and settling is not a step.
    """
    verdict = np.where(clearance <= TOUCH_METERS, 1, np.where(clearance >= LIFT_METERS, 0, -1))
    if verdict.size and verdict[0] < 0:
        verdict[0] = 1
    latest = np.maximum.accumulate(np.where(verdict >= 0, np.arange(verdict.size), 0))
    return verdict[latest] == 1


def touchdowns(raw: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Frames at which feet land, alternating: raw [T + 1, 60] -> (frames [K], feet [K], 0 left, 1 right).

    Repeated touchdowns of one foot count as one, at the last of them.
    """
    clearance = geometry.foot_clearance(raw)
    landings = [
        np.flatnonzero(np.diff(foot_contacts(clearance[:, foot]).astype(np.int8)) == 1) + 1 for foot in (0, 1)
    ]
    frames = np.concatenate(landings)
    feet = np.repeat([0, 1], [len(landing) for landing in landings])
    order = np.argsort(frames, kind="stable")
    frames, feet = frames[order], feet[order]
    last_of_its_foot = np.append(feet[1:] != feet[:-1], True)[: len(feet)]
    return frames[last_of_its_foot], feet[last_of_its_foot]


def torso_x(raw: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the torso's place along the track [T], m, of raw observations [T, 60]."""
    return raw[:, _TORSO_X].astype(np.float64) / UNITS_PER_METER


def torso_pitch(raw: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Lean of the torso from the vertical, degrees, forward positive: raw [..., 60] -> [...]."""
    return np.degrees(geometry.torso_tilt(raw).astype(np.float64))


def strides_of(raw: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lengths and times of the strides, from a foot's touchdown to its next: raw [T + 1, 60] -> m [S], s [S].

    Each step begins one, so strides of the two feet overlap.
    """
    frames, feet = touchdowns(raw)
    landing_x = raw[frames, _FOOT_X[feet]].astype(np.float64) / UNITS_PER_METER
    return landing_x[2:] - landing_x[:-2], (frames[2:] - frames[:-2]).astype(np.float64) * FRAME_SECONDS


def gait_metrics(raw: NDArray[np.floating[Any]], keys: NDArray[np.uint8] | None = None) -> GaitMetrics:
    """Gait of one run.

    Args:
        raw: raw observations [T + 1, 60], one per frame (not per decision), world units.
        keys: key masks held, uint8 [T]; without them `key_switches` is NaN.

    Raises:
        ValueError: the shapes are wrong, the run is empty, or a value is not finite.
    """
    raw = np.asarray(raw)
    if raw.ndim != 2 or raw.shape[1] != 60 or len(raw) == 0:
        raise ValueError(f"raw observations of one run must be [T + 1, 60], got {list(raw.shape)}")
    if not np.isfinite(raw).all():
        raise ValueError(
            f"raw observations have a value that is not finite, first in frame {_first_bad(raw)}"
        )
    if keys is not None and len(keys) != len(raw) - 1:
        raise ValueError(f"{len(raw)} observations need {len(raw) - 1} keys, got {len(keys)}")

    near = knee_near(raw)
    pitch = torso_pitch(raw)
    clearance = geometry.foot_clearance(raw)
    in_flight = ~(foot_contacts(clearance[:, 0]) | foot_contacts(clearance[:, 1]) | near)

    frames, feet = touchdowns(raw)
    foot_x = raw[:, _FOOT_X].astype(np.float64) / UNITS_PER_METER
    stride_lengths, _ = strides_of(raw)
    steps = max(len(frames) - 1, 0)
    step_lengths = foot_x[frames, feet] - foot_x[frames, 1 - feet]
    mean_steps = [float(step_lengths[feet == foot].mean()) for foot in (0, 1)] if steps else [math.nan]
    nearer, farther = min(mean_steps, key=abs), max(mean_steps, key=abs)
    step_seconds = float(frames[-1] - frames[0]) * FRAME_SECONDS if steps else 0.0

    return GaitMetrics(
        frames=len(raw),
        distance=float(torso_x(raw[-1:])[0]),
        knee_near=float(near.mean()),
        knee_longest=longest_run(near) * FRAME_SECONDS,
        upright=float(upright(raw).mean()),
        pelvis_height=float(geometry.pelvis_height(raw).mean(dtype=np.float64)),
        steps=steps,
        strides=steps // 2,
        stride_length=float(stride_lengths.mean()) if steps >= 2 else math.nan,
        cadence=60.0 * steps / step_seconds if step_seconds else math.nan,
        flight=float(in_flight.mean()),
        symmetry=nearer / farther if farther else math.nan,
        torso_pitch=float(pitch.mean()),
        torso_pitch_std=float(pitch.std()),
        key_switches=math.nan if keys is None or len(keys) == 0 else _key_switches(np.asarray(keys)),
    )


def gait_metrics_of_runs(
    runs: Sequence[NDArray[np.floating[Any]]], keys: Sequence[NDArray[np.uint8]] | None = None
) -> list[GaitMetrics]:
    """Gait of N runs of different lengths: N x raw [T_i + 1, 60] (and N x keys [T_i]) -> N metrics."""
    if keys is None:
        return [gait_metrics(raw) for raw in runs]
    return [gait_metrics(raw, held) for raw, held in zip(runs, keys, strict=True)]


def pooled(metrics: Sequence[GaitMetrics]) -> GaitMetrics:
    """Pool the gait of many runs.

    Shares, heights and pitch are weighted by frames; steps and strides are summed. Stride length, cadence,
    symmetry and key switches are averaged over the runs in which they are not NaN, the distance over all. The
    longest knee time is the maximum.

    Raises:
        ValueError: no metrics.
    """
    if not metrics:
        raise ValueError("no runs to pool")
    column = {
        field.name: np.array([getattr(m, field.name) for m in metrics], float)
        for field in fields(GaitMetrics)
    }
    weight = column["frames"] / column["frames"].sum()

    def over_frames(name: str) -> float:
        return float((weight * column[name]).sum())

    def over_runs(name: str) -> float:
        defined = column[name][~np.isnan(column[name])]
        return float(defined.mean()) if len(defined) else math.nan

    pitch = over_frames("torso_pitch")
    # Law of total variance: spread within runs plus spread of their means.
    pitch_variance = (weight * (column["torso_pitch_std"] ** 2 + (column["torso_pitch"] - pitch) ** 2)).sum()
    return GaitMetrics(
        frames=int(column["frames"].sum()),
        distance=over_runs("distance"),
        knee_near=over_frames("knee_near"),
        knee_longest=float(column["knee_longest"].max()),
        upright=over_frames("upright"),
        pelvis_height=over_frames("pelvis_height"),
        steps=int(column["steps"].sum()),
        strides=int(column["strides"].sum()),
        stride_length=over_runs("stride_length"),
        cadence=over_runs("cadence"),
        flight=over_frames("flight"),
        symmetry=over_runs("symmetry"),
        torso_pitch=pitch,
        torso_pitch_std=float(math.sqrt(pitch_variance)),
        key_switches=over_runs("key_switches"),
    )


def _key_switches(keys: NDArray[np.uint8]) -> float:
    return float(np.count_nonzero(np.diff(keys))) / (len(keys) * FRAME_SECONDS)


def _first_bad(raw: NDArray[np.floating[Any]]) -> int:
    return int(np.flatnonzero(~np.isfinite(raw).all(axis=1))[0])
