"""Compare a run with a faster one: where it loses time, how its keys differ, and how runs end."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_cli import nan_to_none, text_table
from qwop_datasets import Episode
from qwop_evaluation import format_number
from qwop_game import FRAME_SECONDS, KEY_NAMES, UNITS_PER_METER, canonical_keys, torso_tilt
from qwop_game.gait import knee_near, touchdowns

SECTION_METERS = 10.0
"""Length of the sections that are compared, m."""
HURDLE_METERS = (48.5, 53.0)
"""A run that ends in this range, m, counts as ended at the hurdle, which is at 50 m."""
SLOW_METERS_PER_SECOND = 0.5
"""A runner that is slower than this counts as standing."""
PLAYABLE_SECONDS = 0.1
"""Minimum hold time to give advice on a key, s: a search taps keys for single frames, but a person can't."""
STEADY_SPREAD = 0.35
"""Presses of a key whose intervals spread less than this share of their median have a rhythm."""


def time_at(episode: Episode, meters: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Find when the torso first reached each distance, between frames by linear interpolation.

    Args:
        episode: the run.
        meters: distances [M], m, rising.

    Returns:
        Times on the game's clock [M], s; NaN for distances that the run did not reach.
    """
    x = episode.raw_observations[:, 0].astype(np.float64) / UNITS_PER_METER
    # The maximum of x so far is sorted, so bisection finds the first frame at or beyond a distance.
    frames = np.searchsorted(np.maximum.accumulate(x), meters)
    after = np.clip(frames, 1, len(x) - 1)
    share = (meters - x[after - 1]) / np.where(frames > 0, x[after] - x[after - 1], 1.0)
    times = episode.times[after - 1] + share * (episode.times[after] - episode.times[after - 1])
    return np.where(frames == 0, episode.times[0], np.where(frames < len(x), times, math.nan))


@dataclass(frozen=True)
class Section:
    """One section of the track in both runs. NaN if a run did not reach its end."""

    start: float
    """m"""
    end: float
    """m"""
    time: float
    """Time of the run for this section, s."""
    reference_time: float
    """Time of the reference, s."""
    knee_near: float
    """Time that a knee was within 0.12 m of the track, s."""
    slow: float
    """Time below 0.5 m/s, s."""
    lean: float
    """Mean lean of the torso, degrees, forward positive."""
    reference_lean: float
    """The same of the reference."""

    @property
    def lost(self) -> float:
        """Time lost against the reference, s; negative if the run was faster."""
        return self.time - self.reference_time


@dataclass(frozen=True)
class Tempo:
    """Steps of a run from its first to its last touchdown. NaN for a run with fewer than two."""

    steps_per_minute: float
    step_meters: float
    """Advance of the torso per step, m."""

    @property
    def speed(self) -> float:
        """Speed between the touchdowns, m/s."""
        return self.steps_per_minute / 60.0 * self.step_meters


@dataclass(frozen=True)
class KeyRhythm:
    """Timing of one key. NaN if it was pressed too rarely."""

    key: str
    presses: int
    hold: float
    """Median time that it is held, s."""
    interval: float
    """Median time from one press to the next, s."""
    spread: float
    """Interquartile range of these intervals divided by their median: 0 is perfectly regular."""
    phase: float
    """When it is pressed, in strides after a touchdown of the right foot: circular mean, 0 to 1."""
    focus: float
    """Length of the mean vector of these phases: 1 always the same, 0 anywhere."""


@dataclass(frozen=True)
class Fall:
    """How an unfinished run ended."""

    meters: float
    direction: str
    """forward or backward: the torso's lean at the end."""
    at_hurdle: bool
    knee_first: bool
    """Whether a knee was near the track for most of the last second before the torso was at 60 degrees."""


@dataclass(frozen=True)
class Coaching:
    """A run against a reference, and the falls of all runs of the player. `print` it for the report."""

    name: str
    reference_name: str
    time: float
    """Clock at the end, s."""
    reference_time: float
    distance: float
    """m"""
    reference_distance: float
    sections: tuple[Section, ...]
    tempo: Tempo
    reference_tempo: Tempo
    keys: tuple[KeyRhythm, ...]
    """Of Q, W, O and P."""
    reference_keys: tuple[KeyRhythm, ...]
    runs: int
    """Runs of the player."""
    finished: int
    falls: tuple[Fall, ...]

    @property
    def lost(self) -> float:
        """Time lost over all sections that both runs ran, s."""
        return float(sum(section.lost for section in self.sections if not math.isnan(section.lost)))

    def advice(self) -> list[str]:
        """Return the most important advice as sentences: worst sections, tempo or length, rhythm, falls."""
        return [*_section_advice(self), *_tempo_advice(self), *_key_advice(self), *_fall_advice(self)]

    def as_json(self) -> dict[str, object]:
        """Return all figures and the advice as plain data. NaN becomes null."""
        figures = asdict(self)
        for plain, section in zip(figures["sections"], self.sections, strict=True):
            plain["lost"] = section.lost
        return nan_to_none({**figures, "lost": self.lost, "advice": self.advice()})

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {_ending(self.distance, self.time)}",
            f"{self.reference_name}: {_ending(self.reference_distance, self.reference_time)} (reference)",
            "",
            text_table(
                ["section", "s", "reference s", "lost s", "knee near s", "standing s"],
                [
                    [
                        f"{section.start:.0f}-{section.end:.0f} m",
                        format_number(section.time, 2),
                        format_number(section.reference_time, 2),
                        _signed(section.lost),
                        format_number(section.knee_near, 2),
                        format_number(section.slow, 2),
                    ]
                    for section in self.sections
                ],
            ),
            "",
            text_table(
                ["key", "presses", "held s", "reference", "every s", "reference", "spread %", "reference"],
                [
                    [
                        mine.key,
                        str(mine.presses),
                        format_number(mine.hold, 2),
                        format_number(other.hold, 2),
                        format_number(mine.interval, 2),
                        format_number(other.interval, 2),
                        format_number(100 * mine.spread, 0),
                        format_number(100 * other.spread, 0),
                    ]
                    for mine, other in zip(self.keys, self.reference_keys, strict=True)
                ],
            ),
            "",
            *(f"- {line}" for line in self.advice()),
        ]
        return "\n".join(lines)


