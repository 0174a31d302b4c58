"""Tapes of keys without observations: read from a video, or a list of masks from a program.

| file       | holds                                                                                     |
|------------|-------------------------------------------------------------------------------------------|
| .csv       | a row per change or per frame: columns q, w, o, p (0 or 1), or one column keys or mask    |
| .txt       | one mask 0 to 15, or keys such as QO, on each line                                        |
| .json      | a list of masks                                                                           |
| .npy, .npz | masks [T], or [T, 4] for q, w, o, p; in an archive the array keys or masks                |

Keys are held until the next row. A CSV may have a column with the start of each row in seconds (time, t_sec,
seconds or t) or frames (frame); otherwise each row is one frame of the tape. It may have one with the
distance that the video shows (meters or distance). Keys that could not be read are blank or ?.

A tape is played as it is, or searched: see tape_search.py.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from qwop_datasets.convert.common import (
    APPROXIMATE_TAG,
    INCOMPLETE_TAG,
    Imported,
    Importing,
    episode_from_keys,
    whole_numbers,
)
from qwop_datasets.convert.tables import load_npz, mask_of, read_npy
from qwop_datasets.convert.tape_search import (
    EdgeSearch,
    Evidence,
    FoundTape,
    KeyChanges,
    Progress,
    first_failure,
    search_tape,
)
from qwop_datasets.errors import DatasetError
from qwop_datasets.exact_replay import replay_keys
from qwop_game import DEFAULT_TRIG, FRAME_SECONDS, KEY_O, KEY_P, KEY_Q, KEY_W, TRIG_VARIANTS

_KEYS = {"q": KEY_Q, "w": KEY_W, "o": KEY_O, "p": KEY_P}
_MASKS = ("keys", "masks", "mask")
_SECONDS = ("time", "t_sec", "seconds", "t")
_FRAMES = ("frame", "frames")
_METERS = ("meters", "distance")
_UNREAD = ("", "?")
_LONGEST = 3600.0  # s; if a tape seems longer, its rate is wrong
_SLACK = 0.02  # tape frames, because times may have few digits


_BEFORE = 10.0  # s before the first key in which the run may begin
_BEGINNINGS = 1200  # that are tried


@dataclass(frozen=True)
class Tape:
    """Keys that change at `starts` (frames of the tape, float64 [S], ascending) to `masks` (uint8 [S])."""

    starts: NDArray[np.float64]
    masks: NDArray[np.uint8]
    read: NDArray[np.bool_]
    """bool [S]: the row's keys could be read."""
    meters: NDArray[np.float64]
    """float64 [S]: the distance that the row shows, NaN if none."""

    def keys(self, rate: float, offset: float) -> NDArray[np.uint8]:
        """Return the keys of each frame of the game, uint8 [T], 30 per second.

        rate: frames of the tape per second. offset: frame of the tape at which the game's first frame begins.
        """
        return self.changes(rate, offset).keys()

    def changes(self, rate: float, offset: float) -> KeyChanges:
        """Return the changes of keys in frames of the game; see `keys`."""
        step = rate * FRAME_SECONDS
        count = math.ceil((float(self.starts[-1]) + 1 - offset - _SLACK) / step)
        rows = np.flatnonzero(self.read)
        before = np.r_[np.uint8(0), self.masks[rows][:-1]]
        rows = rows[self.masks[rows] != before]
        # Where rows before the change are unread, it may have happened in the first of them.
        unread = np.maximum.accumulate(np.where(self.read, np.arange(len(self.read)) + 1, 0))
        first = np.where(rows > 0, unread[np.maximum(rows - 1, 0)], rows)
        latest, earliest = (
            np.ceil((self.starts[at] - offset - _SLACK) / step).astype(np.int64)
            for at in (rows, np.minimum(first, rows))
        )
        begun = latest <= 0
        return KeyChanges(
            int(self.masks[rows[begun][-1]]) if begun.any() else 0,
            np.maximum(earliest[~begun], 0),
            latest[~begun],
            self.masks[rows[~begun]],
            max(count, 0),
        )

    def shown(self, rate: float, offset: float, frames: int) -> NDArray[np.float64] | None:
        """Return the distance that the tape shows after each frame of the game, float64 [T]; None if none."""
        known = np.isfinite(self.meters)
        if not known.any():
            return None
        at = offset + rate * FRAME_SECONDS * np.arange(frames)
        starts, meters = self.starts[known], self.meters[known]
        return np.interp(at, starts, meters, left=np.nan, right=np.nan)


def is_tape(path: Path) -> bool:
    """Whether a file, whose suffix several formats share, is a tape of keys."""
    if path.suffix in (".json", ".npy"):
        return True
    try:
        if path.suffix == ".txt":
            with open(path, encoding="utf-8") as file:
                mask_of(file.readline(100))
            return True
        if path.suffix == ".csv":
            with open(path, newline="", encoding="utf-8") as file:
                names = {name.strip().lower() for name in next(csv.reader(file), list[str]())}
            return "torso.x" not in names and (names >= set(_KEYS) or not names.isdisjoint(_MASKS))
        if path.suffix == ".npz":
            names = set(load_npz(path))
            return not names.isdisjoint(_MASKS) and names.isdisjoint({"observations", "episodes"})
    except (csv.Error, ValueError, DatasetError):
        pass  # the reader of the file reports the problem
    return False


