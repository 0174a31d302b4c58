"""Summarize a dataset: counts, action histogram, key-segment lengths, distributions, outliers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_cli import escape_unprintable
from qwop_datasets.errors import DatasetError
from qwop_datasets.reader import DatasetReader
from qwop_game import FRAME_SECONDS, canonical_keys, key_text

QUANTILES = {"min": 0.0, "10%": 0.1, "median": 0.5, "90%": 0.9, "max": 1.0}
FENCE = 3.0  # interquartile ranges beyond the quartiles: Tukey's "far out"
IDLE_SHARE = 0.8  # a run with a larger share of frames without a key is an outlier
LATE_SECONDS, LATE_SHARE = 0.010, 0.05


@dataclass(frozen=True)
class Outlier:
    """An episode to look at before you train on it."""

    number: int
    id: str
    reason: str


@dataclass(frozen=True)
class Summary:
    """Figures of a dataset. Distributions are {"min", "10%", "median", "90%", "max"} -> value."""

    episodes: int
    frames: int
    hours: float
    sources: dict[str, int]
    players: dict[str, int]
    games: dict[str, int]
    trigs: dict[str, int]
    """Variant of sine and cosine -> episodes."""
    finished: int
    fallen: int
    cut_short: int
    verified: dict[str, int]
    """exact, unknown, differs -> episodes."""
    masks: dict[str, int]
    """Stored mask -> episodes in it."""
    actions: dict[str, float]
    """Keys without those that the engine ignores ("-", "Q", "QP", ...) -> share of frames."""
    segment_frames: dict[str, float]
    """Frames that one combination of keys is held."""
    distance: dict[str, float]
    """m."""
    time: dict[str, float]
    """s."""
    finish_time: dict[str, float]
    """Times of finished runs, s; empty if there are none."""
    knee_share: dict[str, float]
    upright_share: dict[str, float]
    strides: dict[str, float]
    outliers: tuple[Outlier, ...]

    def as_json(self) -> dict[str, Any]:
        """Convert to plain data for JSON."""
        return asdict(self)


def segment_lengths(keys: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Measure the stretches of frames in which the keys do not change.

    Args:
        keys: Key masks, uint8 [T].

    Returns:
        Frames of each stretch, int [S].
    """
    edges = np.flatnonzero(np.diff(keys)) + 1
    return np.diff(np.concatenate([[0], edges, [len(keys)]]))


def summarize(reader: DatasetReader) -> Summary:
    """Summarize the index and the keys of every episode.

    Raises:
        DatasetError: The file is damaged.
    """
    index = reader.index
    counts = np.zeros(16, np.int64)
    segments: list[NDArray[np.int64]] = []
    seen: dict[bytes, int] = {}
    outliers: list[Outlier] = []

    def note(i: int, reason: str) -> None:
        outliers.append(
            Outlier(int(reader.numbers[i]), index["id"][i].decode(errors="backslashreplace"), reason)
        )

    for i in range(len(reader)):
        keys = reader.array(i, "keys")
        counts += np.bincount(canonical_keys(keys), minlength=16)
        segments.append(segment_lengths(keys))
        idle = float((keys == 0).mean())
        if idle > IDLE_SHARE and len(keys) > 1 / FRAME_SECONDS:
            note(i, f"no key in {idle:.0%} of its frames")
        if len(keys) < 1 / FRAME_SECONDS:
            note(i, f"{len(keys)} frames: less than a second")
        elif (first := seen.setdefault(keys.tobytes(), i)) != i:
            note(i, f"the same keys as episode {reader.numbers[first]}")
        if index["verified"][i] < 0:
            note(i, "its replay differs")
        if index["source"][i] == b"human":
            late = _late_share(reader, i)
            if late > LATE_SHARE:
                note(i, f"{late:.0%} of its frames were over {1000 * LATE_SECONDS:.0f} ms late")
    for column, unit in (("time", "s"), ("distance", "m"), ("knee_share", ""), ("upright_share", "")):
        for i, side in _far_out(index[column].astype(np.float64)):
            note(i, f"{column} {index[column][i]:.3g} {unit}".rstrip() + f" is far {side} the others")
    total = max(1, int(counts.sum()))
    by_share = np.argsort(-counts, kind="stable")
    finished = index["success"]
    verified = {"exact": 1, "unknown": 0, "differs": -1}
    return Summary(
        episodes=len(index),
        frames=int(index["frames"].sum()),
        hours=float(index["frames"].sum()) * FRAME_SECONDS / 3600,
        sources=_counts(index["source"]),
        players=_counts(index["player"]),
        games=_counts(index["game"]),
        trigs=_counts(index["trig"]),
        finished=int(finished.sum()),
        fallen=int((index["terminated"] & ~finished).sum()),
        cut_short=int((~index["terminated"]).sum()),
        verified={name: int((index["verified"] == value).sum()) for name, value in verified.items()},
        masks={name: int(mask[reader.numbers].sum()) for name, mask in reader.masks.items()},
        actions={key_text(int(k)): float(counts[k]) / total for k in by_share if counts[k]},
        segment_frames=_distribution(np.concatenate(segments) if segments else np.empty(0)),
        distance=_distribution(index["distance"]),
        time=_distribution(index["time"]),
        finish_time=_distribution(index["time"][finished]),
        knee_share=_distribution(index["knee_share"]),
        upright_share=_distribution(index["upright_share"]),
        strides=_distribution(index["strides"][index["strides"] >= 0]),
        outliers=tuple(sorted(outliers, key=lambda o: o.number)),
    )


