"""The journal of many recordings at once: one file, one sync for all of them.

A hundred journals would need a hundred syncs, at some milliseconds each. Here the changes of all recordings
gather in memory, and `commit` writes and syncs them together. The records are those of journal.py; a go-on
record says whose changes follow.

A journal becomes empty only when none of its episodes is under way. With many players that may never
happen, so there are several files: FILE.journal, FILE.journal.2, ... An episode stays in the file in which it
began. New ones begin in the latest file until that is long, then in an empty one. FILE.journal is locked as
long as this program records, so nobody else recovers what is under way.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwop_datasets import portable
from qwop_datasets.errors import DatasetError
from qwop_datasets.journal import (
    HEADER,
    begin_record,
    change_record,
    done_record,
    go_on_record,
    journal_path,
    journal_paths,
    live_episodes,
    open_locked,
)
from qwop_datasets.recording import Change, Recording
from qwop_datasets.storage import describe

FILE_BYTES = 64 << 20
"""A file of this length takes no new episodes."""


class SharedJournal:
    """Journals many recordings at once.

    `begin`, `write` and `done` take a change in memory; `commit` returns once it is on the disk. One thread
    may commit while another one goes on. What the disk refuses stays in memory for the next commit.

    Args:
        path: The dataset; the journals are beside it, see `journal_paths`.
        file_bytes: Length from which on a file takes no new episodes.

    Raises:
        DatasetError: Another program records into this dataset, there are episodes that are not recovered, or
            the journal can't be written.
    """

    def __init__(self, path: str | os.PathLike[str], file_bytes: int = FILE_BYTES) -> None:
        self.path = journal_path(path)
        self._file_bytes = file_bytes
        self._lock = threading.Lock()  # of what is in memory
        self._committing = threading.Lock()
        self._place: dict[str, _File] = {}  # id of an episode that is under way -> its file
        self._files = [self._opened(self.path)]
        try:
            for left_over in journal_paths(path)[1:]:
                self._files.append(self._opened(left_over))
            self.commit()
        except BaseException:
            for file in self._files:
                file.handle.close()
            raise
        portable.sync_directory(self.path.parent)

    def __enter__(self) -> SharedJournal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __contains__(self, episode_id: str) -> bool:
        return episode_id in self._place

    @property
    def num_live(self) -> int:
        """Episodes that are neither in the dataset nor discarded."""
        return len(self._place)

    def begin(self, recording: Recording) -> None:
        """Take in the start of an episode.

        Raises:
            ValueError: An episode of this id is under way.
        """
        with self._lock:
            if recording.id in self._place:
                raise ValueError(f"episode {recording.id} is under way already")
            file = self._file_for_a_new_one()
            self._place[recording.id] = file
            file.live[recording.id] = recording.num_changes
            file.current = recording.id
            file.waiting += begin_record(recording)

    def write(self, recording: Recording, *changes: Change) -> None:
        """Take in changes that were added to an episode, in this order.

        Raises:
            ValueError: The episode has not begun, or is done.
        """
        records = b"".join(change_record(change) for change in changes)
        with self._lock:
            file = self._place.get(recording.id)
            if file is None:
                raise ValueError("the episode has not begun")
            if file.current != recording.id:
                file.waiting += go_on_record(recording, file.live[recording.id])
                file.current = recording.id
            file.live[recording.id] += len(changes)
            file.waiting += records

    def done(self, recording: Recording) -> None:
        """Forget an episode: it is in the dataset, or was discarded."""
        with self._lock:
            file = self._place.pop(recording.id, None)
            if file is None:
                return
            del file.live[recording.id]
            if file.current == recording.id:
                file.current = ""
            if file.live:
                file.waiting += done_record(recording)
            else:
                file.start_anew()

    def commit(self) -> None:
        """Return once all that was taken in before is on the disk.

        Raises:
            DatasetError: The disk refuses it; all of it waits for the next commit.
        """
        with self._committing:
            with self._lock:
                changed = [file for file in self._files if file.gather()]
            for file in changed:
                file.commit()

    def close(self) -> None:
        """Let the files go; those without an episode that is under way are removed."""
        # FILE.journal goes last: its lock says that this program records.
        for file in sorted(self._files, key=lambda file: file.path == self.path):
            if file.handle.closed:
                continue
            if file.live:
                file.gather()
                file.commit()
                file.handle.close()
            else:
                portable.remove_and_close(file.path, file.handle)

    def _file_for_a_new_one(self) -> _File:
        latest = self._files[-1]
        if latest.length + len(latest.waiting) < self._file_bytes:
            return latest
        free = next((file for file in self._files if not file.live), None)
        if free is not None:  # the latest is the last of the list
            self._files.remove(free)
            self._files.append(free)
            return free
        number = 2
        while (path := self.path.with_name(f"{self.path.name}.{number}")).exists():
            number += 1
        try:
            made = self._opened(path)
        except DatasetError:  # no room for another file: the latest takes it
            return latest
        portable.sync_directory(path.parent)
        self._files.append(made)
        return made

    def _opened(self, path: Path) -> _File:
        handle = open_locked(path, create=True)
        try:
            unsaved = live_episodes(handle.read(), path)
            if unsaved:
                raise DatasetError(
                    f"{path}: holds {len(unsaved)} unsaved episode(s); "
                    f"run qwop-data recover {self.path.with_suffix('')}"
                )
        except BaseException:
            handle.close()
            raise
        return _File(path, handle)


@dataclass
class _File:
    """One file, and what it will get with the next commit."""

    path: Path
    handle: Any
    live: dict[str, int] = field(default_factory=dict[str, int])
    """The episodes that are under way in it, by id, and how many changes of each it has."""
    current: str = ""
    """Id of the episode whose changes came last."""
    waiting: bytearray = field(default_factory=lambda: bytearray(HEADER))
    emptied: bool = True
    """Whether the file is to be emptied first."""
    length: int = 0
    """Bytes that are in the file, or being written."""
    _leaving: memoryview | bytes = b""
    _truncate: bool = False
    _synced: bool = True

    def start_anew(self) -> None:
        """Forget all that is in the file."""
        self.waiting = bytearray(HEADER)
        self.emptied = True
        self.current = ""
        self.length = 0

    def gather(self) -> bool:
        """Take what waits for the next `commit`; returns whether there is anything."""
        if self.emptied:
            self._leaving, self._truncate, self.emptied = b"", True, False
            self._synced = False
        if self.waiting:
            self._leaving = bytes(self._leaving) + bytes(self.waiting)
            self.length += len(self.waiting)
            self.waiting.clear()
            self._synced = False
        return not self._synced

    def commit(self) -> None:
        """Write and sync what was gathered. Raises DatasetError; what is not written stays gathered."""
        try:
            if self._truncate:
                self.handle.seek(0)
                self.handle.truncate()
                self._truncate = False
            while len(self._leaving):
                written = self.handle.write(self._leaving) or 0
                self._leaving = memoryview(self._leaving)[written:]
            portable.sync(self.handle.fileno())
            self._synced = True
        except OSError as error:
            raise DatasetError(f"{self.path}: {describe(error)}; what was played waits in memory") from None
