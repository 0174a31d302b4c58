"""Atomic changes of an HDF5 file with a redo log, at a cost that does not grow with the file.

HDF5 changes its file in place: if it is killed, it can leave a file that no program opens. So here HDF5 never
writes to the file itself. It runs on an overlay that reads the file and keeps the changed pages in memory:
those of an episode and a few metadata pages. After HDF5 has closed, a change has three steps:

1. Write the pages to FILE.redo, with a checksum at the end, and sync it.
2. Copy the pages into FILE, and sync it.
3. Remove FILE.redo.

If the program is killed before the end of step 1, FILE is unchanged, and the torn FILE.redo is dropped. If it
is killed later, the next program that opens FILE repeats steps 2 and 3: copying pages twice changes nothing.

One lock on FILE orders all accesses: shared for readers, exclusive for a change. portable.py has the
differences between systems.

A completely new FILE replaces the old one under the exclusive lock. Windows can't replace an open file, so
there the new one is FILE.replacing until the lock is released. Until then no other program uses FILE.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import struct
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py

from qwop_cli import SignalHandlers, set_handlers, stop_signals
from qwop_datasets import portable
from qwop_datasets.errors import DatasetError

Item = TypeVar("Item")

H5 = Any  # an open HDF5 file or group; h5py's own types make every subscript a union of all types
PAGE = 4096
LOCK_SECONDS = 10.0
LIBVER = (
    "v110",
    "v110",
)  # from this version on, all metadata has checksums; HDF5 can read it since 1.10 (2016)

WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)

_SUPERBLOCK = 48  # bytes; has the file's size, so it differs before and after an append
_HEADER = struct.Struct("<8sQQII")  # magic, size before, size after, pages, CRC of the superblock before
_MAGIC = b"QWOPREDO"
_LARGEST_HOLE = 1 << 20  # bytes that HDF5 may add to the file's end without writing them


def open_h5(*arguments: Any, **options: Any) -> H5:
    """h5py.File(...)."""
    return h5py.File(*arguments, **options)


def redo_path(path: Path) -> Path:
    """Return the path of FILE.redo: a change that is being copied into FILE."""
    return path.with_name(path.name + ".redo")


def replacing_path(path: Path) -> Path:
    """Return the path of FILE.replacing: a complete new FILE, until the old one is closed."""
    return path.with_name(path.name + ".replacing")


@contextmanager
def made_folder(folder: Path) -> Generator[None]:
    """Make `folder` and its parents if they are missing; remove them again if the block fails.

    Raises DatasetError if a file has one of their names, OSError if the system refuses.
    """
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        file = next(f for f in (folder, *folder.parents) if f.exists())
        raise DatasetError(f"{file}: is a file, not a folder; choose another folder") from None
    try:
        yield
    except BaseException:
        for made in missing:
            try:
                made.rmdir()
            except OSError:  # another program has put a file there
                break
        raise


def describe(error: OSError) -> str:
    """Describe an error of the operating system in plain words."""
    words = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.EROFS: "the disk is read-only",
        errno.EACCES: "permission denied",
        errno.ENOENT: "no such file",
        errno.EISDIR: "it is a folder, not a file",
        errno.ENOTDIR: "a part of its path is a file, not a folder",
    }
    if error.errno == errno.EACCES and error.filename and os.path.isdir(error.filename):
        return words[errno.EISDIR]  # also on Windows, which can't open folders
    if portable.is_busy(error):  # Windows reports "access denied" for both
        return "permission denied, or a program has it open; close that and try again"
    if error.errno in words:
        return words[error.errno]
    text = error.strerror or str(error)
    return " ".join(text.split())


@contextmanager
def locked(path: Path, exclusive: bool) -> Generator[int]:
    """Yield a descriptor of `path` under a lock. Waits up to LOCK_SECONDS for others. Raises DatasetError.

    A new file that `put_in_place` prepared in the block becomes `path` at its end.
    """
    give_up = time.monotonic() + LOCK_SECONDS
    while True:
        held = False
        try:
            descriptor = os.open(path, (os.O_RDWR if exclusive else os.O_RDONLY) | portable.BINARY)
        except OSError as error:
            raise DatasetError(f"{path}: {describe(error)}") from None
        try:
            late = time.monotonic() > give_up
            held = portable.lock(descriptor, exclusive=exclusive) and _is_current(path, descriptor, late)
            if held:
                yield descriptor
                return
            if late:
                raise DatasetError(f"{path}: another program has it open; close that and try again")
        finally:
            replaced = False
            try:
                replaced = held and exclusive and replacing_path(path).exists()
            finally:
                try:
                    portable.unlock(descriptor)  # a duplicate of the descriptor would keep the lock
                finally:
                    os.close(descriptor)
            if replaced:
                _replace(path)
        time.sleep(0.005)


def _is_current(path: Path, descriptor: int, late: bool) -> bool:
    """Whether the file that was opened and locked is still `path`, and no new file is about to replace it.

    late: the new file has existed for so long that its writer must have ended: drop it.
    """
    try:
        if not os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return False  # an edit replaced the file between open and lock: open the new one
        if replacing_path(path).exists():
            if not late:
                return False
            replacing_path(path).unlink(missing_ok=True)
    except FileNotFoundError:
        return False
    except OSError:  # at least the old file can be read
        pass
    return True


def replace_file(source: Path, target: Path) -> None:
    """Call os.replace. On Windows, wait while another program has `target` open. Raises DatasetError."""
    try:
        portable.replace(source, target)
    except OSError as error:
        raise DatasetError(f"{target}: {describe(error)}") from None


def put_in_place(aside: Path, path: Path) -> None:
    """Replace `path`, which the caller has locked, by the file `aside`: now, or when the lock is released."""
    try:
        os.replace(aside, path)
    except OSError as error:
        if not portable.is_busy(error):
            raise
        portable.replace(aside, replacing_path(path))


def _replace(path: Path) -> None:
    aside = replacing_path(path)
    try:
        portable.replace(aside, path)
        portable.sync_directory(path.parent)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise DatasetError(f"{path}: {describe(error)}; nothing was changed") from None


def open_for_reading(descriptor: int) -> H5:
    """Open an HDF5 file on a duplicate of `descriptor`. Raises OSError if it is not HDF5.

    If it opened the file by name, HDF5 would return a file that the process already has open, with metadata
    from before the last append.
    """
    handle = os.fdopen(os.dup(descriptor), "rb", buffering=0)
    try:
        file = open_h5(handle, "r")
    except BaseException:
        handle.close()
        raise
    # A file that is still open after the interpreter has ended would call into it and crash.
    weakref.finalize(file, _close, file.id)
    return file


def _close(file_id: Any) -> None:
    if file_id.valid:
        file_id.close()


@contextmanager
def reading(path: Path) -> Generator[H5]:
    """Open an HDF5 file for reading, under a shared lock. Raises DatasetError."""
    with shared(path) as descriptor:
        try:
            file = open_for_reading(descriptor)
        except OSError as error:
            raise DatasetError(f"{path}: {open_failure(descriptor, error)}") from None
        with file:
            yield file


def open_failure(descriptor: int, error: OSError) -> str:
    """Explain why HDF5 did not open a file."""
    text = " ".join(str(error).split())
    if portable.read_at(descriptor, 8, 0) != b"\x89HDF\r\n\x1a\n":
        return "not an HDF5 file"
    if "truncated" in text:
        return "truncated: copy it again from its source, or use a backup"
    return f"damaged: {text[:160]}"


@contextmanager
def shared(path: Path) -> Generator[int]:
    """Lock a file for reading, after finishing any interrupted change. Raises DatasetError."""
    while True:
        finish_interrupted_change(path)
        with locked(path, exclusive=False) as descriptor:
            if not _is_whole(_redo_bytes(path)):
                yield descriptor
                return


def finish_interrupted_change(path: Path) -> bool:
    """Finish or drop an interrupted change. Returns True if there was one to finish.

    Raises DatasetError if FILE.redo has to be applied but can't be: the directory is read-only, or FILE is
    not the file that it belongs to.
    """
    if not redo_path(path).exists():
        return False
    try:
        with locked(path, exclusive=True) as descriptor:
            return _finish_interrupted_change(path, descriptor)
    except (OSError, DatasetError) as error:
        if not _is_whole(_redo_bytes(path)):  # FILE is unchanged, so it can be read
            return False
        reason = describe(error) if isinstance(error, OSError) else str(error).removeprefix(f"{path}: ")
        raise DatasetError(
            f"{path}: the interrupted change in {redo_path(path).name} can't be finished: {reason}"
        ) from None


def _redo_bytes(path: Path) -> bytes:
    try:
        return redo_path(path).read_bytes()
    except FileNotFoundError:
        return b""


def _is_whole(data: bytes) -> bool:
    if len(data) < _HEADER.size + 4 or not data.startswith(_MAGIC):
        return False
    pages = _HEADER.unpack_from(data)[3]
    if len(data) != _HEADER.size + pages * (8 + PAGE) + 4:
        return False
    return zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little")


def _finish_interrupted_change(path: Path, descriptor: int) -> bool:
    redo = redo_path(path)
    if not redo.exists():
        return False
    data = _redo_bytes(path)
    whole = _is_whole(data)
    if whole:
        _, _, size, pages, before = _HEADER.unpack_from(data)
        body = memoryview(data)[_HEADER.size : -4]
        now = zlib.crc32(portable.read_at(descriptor, _SUPERBLOCK, 0))
        after = zlib.crc32(body[8 : 8 + _SUPERBLOCK])  # page 0 is always the first one
        if now not in (before, after):
            raise DatasetError(
                f"{path}: it is not the file that {redo.name} belongs to; move one of them away"
            )
        if size > os.fstat(descriptor).st_size + 2 * len(data) + _LARGEST_HOLE:
            raise DatasetError(
                f"{path}: {redo.name} would make it {size} bytes long, but has {len(data)}; move it away"
            )
        _copy_pages(descriptor, body, pages, size)
    portable.remove(redo)
    portable.sync_directory(path.parent)
    return whole


def _copy_pages(descriptor: int, body: memoryview, pages: int, size: int) -> None:
    for i in range(pages):
        record = body[i * (8 + PAGE) : (i + 1) * (8 + PAGE)]
        offset = int.from_bytes(record[:8], "little") * PAGE
        if offset < size:
            _write_all(descriptor, record[8:], offset)
    os.ftruncate(descriptor, size)
    portable.sync(descriptor)


def _write_all(descriptor: int, data: memoryview | bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = portable.write_at(descriptor, view, offset)
        view, offset = view[written:], offset + written


class Overlay(io.RawIOBase):
    """A file object on `descriptor` whose writes stay in memory, in whole pages.

    write_through: writes go to the descriptor, until the first one that fails; later ones stay in memory.
    """

    def __init__(self, descriptor: int, *, write_through: bool = False) -> None:
        self.descriptor = descriptor
        self.write_through = write_through
        self.base_size = self.size = os.fstat(descriptor).st_size
        self.pages: dict[int, bytearray] = {}
        self.position = 0
        # An exception in the middle of HDF5's work leaves the library in a state that crashes at exit. So the
        # error is stored here, HDF5 finishes, and the owner of this object raises it.
        self.failure: BaseException | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.size}[whence]
        self.position = start + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def truncate(self, size: int | None = None) -> int:
        self.size = self.position if size is None else size
        return self.size

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")[: max(0, self.size - self.position)]
        return self._noting_failure(self._read, view)

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        return self._noting_failure(self._write, memoryview(data).cast("B"))

    def _noting_failure(self, act: Callable[[memoryview], int], view: memoryview) -> int:
        for _ in range(2):  # the second attempt works after Ctrl-C or a full disk
            try:
                return act(view)
            except BaseException as error:
                self.failure = self.failure or error.with_traceback(None)
        return len(view)

    def _read(self, view: memoryview) -> int:
        for number, start, done, count in self._spans(len(view)):
            page = self.pages.get(number) or self.stored(number)
            view[done : done + count] = page[start : start + count]
        self.position += len(view)
        return len(view)

    def _write(self, view: memoryview) -> int:
        if self.write_through and self.failure is None:
            _write_all(self.descriptor, view, self.position)
            self.position += len(view)
            self.size = max(self.size, self.position)
            return len(view)
        for number, start, done, count in self._spans(len(view)):
            if number not in self.pages:
                self.pages[number] = self.stored(number)
            self.pages[number][start : start + count] = view[done : done + count]
        self.position += len(view)
        self.size = max(self.size, self.position)
        return len(view)

    def _spans(self, length: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield the pages of the next `length` bytes: page, offset in it, offset in the data, bytes."""
        done = 0
        while done < length:
            number, start = divmod(self.position + done, PAGE)
            count = min(PAGE - start, length - done)
            yield number, start, done, count
            done += count

    def stored(self, number: int) -> bytearray:
        return bytearray(portable.read_at(self.descriptor, PAGE, number * PAGE).ljust(PAGE, b"\0"))