def read(path: Path, options: Importing, progress: Progress = lambda done, total: None) -> Iterator[Imported]:
    """Yield one episode: replay the keys until the run or the tape ends (then it is `truncated`).

    progress: called as the search goes on, if there is one.
    """
    tape = _read(path, options.rate)
    if options.search_edges is None and not tape.read.all():
        row = int(np.flatnonzero(~tape.read)[0])
        raise DatasetError(
            f"{path}: row {row + 1} of the keys could not be read: --search-edges 1 searches such keys"
        )
    trig = options.trig or DEFAULT_TRIG
    offset = options.offset or 0.0
    if options.search_edges is not None and (options.offset is None or options.trig is None):
        offset, trig = _beginning(tape, options)
    first, last = offset, float(tape.starts[-1]) + 1
    seconds = (last - first) / options.rate
    if not first < last:
        raise DatasetError(f"{path}: --offset {first:g}: the tape ends at its frame {last:g}")
    if max(seconds, -first / options.rate) > _LONGEST:
        raise DatasetError(
            f"{path}: {seconds:.0f} s of keys at --rate {options.rate:g}: the limit is an hour"
        )
    fields: dict[str, Any] = {
        "source": options.checked_source(path),
        "player": options.player,
        "game": options.game,
        "action_set": options.action_set or "distinct",
        "provenance": {"recorded_with": "keys", "tape_rate": options.rate, "tape_offset": offset},
    }
    if options.search_edges is None:
        yield episode_from_keys("the tape", tape.keys(options.rate, offset), fields, variants=[trig])
        return
    changes = tape.changes(options.rate, offset)
    drift = options.search_edges if options.search_drift is None else options.search_drift
    config = EdgeSearch(options.search_edges, drift, options.beam)
    evidence = _evidence(tape, options, offset, changes)
    found = search_tape(changes, config, trig, evidence, progress)
    yield _searched(found, changes, config, fields, trig)
    if not found.reached:
        yield Imported(
            "the tape",
            reason=f"its keys after frame {len(found.keys)}: the run falls there, however the changes move",
        )


def _evidence(tape: Tape, options: Importing, offset: float, changes: KeyChanges) -> Evidence:
    splits = np.array(options.splits, np.float64).reshape(-1, 2)
    return Evidence(splits[:, 0], splits[:, 1], tape.shown(options.rate, offset, changes.frames))


def _beginning(tape: Tape, options: Importing) -> tuple[float, str]:
    """Choose the offset and the variant with which the tape as it is agrees longest with the evidence.

    Of equals, and without splits and distances, it chooses those with which it gets furthest.
    """
    held = np.flatnonzero(tape.read & (tape.masks != 0))
    first = float(tape.starts[held[0]]) if len(held) else float(tape.starts[0])
    offsets = np.array([options.offset or 0.0])
    if options.offset is None:
        step = min(1.0, options.rate * FRAME_SECONDS / 2)
        count = min(int(min(first - tape.starts[0], _BEFORE * options.rate) / step) + 1, _BEGINNINGS)
        offsets = first - step * np.arange(count)[::-1]
    tapes = [tape.changes(options.rate, offset) for offset in offsets.tolist()]
    # Of those that get equally far, the one whose changes are nearest to the game's frames.
    starts = tape.starts[1:][np.diff(tape.masks) != 0]
    at = (starts - offsets[:, None]) / (options.rate * FRAME_SECONDS)
    off_grid = np.abs(at - np.round(at)).sum(axis=1).tolist()
    known = bool(options.splits) or bool(np.isfinite(tape.meters).any())
    choices: list[tuple[float, float, float, float, str]] = []
    for trig in (options.trig,) if options.trig else TRIG_VARIANTS:
        runs = replay_keys([changes.keys() for changes in tapes], trig=trig)
        for run, changes, off, offset in zip(runs, tapes, off_grid, offsets.tolist(), strict=True):
            agrees = math.inf
            if known:
                failure = first_failure(changes, _evidence(tape, options, offset, changes), run)
                agrees = math.inf if failure is None else failure
            choices.append((agrees, run.distance + 1000 * run.finished, -off, offset, trig))
    best = max(choices, key=lambda choice: choice[:3])
    return best[3], best[4]


