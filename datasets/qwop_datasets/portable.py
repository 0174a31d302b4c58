"""File operations that differ between systems: locks, reads at a position, syncs, renames of open files.

All other modules use these functions and do not depend on the system.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from portalocker import LockFlags, portalocker
from portalocker.exceptions import AlreadyLocked, LockException

_fcntl: Any
try:
    import fcntl as _fcntl
except ImportError:  # Windows
    _fcntl = None

BINARY = getattr(os, "O_BINARY", 0)
"""Flag for os.open: without it, Windows changes line ends."""
BUSY_SECONDS = 2.0
"""How long `replace` and `remove` wait for another program that has the file open, s."""

# On Windows, use LockFileEx for both kinds of lock: portalocker's default uses another call for exclusive
# ones.
_locker: Any = (getattr(portalocker, "Win32Locker", None) or portalocker.FlockLocker)()
_FULL_SYNC = getattr(_fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone leaves data in the disk's own cache
_position = threading.Lock()  # held from a seek to its read or write


def lock(descriptor: int, *, exclusive: bool) -> bool:
    """Lock an open file for this descriptor, without waiting. Returns False if another program has the lock.

    The system releases the lock when the process ends. On a file system without locks, it returns True.
    """
    kind = LockFlags.EXCLUSIVE if exclusive else LockFlags.SHARED
    try:
        _locker.lock(descriptor, kind | LockFlags.NON_BLOCKING)
    except AlreadyLocked:
        return False
    except LockException:
        pass
    return True


def unlock(descriptor: int) -> None:
    """Release the lock, if there is one, also for duplicates of the descriptor."""
    with suppress(LockException):
        _locker.unlock(descriptor)


def read_at(descriptor: int, count: int, offset: int) -> bytes:
    """Read at most `count` bytes from `offset` on."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, offset)
    with _position:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, count)


def write_at(descriptor: int, data: memoryview | bytes, offset: int) -> int:
    """Write at `offset`. Returns the number of bytes written."""
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, data, offset)
    with _position:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)


def sync(descriptor: int) -> None:
    """Wait until a file's content is on the disk."""
    if _FULL_SYNC is not None:
        try:
            _fcntl.fcntl(descriptor, _FULL_SYNC)
            return
        except OSError:  # a file system without it, such as a network's
            pass
    os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Make changes of a directory's entries survive a power loss, if the system supports it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | BINARY)
    except OSError:  # Windows can't open directories
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def is_busy(error: OSError) -> bool:
    """Whether Windows refused because a file is open: denied, a sharing violation, or a locked part."""
    return getattr(error, "winerror", None) in (5, 32, 33)


def allocate(descriptor: int, offset: int, count: int) -> None:
    """Allocate space on the disk, if the system supports it, so that later writes can't run out of it."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, offset, count)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that can't
                raise


def replace(source: Path, target: Path) -> None:
    """Call os.replace. On Windows, wait up to BUSY_SECONDS while another program has a file open."""
    _patiently(lambda: os.replace(source, target))


def remove(path: Path) -> None:
    """Remove a file if it exists. Waits as `replace` does."""
    _patiently(lambda: path.unlink(missing_ok=True))


def remove_and_close(path: Path, file: IO[bytes]) -> None:
    """Remove the file that `file` has open and locked, then close it.

    On Windows, which can't remove an open file, it is closed first. If another program opens it in between,
    the file stays and belongs to that program.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        if not is_busy(error):
            raise
        file.close()
        with suppress(OSError):
            path.unlink(missing_ok=True)
    finally:
        file.close()


def _patiently(act: Callable[[], None]) -> None:
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return act()
        except OSError as error:
            if not is_busy(error) or time.monotonic() > give_up:
                raise
        time.sleep(0.01)
