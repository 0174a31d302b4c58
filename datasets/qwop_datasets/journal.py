"""The journal of a recording: each frame on disk the moment it is played, whatever happens next.

An append-only file beside the dataset. Every record carries a checksum, and is handed to the system in one
write, so that a killed process leaves at most one torn record at the end; a background thread syncs to the
disk, so that a power loss costs at most `sync_seconds` and no frame waits for the disk.

    header   b"QWOPJNL1"
    record   b"\\xa5q", type (1 byte), payload's length (uint32), payload, CRC-32 of all that (uint32)
      B  begin    JSON: id and the fields of Episode that are known by now; float64 time; float32 [60] row 0
      F  frame    keys (uint8), wall time, lateness, time (float64), raw observation after it (float32 [60])
      E  event    time (float64), key, pressed, source (uint8)
      R  rewind   wall time (float64), frame at which play goes on (uint32)
      Z  end      terminated, truncated, success (uint8)
      D  done     id (32 bytes): stored in the dataset, or thrown away

All numbers are little-endian. `recover` reads it back with the code that records, so what comes out of a
journal is what would have been stored.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qwop_datasets import portable
from qwop_datasets.episode import (
    KEY_EVENT_DTYPE,
    KEY_SOURCES,
    OBSERVATION_SIZE,
    OLD_TRIG,
    REWIND_DTYPE,
    Episode,
    new_id,
    now,
)
from qwop_datasets.errors import DatasetError
from qwop_datasets.storage import describe, made_folder
from qwop_game import DEFAULT_TRIG

HEADER = b"QWOPJNL1"
RECOVERED_TAG = "recovered"

_START = b"\xa5q"
_RECORD = struct.Struct("<2scI")
_FRAME = struct.Struct(f"<Bddd{4 * OBSERVATION_SIZE}s")
_EVENT = struct.Struct("<d3B")
_REWIND = struct.Struct("<dI")
_FLAGS = struct.Struct("<3?")
_FIELDS = {  # of Episode, that `begin_episode` takes
    "id",
    "created",
    "source",
    "player",
    "game",
    "trig",
    "action_set",
    "passport",
    "tags",
    "wall_clock_offset",
}
_LONGEST = 1 << 20  # bytes of a payload; more is damage


def journal_path(path: str | os.PathLike) -> Path:
    """FILE.journal beside FILE."""
    path = Path(path)
    return path.with_name(path.name + ".journal")


@dataclass
class Recording:
    """An episode as it grows. Every list has one entry per frame unless it says otherwise."""

    fields: dict[str, Any]  # the fields of Episode known at the start, with id and created
    raw_observations: list[np.ndarray]  # T + 1
    times: list[float]  # T + 1
    keys: list[int] = field(default_factory=list)
    wall_times: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    events: list[tuple] = field(default_factory=list)  # any number
    events_before: list[int] = field(default_factory=list)  # len(events) when the frame was played
    rewinds: list[tuple] = field(default_factory=list)  # any number
    discarded_keys: list[int] = field(default_factory=list)  # any number
    end: tuple[bool, bool, bool] | None = None  # terminated, truncated, success

    @property
    def id(self) -> str:
        return self.fields["id"]

    def rewind(self, wall_time: float, frame: int) -> None:
        """Forget the frames from `frame` on, with the key events that came after the last one kept."""
        self.rewinds.append((wall_time, len(self.keys), frame))
        self.discarded_keys += self.keys[frame:]
        del self.events[self.events_before[frame - 1] if frame else 0 :]
        for per_frame in (self.keys, self.wall_times, self.lateness, self.events_before):
            del per_frame[frame:]
        for per_state in (self.raw_observations, self.times):
            del per_state[frame + 1 :]
        self.end = None

    def episode(self, **changes: Any) -> Episode:
        """What has been played so far. An episode without an end counts as truncated."""
        terminated, truncated, success = self.end or (False, True, False)
        measured = bool(np.isfinite(self.wall_times).all())
        values: dict[str, Any] = {
            "keys": np.array(self.keys, np.uint8),
            "raw_observations": np.array(self.raw_observations, np.float32),
            "times": np.array(self.times, np.float64),
            "terminated": terminated,
            "truncated": truncated,
            "success": success,
            "wall_times": np.array(self.wall_times, np.float64) if measured else None,
            "lateness": np.array(self.lateness, np.float32) if measured else None,
            "key_events": np.array(self.events, KEY_EVENT_DTYPE) if self.events else None,
            "rewinds": np.array(self.rewinds, REWIND_DTYPE) if self.rewinds else None,
            "discarded_keys": np.array(self.discarded_keys, np.uint8) if self.rewinds else None,
        }
        return Episode(**(values | self.fields | changes))


class Journal:
    """Writes the journal of one recording session.

    path: the journal's file (see journal_path); made if missing.
    sync_seconds: longest time between a record's write and its sync to the disk; 0 syncs every record.

    Raises DatasetError (one line) where another program writes this journal, where it still holds episodes
    (recover them first), and where it can't be written. When the disk refuses a record, the record stays in
    memory and comes first at the next call: nothing is lost, and the call may be repeated by `flush`.
    """

    def __init__(self, path: str | os.PathLike, sync_seconds: float = 1.0) -> None:
        self.path = Path(path)
        self.sync_seconds = sync_seconds
        self._waiting = b""
        self._live: dict[str, Recording] = {}
        self._current: Recording | None = None
        self._closing = threading.Event()
        self._dirty = threading.Event()
        self._file = _open_locked(self.path, create=True)
        try:
            data = self._file.read()
            unsaved = _replay(data).live if data else {}
            if unsaved:
                raise DatasetError(
                    f"{self.path}: holds {len(unsaved)} unsaved episode(s); "
                    f"run qwop-data recover {self.path.with_suffix('')}"
                )
            self._start_anew()
        except BaseException:
            self._file.close()
            raise
        portable.sync_directory(self.path.parent)
        self._syncer = threading.Thread(target=self._sync_now_and_then, daemon=True, name="journal-sync")
        if sync_seconds > 0:
            self._syncer.start()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go; it is removed when all its episodes are done."""
        if self._file.closed:
            return
        self._closing.set()
        self._dirty.set()
        if self._syncer.is_alive():
            self._syncer.join()
        if not self._live and not self._waiting:
            portable.remove_and_close(self.path, self._file)
        else:
            portable.sync(self._file.fileno())
            self._file.close()

    @property
    def current(self) -> Recording:
        """The latest episode. Raises ValueError before the first begin_episode, and after it is done."""
        if self._current is None:
            raise ValueError("no episode has begun")
        return self._current

    def begin_episode(self, raw_observation: np.ndarray, time: float, **fields: Any) -> str:
        """An episode starts in this state (float32 [60], s). `fields`: those of Episode that are plain
        (source, player, game, trig, action_set, passport, tags, wall_clock_offset). Returns its id."""
        fields = {"id": new_id(), "created": now(), "trig": DEFAULT_TRIG} | fields
        recording = Recording(fields, [_row(raw_observation)], [float(time)])
        self._live[recording.id] = self._current = recording
        text = json.dumps(fields, default=_plain).encode()
        self._write(b"B", _begin_payload(text, float(time), recording.raw_observations[0]))
        return recording.id

    def frame(
        self,
        keys: int,
        raw_observation: np.ndarray,
        time: float,
        wall_time: float = float("nan"),
        lateness: float = float("nan"),
    ) -> None:
        """One frame was played with `keys` held; it led to this state (float32 [60], s)."""
        payload = _FRAME.pack(int(keys), wall_time, lateness, float(time), _row(raw_observation).tobytes())
        _apply_frame(self.current, payload)
        self._write(b"F", payload)

    def event(self, time: float, key: int, pressed: bool, source: str = "unknown") -> None:
        """A key went down or up at `time`, s on the monotonic clock. To be told before the frame it is in."""
        payload = _EVENT.pack(time, key, pressed, KEY_SOURCES.index(source))
        _apply_event(self.current, payload)
        self._write(b"E", payload)

    def rewind(self, frame: int, wall_time: float) -> None:
        """Play goes on at `frame`: the later frames are thrown away, though the episode remembers them."""
        if not 0 <= frame < len(self.current.keys):
            raise ValueError(f"can't go back to frame {frame} of {len(self.current.keys)}")
        self.current.rewind(wall_time, frame)
        self._write(b"R", _REWIND.pack(wall_time, frame))

    def end_episode(
        self, *, terminated: bool = False, truncated: bool = False, success: bool = False
    ) -> Episode:
        """The episode is over; returns it. The journal has it until `done`; `rewind` takes it up again."""
        self.current.end = (bool(terminated), bool(truncated), bool(success))
        self._write(b"Z", _FLAGS.pack(*self.current.end))
        return self.current.episode()

    def done(self, episode_id: str | None = None) -> None:
        """An episode (the current one) is in the dataset, or has been thrown away: forget it.

        When none is left the journal becomes empty.
        """
        episode_id = episode_id or self.current.id
        self._live.pop(episode_id, None)
        if self._current and self._current.id == episode_id:
            self._current = None
        if not self._live:
            self._waiting = b""
            self._start_anew()
        else:
            self._write(b"D", episode_id.encode())

    def flush(self) -> None:
        """Write what the disk refused before. Raises DatasetError where it still does."""
        self._write(b"", b"")

    def _start_anew(self) -> None:
        try:
            self._file.seek(0)
            self._file.truncate()
            self._waiting = HEADER + self._waiting
        except OSError as error:
            raise DatasetError(f"{self.path}: {describe(error)}") from None
        self.flush()

    def _write(self, kind: bytes, payload: bytes) -> None:
        if kind:
            self._waiting += _record(kind, payload)
        try:
            while self._waiting:
                written = self._file.write(self._waiting) or 0
                self._waiting = self._waiting[written:]
            if self.sync_seconds == 0:
                portable.sync(self._file.fileno())
        except OSError as error:
            raise DatasetError(f"{self.path}: {describe(error)}; what was played waits in memory") from None
        self._dirty.set()

    def _sync_now_and_then(self) -> None:
        while not self._closing.is_set():
            self._dirty.wait()
            self._dirty.clear()
            try:
                portable.sync(self._file.fileno())
            except (OSError, ValueError):
                pass  # the next write says so
            self._closing.wait(self.sync_seconds)


