"""Tapes of keys without observations: read from a video, or a list of masks from a program.

| file       | holds                                                                                     |
|------------|-------------------------------------------------------------------------------------------|
| .csv       | a row per change or per frame: columns q, w, o, p (0 or 1), or one column keys or mask    |
| .txt       | one mask 0 to 15, or keys such as QO, on each line                                        |
| .json      | a list of masks                                                                           |
| .npy, .npz | masks [T], or [T, 4] for q, w, o, p; in an archive the array keys or masks                |

Keys are held until the next row. A CSV may have a column with the start of each row in seconds (time, t_sec,
seconds or t) or frames (frame); otherwise each row is one frame of the tape.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from qwop_datasets.convert.common import Imported, Importing, episode_from_keys, whole_numbers
from qwop_datasets.convert.tables import load_npz, mask_of, read_npy
from qwop_datasets.errors import DatasetError
from qwop_game import DEFAULT_TRIG, FRAME_SECONDS, KEY_O, KEY_P, KEY_Q, KEY_W

_KEYS = {"q": KEY_Q, "w": KEY_W, "o": KEY_O, "p": KEY_P}
_MASKS = ("keys", "masks", "mask")
_SECONDS = ("time", "t_sec", "seconds", "t")
_FRAMES = ("frame", "frames")
_LONGEST = 3600.0  # s; if a tape seems longer, its rate is wrong
_SLACK = 0.02  # tape frames, because times may have few digits


@dataclass(frozen=True)
class Tape:
    """Keys that change at `starts` (frames of the tape, float64 [S], ascending) to `masks` (uint8 [S])."""

    starts: NDArray[np.float64]
    masks: NDArray[np.uint8]

    def keys(self, rate: float, offset: float) -> NDArray[np.uint8]:
        """Return the keys of each frame of the game, uint8 [T], 30 per second.

        rate: frames of the tape per second. offset: frame of the tape at which the game's first frame begins.
        """
        step = rate * FRAME_SECONDS
        count = math.ceil((float(self.starts[-1]) + 1 - offset - _SLACK) / step)
        at: NDArray[np.floating[Any]] = offset + step * np.arange(max(count, 0)) + _SLACK
        rows = np.searchsorted(self.starts, at, side="right") - 1
        return np.where(rows < 0, 0, self.masks[np.maximum(rows, 0)]).astype(np.uint8)


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


def read(path: Path, options: Importing) -> Iterator[Imported]:
    """Yield one episode: replay the keys until the run or the tape ends (then it is `truncated`)."""
    fields = {
        "source": options.checked_source(path),
        "player": options.player,
        "game": options.game,
        "action_set": options.action_set or "distinct",
        "provenance": {"recorded_with": "keys", "tape_rate": options.rate, "tape_offset": options.offset},
    }
    trig = options.trig or DEFAULT_TRIG
    tape = _read(path, options.rate)
    first, last = options.offset, float(tape.starts[-1]) + 1
    seconds = (last - first) / options.rate
    if not first < last:
        raise DatasetError(f"{path}: --offset {first:g}: the tape ends at its frame {last:g}")
    if max(seconds, -first / options.rate) > _LONGEST:
        raise DatasetError(
            f"{path}: {seconds:.0f} s of keys at --rate {options.rate:g}: the limit is an hour"
        )
    yield episode_from_keys("the tape", tape.keys(options.rate, options.offset), fields, variants=[trig])


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
    return Tape(np.arange(len(masks), dtype=np.float64), masks.astype(np.uint8))


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
    starts: list[float] = []
    held: list[int] = []
    for cells in rows:
        if not cells:
            continue
        line = rows.line_num
        if len(cells) != len(names):
            raise ValueError(f"line {line}: {len(cells)} cells, not {len(names)}")
        row = dict(zip(names, cells, strict=True))
        if masks:
            held.append(_at(line, mask_of, row[masks[0]]))
        else:
            held.append(sum(mask for name, mask in _KEYS.items() if _at(line, _flag, row[name])))
        if seconds:
            starts.append(_at(line, float, row[seconds[0]]) * rate)
        else:
            starts.append(_at(line, float, row[frames[0]]) if frames else len(starts))
        if not math.isfinite(starts[-1]) or (len(starts) > 1 and starts[-1] <= starts[-2]):
            raise ValueError(f"line {line}: its time is not later than the one before")
    if not held:
        raise ValueError("it is empty")
    return Tape(np.array(starts, np.float64), np.array(held, np.uint8))


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