def coach(
    run: Episode,
    reference: Episode,
    name: str = "run",
    reference_name: str = "reference",
    all_runs: Sequence[Episode] = (),
) -> Coaching:
    """Compare a run with a reference.

    Args:
        run: the run to judge.
        reference: a faster run.
        name: name of the run in the report.
        reference_name: name of the reference in the report.
        all_runs: runs of the player, whose falls are counted; without any, those of `run`.

    Returns:
        The comparison.
    """
    all_runs = all_runs or [run]
    return Coaching(
        name=name,
        reference_name=reference_name,
        time=run.time,
        reference_time=reference.time,
        distance=run.distance,
        reference_distance=reference.distance,
        sections=tuple(_sections(run, reference)),
        tempo=tempo(run),
        reference_tempo=tempo(reference),
        keys=key_rhythms(run),
        reference_keys=key_rhythms(reference),
        runs=len(all_runs),
        finished=sum(bool(episode.success) for episode in all_runs),
        falls=tuple(fall_of(e) for e in all_runs if e.terminated and not e.success),
    )


def _sections(run: Episode, reference: Episode) -> list[Section]:
    far = max(1, math.ceil(min(max(run.distance, 0.0), 100.0) / SECTION_METERS - 1e-9))
    edges = SECTION_METERS * np.arange(far + 1)
    # A run lands up to a meter before the sand's 100 m and ends there.
    mine, other = (_edge_times(episode, edges) for episode in (run, reference))
    raw = run.raw_observations
    meters = raw[:, 0] / UNITS_PER_METER
    near, lean = knee_near(raw), np.degrees(torso_tilt(raw))
    other_meters = reference.raw_observations[:, 0] / UNITS_PER_METER
    other_lean = np.degrees(torso_tilt(reference.raw_observations))
    half = round(0.5 / FRAME_SECONDS)
    frame = np.arange(len(meters))
    first, last = np.maximum(frame - half, 0), np.minimum(frame + half, len(meters) - 1)
    speed = (meters[last] - meters[first]) / (np.maximum(last - first, 1) * FRAME_SECONDS)
    sections: list[Section] = []
    for i, (start, end) in enumerate(itertools.pairwise(edges)):
        here = (meters >= start) & (meters < end)
        there = (other_meters >= start) & (other_meters < end)
        sections.append(
            Section(
                float(start),
                float(end),
                float(mine[i + 1] - mine[i]),
                float(other[i + 1] - other[i]),
                float(near[here].sum() * FRAME_SECONDS),
                float((speed[here] < SLOW_METERS_PER_SECOND).sum() * FRAME_SECONDS),
                float(lean[here].mean()) if here.any() else math.nan,
                float(other_lean[there].mean()) if there.any() else math.nan,
            )
        )
    return sections