@dataclass
class Journalled:
    """What a journal holds. live: the episodes that are not done; damaged: bytes that fit no record."""

    live: dict[str, Recording] = field(default_factory=dict)
    damaged: int = 0
    torn: int = 0


def read_journal(path: str | os.PathLike) -> tuple[list[Episode], int]:
    """Episodes of a journal that are neither in a dataset nor thrown away, oldest first, and damaged bytes.

    An episode that was under way comes as truncated and with the tag "recovered"; a torn last record is
    dropped, and a damaged one in the middle costs the rest of its episode only. The journal is left as it is.
    Raises DatasetError where `path` is no journal or is being written.
    """
    with _open_locked(Path(path), create=False) as file:
        found = _replay(file.read(), path)
    episodes = []
    damaged = found.damaged
    for recording in found.live.values():
        if recording.keys:
            try:
                tags = tuple(recording.fields.get("tags", ()))
                unfinished = recording.end is None
                episodes.append(recording.episode(tags=(*tags, RECOVERED_TAG) if unfinished else tags))
            except (ValueError, TypeError, OverflowError):  # not what a recorder writes: kept, not taken in
                damaged += _RECORD.size + _FRAME.size
    return episodes, damaged


def _replay(data: bytes, path: str | os.PathLike = "journal") -> Journalled:
    """Apply every whole record to recordings, as Journal did."""
    found = Journalled()
    if not data.startswith(HEADER):
        if HEADER.startswith(data):
            return found  # killed while the header was written
        raise DatasetError(f"{path}: not a QWOP journal")
    current: Recording | None = None
    position = len(HEADER)
    while position < len(data):
        kind, payload, end = _parse(data, position)
        if end < 0:
            # Frames after a gap are no exact run; only a new episode can follow.
            current, found_at = None, _next_begin(data, position + 1)
            if found_at < 0:
                found.torn = len(data) - position
                break
            found.damaged += found_at - position
            position = found_at
            continue
        position = end
        try:
            if kind == b"B":
                current = _read_begin(payload)
                found.live[current.id] = current
            elif kind == b"D":
                found.live.pop(payload.decode(), None)
            elif current is not None:
                _APPLY[kind](current, payload)
        except (KeyError, ValueError, IndexError, RecursionError, struct.error):
            current = None
            found.damaged += len(payload)
    return found


