"""Runs that a person kept in the web page: `.qwop.json`, one run or a list of them.

The page's engine gives the same bits as every other one, so its keys determine a run. The import replays them
and compares the SHA-256 of the observations with that of the page. It omits a run that differs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_datasets.convert.common import (
    Imported,
    Importing,
    episode_of_replay,
    json_object,
    numbers,
    whole_numbers,
)
from qwop_datasets.episode import KEY_EVENT_DTYPE, KEY_SOURCES, REWIND_DTYPE, Episode
from qwop_datasets.errors import DatasetError
from qwop_datasets.exact_replay import replay_keys
from qwop_datasets.page_play import page_play_fields

RUN, RUNS = "qwop-run", "qwop-runs"
VERSION = 1
_LARGEST_FILE = 256 << 20  # bytes
_LONGEST_RUN = 30 * 3600  # frames: an hour
_FIELDS = {
    "format",
    "version",
    "id",
    "created",
    "player",
    "license",
    "trig",
    "keys",
    "events",
    "instants",
    "lateness",
    "clock_offset",
    "rewinds",
    "discarded_keys",
    "pace",
    "players",
    "observations_sha256",
}


def is_web(path: Path) -> bool:
    """Whether a file has a name like the page's downloads."""
    return path.name.endswith(".qwop.json")


def read(path: Path, options: Importing) -> Iterator[Imported]:
    """Read the runs of a file and verify each by replay. Raises DatasetError if it is not such a file."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError(f"it is larger than {_LARGEST_FILE >> 20} MB")
        content = json_object(path.read_text(encoding="utf-8"), "it")
        runs: list[Any] | None = content.get("runs") if content.get("format") == RUNS else [content]
        if content.get("format") not in (RUN, RUNS) or type(runs) is not list:
            raise ValueError(f"its format is {content.get('format')!r:.40}, not {RUN!r}")
        if content.get("version") != VERSION:
            raise ValueError(f"its version is {content.get('version')!r:.20}; this release reads {VERSION}")
    except (UnicodeDecodeError, ValueError) as error:
        raise DatasetError(
            f"{path}: not runs of the web page: {' '.join(str(error).split())[:160]}"
        ) from None
    for number, run in enumerate(runs):
        name = f"run {number}"
        try:
            yield _imported(name, run, options)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            what = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:160]
            yield Imported(name, reason=f"not a run of the web page: {what}")


def page_run_episode(text: bytes, max_frames: int = _LONGEST_RUN) -> Episode:
    """Make an episode of one run that the page sent, verified by replay.

    Args:
        text: The run's file, see web/qwop_web/page/runs.js.
        max_frames: Longest run.

    Raises:
        DatasetError: It is no run, or a longer one, or its keys give other observations than the page saw.
    """
    try:
        imported = _imported("run", json_object(text, "it"), Importing(), max_frames)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:160]
        raise DatasetError(f"not a run of the web page: {what}") from None
    if imported.episode is None:
        raise DatasetError(imported.reason)
    return imported.episode


def _imported(name: str, run: dict[str, Any], options: Importing, max_frames: int = _LONGEST_RUN) -> Imported:
    """Import a run. Raises ValueError, TypeError, KeyError or OverflowError if the page did not write it."""
    if type(run) is not dict or run.get("format") != RUN or run.get("version") != VERSION:
        raise ValueError("its format or version is unknown")
    run = {field: run[field] for field in _FIELDS}
    keys = _masks("keys", run["keys"])
    if not 1 <= len(keys) <= max_frames:
        raise ValueError(f"it has {len(keys)} frames; expected 1 to {max_frames}")
    (played,) = replay_keys([keys], trig=run["trig"])
    if played.frames_until_end < len(keys):
        return Imported(name, reason=f"its replay ends at frame {played.frames_until_end} of {len(keys)}")
    digest = run["observations_sha256"]  # None: the page was not allowed to compute it
    if digest is not None and digest != hashlib.sha256(played.raw_observations.tobytes()).hexdigest():
        return Imported(name, reason="its replay gives other observations than the page stored")

    offset = float(run["clock_offset"])
    instants = numbers("instants", run["instants"], (len(keys),), np.float64)
    rewinds = [(offset + time, before, after) for time, before, after in run["rewinds"]]
    play = page_play_fields(run["players"], run["pace"])
    provenance: dict[str, Any] = {
        "engine": "wasm",
        "trig_source": "engine",
        "recorded_with": "web page",
        "license": str(run["license"] or "not given"),
        "page_sha256": "checked" if digest is not None else "none",
        **play["provenance"],
    }
    if rewinds:
        discarded = {
            "rewinds": np.array(rewinds, REWIND_DTYPE),
            "discarded_keys": _masks("discarded_keys", run["discarded_keys"]),
        }
    else:
        discarded = {}
    fields = {
        "id": run["id"],
        "created": run["created"],
        "source": options.source or play["source"],
        "player": options.player or run["player"],
        "trig": run["trig"],
        "wall_times": offset + instants,
        "lateness": numbers("lateness", run["lateness"], (len(keys),)),
        "wall_clock_offset": offset,
        "key_events": _events(run["events"]),
        "provenance": provenance,
        "tags": (*(["rewound"] if rewinds else []), *play["tags"]),
        **discarded,
    }
    return Imported(name, episode_of_replay(keys, played, fields))


def _masks(name: str, text: Any) -> NDArray[np.uint8]:
    """Decode key masks uint8 [T] from base 64."""
    if not isinstance(text, str):
        raise ValueError(f"{name} is not text in base 64")
    try:
        masks = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except binascii.Error:
        raise ValueError(f"{name} is not text in base 64") from None
    return whole_numbers(name, masks, (None,), 15).astype(np.uint8)


def _events(rows: list[list[Any]]) -> NDArray[np.void]:
    """Convert rows of time (s), key, pressed and source to KEY_EVENT_DTYPE [E]."""
    if type(rows) is not list or not all(type(row) is list and len(row) == 4 for row in rows):
        raise ValueError("events are not rows of time, key, pressed and source")
    if unknown := {str(source) for *_, source in rows} - set(KEY_SOURCES):
        raise ValueError(f"an event's source is unknown: {min(unknown)!r:.40}")
    return np.array(
        [(t, key, pressed, KEY_SOURCES.index(source)) for t, key, pressed, source in rows], KEY_EVENT_DTYPE
    )