def _searched(
    found: FoundTape, changes: KeyChanges, config: EdgeSearch, fields: dict[str, Any], trig: str
) -> Imported:
    """Make an episode of what a search found, with what it changed in its provenance."""
    tape = changes.keys()[: len(found.keys)]
    differs = np.flatnonzero(found.keys[: len(tape)] != tape)
    changed = len(differs) + len(found.keys) - len(tape)
    exact = int(differs[0]) if len(differs) else len(tape)
    provenance = {
        "tape_search_edges": config.edges,
        "tape_search_drift": config.drift,
        "tape_beam": config.beam,
        "tape_changes": len(changes.masks),
        "tape_changes_moved": found.moved,
        "tape_frames_changed": changed,
        "tape_frames_exact": exact,
    }
    tags = ((APPROXIMATE_TAG,) if changed else ()) + ((INCOMPLETE_TAG,) if not found.reached else ())
    fields = {
        **fields,
        "tags": tags,
        "provenance": fields["provenance"] | provenance,
        "undetermined": found.uncertain if found.uncertain.any() else None,
    }
    imported = episode_from_keys("the tape", found.keys, fields, variants=[trig])
    began = fields["provenance"]["tape_offset"]
    if changed:
        note = (
            f"the run begins at frame {began:g} of the tape; its first {exact} frames are the tape's, of the "
            f"others {changed} have other keys, because {found.moved} changes moved; sine and cosine: {trig}"
        )
    else:
        note = f"the run begins at frame {began:g} of the tape; no key was changed; sine and cosine: {trig}"
    return replace(imported, note=note)


def _read(path: Path, rate: float) -> Tape:
    try:
        if path.suffix == ".csv":
            return _read_csv(path, rate)
        if path.suffix == ".npz":
            arrays = load_npz(path)
            names = [name for name in _MASKS if name in arrays]
            if not names:
                raise ValueError(f"it has no array {' or '.join(_MASKS)}")
            return _list(names[0], arrays[names[0]])
        if path.suffix == ".npy":
            return _list("keys", read_npy(path.read_bytes(), path.name))
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return _list("keys", json.loads(text))
        return _list("keys", [_at(n, mask_of, line) for n, line in enumerate(text.splitlines(), 1)])
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: not a tape of keys: it is not text") from None
    except RecursionError:
        raise DatasetError(f"{path}: not a tape of keys: not a list of masks") from None
    except (csv.Error, ValueError) as error:
        raise DatasetError(f"{path}: not a tape of keys: {' '.join(str(error).split())[:120]}") from None


def _list(name: str, values: object) -> Tape:
    """Make a tape with a row for each frame. Raises ValueError."""
    array = np.asarray(values)
    if array.ndim == 2:
        masks = whole_numbers(name, array, (None, 4), 1) @ list(_KEYS.values())
    else:
        masks = whole_numbers(name, array, (None,), 15)
    if not len(masks):
        raise ValueError("it is empty")
    starts = np.arange(len(masks), dtype=np.float64)
    return Tape(starts, masks.astype(np.uint8), np.ones(len(masks), bool), np.full(len(masks), np.nan))


def _read_csv(path: Path, rate: float) -> Tape:
    with open(path, newline="", encoding="utf-8") as file:
        data = io.StringIO(file.read())
    rows = csv.reader(data)
    names = [name.strip().lower() for name in next(rows, list[str]())]
    masks = [name for name in _MASKS if name in names]
    if not masks and not set(names) >= set(_KEYS):
        raise ValueError(f"line 1: name the columns: {', '.join(_KEYS)}, or {_MASKS[0]}; and {_SECONDS[0]}")
    seconds = [name for name in _SECONDS if name in names]
    frames = [name for name in _FRAMES if name in names]
    shown = [name for name in _METERS if name in names]
    starts: list[float] = []
    held: list[int] = []
    read: list[bool] = []
    meters: list[float] = []
    for cells in rows:
        if not cells:
            continue
        line = rows.line_num
        if len(cells) != len(names):
            raise ValueError(f"line {line}: {len(cells)} cells, not {len(names)}")
        row = dict(zip(names, cells, strict=True))
        if masks:
            read.append(row[masks[0]].strip() != "?")
            held.append(_at(line, mask_of, row[masks[0]]) if read[-1] else 0)
        else:
            read.append(all(row[name].strip() not in _UNREAD for name in _KEYS))
            held.append(
                sum(mask * _at(line, _flag, row[name]) for name, mask in _KEYS.items()) if read[-1] else 0
            )
        text = row[shown[0]].strip() if shown else ""
        meters.append(_at(line, float, text) if text not in _UNREAD else math.nan)
        if seconds:
            starts.append(_at(line, float, row[seconds[0]]) * rate)
        else:
            starts.append(_at(line, float, row[frames[0]]) if frames else len(starts))
        if not math.isfinite(starts[-1]) or (len(starts) > 1 and starts[-1] <= starts[-2]):
            raise ValueError(f"line {line}: its time is not later than the one before")
    if not any(read):
        raise ValueError("it is empty" if not held else "no row of it has keys that could be read")
    return Tape(
        np.array(starts, np.float64),
        np.array(held, np.uint8),
        np.array(read, bool),
        np.array(meters, np.float64),
    )


_Value = TypeVar("_Value")


def _flag(text: str) -> bool:
    if text.strip() not in ("0", "1"):
        raise ValueError(f"{text[:20]!r} is neither 0 nor 1")
    return text.strip() == "1"


def _at(line: int, parse: Callable[[str], _Value], text: str) -> _Value:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from None