def _parse(data: bytes, position: int) -> tuple[bytes, bytes, int]:
    """Type, payload and end of the record at `position`; the end is -1 where there is no whole record."""
    if position + _RECORD.size > len(data):
        return b"", b"", -1
    start, kind, length = _RECORD.unpack_from(data, position)
    stop = position + _RECORD.size + length
    if start != _START or length > _LONGEST or stop + 4 > len(data):
        return b"", b"", -1
    if zlib.crc32(data[position:stop]) != int.from_bytes(data[stop : stop + 4], "little"):
        return b"", b"", -1
    return kind, data[position + _RECORD.size : stop], stop + 4


def _next_begin(data: bytes, position: int) -> int:
    """Where the next whole begin record is, or -1."""
    while (position := data.find(_START + b"B", position)) >= 0:
        if _parse(data, position)[2] >= 0:
            return position
        position += 1
    return -1


def _record(kind: bytes, payload: bytes) -> bytes:
    body = _RECORD.pack(_START, kind, len(payload)) + payload
    return body + zlib.crc32(body).to_bytes(4, "little")


def _begin_payload(text: bytes, time: float, row: np.ndarray) -> bytes:
    return len(text).to_bytes(4, "little") + text + struct.pack("<d", time) + row.tobytes()


def _read_begin(payload: bytes) -> Recording:
    length = int.from_bytes(payload[:4], "little")
    fields = json.loads(payload[4 : 4 + length])
    if not isinstance(fields, dict) or not {"id", "created"} <= set(fields) <= _FIELDS:
        raise ValueError("other fields than an episode's")
    if not isinstance(fields["id"], str):
        raise ValueError("an id that is no text")
    fields = {"trig": OLD_TRIG} | fields  # a journal from before format 2 does not say it
    (time,) = struct.unpack_from("<d", payload, 4 + length)
    return Recording(fields, [_row(np.frombuffer(payload[12 + length :], "<f4"))], [time])


