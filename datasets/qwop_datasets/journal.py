"""The journal of a recording: a file that stores each frame as soon as it is played.

The journal is an append-only file next to the dataset. Every record has a checksum and is written
immediately, so a killed process leaves at most one torn record at the end. A background thread syncs the
file, so a power loss costs at most `sync_seconds` of play, and frames do not wait for the disk.

    header   b"QWOPJNL1"
    record   b"\\xa5q", type (1 byte), payload's length (uint32), payload, CRC-32 of all that (uint32)
      B  begin    JSON: id and the fields of Episode that are known by now; float64 time; float32 [60] row 0
      F  frame    keys (uint8), wall time, lateness, time (float64), raw observation after it (float32 [60])
      E  event    time (float64), key, pressed, source (uint8)
      R  rewind   wall time (float64), frame at which play continues (uint32)
      Z  end      terminated, truncated, success (uint8)
      K  about    JSON: fields of Episode that are known once the run is over
      C  go on    id (32 bytes), changes of it so far (uint32): what follows is of this episode
      D  done     id (32 bytes): stored in the dataset, or discarded

A record is of the latest episode that has begun or gone on. Go-on records are only in the journals of
shared_journal.py, where many episodes are under way at once.

All numbers are little-endian. `read_journal` adds the changes to a Recording, as the recorder did, so it
returns the same episodes.
"""

from __future__ import annotations

import glob
import json
import os
import struct
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import portable
from qwop_datasets.episode import KEY_SOURCES, OBSERVATION_SIZE, Episode, plain_scalar
from qwop_datasets.errors import DatasetError
from qwop_datasets.old_names import with_todays_names
from qwop_datasets.recording import About, Change, End, Frame, KeyEvent, Recording, Rewind
from qwop_datasets.storage import describe, made_folder

HEADER = b"QWOPJNL1"
RECOVERED_TAG = "recovered"

_START = b"\xa5q"
_RECORD = struct.Struct("<2scI")
_FRAME = struct.Struct(f"<Bddd{4 * OBSERVATION_SIZE}s")
_EVENT = struct.Struct("<d3B")
_REWIND = struct.Struct("<dI")
_END = struct.Struct("<3?")
_GO_ON = struct.Struct("<32sI")
_FIELDS = {  # of Episode, that a begin record holds
    "id",
    "created",
    "source",
    "player",
    "game",
    "trig",
    "action_set",
    "start",
    "provenance",
    "tags",
    "wall_clock_offset",
}
_LONGEST = 1 << 20  # maximum size of a payload, bytes; a larger one is damage


def journal_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of a dataset's journal: FILE.journal."""
    path = Path(path)
    return path.with_name(path.name + ".journal")


def journal_paths(path: str | os.PathLike[str]) -> list[Path]:
    """The journals of a dataset that exist: FILE.journal, FILE.journal.2, ... in this order."""
    first = journal_path(path)
    more = [p for p in first.parent.glob(glob.escape(first.name) + ".*") if p.suffix[1:].isdecimal()]
    more.sort(key=lambda p: int(p.suffix[1:]))
    return [p for p in (first, *more) if p.exists()]


