"""File calls that systems have or lack: locks, reads at a position, syncs, open files that get a new name.

The rest of the package calls these and asks nowhere which system it runs on.
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
"""For os.open: without it, Windows changes line ends."""
BUSY_SECONDS = 2.0
"""How long `replace` and `remove` wait for another program that has the file open."""

# On Windows, LockFileEx for both kinds of lock: portalocker's default has another call for exclusive ones.
_locker: Any = (getattr(portalocker, "Win32Locker", None) or portalocker.FlockLocker)()
_FULL_SYNC = getattr(_fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone leaves data in the disk's own cache
_position = threading.Lock()  # held between a seek and the read or write that it is for


def lock(descriptor: int, *, exclusive: bool) -> bool:
    """Lock an open file for this descriptor, without waiting. False where another program has the lock.

    The system lets go of the lock when the process ends. A file system without locks counts as locked.
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
    """Let go of the lock, where there is one, also for duplicates of the descriptor."""
    with suppress(LockException):
        _locker.unlock(descriptor)


def read_at(descriptor: int, count: int, offset: int) -> bytes:
    """At most `count` bytes from `offset` on."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, offset)
    with _position:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, count)


def write_at(descriptor: int, data: memoryview | bytes, offset: int) -> int:
    """Write at `offset`; returns how many bytes the system took."""
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, data, offset)
    with _position:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)


def sync(descriptor: int) -> None:
    """Return once a file's content is on the disk."""
    if _FULL_SYNC is not None:
        try:
            _fcntl.fcntl(descriptor, _FULL_SYNC)
            return
        except OSError:  # a file system without it, such as a network's
            pass
    os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Make creations, renames and removals in a directory survive a power loss, where the system can."""
    try:
        descriptor = os.open(path, os.O_RDONLY | BINARY)
    except OSError:  # Windows opens no directories
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
    """Claim room on the disk, where the system can, so that later writes there can't run out of it."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, offset, count)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that can't
                raise


def replace(source: Path, target: Path) -> None:
    """os.replace that waits up to BUSY_SECONDS where Windows refuses because a file is open."""
    _patiently(lambda: os.replace(source, target))


def remove(path: Path) -> None:
    """Remove a file, if it is there; waits like `replace`."""
    _patiently(lambda: path.unlink(missing_ok=True))


def remove_and_close(path: Path, file: IO[bytes]) -> None:
    """Remove the file that `file` has open and locked, then close it.

    Where an open file can't be removed, it is closed first. Another program may open it in between; it is
    then that program's, and stays, as Windows does not remove what is open.
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