def _apply_frame(recording: Recording, payload: bytes) -> None:
    keys, wall_time, lateness, time, row = _FRAME.unpack(payload)
    recording.keys.append(keys)
    recording.wall_times.append(wall_time)
    recording.lateness.append(lateness)
    recording.times.append(time)
    recording.raw_observations.append(np.frombuffer(row, "<f4"))
    recording.events_before.append(len(recording.events))


def _apply_event(recording: Recording, payload: bytes) -> None:
    recording.events.append(_EVENT.unpack(payload))


def _apply_rewind(recording: Recording, payload: bytes) -> None:
    recording.rewind(*_REWIND.unpack(payload))


def _apply_end(recording: Recording, payload: bytes) -> None:
    recording.end = _FLAGS.unpack(payload)


_APPLY = {b"F": _apply_frame, b"E": _apply_event, b"R": _apply_rewind, b"Z": _apply_end}


def _row(raw_observation: np.ndarray) -> np.ndarray:
    row = np.array(raw_observation, "<f4")
    if row.shape != (OBSERVATION_SIZE,):
        raise ValueError(f"a raw observation has shape {row.shape}, not ({OBSERVATION_SIZE},)")
    return row


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    raise ValueError(f"{value!r} can't be written to the journal")


def _open_locked(path: Path, *, create: bool) -> Any:
    try:
        if create:
            with made_folder(path.parent):
                pass
        file = open(path, "a+b" if create else "r+b", buffering=0)
    except OSError as error:
        raise DatasetError(f"{path}: {describe(error)}") from None
    if not portable.lock(file.fileno(), exclusive=True):
        file.close()
        raise DatasetError(f"{path}: a recording is under way; wait until it ends")
    file.seek(0)
    return file