class Journal:
    """Writes the journal of one recording session.

    If the disk refuses a record, it stays in memory, and the next call or `flush` writes it first. Nothing is
    lost.

    Args:
        path: The journal's file (see `journal_path`); made if it is missing.
        sync_seconds: Longest time between a write and its sync to the disk; 0 syncs every write.

    Raises:
        DatasetError: Another program writes this journal, it has episodes that are not recovered, or it can't
            be written.
    """

    def __init__(self, path: str | os.PathLike[str], sync_seconds: float = 1.0) -> None:
        self.path = Path(path)
        self.sync_seconds = sync_seconds
        self._waiting = b""
        self._live: set[str] = set()  # ids of the episodes that are not done
        self._current = ""  # id of the latest one
        self._closing = threading.Event()
        self._dirty = threading.Event()
        self._file = open_locked(self.path, create=True)
        try:
            data = self._file.read()
            unsaved = live_episodes(data)
            if unsaved:
                raise DatasetError(
                    f"{self.path}: has {len(unsaved)} unsaved episode(s); "
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
        """Close the file, and remove it if all its episodes are done."""
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

    def begin(self, recording: Recording) -> None:
        """Store the start of an episode. Later calls of `write` add to this one.

        Raises:
            DatasetError: The disk refuses it.
        """
        self._live.add(recording.id)
        self._current = recording.id
        self._write(begin_record(recording))

    def write(self, *changes: Change) -> None:
        """Store changes of the latest episode, in the order in which they were added to it.

        Raises:
            ValueError: No episode has begun, or the latest is done.
            DatasetError: The disk refuses them.
        """
        if not self._current:
            raise ValueError("no episode has begun")
        self._write(b"".join(change_record(change) for change in changes))

    def done(self, recording: Recording) -> None:
        """Mark an episode as stored in the dataset or discarded. When all are done, the journal is emptied.

        Raises:
            DatasetError: The disk refuses the record.
        """
        self._live.discard(recording.id)
        if self._current == recording.id:
            self._current = ""
        if not self._live:
            self._waiting = b""
            self._start_anew()
        else:
            self._write(done_record(recording))

    def flush(self) -> None:
        """Write what the disk refused before.

        Raises:
            DatasetError: It still refuses.
        """
        self._write(b"")

    def _start_anew(self) -> None:
        try:
            self._file.seek(0)
            self._file.truncate()
            self._waiting = HEADER + self._waiting
        except OSError as error:
            raise DatasetError(f"{self.path}: {describe(error)}") from None
        self.flush()

    def _write(self, records: bytes) -> None:
        self._waiting += records
        try:
            while self._waiting:
                written = self._file.write(self._waiting) or 0
                self._waiting = self._waiting[written:]
            if self.sync_seconds == 0:
                portable.sync(self._file.fileno())
        except OSError as error:
            raise DatasetError(f"{self.path}: {describe(error)}; the latest frames are in memory") from None
        self._dirty.set()

    def _sync_now_and_then(self) -> None:
        while not self._closing.is_set():
            self._dirty.wait()
            self._dirty.clear()
            try:
                portable.sync(self._file.fileno())
            except (OSError, ValueError):
                pass  # the next write reports it
            self._closing.wait(self.sync_seconds)


@dataclass
class Journalled:
    """The contents of a journal."""

    live: dict[str, Recording] = field(default_factory=dict[str, Recording])
    """The episodes that are not done, by id."""
    damaged: int = 0
    """Bytes in the middle that are not a record."""
    torn: int = 0
    """Bytes at the end that are not a complete record."""


def read_journal(path: str | os.PathLike[str]) -> tuple[list[Episode], int]:
    """Read the episodes of a journal that are neither stored nor discarded. The journal is not changed.

    An unfinished episode is `truncated` and gets the tag "recovered". A torn last record is dropped, and a
    damaged record costs the rest of its episode.

    Returns:
        The episodes, oldest first, and the number of damaged bytes.

    Raises:
        DatasetError: `path` is not a journal, or another program writes it.
    """
    with open_locked(Path(path), create=False) as file:
        found = _replay(file.read(), path)
    episodes: list[Episode] = []
    damaged = found.damaged
    for recording in found.live.values():
        if recording.keys:
            try:
                tags = tuple(recording.fields.get("tags", ()))
                unfinished = recording.end is None
                episodes.append(recording.episode(tags=(*tags, RECOVERED_TAG) if unfinished else tags))
            except (ValueError, TypeError, OverflowError):  # not written by a recorder: keep it
                damaged += _RECORD.size + _FRAME.size
    return episodes, damaged


def live_episodes(data: bytes, path: str | os.PathLike[str] = "journal") -> dict[str, Recording]:
    """The episodes that are not done, by id. Raises DatasetError where the bytes are no journal."""
    return _replay(data, path).live if data else {}


def _replay(data: bytes, path: str | os.PathLike[str] = "journal") -> Journalled:
    """Add the changes of every whole record to its recording."""
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
            # Frames after a gap are not an exact run, so skip to the next episode.
            current, found_at = None, _next_episode(data, position + 1)
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
            elif kind == b"C":
                current = _gone_on(payload, found.live)
            elif current is not None:
                current.add(_DECODE[kind](payload))
        except (KeyError, ValueError, IndexError, RecursionError, struct.error):
            current = None
            found.damaged += len(payload)
    return found


def _parse(data: bytes, position: int) -> tuple[bytes, bytes, int]:
    """Return type, payload and end of the record at `position`; the end is -1 if there is no whole record."""
    if position + _RECORD.size > len(data):
        return b"", b"", -1
    start, kind, length = _RECORD.unpack_from(data, position)
    stop = position + _RECORD.size + length
    if start != _START or length > _LONGEST or stop + 4 > len(data):
        return b"", b"", -1
    if zlib.crc32(data[position:stop]) != int.from_bytes(data[stop : stop + 4], "little"):
        return b"", b"", -1
    return kind, data[position + _RECORD.size : stop], stop + 4


def _next_episode(data: bytes, position: int) -> int:
    """Return the position of the next whole record that says which episode follows, or -1."""
    while (position := data.find(_START, position)) >= 0:
        if data[position + 2 : position + 3] in (b"B", b"C") and _parse(data, position)[2] >= 0:
            return position
        position += 1
    return -1


def begin_record(recording: Recording) -> bytes:
    """The bytes that begin an episode."""
    text = json.dumps(recording.fields, default=_plain).encode()
    return _record(b"B", _begin_payload(text, recording.times[0], recording.raw_observations[0]))


def go_on_record(recording: Recording, num_changes: int) -> bytes:
    """The bytes that go on with an episode of which `num_changes` changes are in the journal."""
    return _record(b"C", _GO_ON.pack(recording.id.encode(), num_changes))


def done_record(recording: Recording) -> bytes:
    """The bytes that say: the episode is in the dataset, or was discarded."""
    return _record(b"D", recording.id.encode())


def _gone_on(payload: bytes, live: Mapping[str, Recording]) -> Recording | None:
    """The episode that goes on; None where changes of it are missing, or it is done."""
    name, num_changes = _GO_ON.unpack(payload)
    recording = live.get(name.decode())
    return recording if recording is not None and recording.num_changes == num_changes else None


def _record(kind: bytes, payload: bytes) -> bytes:
    body = _RECORD.pack(_START, kind, len(payload)) + payload
    return body + zlib.crc32(body).to_bytes(4, "little")


def _begin_payload(text: bytes, time: float, row: NDArray[np.float32]) -> bytes:
    start = struct.pack("<d", time) + row.astype("<f4").tobytes()
    return len(text).to_bytes(4, "little") + text + start


def _read_begin(payload: bytes) -> Recording:
    length = int.from_bytes(payload[:4], "little")
    stored: dict[str, Any] = json.loads(payload[4 : 4 + length])
    fields = with_todays_names(stored) if type(stored) is dict else {}
    if not {"id", "created"} <= set(fields) <= _FIELDS:
        raise ValueError("other fields than an episode's")
    if not isinstance(fields["id"], str):
        raise ValueError("an id that is not text")
    (time,) = struct.unpack_from("<d", payload, 4 + length)
    if fields.get("start") is not None:
        fields["start"] = np.array(fields["start"], np.uint32).reshape(-1, 3)
    return Recording(np.frombuffer(payload[12 + length :], "<f4"), time, **fields)


def change_record(change: Change) -> bytes:
    """The bytes of a change."""
    if isinstance(change, Frame):
        row = change.raw_observation.astype("<f4").tobytes()
        payload = _FRAME.pack(change.keys, change.wall_time, change.lateness, change.time, row)
        return _record(b"F", payload)
    if isinstance(change, KeyEvent):
        source = KEY_SOURCES.index(change.source)
        return _record(b"E", _EVENT.pack(change.time, change.key, change.pressed, source))
    if isinstance(change, Rewind):
        return _record(b"R", _REWIND.pack(change.wall_time, change.frame))
    if isinstance(change, About):
        return _record(b"K", json.dumps(dict(change.fields), default=_plain).encode())
    return _record(b"Z", _END.pack(change.terminated, change.truncated, change.success))


def _decoded_frame(payload: bytes) -> Frame:
    keys, wall_time, lateness, time, row = _FRAME.unpack(payload)
    return Frame(keys, np.frombuffer(row, "<f4"), time, wall_time, lateness)


def _decoded_event(payload: bytes) -> KeyEvent:
    time, key, pressed, source = _EVENT.unpack(payload)
    return KeyEvent(time, key, bool(pressed), KEY_SOURCES[int(source)])


def _decoded_rewind(payload: bytes) -> Rewind:
    wall_time, frame = _REWIND.unpack(payload)
    return Rewind(frame, wall_time)


def _decoded_end(payload: bytes) -> End:
    return End(*_END.unpack(payload))


def _decoded_about(payload: bytes) -> About:
    fields: dict[str, Any] = json.loads(payload)
    if type(fields) is not dict or not set(fields) <= _FIELDS - {"id"}:
        raise ValueError("other fields than an episode's")
    return About(fields)


_DECODE: dict[bytes, Callable[[bytes], Change]] = {
    b"F": _decoded_frame,
    b"E": _decoded_event,
    b"R": _decoded_rewind,
    b"Z": _decoded_end,
    b"K": _decoded_about,
}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return plain_scalar(value)
    if isinstance(value, np.ndarray):
        return cast("NDArray[Any]", value).tolist()
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Any]", value))
    raise ValueError(f"{value!r} can't be written to the journal")


def open_locked(path: Path, *, create: bool) -> Any:
    """Open a journal for this program alone, at its start. Raises DatasetError."""
    try:
        if create:
            with made_folder(path.parent):
                pass
        file = open(path, "a+b" if create else "r+b", buffering=0)
    except OSError as error:
        raise DatasetError(f"{path}: {describe(error)}") from None
    if not portable.lock(file.fileno(), exclusive=True):
        file.close()
        raise DatasetError(f"{path}: a recording is running; wait until it ends")
    file.seek(0)
    return file