def _late_share(reader: DatasetReader, i: int) -> float:
    try:
        lateness = reader.array(i, "lateness")
    except DatasetError:  # not measured
        return 0.0
    return float((lateness > LATE_SECONDS).mean())


def _counts(column: NDArray[Any]) -> dict[str, int]:
    names, counts = np.unique(column, return_counts=True)
    return {n.decode(errors="backslashreplace"): int(c) for n, c in zip(names, counts, strict=True)}


def _distribution(values: NDArray[Any]) -> dict[str, float]:
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return {}
    return {name: float(np.quantile(values, q)) for name, q in QUANTILES.items()}


def _far_out(values: NDArray[Any]) -> Iterable[tuple[int, str]]:
    known = values[np.isfinite(values)]
    if len(known) < 8:  # too few for quartiles
        return
    low, high = np.quantile(known, [0.25, 0.75])
    reach = FENCE * (high - low)
    for i in np.flatnonzero(values > high + reach):
        yield int(i), "above"
    for i in np.flatnonzero(values < low - reach):
        yield int(i), "below"


def text(summary: Summary, path: str) -> str:
    """Format the summary as `qwop-data info` prints it."""
    if not summary.episodes:
        return f"{path}: no episodes"

    def listed(counts: dict[str, int]) -> str:
        return (
            ", ".join(f"{escape_unprintable(name) or '(no name)'} {count}" for name, count in counts.items())
            or "none"
        )

    lines = [
        path,
        f"  episodes   {summary.episodes}: {summary.finished} finished, {summary.fallen} fell, "
        f"{summary.cut_short} cut short",
        f"  frames     {summary.frames} ({summary.hours:.2f} h of play)",
        f"  source     {listed(summary.sources)}",
        f"  player     {listed(summary.players)}",
        f"  game       {listed(summary.games)}",
        f"  trig       {listed(summary.trigs)}",
        f"  verified   {listed(summary.verified)}",
        f"  masks      {listed(summary.masks)}",
        "",
        "  " + " " * 20 + "".join(f"{name:>9}" for name in QUANTILES),
    ]
    rows = {
        "distance [m]": summary.distance,
        "time [s]": summary.time,
        "finish time [s]": summary.finish_time,
        "knee share": summary.knee_share,
        "upright share": summary.upright_share,
        "strides": summary.strides,
        "key segment [frames]": summary.segment_frames,
    }
    for name, values in rows.items():
        numbers = "".join(f"{v:9.3g}" if abs(v) < 100 else f"{v:9.0f}" for v in values.values())
        lines.append(f"  {name:<20}" + (numbers or f"{'-':>9}"))
    lines += ["", "  keys, share of frames"]
    for name, share in summary.actions.items():
        lines.append(f"    {name:<4} {share:6.1%} {'#' * round(40 * share)}".rstrip())
    if summary.outliers:
        lines += ["", f"  to look at ({len(summary.outliers)})"]
        shown = summary.outliers[:20]
        lines += [f"    episode {o.number} ({escape_unprintable(o.id[:8])}): {o.reason}" for o in shown]
        if len(summary.outliers) > len(shown):
            lines.append(f"    ... and {len(summary.outliers) - len(shown)} more (--json lists all)")
    return "\n".join(lines)