def _edge_times(episode: Episode, edges: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    times = time_at(episode, edges)
    # From the reset on: a recovered run has up to two frames before the frame where other runs begin.
    times[0] = 0.0
    if episode.success and edges[-1] >= 100.0 and math.isnan(times[-1]):
        times[-1] = (
            episode.time
        )  # the finish is a landing in the sand, with the torso up to a meter before it
    return times


def tempo(episode: Episode) -> Tempo:
    """Measure steps per minute and meters per step between the first and the last touchdown."""
    frames, _ = touchdowns(episode.raw_observations)
    if len(frames) < 2 or frames[-1] == frames[0]:
        return Tempo(math.nan, math.nan)
    steps = len(frames) - 1
    meters = episode.raw_observations[frames[[0, -1]], 0].astype(np.float64) / UNITS_PER_METER
    minutes = (frames[-1] - frames[0]) * FRAME_SECONDS / 60.0
    return Tempo(float(steps / minutes), float((meters[1] - meters[0]) / steps))


def key_rhythms(episode: Episode) -> tuple[KeyRhythm, ...]:
    """Measure the timing of each key. W with Q and P with O have no effect and do not count."""
    held = canonical_keys(episode.keys)
    frames, feet = touchdowns(episode.raw_observations)
    right = frames[feet == 1].astype(np.float64)
    rhythms: list[KeyRhythm] = []
    for bit, name in enumerate(KEY_NAMES):
        edges = np.diff(np.concatenate([[0], (held >> bit & 1).astype(np.int8), [0]]))
        pressed, released = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        intervals = np.diff(pressed) * FRAME_SECONDS
        phases = _phases(pressed.astype(np.float64), right)
        vector = np.exp(2j * np.pi * phases).mean() if len(phases) else complex(math.nan)
        low, middle, high = np.percentile(intervals, [25, 50, 75]) if len(intervals) else [math.nan] * 3
        rhythms.append(
            KeyRhythm(
                key=name,
                presses=len(pressed),
                hold=float(np.median(released - pressed) * FRAME_SECONDS) if len(pressed) else math.nan,
                interval=float(middle),
                spread=float((high - low) / middle) if middle > 0 else math.nan,
                phase=float(np.angle(vector) / (2 * np.pi) % 1.0) if len(phases) else math.nan,
                focus=float(abs(vector)),
            )
        )
    return tuple(rhythms)


def _phases(frames: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the phases, 0 to 1, of frames [N] between touchdowns [K] of the right foot."""
    stride = np.searchsorted(right, frames, side="right") - 1
    inside = (stride >= 0) & (stride + 1 < len(right))
    start = right[stride[inside]]
    return (frames[inside] - start) / (right[stride[inside] + 1] - start)


def fall_of(episode: Episode) -> Fall:
    """Describe how an unfinished run ended."""
    raw = episode.raw_observations
    tilt = np.degrees(torso_tilt(raw))
    upset = np.flatnonzero(np.abs(tilt) < 60.0)
    last_upright = int(upset[-1]) if len(upset) else 0
    second = knee_near(raw)[max(0, last_upright - 30) : last_upright + 1]
    meters = float(raw[-1, 0]) / UNITS_PER_METER
    return Fall(
        meters=meters,
        direction="forward" if tilt[-1] >= 0 else "backward",
        at_hurdle=HURDLE_METERS[0] <= meters <= HURDLE_METERS[1],
        knee_first=bool(second.mean() > 0.5),
    )


def _ending(distance: float, time: float) -> str:
    return f"{distance:.1f} m in {time:.2f} s"


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.2f}"


def _section_advice(c: Coaching) -> list[str]:
    known = [section for section in c.sections if not math.isnan(section.lost)]
    worst = sorted((s for s in known if s.lost > 0.1), key=lambda s: -s.lost)[:2]
    if not worst:
        return ["No section is more than 0.1 s slower than the reference's."] if known else []
    lines: list[str] = []
    for section in worst:
        share = f", {section.lost / c.lost:.0%} of all" if c.lost > 0 else ""
        why: list[str] = []
        if section.slow > 0.5:
            why.append(f"you stand for {section.slow:.1f} s")
        if section.knee_near > 0.3:
            why.append(f"a knee is near the track for {section.knee_near:.1f} s")
        lean = section.lean - section.reference_lean
        if abs(lean) > 8:
            where = "forward" if lean > 0 else "back"
            why.append(f"you lean {abs(lean):.0f} degrees further {where} than the reference")
        reason = f": {', '.join(why)}" if why else ""
        lines.append(
            f"From {section.start:.0f} to {section.end:.0f} m you lose {section.lost:.1f} s{share}{reason}."
        )
    return lines


def _tempo_advice(c: Coaching) -> list[str]:
    mine, other = c.tempo, c.reference_tempo
    if not mine.speed > 0 or not other.speed > mine.speed:
        return []
    tempo_part = math.log(other.steps_per_minute / mine.steps_per_minute) / math.log(other.speed / mine.speed)
    facts = (
        f"{mine.steps_per_minute:.0f} steps a minute of {mine.step_meters:.2f} m; "
        f"the reference makes {other.steps_per_minute:.0f} of {other.step_meters:.2f} m"
    )
    if tempo_part > 0.65:
        return [f"Step faster, not longer: {facts}."]
    if tempo_part < 0.35:
        return [f"Step longer, not faster: {facts}."]
    return [f"Step faster and longer: {facts}."]


def _key_advice(c: Coaching) -> list[str]:
    lines: list[str] = []
    for mine, other in zip(c.keys, c.reference_keys, strict=True):
        if mine.presses < 8 or other.presses < 8:
            continue
        if mine.spread > STEADY_SPREAD and mine.spread > 1.5 * other.spread:
            lines.append(
                f"{mine.key} has no steady rhythm: the times between its presses vary by "
                f"{mine.spread:.0%} of their median (reference {other.spread:.0%})."
            )
        elif other.hold >= PLAYABLE_SECONDS and abs(mine.hold - other.hold) > max(0.1, 0.3 * other.hold):
            lines.append(
                f"Hold {mine.key} {'shorter' if mine.hold > other.hold else 'longer'}: "
                f"{mine.hold:.2f} s, the reference {other.hold:.2f} s."
            )
        late = (mine.phase - other.phase + 0.5) % 1.0 - 0.5
        if min(mine.focus, other.focus) > 0.5 and abs(late) > 0.1:
            lines.append(
                f"Press {mine.key} {'earlier' if late > 0 else 'later'}, by {abs(late):.0%} of a stride."
            )
    return lines


def _fall_advice(c: Coaching) -> list[str]:
    if not c.falls:
        return [] if c.runs == 1 else [f"{c.finished} of {c.runs} runs finish; none falls."]
    meters = sorted(fall.meters for fall in c.falls)
    count = len(c.falls)
    parts = [
        f"{sum(f.direction == 'backward' for f in c.falls)} backward",
        f"{sum(f.direction == 'forward' for f in c.falls)} forward",
    ]
    hurdle, knee = sum(f.at_hurdle for f in c.falls), sum(f.knee_first for f in c.falls)
    if hurdle:
        parts.append(f"{hurdle} at the hurdle")
    if knee:
        parts.append(f"{knee} from a knee")
    middle = meters[count // 2]
    return [f"{count} of {c.runs} runs fall ({', '.join(parts)}), half of them before {middle:.0f} m."]