class _NewFile(h5py.File):
    """An HDF5 file on an overlay that writes through. Ctrl-C waits, except where a method says so."""

    overlay: Overlay
    signals: _HeldSignals

    def raise_failure(self) -> None:
        """Raise the first error so far, such as a full disk or Ctrl-C. Call it now and then while writing."""
        if self.overlay.failure:
            failure, self.overlay.failure = self.overlay.failure, OSError("an earlier write failed")
            raise failure from None
        with self.signals.let_through():
            pass

    def interruptible(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield `items`. Ctrl-C takes effect at once while the next one is made."""
        iterator = iter(items)
        while True:
            with self.signals.let_through():
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item


def copy_out(descriptor: int, target: Path) -> None:
    """Copy an open file to a new one. Windows can read a locked file only through its descriptor."""
    offset = 0
    with open(target, "xb") as copy:
        while data := portable.read_at(descriptor, 1 << 20, offset):
            copy.write(data)
            offset += len(data)


@contextmanager
def new_h5(path: Path, mode: str = "w", **options: Any) -> Generator[H5]:
    """Open h5py.File(path, mode, **options) for writing, safe with a full disk or Ctrl-C; see _NewFile.

    Otherwise HDF5 would fail again when it closes the file, print tracebacks and crash at exit.

    Raises OSError.
    """
    create = os.O_CREAT | os.O_EXCL if mode == "w" else 0
    descriptor = os.open(path, os.O_RDWR | create | portable.BINARY, 0o666)
    try:
        overlay = Overlay(descriptor, write_through=True)
        with interrupts_wait() as signals, _NewFile(overlay, mode, **options) as file:
            file.overlay, file.signals = overlay, signals
            yield file
        if overlay.failure:
            failure, overlay.failure = overlay.failure, None
            raise failure from None
        os.ftruncate(descriptor, overlay.size)
    finally:
        os.close(descriptor)


@contextmanager
def transaction(path: Path, check: Callable[[H5], None] | None = None) -> Generator[H5]:
    """Open an HDF5 file for writing. The end of the block stores all changes; an exception discards them.

    check: called with the changed file before it is stored. If it raises, nothing is stored.
    Raises DatasetError if the file can't be opened or the change can't be stored; FILE is then as before.
    """
    try:
        with locked(path, exclusive=True) as descriptor, interrupts_wait():
            _finish_interrupted_change(path, descriptor)
            overlay = Overlay(descriptor)
            try:
                with open_h5(overlay, "r+", libver=LIBVER) as file:
                    yield file
                if check:
                    with open_h5(overlay, "r") as file:
                        check(file)
            finally:
                if overlay.failure:
                    failure, overlay.failure = overlay.failure, None
                    raise failure from None
            if overlay.pages:
                _commit(path, overlay)
    except OSError as error:
        raise DatasetError(f"{path}: {describe(error)}; nothing was changed") from None


class _HeldSignals:
    """Signals that wait until they are let through. Only the main thread gets any."""

    def __init__(self) -> None:
        self._before: SignalHandlers = {}
        self._received: list[int] = []
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in stop_signals()}
            self._before = {n: handler for n, handler in handlers.items() if handler is not None}

    def hold(self) -> None:
        """Let all signals wait from now on."""
        set_handlers(dict.fromkeys(self._before, self._receive))

    def release(self) -> None:
        """Let all signals through, first those that wait: this can raise KeyboardInterrupt."""
        set_handlers(self._before)
        received, self._received = self._received, []
        for number in received:
            signal.raise_signal(number)

    @contextmanager
    def let_through(self) -> Generator[None]:
        """Let all signals through within the block."""
        try:
            self.release()
            yield
        finally:
            self.hold()

    def _receive(self, number: int, _frame: object) -> None:
        self._received.append(number)


@contextmanager
def interrupts_wait() -> Generator[_HeldSignals]:
    """Delay Ctrl-C to the end of the block: Python would raise it in the middle of HDF5's work."""
    signals = _HeldSignals()
    try:
        signals.hold()
        yield signals
    finally:
        signals.release()


def _commit(path: Path, overlay: Overlay) -> None:
    superblock = portable.read_at(overlay.descriptor, _SUPERBLOCK, 0)
    overlay.pages.setdefault(0, overlay.stored(0))
    order = sorted(overlay.pages)
    parts = [_HEADER.pack(_MAGIC, overlay.base_size, overlay.size, len(order), zlib.crc32(superblock))]
    for number in order:
        parts += [number.to_bytes(8, "little"), bytes(overlay.pages[number])]
    data = b"".join(parts)
    redo = redo_path(path)
    try:
        with open(redo, "wb", buffering=0) as log:
            view = memoryview(data + zlib.crc32(data).to_bytes(4, "little"))
            while view:
                view = view[log.write(view) :]
            _claim_growth(overlay)  # so that a full disk fails here, while nothing has changed yet
            portable.sync(log.fileno())
    except OSError:
        _undo_growth(overlay)
        portable.remove(redo)
        raise
    portable.sync_directory(path.parent)
    _copy_pages(overlay.descriptor, memoryview(data)[_HEADER.size :], len(order), overlay.size)
    portable.remove(redo)
    portable.sync_directory(path.parent)


def _claim_growth(overlay: Overlay) -> None:
    growth = overlay.size - overlay.base_size
    if growth > 0:
        portable.allocate(overlay.descriptor, overlay.base_size, growth)


def _undo_growth(overlay: Overlay) -> None:
    if os.fstat(overlay.descriptor).st_size > overlay.base_size:
        os.ftruncate(overlay.descriptor, overlay.base_size)
